//! PEM bytes in, the TLS side of a scrape out.
//!
//! Its own file so that `demo` and the tests can scrape with certificates that were never on disk. Does no IO.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedProtocolVersion};

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
    #[error("{0}; give the PEM certificates of the CAs that issue server certificates")]
    Ca(String),
    /// The client's certificate.
    #[error("{0}; give the PEM certificate of the client, leaf first")]
    Cert(String),
    /// The client's key.
    #[error("{0}; give the PEM private key of the client certificate")]
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
        for certificate in certificates(ca).map_err(UnusableCredentials::Ca)? {
            roots
                .add(certificate)
                .map_err(|error| UnusableCredentials::Ca(error.to_string()))?;
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
                let chain = certificates(client.cert).map_err(UnusableCredentials::Cert)?;
                let key = PrivateKeyDer::from_pem_slice(client.key)
                    .map_err(|error| UnusableCredentials::Key(error.to_string()))?;
                builder
                    .with_client_auth_cert(chain, key)
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
        return UnusableCredentials::Key("not the key of the certificate".to_owned());
    }
    UnusableCredentials::Key(error.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(certificates)
}
