//! PEM bytes in, the TLS side of a scrape out.
//!
//! Its own file so that `demo` and the tests can scrape with certificates that were never on disk. Does no IO.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{RootCertStore, SupportedProtocolVersion};
use zeroize::Zeroizing;

use crate::pem::{Block, Pem};

/// Whom to trust and who to be. Has no `Debug`: it holds a private key.
#[derive(Clone)]
pub struct Credentials(Arc<ClientConfig>);

/// A client certificate (chain, leaf first) and its key.
pub struct ClientPem<'a> {
    /// PEM certificates.
    pub cert: &'a [u8],
    /// PEM private key: PKCS#8, SEC1 or PKCS#1.
    pub key: &'a [u8],
}

/// Which of the files is unusable and why.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCredentials {
    /// The CA bundle.
    #[error("{0}")]
    Ca(String),
    /// The client's certificate.
    #[error("{0}")]
    Cert(String),
    /// The client's key.
    #[error("{0}")]
    Key(String),
}

impl Credentials {
    /// Prepares TLS 1.3 and 1.2 with these certificates; without a client, none is presented.
    ///
    /// # Errors
    /// If a text is not PEM of the right kind, or the key is not the certificate's.
    pub fn from_pem(ca: &[u8], client: Option<ClientPem<'_>>) -> Result<Self, UnusableCredentials> {
        Self::with_versions(ca, client, rustls::DEFAULT_VERSIONS)
    }

    pub(super) fn with_versions(
        ca: &[u8],
        client: Option<ClientPem<'_>>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, UnusableCredentials> {
        let mut roots = RootCertStore::empty();
        let cas = certificates(ca, "the CAs that issue server certificates");
        for certificate in cas.map_err(UnusableCredentials::Ca)? {
            roots.add(certificate).map_err(|error| {
                UnusableCredentials::Ca(format!("{error}; leave out what is no CA certificate"))
            })?;
        }
        // Named, not taken from the process: nothing else decides what a scrape speaks. It prefers the post-quantum
        // hybrid X25519MLKEM768.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| UnusableCredentials::Ca(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = certificates(client.cert, "the client's certificate, leaf first")
                    .map_err(UnusableCredentials::Cert)?;
                let pem = decode(client.key).map_err(UnusableCredentials::Key)?;
                let key = pem
                    .private_key("the client's private key")
                    .map_err(|fault| UnusableCredentials::Key(fault.to_string()))?;
                builder
                    .with_client_auth_cert(chain, key.clone_key())
                    .map_err(unusable_key)?
            }
        };
        // Like Prometheus: every scrape is a full handshake.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

fn unusable_key(error: rustls::Error) -> UnusableCredentials {
    if let rustls::Error::InconsistentKeys(_) = error {
        return UnusableCredentials::Key(
            "not the key of the certificate; give the two that belong together".to_owned(),
        );
    }
    UnusableCredentials::Key(error.to_string())
}

fn certificates(pem: &[u8], meaning: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = decode(pem)?;
    let blocks = pem
        .certificates(meaning)
        .map_err(|fault| fault.to_string())?;
    Ok(blocks.iter().map(Block::certificate).collect())
}

fn decode(pem: &[u8]) -> Result<Pem, String> {
    Pem::decode(Zeroizing::new(pem.to_vec())).map_err(|fault| fault.to_string())
}
