//! The handshake and the pump over in-memory streams, with paused time: what no real socket can be made to do on cue.

mod ends;

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, KeyLog, SupportedCipherSuite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ending::End;
use super::handshake::{self, Authenticated};
use super::pump::{Pump, Side};
use crate::config::LogFormat;
use crate::crypto::provider;
use crate::event::{Ended, Outcome};
use crate::places::Places;
use crate::policy::{Allow, Rule};
use crate::telemetry::{Metrics, Traffic};
use crate::trust::RouteTrust;

const IDLE: Duration = Duration::from_secs(600);

pub(in crate::gate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(in crate::gate) struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Side for DuplexStream {}

impl Pki {
    pub(in crate::gate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    fn issue(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
    }

    pub(in crate::gate) fn route(&self) -> RouteTrust {
        let (certificate, key) = self.issue("gate", ExtendedKeyUsagePurpose::ServerAuth);
        let allow = Allow::rules([Rule::dns("prometheus").unwrap()]).unwrap();
        RouteTrust::for_tests(self.ca.der(), certificate, key, allow)
    }

    fn client(&self, name: Option<&str>) -> TlsConnector {
        Arc::new(self.offering(name, &provider().cipher_suites, 0)).into()
    }

    /// A client of these cipher suites, and so of their version of TLS, that shows so many bytes of something else behind
    /// its certificate.
    pub(in crate::gate) fn offering(
        &self,
        name: Option<&str>,
        suites: &[SupportedCipherSuite],
        filler: usize,
    ) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let mut provider = (**provider()).clone();
        provider.cipher_suites = suites.to_vec();
        let versions: Vec<_> = [&TLS13, &TLS12]
            .into_iter()
            .filter(|version| {
                let mut suites = provider.cipher_suites.iter();
                suites.any(|suite| suite.version() == *version)
            })
            .collect();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match name {
            Some(name) => {
                let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
                let mut chain = vec![certificate];
                chain.extend((filler > 0).then(|| vec![0; filler].into()));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_secret_extraction = true;
        config
    }
}

async fn connect(connector: TlsConnector, wire: DuplexStream) -> TlsStream<DuplexStream> {
    connector
        .connect(ServerName::try_from("gate").unwrap(), wire)
        .await
        .expect("the client's half succeeds")
}

/// A client and the gate's side of it, over a wire that takes `width` bytes at a time.
pub(in crate::gate) async fn handshaken(
    width: usize,
) -> (TlsStream<DuplexStream>, DuplexStream, Authenticated) {
    let pki = Pki::new();
    let client = pki.client(Some("prometheus"));
    shake(&pki, client, width).await
}

/// The same with one cipher suite, and so with its version of TLS; the client tells its secrets.
pub(in crate::gate) async fn handshaken_with(
    suite: SupportedCipherSuite,
    secrets: Arc<dyn KeyLog>,
) -> (TlsStream<DuplexStream>, DuplexStream, Authenticated) {
    let pki = Pki::new();
    let mut client = pki.offering(Some("prometheus"), &[suite], 0);
    client.key_log = secrets;
    shake(&pki, Arc::new(client).into(), 64 * 1024).await
}

async fn shake(
    pki: &Pki,
    client: TlsConnector,
    width: usize,
) -> (TlsStream<DuplexStream>, DuplexStream, Authenticated) {
    let (near, mut far) = duplex(width);
    let route = pki.route();
    let (client, gate) = tokio::join!(
        connect(client, near),
        handshake::run(&mut far, HERE, &route, long())
    );
    (client, far, gate.expect("the client is admissible"))
}

/// Places for handshakes that send much.
pub(in crate::gate) fn long() -> &'static Places {
    static PLACES: LazyLock<Places> = LazyLock::new(|| Places::new(NonZeroU32::MAX));
    &PLACES
}

fn traffic() -> Traffic {
    let metrics = Metrics::new([&Arc::from("test")], LogFormat::Json);
    Traffic::new(Arc::clone(&metrics.routes()[0]))
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_so() {
    let pki = Pki::new();
    let (near, mut far) = duplex(4096);
    let route = pki.route();
    let client = async {
        let mut tls = connect(pki.client(None), near).await;
        // In TLS 1.3 the refusal arrives at the first read.
        let error = tls.read_u8().await.unwrap_err().to_string();
        assert!(error.contains("CertificateRequired"), "{error}");
    };
    let (gate, ()) = tokio::join!(handshake::run(&mut far, HERE, &route, long()), client);
    let ended = gate.err().expect("nobody is let in").ended();
    assert_eq!(ended.outcome, Outcome::HandshakeFailed);
    assert_eq!(ended.reason, "the client presented no certificate");
}

#[tokio::test]
async fn a_client_that_no_rule_names_is_denied_by_name() {
    let pki = Pki::new();
    let (near, mut far) = duplex(4096);
    let route = pki.route();
    let client = async {
        let mut tls = connect(pki.client(Some("grafana")), near).await;
        let error = tls.read_u8().await.unwrap_err().to_string();
        assert!(error.contains("AccessDenied"), "{error}");
    };
    let (gate, ()) = tokio::join!(handshake::run(&mut far, HERE, &route, long()), client);
    let ended = gate.err().expect("nobody is let in").ended();
    assert_eq!(ended.outcome, Outcome::NotAdmitted);
    assert_eq!(
        ended.reason,
        "no allow rule names this client: it is dns:grafana"
    );
}

#[tokio::test]
async fn a_stranger_to_tls_is_no_client() {
    let pki = Pki::new();
    let (mut near, mut far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    near.shutdown().await.unwrap();
    let ended = handshake::run(&mut far, HERE, &pki.route(), long())
        .await
        .err()
        .expect("nobody is let in")
        .ended();
    assert_eq!(ended.reason, "the client does not speak TLS, or broken TLS");
}

#[tokio::test]
async fn half_closes_travel_both_ways_in_small_pieces() {
    let (mut client, far, gate) = handshaken(16).await;
    let (mut target, near_target) = duplex(1);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    let question: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
    let peers = async {
        let ask = async {
            client.write_all(&question).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let mut heard = Vec::new();
            target.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, question);
            target.write_all(b"heard all").await.unwrap();
            target.shutdown().await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask, serve);
        assert_eq!(answer, b"heard all");
    };
    let (ending, ()) = tokio::join!(pump.run(IDLE), peers);
    let ended = Ended::new(Outcome::Relayed, "both sides finished");
    assert_eq!(ending, End::Clean(ended));
    assert_eq!(traffic.totals(), (40_000, 9));
}

#[tokio::test]
async fn what_came_before_a_cut_is_delivered() {
    let (mut client, far, gate) = handshaken(64 * 1024).await;
    let (mut target, near_target) = duplex(7);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    client.write_all(&[7; 10_000]).await.unwrap();
    client.flush().await.unwrap();
    // No close_notify: the wire just ends.
    drop(client);
    let mut heard = vec![0; 10_000];
    let (ending, read) = tokio::join!(pump.run(IDLE), target.read_exact(&mut heard));
    assert_eq!(read.unwrap(), 10_000);
    let why = "the client ended the connection without close_notify";
    assert_eq!(ending, End::Cut(Ended::new(Outcome::IoError, why)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_cleanly_on_both_sides() {
    let (mut client, far, gate) = handshaken(4096).await;
    let (mut target, near_target) = duplex(4096);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    let began = tokio::time::Instant::now();
    let peers = async {
        let (mut at_client, mut at_target) = (Vec::new(), Vec::new());
        let (client, target) = tokio::join!(
            client.read_to_end(&mut at_client),
            target.read_to_end(&mut at_target)
        );
        assert_eq!((client.unwrap(), target.unwrap()), (0, 0));
    };
    let (ending, ()) = tokio::join!(pump.run(IDLE), peers);
    let why = "no byte moved for 600s";
    assert_eq!(ending, End::Clean(Ended::new(Outcome::IdleTimeout, why)));
    assert!(began.elapsed() >= IDLE);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_takes_never_look_like_a_clean_end() {
    let (mut client, far, gate) = handshaken(1 << 20).await;
    let (_target, near_target) = duplex(10);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    client.write_all(&[1; 1000]).await.unwrap();
    let why = "no byte moved for 600s, and bytes that one side never took are lost";
    let ended = Ended::new(Outcome::IdleTimeout, why);
    assert_eq!(pump.run(IDLE).await, End::Cut(ended));
    assert_eq!(
        traffic.totals(),
        (10, 0),
        "only what the target took is counted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_session_waits_a_minute_at_most() {
    let (mut client, far, gate) = handshaken(4096).await;
    let (_target, near_target) = duplex(4096);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    client.shutdown().await.unwrap();
    let began = tokio::time::Instant::now();
    let why = "no byte moved for 60s after the client had finished";
    let ended = Ended::new(Outcome::IdleTimeout, why);
    assert_eq!(pump.run(IDLE).await, End::Clean(ended));
    assert!(
        began.elapsed() < Duration::from_secs(70),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn bytes_sent_right_behind_the_handshake_are_not_lost() {
    let pki = Pki::new();
    let (near, mut far) = duplex(64 * 1024);
    let route = pki.route();
    let client = async {
        let mut client = connect(pki.client(Some("prometheus")), near).await;
        // In TLS 1.3 the client's last flight and its first bytes leave together.
        client.write_all(b"first bytes").await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let (mut client, gate) = tokio::join!(client, handshake::run(&mut far, HERE, &route, long()));
    let gate = gate.expect("the client is admissible");
    let (mut target, near_target) = duplex(64);
    let traffic = traffic();
    let mut pump = Pump::new(far, near_target, gate.records, &traffic);
    let peers = async {
        let mut heard = [0; 11];
        target.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"first bytes");
        drop(target);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "a clean end");
        client.shutdown().await.unwrap();
    };
    let (_, ()) = tokio::join!(pump.run(IDLE), peers);
}

/// What a connection's task takes, whatever the state it is in: the memory of an idle session is this, the TLS state
/// and two sockets.
#[test]
fn a_session_is_small() {
    fn output_size<A, B, C, D, E, F: Future>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }
    let size = output_size(super::Gate::connection);
    assert!(size <= 2736, "{size} bytes");
}
