//! The rules themselves: promtool understands them, their unit tests pass, and there is a test for each.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{file, promtool, text};
use crate::support::pki::{temporary_folder, write};
use crate::support::prometheus::Prometheus;

const FILES: [&str; 2] = ["recording", "alerts"];

/// Every shipped rule, as Prometheus reads it.
pub(super) fn shipped() -> Vec<Value> {
    let folder = temporary_folder();
    let configuration = folder.path().join("prometheus.yml");
    let files = FILES.map(|name| {
        file(&format!("prometheus/{name}.yml"))
            .display()
            .to_string()
    });
    write(&configuration, &format!("rule_files: {files:?}\n"));
    Prometheus::of(&configuration).rules()
}

/// The names of the rules of one kind: `recording` or `alerting`.
pub(super) fn named(rules: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = rules.iter().filter(|rule| rule["type"] == kind);
    of_kind
        .map(|rule| rule["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_unit_tests_pass() {
    for name in FILES {
        let rules = format!("prometheus/{name}.yml");
        promtool(&["check", "rules"], &file(&rules));
        promtool(
            &["test", "rules"],
            &file(&format!("prometheus/{name}.test.yml")),
        );
    }
}

#[test]
fn every_rule_has_a_unit_test_and_every_alert_is_seen_to_fire() {
    let rules = shipped();
    let (records, alerts) = (named(&rules, "recording"), named(&rules, "alerting"));
    assert!(records.len() > 20 && alerts.len() > 10, "{rules:#?}");
    let tests = text("prometheus/recording.test.yml");
    for name in records {
        // What the others are made of is tested with them.
        let intermediate = ["bucket", "sum", "count"].iter().any(|part| {
            name.ends_with(&format!("durations_{part}:rate5m"))
                || name.ends_with(&format!("latency_{part}:rate5m"))
        });
        assert!(
            intermediate || tests.contains(&format!("({name},")),
            "{name} has no test"
        );
    }
    let tests = text("prometheus/alerts.test.yml");
    for name in alerts {
        let fires = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"");
        assert!(tests.contains(&fires), "{name} is never seen to fire");
    }
}

#[test]
fn every_alert_says_how_grave_it_is_what_happened_and_what_to_do() {
    for alert in shipped().iter().filter(|rule| rule["type"] == "alerting") {
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{alert}"
        );
        for annotation in ["summary", "description", "runbook"] {
            let text = alert["annotations"][annotation].as_str();
            assert!(
                text.is_some_and(|text| text.len() > 20),
                "{annotation}: {alert}"
            );
        }
    }
}
