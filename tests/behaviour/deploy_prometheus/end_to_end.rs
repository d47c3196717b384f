//! All of it together: the gate with the configuration of the `gke-metadata-server` overlay as it stands, a stand-in for
//! the metadata server behind it, and a Prometheus with the shipped scrape configuration, credentials and rules.
//!
//! Real paths and ports are used, so the test runs itself again in namespaces of its own, where /etc is empty and
//! nobody has taken a port.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::queries::{dashboard, queries};
use super::scrapes::port;
use super::{file, replace, text, with_discovery_from_files};
use crate::support::eventually;
use crate::support::gate::{Gate, Setup};
use crate::support::peers::{Input, run};
use crate::support::pki::{Credentials, Pki, client_params, dns, write};
use crate::support::prometheus::Prometheus;
use crate::support::target::{Target, answer};
use crate::support::volume::list_params;

/// What the stand-in answers at first, and what each scrape adds. Names and types are those that are published of GKE's
/// metadata server; its labels are not, so `path` and `host` are made up.
pub(super) const METRICZ: &str = r#"# TYPE metadata_server_request_count counter
metadata_server_request_count{path="quick"} 6
metadata_server_request_count{path="slow"} 3
metadata_server_request_count{path="idle"} 0
# TYPE metadata_server_request_durations histogram
metadata_server_request_durations_bucket{path="quick",le="0.1"} 3
metadata_server_request_durations_bucket{path="quick",le="0.5"} 6
metadata_server_request_durations_bucket{path="quick",le="1"} 6
metadata_server_request_durations_bucket{path="quick",le="+Inf"} 6
metadata_server_request_durations_sum{path="quick"} 1.5
metadata_server_request_durations_count{path="quick"} 6
metadata_server_request_durations_bucket{path="slow",le="0.1"} 0
metadata_server_request_durations_bucket{path="slow",le="0.5"} 0
metadata_server_request_durations_bucket{path="slow",le="1"} 6
metadata_server_request_durations_bucket{path="slow",le="+Inf"} 6
metadata_server_request_durations_sum{path="slow"} 4.5
metadata_server_request_durations_count{path="slow"} 6
metadata_server_request_durations_bucket{path="idle",le="0.1"} 0
metadata_server_request_durations_bucket{path="idle",le="+Inf"} 0
metadata_server_request_durations_sum{path="idle"} 0
metadata_server_request_durations_count{path="idle"} 0
# TYPE outgoing_request_latency histogram
outgoing_request_latency_bucket{host="one",le="0.25"} 3
outgoing_request_latency_bucket{host="one",le="+Inf"} 4
outgoing_request_latency_sum{host="one"} 2
outgoing_request_latency_count{host="one"} 4
"#;

/// What the rules must make of that. The p99 over all is 0.99; the average of the two would be 0.7435.
const EXPECTED: [(&str, f64); 16] = [
    (
        "instance:metadata_server_request_durations:p99_5m{path=\"quick\"}",
        0.492,
    ),
    (
        "instance:metadata_server_request_durations:p95_5m{path=\"quick\"}",
        0.46,
    ),
    (
        "instance:metadata_server_request_durations:p50_5m{path=\"quick\"}",
        0.1,
    ),
    (
        "instance:metadata_server_request_durations:p99_5m{path=\"slow\"}",
        0.995,
    ),
    (
        "instance:metadata_server_request_durations:p50_5m{path=\"slow\"}",
        0.75,
    ),
    (
        "instance:metadata_server_request_durations:mean5m{path=\"quick\"}",
        0.25,
    ),
    (
        "instance:metadata_server_request_durations:mean5m{path=\"slow\"}",
        0.75,
    ),
    ("job:metadata_server_request_durations:p99_5m", 0.99),
    ("job:metadata_server_request_durations:p95_5m", 0.95),
    ("job:metadata_server_request_durations:p90_5m", 0.9),
    ("job:metadata_server_request_durations:p50_5m", 0.5),
    ("job:metadata_server_request_durations:mean5m", 0.5),
    ("instance:outgoing_request_latency:p99_5m", 0.25),
    ("job:outgoing_request_latency:p99_5m", 0.25),
    ("job:outgoing_request_latency:p50_5m", 0.5 / 3.0),
    ("job:outgoing_request_latency:mean5m", 0.5),
];

/// [`METRICZ`] after so many scrapes.
fn metricz(scrapes: u64) -> String {
    let lines = METRICZ.lines().map(|line| match line.rsplit_once(' ') {
        Some((series, step)) if !line.starts_with('#') => {
            let step: f64 = step.parse().expect("a number");
            format!("{series} {}\n", step * scrapes as f64)
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// True in the namespaces of its own in which the test `name` is to run; elsewhere it has run there already.
fn in_own_namespaces(name: &str) -> bool {
    const MARK: &str = "TEST_IN_OWN_NAMESPACES";
    if std::env::var_os(MARK).is_some() {
        let prepare = "mount -t tmpfs none /etc && ip link set lo up";
        let done = run(Command::new("sh").args(["-c", prepare]), &Input::All(b""));
        assert_eq!(done.code, 0, "{done:?}");
        return true;
    }
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net", "--mount"]);
    again.args(["--pid", "--fork", "--kill-child"]);
    again.arg(std::env::current_exe().expect("this program"));
    again
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "yes");
    // No deadline here: each wait in there has its own, and says what it waited for.
    let done = again.output().expect("unshare is there");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        done.status.success() && said[0].contains("1 passed"),
        "it failed in namespaces of its own, which this machine has to allow: {}",
        said.join("\n")
    );
    false
}

fn install(credentials: &Credentials, folder: &str) {
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).expect("/etc is ours");
    for (from, to) in [
        (credentials.cert(), "tls.crt"),
        (credentials.key(), "tls.key"),
        (credentials.ca(), "ca.crt"),
    ] {
        std::fs::copy(from, folder.join(to)).expect("it can be copied");
    }
}

/// Every file where the manifests mount it. Only discovery, which has no cluster to ask, and the pace are not as shipped.
fn install_everything(pki: &Pki) {
    install(&pki.server(), "/etc/portcullis/tls");
    let prometheus = client_params([dns("prometheus.monitoring.svc")]);
    install(&pki.forge(&prometheus), "/etc/prometheus/portcullis");
    let copies = [
        (
            "overlays/gke-metadata-server/portcullis.toml",
            "/etc/portcullis/config/portcullis.toml",
        ),
        (
            "prometheus/recording.yml",
            "/etc/prometheus/rules/recording.yml",
        ),
        ("prometheus/alerts.yml", "/etc/prometheus/rules/alerts.yml"),
    ];
    for (from, to) in copies {
        std::fs::create_dir_all(Path::new(to).parent().expect("a folder")).expect("/etc is ours");
        std::fs::copy(file(from), to).unwrap_or_else(|error| panic!("{from}: {error}"));
    }
    let configuration = with_discovery_from_files();
    let configuration = replace(
        &configuration,
        "scrape_interval: 30s",
        "scrape_interval: 1s",
    );
    let configuration = replace(&configuration, "scrape_timeout: 10s", "scrape_timeout: 1s");
    let configuration = replace(
        &configuration,
        "evaluation_interval: 30s",
        "evaluation_interval: 1s",
    );
    write(Path::new("/etc/prometheus/prometheus.yml"), &configuration);
    let ports = json!([
        port("127.0.0.1:54899", "gke-metadata", "one", "Running"),
        port("127.0.0.1:54901", "gate-metrics", "one", "Running"),
        port("127.0.0.1:54904", "gate-metrics", "two", "Running"),
    ]);
    write(
        Path::new("/etc/prometheus/gke-metadata-server.json"),
        &ports.to_string(),
    );
}

/// Another node's, with a list, so that every metric there can be is there.
fn gate_with_a_revocation_list(pki: &Pki) -> Gate {
    let list = Path::new("/etc/portcullis/ca.crl");
    let signed = pki.authority().sign_list(&list_params([]));
    write(list, &signed.pem().expect("PEM"));
    Setup::bare()
        .flag("--listen", "127.0.0.1:54904")
        .flag("--target", "127.0.0.1:54905")
        .flag("--admin", "127.0.0.1:54905")
        .flag("--allow-dns", "prometheus.monitoring.svc")
        .flag("--client-crl", list)
        .start()
}

#[test]
fn the_metadata_server_is_scraped_through_the_gate_and_the_rules_give_the_expected_values() {
    let name = concat!(
        "deploy_prometheus::end_to_end::",
        "the_metadata_server_is_scraped_through_the_gate_and_the_rules_give_the_expected_values"
    );
    if !in_own_namespaces(name) {
        return;
    }
    let pki = Pki::shared();
    install_everything(&pki);
    let scrapes = AtomicU64::new(0);
    let address = "127.0.0.1:54898".parse().expect("an address");
    let metadata_server = Target::serving_at(address, move |socket, _| {
        answer(&socket, |path| {
            let scraped = || metricz(scrapes.fetch_add(1, Ordering::SeqCst) + 1);
            (path == "/metricz").then(scraped)
        });
    });
    let gate = Setup::bare()
        .file(Path::new("/etc/portcullis/config/portcullis.toml"), 2)
        .start();
    let _second = gate_with_a_revocation_list(&pki);
    let prometheus = Prometheus::of(Path::new("/etc/prometheus/prometheus.yml"));

    for (query, expected) in EXPECTED {
        let value = eventually(query, || prometheus.number(query));
        assert!(
            (value - expected).abs() < 1e-9,
            "{query} is {value}, not {expected}"
        );
    }
    let of_no_traffic = "{__name__=~\".+:(p.._5m|mean5m)\", path=\"idle\"}";
    assert!(prometheus.samples(of_no_traffic).is_empty());
    let of_no_traffic = "instance:metadata_server_request_count:rate5m{path=\"idle\"}";
    assert_eq!(prometheus.number(of_no_traffic), Some(0.0));
    // Nine a scrape, over a window of 300 seconds. A rule looks back at what was scraped by then, and a rate estimates
    // what it missed before the first scrape and after the last one.
    eventually("the rate is that of all scrapes", || {
        let counted = prometheus.number("job:metadata_server_request_count:rate5m * 300 / 9")?;
        let scraped = prometheus.number("metadata_server_request_count{path=\"quick\"} / 6")?;
        (scraped > 5.0 && counted > scraped - 3.0 && counted < scraped + 1.0).then_some(())
    });

    let sessions: Value = serde_json::from_str(&gate.get("/sessions").body).expect("JSON");
    let sessions = sessions.as_array().expect("a list");
    assert!(!sessions.is_empty());
    for session in sessions {
        assert_eq!(session["rule"], "dns:prometheus.monitoring.svc");
    }
    gate.wait_for_metrics("only the gate spoke to the target", |metrics| {
        let connected = "portcullis_target_connect_duration_seconds_count";
        let route = [("route", "gke-metadata-server")];
        metrics.value(connected, &route) == metadata_server.accepts() as f64
    });

    every_rule_is_evaluated_without_error(&prometheus);
    every_query_of_the_dashboard_finds_something(&prometheus);
}

fn every_rule_is_evaluated_without_error(prometheus: &Prometheus) {
    let rules = eventually("every rule was evaluated", || {
        Some(prometheus.rules())
            .filter(|rules| rules.iter().all(|rule| rule["health"] != "unknown"))
    });
    let shipped = [
        text("prometheus/recording.yml"),
        text("prometheus/alerts.yml"),
    ]
    .concat();
    let written = shipped.matches("- record: ").count() + shipped.matches("- alert: ").count();
    assert_eq!(rules.len(), written);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_eq!(
            rule["lastError"].as_str().unwrap_or_default(),
            "",
            "{rule:#}"
        );
    }
    let alerts = prometheus.samples("ALERTS{alertstate=\"firing\"}");
    assert!(alerts.is_empty(), "all is well, and yet: {alerts:#?}");
}

fn every_query_of_the_dashboard_finds_something(prometheus: &Prometheus) {
    for query in queries(&dashboard()) {
        // A panel may leave out what does not occur; here it is enough that it could.
        let query = query.trim_end_matches(" > 0");
        if prometheus.samples(query).is_empty() && query.starts_with("ALERTS{") {
            // No alert fires.
            continue;
        }
        eventually(&format!("the dashboard finds something: {query}"), || {
            prometheus.query(query)
        });
    }
}
