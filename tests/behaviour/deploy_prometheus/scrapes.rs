//! The scrape configuration: which targets it makes of the pods of a cluster, and with which labels.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{file, promtool, replace, with_discovery_from_files};
use crate::support::eventually;
use crate::support::pki::{Pki, temporary_folder, write};
use crate::support::prometheus::Prometheus;

/// A container's port, as the role `pod` of Kubernetes discovery reports it.
pub(super) fn port(address: &str, name: &str, node: &str, phase: &str) -> Value {
    let host = address.rsplit_once(':').expect("HOST:PORT").0;
    json!({
        "targets": [address],
        "labels": {
            "__meta_kubernetes_pod_container_port_name": name,
            "__meta_kubernetes_pod_host_ip": host.trim_matches(['[', ']']),
            "__meta_kubernetes_pod_node_name": node,
            "__meta_kubernetes_pod_phase": phase,
        },
    })
}

#[test]
fn every_port_of_a_gate_becomes_one_target_of_the_job_it_is_for() {
    let (pki, folder) = (Pki::shared(), temporary_folder());
    let (credentials, rules) = (pki.client("prometheus"), file("prometheus"));
    let configuration = with_discovery_from_files();
    let configuration = replace(
        &configuration,
        "/etc/prometheus/rules/recording.yml",
        &rules.join("recording.yml").display().to_string(),
    );
    let configuration = replace(
        &configuration,
        "/etc/prometheus/rules/alerts.yml",
        &rules.join("alerts.yml").display().to_string(),
    );
    let mounted = credentials
        .ca()
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let configuration = configuration.replace("/etc/prometheus/portcullis", &mounted);
    let path = folder.path().join("prometheus.yml");
    write(&path, &configuration);
    let gates = json!([
        port("127.0.0.1:54899", "gke-metadata", "one", "Running"),
        port("127.0.0.1:54901", "gate-metrics", "one", "Running"),
        port("127.0.0.2:54901", "gate-metrics", "two", "Pending"),
        port("127.0.0.2:54902", "kube-proxy", "two", "Running"),
        port("127.0.0.3:54901", "gate-metrics", "three", "Failed"),
        port("127.0.0.4:54901", "gate-metrics", "four", "Succeeded"),
        port("127.0.0.1:9999", "gate-metrics-too", "one", "Running"),
    ]);
    let etcds = json!([
        port("127.0.0.2:2379", "", "two", "Running"),
        port("127.0.0.2:2381", "probe-port", "two", "Running"),
        port("[::1]:2381", "probe-port", "six", "Running"),
    ]);
    write(
        &folder.path().join("gke-metadata-server.json"),
        &gates.to_string(),
    );
    write(&folder.path().join("etcd.json"), &etcds.to_string());
    let said = promtool(&["check", "config"], &path);
    assert!(said.contains("is valid prometheus config file"), "{said}");

    let prometheus = Prometheus::of(&path);
    let expected: BTreeSet<_> = [
        (
            "gke-metadata-server",
            "https://127.0.0.1:54899/metricz",
            "one",
        ),
        ("portcullis", "https://127.0.0.1:54901/metrics", "one"),
        ("portcullis", "https://127.0.0.2:54901/metrics", "two"),
        ("kube-proxy", "https://127.0.0.2:54902/metrics", "two"),
        ("etcd", "https://127.0.0.2:54903/metrics", "two"),
        ("etcd", "https://[::1]:54903/metrics", "six"),
    ]
    .map(|(job, url, node)| [job, url, node].map(str::to_owned))
    .into();
    let targets = eventually("every job has its targets", || {
        let answer = prometheus.get("/api/v1/targets?state=active");
        let targets = answer["data"]["activeTargets"].as_array().cloned();
        targets.filter(|targets| targets.len() >= expected.len())
    });
    let found = targets.iter().map(|target| {
        let labels = &target["labels"];
        [&labels["job"], &target["scrapeUrl"], &labels["node"]]
            .map(|value| value.as_str().unwrap_or_default().to_owned())
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), expected.len(), "none twice: {found:?}");
    assert_eq!(BTreeSet::from_iter(found), expected);
}
