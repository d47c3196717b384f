//! Where trust comes from: files in, one immutable [`Generation`] out.
//!
//! [`load`] reads files, [`validate`] judges what they hold, [`own`] the certificate and key that are ours. All that must change together (certificate, key, CAs,
//! revocation lists, allow rules) lives in one generation; a connection takes one and is judged by nothing else. This
//! module never sees a socket.

mod changes;
mod digests;
mod facts;
pub mod load;
pub mod own;
mod server;
pub mod validate;
mod vouching;

#[cfg(test)]
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use rustls::pki_types::{DnsName, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use webpki::EndEntityCert;

use crate::config::TlsVersion;
use crate::crypto::{Digest, provider};
use crate::identity::{Validity, rfc3339};
#[cfg(test)]
use crate::judge::{Bundle, Entry, Lists, StaleCrl};
use crate::judge::{Nobody, Trust, Verifier};
use crate::policy::Allow;

pub use self::changes::changes;
pub use self::digests::Digests;
use self::facts::left_out;
pub use self::facts::{CaFacts, CrlFacts, Facts, UnreadableCa};
pub use self::server::Shown;

/// One consistent set of certificate, key, CAs and rules. Never changed; replaced as a whole.
#[derive(Debug)]
pub struct Generation {
    /// Counts the sets this process has used, from one.
    pub number: u64,
    /// When it was published.
    pub since: SystemTime,
    /// The gate's own certificate.
    pub server: Facts,
    /// What else of it clients see.
    pub shown: Shown,
    /// The certificates of the bundle, in the order of [`Trust::bundle`].
    pub client_cas: Vec<CaFacts>,
    /// The files that they were read from.
    client_ca_files: Vec<PathBuf>,
    /// The certificates of the bundle that are none.
    pub unreadable_cas: Vec<UnreadableCa>,
    /// The files of the bundle that hold revocation lists as well, and the line of the first in each.
    idle_lists: Vec<(usize, usize)>,
    /// The revocation lists, in the order of [`Trust::lists`].
    pub crls: Vec<CrlFacts>,
    /// The settings it was made with that weaken the gate.
    pub unsafe_settings: Vec<String>,
    /// What all of it was made of.
    digest: Digest,
    /// What [`trust`](Self::trust) was made of.
    trust_digest: Digest,
    trust: Arc<Trust>,
    presented: Arc<OneCertificate>,
    /// The digest of who may pass.
    rules: String,
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

    /// The certificates of the bundle that vouch for nobody at this time, a sentence each.
    pub fn left_out(&self, now: UnixTime) -> Vec<String> {
        let told = left_out(&self.trust, &self.client_cas, &self.unreadable_cas, now);
        let named = told.into_iter().map(|(file, words)| {
            let path = self.client_ca_files.get(file).map(|path| path.display());
            path.map_or(words.clone(), |path| format!("{path}: {words}"))
        });
        named.collect()
    }

    /// The CAs that vouch for clients at this time.
    pub fn vouching_cas(&self, now: UnixTime) -> impl Iterator<Item = &CaFacts> {
        let entries = self.trust.bundle().entries().iter().zip(&self.client_cas);
        entries
            .filter(move |(entry, _)| self.trust.vouches(entry, now))
            .map(|(_, facts)| facts)
    }

    /// The revocation lists that speak for somebody at this time: a CA that vouches signed them, or one below it that was
    /// met.
    pub fn counting_lists(&self, now: UnixTime) -> impl Iterator<Item = &CrlFacts> {
        let lists = self.trust.lists().all().iter().zip(&self.crls);
        lists
            .filter(move |(list, _)| self.trust.counts(list, now))
            .map(|(_, facts)| facts)
    }

    /// Why every client is refused at this time, whoever it is; `None` if somebody may be good.
    pub fn refuses_everybody(&self, now: UnixTime) -> Option<Nobody> {
        self.trust.refuses_everybody(now)
    }

    /// True if the gate's certificate is for this DNS name, as a client would judge it.
    pub fn is_named(&self, name: &str) -> bool {
        let leaf = self.presented.0.cert.first().map(EndEntityCert::try_from);
        let name = DnsName::try_from(name).map(ServerName::DnsName);
        let (Some(Ok(leaf)), Ok(name)) = (leaf, name) else {
            return false;
        };
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    }

    /// What an operator should see to soon, as of `now`: what should have been renewed by then, and what has ended.
    pub fn aging(&self, now: SystemTime) -> Vec<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(now);
        let told = |path: &Path, what: String, life: Validity, [ahead, over]: [(&str, &str); 2]| {
            let (verb, remedy) = if life.not_after < now { over } else { ahead };
            let (path, at) = (path.display(), rfc3339(life.not_after));
            let sentence = format!("{path}: the {what} {verb} {at}; {remedy}");
            life.is_due(now).then_some(sentence)
        };
        let certificate = |what: &str, facts: &Facts, over| {
            let words = [("expires at", "renew it"), ("expired at", over)];
            let what = format!("{what} {:?}", facts.subject);
            told(&facts.path, what, facts.validity, words)
        };
        let list = |facts: &CrlFacts| {
            let newer = "fetch a newer one";
            let words = [("goes stale at", newer), ("is stale since", newer)];
            let what = format!("revocation list of {:?}", facts.issuer);
            told(&facts.path, what, facts.life, words)
        };
        let server = certificate("certificate", &self.server, "clients now refuse this gate");
        // What did not vouch from the start is told as left out.
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = UnixTime::since_unix_epoch(since);
        let cas = self.vouching_cas(since);
        let cas = cas.map(|ca| certificate("client CA", &ca.facts, "its clients are refused"));
        let due = [server]
            .into_iter()
            .chain(cas)
            .chain(self.counting_lists(since).map(list));
        due.flatten().collect()
    }
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

    /// The TLS configuration of the route's connections. What its verifier finds in a step of a handshake is in the
    /// [`Asked`](crate::judge::Asked) that was lent for it.
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
        let entry = Entry::read(ca.clone()).unwrap();
        let lists = Lists::new(Vec::new(), StaleCrl::Refuse);
        let trust = Trust::new(Bundle::new(vec![entry]), lists, false);
        let key = CertifiedKey::from_der(vec![certificate], key, provider()).unwrap();
        Self::new(
            &Arc::new(trust),
            &Arc::new(allow),
            &[],
            &Arc::new(OneCertificate(Arc::new(key))),
            TlsVersion::V1_2,
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
