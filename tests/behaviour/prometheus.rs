//! The first user: a real Prometheus with a `tls_config` scrapes a real exporter that listens on loopback only,
//! through the gate; one with a certificate that is not allowed does not, and both sides can say why.

use std::process::Command;

use serde_json::Value;

use crate::support::eventually;
use crate::support::gate::{Gate, Setup};
use crate::support::http;
use crate::support::peers::Server;
use crate::support::pki::{Credentials, Pki, SERVER_NAME, temporary_folder, write};

/// A Prometheus that scrapes one gate every second.
struct Prometheus {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(gate: &Gate, credentials: &Credentials) -> Self {
        let folder = temporary_folder();
        let file = folder.path().join("prometheus.yml");
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n\
             scrape_configs:\n  - job_name: node\n    scheme: https\n    tls_config:\n      \
             ca_file: {}\n      cert_file: {}\n      key_file: {}\n      server_name: {SERVER_NAME}\n    \
             static_configs:\n      - targets: ['{}']\n",
            credentials.ca().display(),
            credentials.cert().display(),
            credentials.key().display(),
            gate.address(),
        );
        write(&file, &configuration);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ));
        command.arg("--web.listen-address=127.0.0.1:0");
        Self {
            server: Server::start(&mut command),
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> Value {
        let answer = http::get(&self.server.address.to_string(), path);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// The value of a query that has one.
    fn query(&self, query: &str) -> Option<String> {
        let answer = self.get(&format!("/api/v1/query?query={query}"));
        answer["data"]["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned)
    }
}

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
    let prometheus = Prometheus::scraping(&gate, &pki.client("prometheus"));
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
    let prometheus = Prometheus::scraping(&gate, &pki.client("intruder"));
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
    let prometheus = Prometheus::scraping(&gate, &pki.client("prometheus"));
    eventually("up == 1", || prometheus.query("up").filter(|up| up == "1"));
    let accepted = eventually("the gate's own metrics", || {
        prometheus.query("portcullis_connections_accepted_total")
    });
    assert_eq!(accepted, "1", "Prometheus keeps its connection");
}
