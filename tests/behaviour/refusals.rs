//! Whoever is not admitted is counted by one reason of a closed list, the same in the record and in the metric, so that
//! the noise of scanners and a client that has to be helped are told apart.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig};
use serde_json::Value;

use crate::support::client::{Connection, Ending, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::peers::{Input, curl, openssl, run};
use crate::support::pki::{Authority, Credentials, Pki, client_params, dns, server_params, write};
use crate::support::target;

/// The outcomes that a connection can have which was not admitted.
const REFUSING: [&str; 5] = [
    "source_denied",
    "over_limit",
    "handshake_failed",
    "handshake_timeout",
    "not_admitted",
];

fn refusals(gate: &Gate, reason: &str) -> f64 {
    gate.metrics()
        .value("portcullis_refusals_total", &[("reason", reason)])
}

fn refused_by_a_record(gate: &Gate) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for record in gate.records(1) {
        if let Some(reason) = record["refusal"].as_str() {
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
    }
    reasons
}

/// A client of another CA than the gate's.
fn stranger(pki: &Pki) -> Credentials {
    let key = KeyPair::generate().expect("a key");
    let leaf = Authority::root("others").sign(&client_params([dns("prometheus.test")]), &key);
    pki.store(&[&leaf], &key)
}

fn expired(pki: &Pki) -> Credentials {
    let mut params = client_params([dns("prometheus.test")]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    pki.forge(&params)
}

fn say(address: SocketAddr, words: &[u8]) {
    let mut socket = TcpStream::connect(address).expect("the gate accepts");
    socket.write_all(words).expect("the gate reads");
}

#[test]
fn every_refusal_is_counted_once_by_its_reason() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .flag("--handshake-timeout", "2s")
        .start();
    let address = gate.address();
    let silent = TcpStream::connect(address).expect("the gate accepts");
    drop(TcpStream::connect(address).expect("the gate accepts"));
    say(address, b"GET / HTTP/1.1\r\n\r\n");
    // A TLS record with a Finished, which nobody says first.
    say(address, &[22, 3, 1, 0, 4, 20, 0, 0, 0]);
    let ca = pki.ca();
    let known = pki.client("prometheus");
    let nobody = Offer {
        credentials: None,
        ..Offer::of(&known, &ca)
    };
    let old = Offer {
        version: &rustls::version::TLS12,
        ..Offer::of(&known, &ca)
    };
    for offer in [nobody, old] {
        let refused = offer.connect(address).map(|mut client| client.ending());
        assert!(
            matches!(refused, Ok(Ending::Alert(_)) | Err(Ending::Alert(_))),
            "{refused:?}"
        );
    }
    // It does not know the CA of the gate, and says so.
    let distrusts = stranger(&pki);
    write(&distrusts.ca(), &Authority::root("others").pem);
    let gave_up = run(&mut curl(address, "/metrics", &distrusts), &Input::All(b""));
    assert_ne!(gave_up.code, 0, "{gave_up:?}");
    for credentials in [
        stranger(&pki),
        expired(&pki),
        pki.forge(&server_params()),
        pki.client("stranger"),
    ] {
        let refused = credentials.connect(address).ending();
        assert!(matches!(refused, Ending::Alert(_)), "{refused:?}");
    }
    known.connect(address).prove_admitted();

    let expected = [
        "broken_tls",
        "client_alert",
        "client_left",
        "expired",
        "key_usage",
        "no_certificate",
        "no_common_tls",
        "no_rule",
        "not_tls",
        "timeout",
        "unknown_issuer",
    ];
    gate.records(expected.len() + 1);
    let recorded: Vec<_> = refused_by_a_record(&gate).into_iter().collect();
    assert_eq!(recorded, expected.map(|reason| (reason.to_owned(), 1)));
    let metrics = gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    for reason in expected {
        assert_eq!(refusals(&gate, reason), 1.0, "{reason}");
    }
    let closed: f64 = REFUSING.iter().map(|outcome| metrics.closed(outcome)).sum();
    assert_eq!(metrics.value("portcullis_refusals_total", &[]), closed);
    drop(silent);
}

#[test]
fn a_source_or_a_cap_is_a_reason_too() {
    let pki = Pki::shared();
    let target = target::echo();
    let far = Setup::open_to(&pki, &target)
        .flag("--allow-from", "192.0.2.0/24")
        .start();
    say(far.address(), b"");
    assert_eq!(far.record()["refusal"], "source");
    assert_eq!(refusals(&far, "source"), 1.0);

    let full = Setup::open_to(&pki, &target)
        .flag("--max-connections", "1")
        .start();
    let mut first = pki.client("prometheus").connect(full.address());
    first.prove_admitted();
    pki.client("prometheus").connect(full.address()).ending();
    assert_eq!(full.record()["refusal"], "over_limit");
    assert_eq!(refusals(&full, "over_limit"), 1.0);
}

#[test]
fn one_expired_client_among_many_that_knock_is_found_by_one_query() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    for _ in 0..150 {
        say(gate.address(), b"\r\n\r\n\r\n");
    }
    expired(&pki).connect(gate.address()).ending();
    gate.wait_until_told(151);
    assert_eq!(refusals(&gate, "expired"), 1.0);
    assert_eq!(refusals(&gate, "not_tls"), 150.0);
    assert_eq!(refused_by_a_record(&gate)["expired"], 1);
}

#[test]
fn an_admitted_client_is_no_refusal_however_it_ends() {
    let pki = Pki::shared();
    let gate = Setup::to(&pki, "127.0.0.1:9")
        .switch("--allow-any-client")
        .start();
    pki.client("prometheus").connect(gate.address()).ending();
    let record = gate.record();
    assert_eq!(record["outcome"], "target_unreachable");
    assert!(record.get("refusal").is_none(), "{record}");
    assert_eq!(gate.metrics().value("portcullis_refusals_total", &[]), 0.0);
}

#[test]
fn a_client_that_proved_its_key_and_is_refused_is_shown_as_it_presents_itself() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .start();
    let refused = [stranger(&pki), expired(&pki), pki.forge(&server_params())];
    for credentials in &refused {
        credentials.connect(gate.address()).ending();
    }
    for (record, credentials) in gate.records(3).iter().zip(&refused) {
        let cert = credentials.cert();
        let asked = |what| {
            let cert = cert.to_str().expect("a UTF-8 path");
            let options = ["x509", "-in", cert, "-noout", "-nameopt", "RFC2253", what];
            let told = openssl(&options);
            told.split_once('=')
                .expect("a name and a value")
                .1
                .trim()
                .to_owned()
        };
        let presented: Vec<_> = record["presented"].as_array().expect("a list").to_vec();
        let has = |claim: String| presented.contains(&Value::String(claim));
        assert!(has(format!("issuer:{}", asked("-issuer"))), "{record}");
        assert!(
            has(format!("serial:{}", asked("-serial").to_lowercase())),
            "{record}"
        );
        for verified in ["names", "serial"] {
            assert!(record.get(verified).is_none(), "{record}");
        }
    }
    let records = gate.records(3);
    assert!(
        records[1]["presented"]
            .to_string()
            .contains("dns:prometheus.test"),
        "{records:#?}"
    );
    pki.client("stranger").connect(gate.address()).ending();
    let verified = gate.records(4).remove(3);
    assert_eq!(verified["names"][0], "dns:stranger.test");
    assert!(verified.get("presented").is_none(), "{verified}");
}

fn with_another_key(shown: &Credentials) -> Arc<ClientConfig> {
    let chain = CertificateDer::pem_file_iter(shown.cert()).expect("a chain");
    let chain = chain.collect::<Result<_, _>>().expect("a readable chain");
    let key = KeyPair::generate().expect("a key").serialize_der();
    let key = any_supported_type(&PrivatePkcs8KeyDer::from(key).into()).expect("a key for TLS");
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let mut config = Arc::unwrap_or_clone(Offer::of(shown, &shown.ca()).config());
    config.client_auth_cert_resolver = Arc::new(resolver);
    Arc::new(config)
}

/// Whoever shows a certificate of somebody else puts no name into the log.
#[test]
fn a_client_without_the_key_is_not_shown() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    for shown in [pki.client("prometheus"), expired(&pki), stranger(&pki)] {
        let refused = Connection::open(gate.address(), with_another_key(&shown))
            .map(|mut client| client.ending());
        assert_eq!(refused, Ok(Ending::Alert(AlertDescription::DecryptError)));
    }
    for record in gate.records(3) {
        assert_eq!(record["refusal"], "key_not_proven", "{record}");
        for named in ["presented", "names", "serial"] {
            assert!(record.get(named).is_none(), "{record}");
        }
    }
    assert_eq!(refusals(&gate, "key_not_proven"), 3.0);
}
