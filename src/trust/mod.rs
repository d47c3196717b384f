//! Where trust comes from: files in, one immutable [`Generation`] out.
//!
//! [`load`] reads files, [`validate`] judges what they hold. All that must change together (certificate, key, CAs,
//! revocation lists, allow rules) lives in one generation; a connection takes one and is judged by nothing else. This
//! module never sees a socket.

mod crl;
pub mod load;
mod server;
pub mod validate;

#[cfg(test)]
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
#[cfg(test)]
use x509_parser::prelude::{FromDer as _, X509Certificate};

use ipnet::IpNet;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::config::TlsVersion;
use crate::crypto::{Digest, provider};
use crate::identity::{Validity, rfc3339};
#[cfg(test)]
use crate::judge::Revocation;
use crate::judge::{Trust, Verifier};
use crate::policy::Allow;

pub use self::crl::CrlFacts;

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
    /// The revocation lists.
    pub crls: Vec<CrlFacts>,
    /// What all of it was made of.
    digest: Digest,
    /// What [`trust`](Self::trust) was made of.
    trust_digest: Digest,
    trust: Arc<Trust>,
    routes: Vec<RouteTrust>,
}

impl Generation {
    /// What all of it was made of.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What holds for the route at this place in the configuration.
    pub fn route(&self, index: usize) -> Option<&RouteTrust> {
        self.routes.get(index)
    }

    /// What an operator should see to soon, as of `now`: what is in the last 30 % of its life, or past it. cert-manager
    /// renews after two thirds, so by then a renewal has failed.
    pub fn aging(&self, now: SystemTime) -> Vec<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let spans = [("certificate", &self.server)]
            .into_iter()
            .chain(self.client_cas.iter().map(|facts| ("client CA", facts)))
            .map(|(what, facts)| (what, &facts.subject, &facts.path, facts.validity))
            .chain(
                self.crls
                    .iter()
                    .map(|facts| ("revocation list", &facts.issuer, &facts.path, facts.life())),
            );
        let aged = spans.filter(|(.., life)| {
            let (from, to) = (life.not_before.as_secs(), life.not_after.as_secs());
            now.saturating_add(to.saturating_sub(from) / 10 * 3) >= to
        });
        aged.map(|(what, name, path, life)| {
            let to = life.not_after;
            let verb = if to.as_secs() < now { "ended" } else { "ends" };
            format!(
                "{}: the life of the {what} {name:?} {verb} at {}; renew it",
                path.display(),
                rfc3339(to)
            )
        })
        .collect()
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
    /// From which networks; empty means from all.
    pub allow_from: Arc<[IpNet]>,
    tls: Arc<ServerConfig>,
}

impl RouteTrust {
    /// Puts together what holds for a route. Resumption is off in every form: a resumed session would skip the verifier
    /// (rustls 0.23, `server/tls13.rs` and `server/tls12.rs`).
    fn new(
        trust: &Arc<Trust>,
        allow: &Arc<Allow>,
        allow_from: &[IpNet],
        server: &Arc<OneCertificate>,
        min_version: TlsVersion,
    ) -> Self {
        let verifier = Arc::new(Verifier {
            trust: Arc::clone(trust),
            allow: Arc::clone(allow),
        });
        let mut tls = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions(min_version))
            .expect("the provider has cipher suites and groups for both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(server) as Arc<dyn ResolvesServerCert>);
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        tls.max_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        tls.send_half_rtt_data = false;
        // RFC 7627: without it a TLS 1.2 session can be spliced to another (triple handshake).
        tls.require_ems = true;
        // The gate protects the records itself once the handshake is over.
        tls.enable_secret_extraction = true;
        Self {
            trust: Arc::clone(trust),
            allow: Arc::clone(allow),
            allow_from: allow_from.into(),
            tls: Arc::new(tls),
        }
    }

    /// True if a client may come from this address.
    pub fn admits_source(&self, source: IpAddr) -> bool {
        self.allow_from.is_empty()
            || self
                .allow_from
                .iter()
                .any(|network| network.contains(&source))
    }

    /// The TLS configuration of the route's connections. What its verifier finds in a step of a handshake is told by
    /// [`observe`].
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
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
        let trust = Trust::new(
            [(anchor, Validity::of(&parsed))],
            Revocation {
                lists: Vec::new(),
                stale: crate::config::StaleCrl::Refuse,
                next_update: None,
            },
            false,
        );
        let key = CertifiedKey::from_der(vec![certificate], key, provider()).unwrap();
        Self::new(
            &Arc::new(trust),
            &Arc::new(allow),
            &[],
            &Arc::new(OneCertificate(Arc::new(key))),
            TlsVersion::V1_3,
        )
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

#[cfg(test)]
pub(crate) mod tests;
