//! Says who came: every accepted connection ends in exactly one record with its outcome, and nothing a stranger wrote
//! into a certificate can forge, hide or swell a line of the log. Floods are in `log`.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use rcgen::DnType;
use rustls::AlertDescription;
use serde_json::Value;

use crate::support::client::Ending;
use crate::support::gate::{Setup, connections};
use crate::support::pki::{Pki, client_params, dns, email, uri};
use crate::support::target;

const FIELDS: [&str; 18] = [
    "time",
    "level",
    "event",
    "route",
    "source",
    "outcome",
    "reason",
    "names",
    "rule",
    "serial",
    "tls_version",
    "cipher",
    "group",
    "resumed",
    "bytes_to_target",
    "bytes_from_target",
    "duration_ms",
    "generation",
];

#[test]
fn the_record_of_a_relayed_connection_says_everything() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let client = pki.client("prometheus");
    let mut connection = client.connect(gate.address());
    let source = connection.source();
    connection.send(b"twelve bytes");
    connection.receive(12);
    connection.finish();
    connection.ending();
    let record = gate.record();
    for field in FIELDS {
        assert!(record.get(field).is_some(), "no {field} in {record}");
    }
    assert_eq!(record["event"], "connection");
    assert_eq!(record["route"], "default");
    assert_eq!(record["source"], source.to_string());
    assert_eq!(record["outcome"], "relayed");
    assert!(
        record["names"].to_string().contains("dns:prometheus.test"),
        "{record}"
    );
    assert_eq!(record["rule"], "any-client");
    assert_eq!(record["tls_version"], "TLSv1.3");
    assert!(
        record["cipher"]
            .as_str()
            .is_some_and(|name| name.starts_with("TLS_")),
        "{record}"
    );
    assert_eq!(record["group"], "X25519MLKEM768");
    assert_eq!(record["resumed"], false);
    assert_eq!(record["bytes_to_target"], 12);
    assert_eq!(record["bytes_from_target"], 12);
    assert!(record["duration_ms"].is_number(), "{record}");
    assert_eq!(record["generation"], 1);
    let cert = client.cert();
    let cert = cert.to_str().expect("a UTF-8 path");
    let serial = crate::support::peers::openssl(&["x509", "-in", cert, "-noout", "-serial"]);
    let serial = serial
        .trim()
        .trim_start_matches("serial=")
        .to_ascii_lowercase();
    assert_eq!(record["serial"], serial, "as openssl shows it");
}

#[test]
fn records_are_flat_and_one_line_each() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    pki.client("flat").connect(gate.address()).prove_admitted();
    let record = gate.record();
    let object = record.as_object().expect("an object");
    assert!(object.values().all(|value| !value.is_object()), "{record}");
    for line in gate.log.text().lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok(),
            "not JSON: {line}"
        );
    }
}

#[test]
fn there_is_exactly_one_record_whatever_the_outcome() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .flag("--handshake-timeout", "1s")
        .flag("--idle-timeout", "1s")
        .flag("--max-connections", "2")
        .start();
    let (good, stranger) = (pki.client("prometheus"), pki.client("stranger"));
    let silent = TcpStream::connect(gate.address()).expect("the gate accepts");
    stranger.connect(gate.address()).ending();
    let mut garbage = TcpStream::connect(gate.address()).expect("the gate accepts");
    garbage
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("the gate reads");
    drop(garbage);
    let mut idle: Vec<_> = (0..2).map(|_| good.connect(gate.address())).collect();
    for connection in &mut idle {
        connection.prove_admitted();
    }
    good.connect(gate.address()).ending();
    for connection in &mut idle {
        connection.ending();
    }
    let mut relayed = good.connect(gate.address());
    relayed.prove_admitted();
    relayed.finish();
    relayed.ending();
    let mut reset = good.connect(gate.address());
    reset.prove_admitted();
    reset.reset();
    let records = gate.records(8);
    let mut outcomes: Vec<_> = records
        .iter()
        .filter_map(|r| r["outcome"].as_str())
        .collect();
    outcomes.sort_unstable();
    let expected = [
        "handshake_failed",
        "handshake_timeout",
        "idle_timeout",
        "idle_timeout",
        "io_error",
        "not_admitted",
        "over_limit",
        "relayed",
    ];
    assert_eq!(outcomes, expected);
    let sources: BTreeSet<_> = records.iter().map(|r| r["source"].to_string()).collect();
    assert_eq!(sources.len(), 8, "one each");
    let metrics = gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    assert_eq!(
        metrics.value("portcullis_connections_accepted_total", &[]),
        8.0
    );
    for outcome in BTreeSet::from(expected) {
        let count = expected.iter().filter(|one| **one == outcome).count();
        assert_eq!(
            metrics.closed(outcome),
            count as f64,
            "log and metrics agree on {outcome}"
        );
    }
    drop(silent);
}

#[test]
fn refused_clients_are_named_in_their_record() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "nobody.test")
        .start();
    let names = [
        dns("refused.test"),
        uri("spiffe://cluster.local/ns/a/sa/b"),
        email("ops@refused.test"),
        rcgen::SanType::IpAddress("192.0.2.1".parse().expect("an address")),
    ];
    pki.forge(&client_params(names))
        .connect(gate.address())
        .ending();
    let record = gate.record();
    assert_eq!(record["outcome"], "not_admitted");
    let names = record["names"].to_string();
    for name in [
        "dns:refused.test",
        "uri:spiffe://cluster.local/ns/a/sa/b",
        "email:ops@refused.test",
        "ip:192.0.2.1",
    ] {
        assert!(names.contains(name), "{name} in {names}");
    }
    assert_ne!(
        record["serial"].as_str().unwrap_or_default(),
        "",
        "{record}"
    );
}

#[test]
fn names_are_bounded_in_length_and_number_and_marked_when_cut() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let long = format!("https://long.test/{}", "x".repeat(5_000));
    let many = (0..100).map(|number| dns(&format!("name-{number}.test")));
    pki.forge(&client_params([uri(&long)]))
        .connect(gate.address())
        .prove_admitted();
    pki.forge(&client_params(many))
        .connect(gate.address())
        .prove_admitted();
    for record in gate.records(2) {
        let names = record["names"].to_string();
        assert!(names.contains('…'), "a cut is marked: {names}");
        assert!(names.len() < 1_000, "{names}");
        assert!(!names.contains("name-16.test"), "{names}");
    }
}

#[test]
fn no_record_is_longer_than_8_kib() {
    let pki = Pki::shared();
    let target = target::echo();
    // Characters that JSON writes as two, in names of the greatest length that is shown.
    let names = |first: &str| {
        let many = (0..40).map(|number| uri(&format!("https://t/{number}/{}", "\"'".repeat(300))));
        pki.forge(&client_params([dns(first)].into_iter().chain(many)))
    };
    for format in ["json", "text"] {
        let mut gate = Setup::to(&pki, &target.flag())
            .flag("--allow-dns", "good.test")
            .flag("--log-format", format)
            .spawn();
        let address = listening_address(&gate.log, format);
        names("good.test").connect(address).prove_admitted();
        let refused = names("bad.test").connect(address).ending();
        assert_eq!(refused, Ending::Alert(AlertDescription::AccessDenied));
        assert_eq!(gate.terminate(), 0);
        let longest = gate.log.text().lines().map(str::len).max().unwrap_or(0);
        println!("{format}: {longest} bytes");
        assert!(
            (4_000..8_192).contains(&longest),
            "{format}: {longest} bytes"
        );
    }
}

/// What a hostile certificate might carry, and what must not be found in the log as it stands.
const HOSTILE: &str = "evil\n{\"event\":\"connection\"}\r\u{1b}[2J\u{202e}gnp\u{2066}\u{7f}\0";

#[test]
fn text_of_a_certificate_is_escaped() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut params = client_params([]);
    params.distinguished_name.push(DnType::CommonName, HOSTILE);
    let credentials = pki.forge(&params);
    let uris = pki.forge(&client_params([uri(
        "https://evil.test/\n\u{1b}[2J\u{7f}\r",
    )]));
    for format in ["json", "text"] {
        let mut gate = Setup::open_to(&pki, &target)
            .flag("--log-format", format)
            .flag("--listen", "127.0.0.1:0")
            .spawn();
        let address = listening_address(&gate.log, format);
        for credentials in [&credentials, &uris] {
            credentials.connect(address).prove_admitted();
        }
        assert_eq!(gate.terminate(), 0);
        let said = gate.log.text();
        let forbidden = ['\u{1b}', '\u{202e}', '\u{2066}', '\u{7f}', '\0', '\r'];
        assert!(!said.contains(forbidden), "{format}: {said:?}");
        assert!(said.contains("evil"), "{format}: {said}");
        let forged = said
            .lines()
            .filter(|line| line.starts_with("{\"event\":\"connection\"}"));
        assert_eq!(forged.count(), 0, "{format}: {said}");
    }
}

fn listening_address(log: &crate::support::gate::Log, format: &str) -> std::net::SocketAddr {
    if format == "json" {
        let record = log.wait_for_record("the listener", |record| record["event"] == "listening");
        return record["address"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("IP:PORT");
    }
    crate::support::eventually("the listener", || {
        let text = log.text();
        let line = text
            .lines()
            .find(|line| line.contains("listening") && !line.contains("admin"))?;
        let (_, rest) = line.split_once("127.0.0.1:")?;
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        format!("127.0.0.1:{port}").parse().ok()
    })
}

#[test]
fn the_text_format_has_the_same_facts_for_people() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .flag("--log-format", "text")
        .spawn();
    let address = listening_address(&gate.log, "text");
    let mut client = pki.client("prometheus").connect(address);
    client.prove_admitted();
    client.finish();
    client.ending();
    assert_eq!(gate.terminate(), 0);
    let said = gate.log.text();
    let record = said
        .lines()
        .find(|line| line.contains("relayed"))
        .expect("a record");
    for fact in [
        "default",
        "relayed",
        "dns:prometheus.test",
        "any-client",
        "1.3",
    ] {
        assert!(record.contains(fact), "{fact} in {record}");
    }
    assert!(!record.trim_start().starts_with('{'), "{record}");
    assert!(!said.contains('\u{1b}'), "no colours into a pipe: {said:?}");
}

#[test]
fn no_key_is_ever_logged() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .flag("--log-level", "trace")
        .start();
    pki.client("prometheus")
        .connect(gate.address())
        .prove_admitted();
    gate.terminate();
    let said = gate.log.text();
    let key = std::fs::read_to_string(pki.server().key()).expect("it was made");
    for line in key.lines() {
        assert!(!said.contains(line), "a line of the key is in the log");
    }
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

#[test]
fn connections_that_live_when_the_gate_is_told_to_end_at_once_have_their_record() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target).start();
    let mut live: Vec<_> = (0..10)
        .map(|_| pki.client("live").connect(gate.address()))
        .collect();
    for connection in &mut live {
        connection.prove_admitted();
    }
    gate.signal(rustix::process::Signal::TERM);
    gate.log.wait_for_text("drain");
    gate.signal(rustix::process::Signal::TERM);
    gate.wait();
    let records = connections(&gate.log.records());
    assert_eq!(records.len(), 10);
    assert!(
        records.iter().all(|record| record["outcome"] == "drained"),
        "{records:#?}"
    );
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_stop_the_gate() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start_and_stop_reading();
    for _ in 0..3 {
        pki.client("unread")
            .connect(gate.address())
            .prove_admitted();
    }
    gate.wait_for_metrics("three records would have been written", |metrics| {
        metrics.value("portcullis_connections_closed_total", &[]) == 3.0
    });
}
