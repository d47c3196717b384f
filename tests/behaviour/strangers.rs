//! What strangers, and clients that no rule names, can make the gate spend and keep. Counted, not timed.
//!
//! Each presents a certificate whose key it has, so that it comes as far as anybody can without a CA's help.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rsa::KeySize;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, SignatureScheme};

use crate::support::client::{Connection, Ending, Offer};
use crate::support::craft::{self, Certificate, Extension, Key, cn, element, oid};
use crate::support::gate::{Gate, Setup, static_program};
use crate::support::pki::{self, Pki};
use crate::support::target::{self, Target};

/// How often each comes.
const TIMES: usize = 10;

/// A CA that the gate trusts, and whoever comes with what.
struct Scene {
    ca: Key,
    /// Certificates of issuing CAs below it, which anybody may know.
    public: Vec<Vec<u8>>,
}

/// The certificates that a client shows, the first one's key, and what it hears.
struct Visitor {
    what: &'static str,
    chain: Vec<Vec<u8>>,
    key: Key,
    /// How large its records are at most, if not as usual.
    fragments: Option<usize>,
    hears: AlertDescription,
}

/// Whatever certificates, and one key.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Visitor {
    fn config(&self, pki: &Pki) -> Arc<ClientConfig> {
        let chain = self
            .chain
            .iter()
            .map(|der| CertificateDer::from(der.clone()));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.private()));
        let key = any_supported_type(&key).expect("a key that TLS knows");
        let shows = Shows(Arc::new(CertifiedKey::new(chain.collect(), key)));
        let config = Offer::of(&pki.client("budget"), &pki.ca()).config();
        let mut config = Arc::unwrap_or_clone(config);
        config.client_auth_cert_resolver = Arc::new(shows);
        config.max_fragment_size = self.fragments;
        Arc::new(config)
    }
}

impl Scene {
    fn new(ca: Key) -> Self {
        let mut above = ("clients", &ca);
        let keys: Vec<Key> = (0..3).map(|_| Key::p256()).collect();
        let mut public = Vec::new();
        for (name, key) in ["one", "two", "three"].into_iter().zip(&keys) {
            let certificate = Certificate::ca(name, above.0, key).current();
            public.push(certificate.signed_by(above.1));
            above = (name, key);
        }
        Self { ca, public }
    }

    fn certificate(&self) -> Vec<u8> {
        Certificate::ca("clients", "clients", &self.ca)
            .current()
            .signed_by(&self.ca)
    }

    /// A client that a CA of the bundle vouches for, as this name.
    fn client(&self, name: &str) -> (Vec<u8>, Key) {
        let key = Key::p256();
        let client = Certificate::client("clients", &key)
            .current()
            .with(Extension::dns(name));
        (client.signed_by(&self.ca), key)
    }

    /// One that is let in.
    fn good(&self) -> Visitor {
        let (own, key) = self.client("client.test");
        Visitor {
            what: "an admitted client",
            chain: vec![own],
            key,
            fragments: None,
            hears: AlertDescription::CloseNotify,
        }
    }

    /// Every way that we know to be a nuisance.
    fn visitors(&self) -> Vec<Visitor> {
        let mut visitors = Vec::new();
        let mut visit = |what, chain, key, hears| {
            visitors.push(Visitor {
                what,
                chain,
                key,
                fragments: None,
                hears,
            })
        };
        let own = |issuer: &str| {
            let key = Key::p256();
            let forged = Certificate::client(issuer, &key).current();
            (forged.signed_by(&Key::p256()), key)
        };
        // Certificates need no signature to look like issuers.
        let forger = Key::p256();
        let namesakes = |count: u8| -> Vec<Vec<u8>> {
            let ca = |number| {
                Certificate::ca("clients", "clients", &Key::p256())
                    .current()
                    .number(number)
            };
            (0..count)
                .map(|number| ca(number).signed_by(&forger))
                .collect()
        };
        let with = |own: Vec<u8>, others: Vec<Vec<u8>>| [vec![own], others].concat();
        let unknown = AlertDescription::UnknownCA;

        let (forged, key) = own("clients");
        visit("a namesake of the CA issued it", vec![forged], key, unknown);
        let (forged, key) = own("nobody");
        visit("nobody we know issued it", vec![forged], key, unknown);
        let (forged, key) = own("clients");
        visit(
            "sixty-three namesakes of the CA",
            with(forged, namesakes(63)),
            key,
            unknown,
        );
        let (forged, key) = own("1");
        let layers = (1..=6_u8).flat_map(|layer| (0..8).map(move |number| (layer, number)));
        let layers = layers.map(|(layer, number)| {
            let (name, above) = (layer.to_string(), (layer + 1).to_string());
            let above = if layer == 6 { "clients" } else { &*above };
            Certificate::ca(&name, above, &Key::p256())
                .current()
                .number(number)
                .signed_by(&forger)
        });
        visit(
            "eight CAs in each of six layers",
            with(forged, layers.collect()),
            key,
            unknown,
        );
        let (forged, key) = own("clients");
        visit(
            "ten thousand certificates of a byte",
            with(forged, vec![vec![0]; 10_000]),
            key,
            AlertDescription::BadCertificate,
        );
        let (forged, key) = own("three");
        visit(
            "real issuers above a forged one",
            with(forged, self.public.clone()),
            key,
            unknown,
        );
        let key = Key::p256();
        let huge = Certificate::client("clients", &key).current();
        let huge = huge.and(Extension::new(oid::UNKNOWN, false, vec![7; 60_000]));
        visit(
            "sixty kilobytes in one extension",
            vec![huge.signed_by(&forger)],
            key,
            unknown,
        );
        let key = Key::p256();
        let mut many = Certificate::client("clients", &key).current();
        many.extensions.extend((0..4_000_u16).map(|number| {
            let own = [
                &[0x2b, 6, 1][..],
                &[(number >> 7) as u8 | 0x80, number as u8 & 0x7f],
            ]
            .concat();
            Extension::new(&own, false, vec![])
        }));
        visit(
            "four thousand extensions",
            vec![many.signed_by(&forger)],
            key,
            unknown,
        );
        let key = Key::p256();
        let names: Vec<Vec<u8>> = (0..3_000)
            .map(|number| format!("n{number}.test").into_bytes())
            .collect();
        let names: Vec<(u8, &[u8])> = names.iter().map(|name| (2, &**name)).collect();
        let named = Certificate::client("clients", &key)
            .current()
            .with(Extension::names(&names));
        visit(
            "three thousand names",
            vec![named.signed_by(&forger)],
            key,
            unknown,
        );
        let key = Key::p256();
        let mut titled = Certificate::client("clients", &key).current();
        let attributes: Vec<(&[u8], u8, &[u8])> = vec![(oid::COMMON_NAME, 0x0c, b"x"); 2_000];
        titled.subject = craft::name(&attributes);
        titled.issuer = craft::name(&attributes);
        visit(
            "two names of two thousand parts",
            vec![titled.signed_by(&forger)],
            key,
            unknown,
        );
        let key = Key::p256();
        let mut alien = Certificate::client("clients", &key).current();
        alien.issuer = cn("clients");
        let mut alien = alien.signed_by(&forger);
        let with_ecdsa = element(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        for at in 0..alien.len() - with_ecdsa.len() {
            if alien[at..].starts_with(&with_ecdsa) {
                alien[at + 9] = 9;
            }
        }
        visit("an algorithm that nobody knows", vec![alien], key, unknown);

        let (unnamed, key) = self.client("other.test");
        let denied = AlertDescription::AccessDenied;
        visit("a client that no rule names", vec![unnamed], key, denied);
        let (unnamed, key) = self.client("other.test");
        visit(
            "such a client with company",
            with(unnamed, namesakes(60)),
            key,
            denied,
        );
        let (above, _) = self.client("client.test");
        let key = Key::p256();
        let below = Certificate::client("client", &key)
            .current()
            .signed_by(&Key::p256());
        visit(
            "a client certificate as an issuer",
            vec![below, above],
            key,
            unknown,
        );
        for (what, size) in [("crumbs", 1_500), ("a great many crumbs", 18_000)] {
            let key = Key::p256();

            let huge = Certificate::client("clients", &key).current();
            let huge = huge.and(Extension::new(oid::UNKNOWN, false, vec![7; size]));
            visitors.push(Visitor {
                what,
                chain: vec![huge.signed_by(&forger)],
                key,
                fragments: Some(32),
                hears: unknown,
            });
        }
        visitors
    }
}

/// A gate that trusts this CA beside the development CA, and admits `client.test` and `budget.test`.
fn gate(pki: &Arc<Pki>, scene: &Scene, tool: &[&str]) -> (Gate, Target<target::Ended>) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let bundle = pki.folder().join(format!(
        "strangers-{}.pem",
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    pki::write(&bundle, &craft::pem("CERTIFICATE", &scene.certificate()));
    let target = target::echo();
    let gate = Setup::to(pki, &target.flag())
        .copy(&static_program())
        .under(tool)
        .flag("--client-ca", bundle)
        .flag("--allow-dns", "client.test")
        .flag("--threads", "1")
        .flag("--reload-interval", "1h")
        .start();
    (gate, target)
}

/// Comes in, has one byte echoed, and leaves in order.
fn exchange(address: SocketAddr, config: &Arc<ClientConfig>) {
    let mut connection = Connection::open(address, Arc::clone(config)).expect("TLS 1.3");
    connection.send(b"x");
    connection.receive(1);
    connection.finish();
    connection.ending();
}

fn refusal(address: SocketAddr, config: &Arc<ClientConfig>) -> Ending {
    match Connection::open(address, Arc::clone(config)) {
        Ok(mut connection) => connection.ending(),
        Err(ending) => ending,
    }
}

/// The instructions of a gate that does this and then stops.
#[cfg(target_arch = "x86_64")]
fn instructions(pki: &Arc<Pki>, scene: &Scene, work: impl Fn(SocketAddr)) -> u64 {
    let tool = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ];
    let (mut gate, _target) = gate(pki, scene, &tool);
    work(gate.address());
    assert_eq!(gate.terminate(), 0, "{}", gate.log.text());
    let said = gate.log.text();
    let count = said.lines().find_map(|line| line.split_once("I   refs:"));
    let (_, count) = count.unwrap_or_else(|| panic!("valgrind counted nothing:\n{said}"));
    count.trim().replace(',', "").parse().expect("a number")
}

/// A refused handshake costs at most three times what an admitted one costs, whatever is sent. With a CA whose key is slow
/// to verify with (P-521: a check costs twice the rest of a handshake), the admitted one is that of a client that the gate
/// has not seen before.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_refused_handshake_costs_at_most_three_admitted_ones() {
    let pki = Pki::shared();
    for (ca, name, is_slow) in [
        (Key::p256(), "P-256", false),
        (Key::rsa(KeySize::Rsa4096), "RSA-4096", false),
        (Key::p521(), "P-521", true),
    ] {
        let scene = Scene::new(ca);
        let good: Vec<_> = (0..=TIMES).map(|_| scene.good().config(&pki)).collect();
        let first = |address| exchange(address, &good[0]);
        let nothing = instructions(&pki, &scene, first);
        let each = |work: &dyn Fn(SocketAddr, usize)| {
            let all = instructions(&pki, &scene, |address| {
                first(address);
                (1..=TIMES).for_each(|number| work(address, number));
            });
            all.saturating_sub(nothing) / TIMES as u64 / 1000
        };
        let known = each(&|address, _| exchange(address, &good[0]));
        let new = each(&|address, number| exchange(address, &good[number]));
        println!("{name}: an admitted client takes {known} thousand instructions, a new one {new}");
        let most = 3 * if is_slow { new } else { known };
        for visitor in scene.visitors() {
            let config = visitor.config(&pki);
            let hears = Ending::Alert(visitor.hears);
            let what = visitor.what;
            let refused =
                each(&|address, _| assert_eq!(refusal(address, &config), hears, "{what}"));
            let ratio = refused as f64 / known as f64;
            println!("{name}: {what}: {refused}, {ratio:.2} times that of a known client");
            assert!(
                refused <= most,
                "{name}: {what}: {refused} thousand instructions"
            );
        }
    }
}

/// How much memory the gate may keep of all who are not admitted together.
const KEPT: u64 = 4 << 10;

/// How much it may hold of as many handshakes as may be unfinished at once, while they are.
const HELD: u64 = 8 << 10;

/// What the gate holds once everybody has left, in KiB.
fn resident_when_alone(gate: &Gate) -> u64 {
    gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    gate.resident()
}

#[test]
fn nothing_is_kept_of_a_thousand_clients_that_no_rule_names() {
    let pki = Pki::shared();
    let scene = Scene::new(Key::p256());
    let (gate, _target) = gate(&pki, &scene, &[]);
    let come = |times: usize| {
        for number in 0..times {
            let (unnamed, key) = scene.client("other.test");
            // Each time something else beside it, as large as a handshake lets it be.
            let company = (0..60).map(|part| vec![(number + part) as u8; 1_000]);
            let visitor = Visitor {
                what: "an unnamed client",
                chain: [unnamed].into_iter().chain(company).collect(),
                key,
                fragments: None,
                hears: AlertDescription::AccessDenied,
            };
            let config = visitor.config(&pki);
            assert_eq!(
                refusal(gate.address(), &config),
                Ending::Alert(visitor.hears)
            );
        }
    };
    come(20);
    let before = resident_when_alone(&gate);
    come(1_000);
    let after = resident_when_alone(&gate);
    println!("{before} KiB before, {after} KiB after");
    assert!(
        after <= before + KEPT,
        "{before} KiB before, {after} KiB after"
    );
}

#[test]
fn handshakes_that_stop_half_way_hold_little() {
    let pki = Pki::shared();
    let scene = Scene::new(Key::p256());
    let (gate, _target) = gate(&pki, &scene, &[]);
    let forged = |size: usize| {
        let key = Key::p256();
        let large = Extension::new(oid::UNKNOWN, false, vec![7; size]);
        let forged = Certificate::client("clients", &key).current().and(large);
        let visitor = Visitor {
            what: "a handshake that stops",
            chain: vec![forged.signed_by(&Key::p256())],
            key,
            fragments: None,
            hears: AlertDescription::UnknownCA,
        };
        visitor.config(&pki)
    };
    let stop = |config: &Arc<ClientConfig>, times: usize| -> Vec<Connection> {
        let open = || Connection::open_but_for(gate.address(), Arc::clone(config), 100);
        (0..times).map(|_| open()).collect()
    };
    exchange(gate.address(), &scene.good().config(&pki));
    let before = resident_when_alone(&gate);
    let (small, large) = (forged(5000), forged(60_000));
    let _many = stop(&small, 240);
    let _few = stop(&large, 100);
    gate.wait_for_metrics("those with much give way to each other", |metrics| {
        metrics.closed("over_limit") >= 92.0
    });
    let during = gate.resident();
    println!("{before} KiB before, {during} KiB during");
    assert!(
        during <= before + HELD,
        "{before} KiB before, {during} KiB during"
    );
    // Whoever comes with little is not kept waiting by those with much.
    exchange(gate.address(), &scene.good().config(&pki));
}
