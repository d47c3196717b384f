//! Where trust comes from: files in, one immutable [`Generation`] out.
//!
//! [`load`] reads the files, [`validate`] judges what they hold, [`verify`] asks a generation about one client. All
//! that must change together (certificate, key, CAs, allow rules) lives in one generation; a connection takes one and
//! is judged by nothing else. This module never sees a socket.

pub mod load;
pub mod validate;
mod verify;

#[cfg(test)]
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
#[cfg(test)]
use x509_parser::prelude::{FromDer as _, X509Certificate};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::config::TlsVersion;
use crate::identity::Validity;
use crate::policy::Allow;

pub use self::verify::{Finding, Refusal, Trust, Verified, Witness};

/// The one crypto provider: aws-lc-rs, post-quantum hybrid first, then X25519 and the NIST curves.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider {
            kx_groups,
            ..aws_lc_rs::default_provider()
        })
    });
    &PROVIDER
}

/// A certificate's time as operators read it, `2026-11-23T02:33:11Z`.
pub(crate) fn rfc3339(time: UnixTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    // Later than the year 9999 is how RFC 5280 section 4.1.2.5 writes "never".
    time.map_or("never".to_owned(), |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    })
}

/// One consistent set of certificate, key, CAs and rules. Never changed; replaced as a whole.
#[derive(Debug)]
pub struct Generation {
    /// Counts the sets this process has used, from one.
    pub number: u64,
    /// When it was published.
    pub since: SystemTime,
    /// The gate's own certificate.
    pub server: Facts,
    /// The CAs that vouch for clients.
    pub client_cas: Vec<Facts>,
    routes: Vec<RouteTrust>,
}

impl Generation {
    /// What holds for the route at this place in the configuration.
    pub fn route(&self, index: usize) -> Option<&RouteTrust> {
        self.routes.get(index)
    }

    /// When the first of the CAs that vouch for clients expires.
    pub fn client_ca_not_after(&self) -> UnixTime {
        let all = self.client_cas.iter().map(|facts| facts.validity.not_after);
        all.min().unwrap_or(self.server.validity.not_after)
    }
}

/// What people want to know of a certificate.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The distinguished name, escaped and bounded.
    pub subject: String,
    /// The subject alternative names, escaped and bounded.
    pub names: Vec<String>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// When it is good.
    pub validity: Validity,
    /// The file it was read from.
    pub path: std::path::PathBuf,
}

/// A generation as one route sees it.
#[derive(Debug, Clone)]
pub struct RouteTrust {
    /// The CAs and what else a chain must meet.
    pub trust: Arc<Trust>,
    /// Who may pass.
    pub allow: Arc<Allow>,
    server: Arc<OneCertificate>,
    min_version: TlsVersion,
}

impl RouteTrust {
    /// Makes the TLS configuration of one connection, and the witness that learns what its verifier found.
    ///
    /// Each connection has a configuration of its own, so that a finding belongs to it alone and nothing of a session
    /// can outlive it. Resumption is off in every form: a resumed session would skip the verifier
    /// (rustls 0.23, `server/tls13.rs` and `server/tls12.rs`).
    pub fn server_config(&self) -> Result<(Arc<ServerConfig>, Arc<Witness>), rustls::Error> {
        let witness = Arc::new(Witness::new(
            Arc::clone(&self.trust),
            Arc::clone(&self.allow),
        ));
        let verifier = Arc::clone(&witness) as Arc<dyn rustls::server::danger::ClientCertVerifier>;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions(self.min_version))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.server) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        // RFC 7627: without it a TLS 1.2 session can be spliced to another (triple handshake).
        config.require_ems = true;
        Ok((Arc::new(config), witness))
    }
}

#[cfg(test)]
impl RouteTrust {
    /// The trust of a route whose files are not worth writing.
    pub(crate) fn for_tests(
        ca: &CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        allow: Allow,
    ) -> Self {
        let (_, parsed) = X509Certificate::from_der(ca).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(ca).unwrap().to_owned();
        Self {
            trust: Arc::new(Trust::new([(anchor, Validity::of(&parsed))], false)),
            allow: Arc::new(allow),
            server: Arc::new(OneCertificate(Arc::new(
                CertifiedKey::from_der(vec![certificate], key, provider()).unwrap(),
            ))),
            min_version: TlsVersion::V1_3,
        }
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    match min {
        TlsVersion::V1_2 => FROM_1_2,
        TlsVersion::V1_3 => FROM_1_3,
    }
}

/// Presents the same certificate whatever name the client asks for: the port decides, not SNI.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
