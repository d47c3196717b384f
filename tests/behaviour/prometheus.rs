//! The first user: a real Prometheus with a `tls_config` scrapes a real exporter that listens on loopback only,
//! through the gate; one with a certificate that is not allowed does not, and both sides can say why.

use std::process::Command;

use crate::support::eventually;
use crate::support::gate::Setup;
use crate::support::peers::Server;
use crate::support::pki::{Pki, temporary_folder};
use crate::support::prometheus::Prometheus;

fn node_exporter() -> Server {
    let mut command = Command::new("prometheus-node-exporter");
    command.arg("--web.listen-address=127.0.0.1:0");
    command.args([
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.uname",
    ]);
    Server::start(&mut command)
}

#[test]
fn prometheus_scrapes_a_loopback_only_node_exporter_through_the_gate() {
    let pki = Pki::shared();
    let exporter = node_exporter();
    let gate = Setup::to(&pki, &exporter.address.to_string())
        .flag("--allow-dns", "prometheus.test")
        .start();
    let prometheus = Prometheus::scraping(gate.address(), &pki.client("prometheus"), "1s");
    eventually("up == 1", || prometheus.query("up").filter(|up| up == "1"));
    eventually("samples of the exporter can be queried", || {
        prometheus.query("node_load1")
    });
    let node = eventually("more samples", || {
        prometheus.query("count(node_uname_info)")
    });
    assert_eq!(node, "1");
    // It keeps its connection, so there is no record yet; the session says who it is.
    let sessions = gate.get("/sessions").body;
    assert!(sessions.contains("dns:prometheus.test"), "{sessions}");
    drop(prometheus);
    let record = gate.record();
    assert_eq!(record["rule"], "dns:prometheus.test", "{record}");
    assert_eq!(record["tls_version"], "TLSv1.3", "{record}");
}

#[test]
fn a_prometheus_that_is_not_allowed_sees_its_target_down_and_both_sides_say_why() {
    let pki = Pki::shared();
    let exporter = node_exporter();
    let gate = Setup::to(&pki, &exporter.address.to_string())
        .flag("--allow-dns", "prometheus.test")
        .start();
    let prometheus = Prometheus::scraping(gate.address(), &pki.client("intruder"), "1s");
    eventually("up == 0", || prometheus.query("up").filter(|up| up == "0"));
    assert_eq!(prometheus.query("node_load1"), None);
    let targets = prometheus.get("/api/v1/targets").to_string();
    assert!(
        targets.contains("access denied"),
        "what Prometheus shows: {targets}"
    );
    let record = gate.records(1).remove(0);
    assert_eq!(record["outcome"], "not_admitted", "{record}");
    assert!(
        record["names"].to_string().contains("dns:intruder.test"),
        "{record}"
    );
    assert_ne!(
        record["reason"].as_str().unwrap_or_default(),
        "",
        "{record}"
    );
    assert_eq!(gate.metrics().value("portcullis_bytes_total", &[]), 0.0);
}

#[test]
fn prometheus_can_read_the_gates_own_metrics_through_the_gate() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let admin = format!("unix:{}", folder.path().join("admin").display());
    let gate = Setup::to(&pki, &admin)
        .flag("--admin", &admin)
        .flag("--allow-dns", "prometheus.test")
        .start();
    let prometheus = Prometheus::scraping(gate.address(), &pki.client("prometheus"), "1s");
    eventually("up == 1", || prometheus.query("up").filter(|up| up == "1"));
    let accepted = eventually("the gate's own metrics", || {
        prometheus.query("portcullis_connections_accepted_total")
    });
    assert_eq!(accepted, "1", "Prometheus keeps its connection");
}
