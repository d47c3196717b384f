//! Files in, the TLS side of a scrape out.
//!
//! Its own file so that `demo` and the tests scrape with the same. What is wrong with a certificate or a key is found
//! by the code that the gate asks about its own.

use std::path::Path;
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, SupportedProtocolVersion};

use crate::config::{Place, Problem, Problems};
use crate::file::{self, MOST_CERTIFICATES};
use crate::pem::Block;
use crate::trust::load::Content;
use crate::trust::own::{Certificate, Own};

/// Whom to trust and who to be. Has no `Debug`: it holds a private key.
#[derive(Clone)]
pub struct Credentials(Arc<ClientConfig>);

/// A client's certificate (chain, leaf first) and its key.
pub struct ClientFiles {
    /// PEM certificates.
    pub cert: Content,
    /// PEM private key: PKCS#8, SEC1 or PKCS#1.
    pub key: Content,
}

impl Credentials {
    /// Prepares TLS 1.3 and 1.2 with these certificates; without a client, none is presented.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files.
    pub fn new(ca: &Content, client: Option<&ClientFiles>) -> Result<Self, Problems> {
        Self::with_versions(ca, client, rustls::DEFAULT_VERSIONS)
    }

    pub(super) fn with_versions(
        ca: &Content,
        client: Option<&ClientFiles>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let roots = roots(ca).map_err(|problem| problems.push(problem));
        let own = client.map(|client| Own::read(&client.cert, &client.key));
        let own = own.transpose().map_err(|found| problems.extend(found));
        let (Ok(roots), Ok(own)) = (roots, own) else {
            return Err(Problems(problems));
        };
        // Named, not taken from the process: nothing else decides what a scrape speaks. It prefers the post-quantum
        // hybrid X25519MLKEM768.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites and groups for both versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(Own { chain, key, .. }) => {
                let own = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(own))
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

/// Reads a file that a flag names.
///
/// # Errors
/// If it cannot be read.
pub fn read(flag: &'static str, path: &Path) -> Result<Content, Problems> {
    let place = Place::Flag(flag);
    match file::read_once(path, MOST_CERTIFICATES) {
        Ok(bytes) => Ok(Content::new(place, path.to_owned(), bytes)),
        Err(unreadable) => Err(Problems(vec![Problem {
            place,
            value: Some(path.display().to_string()),
            what: format!("{unreadable}, or make one with `portcullis pki`"),
        }])),
    }
}

/// The CAs that can vouch for a server. One whose key TLS has no use for cannot; none left is a problem.
fn roots(file: &Content) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let mut useless = None;
    let found = file.certificates("the CAs that issue server certificates")?;
    for (place, der) in (1..).zip(found.iter().map(Block::certificate)) {
        let fault = match Certificate::read(&der) {
            Err(fault) => return Err(file.problem(format!("certificate {place} {fault}"))),
            Ok(certificate) => certificate.useless_key(),
        };
        match fault {
            Some(fault) => useless = useless.or(Some(format!("certificate {place} {fault}"))),
            None if roots.add(der.clone()).is_ok() => {}
            None => {
                return Err(file.problem(format!(
                    "certificate {place} cannot vouch for a server; give the certificate of the CA that issued the \
                     server's"
                )));
            }
        }
    }
    match useless {
        Some(useless) if roots.is_empty() => Err(file.problem(useless)),
        Some(_) | None => Ok(roots),
    }
}
