//! The rules themselves: promtool understands them, their unit tests pass, and there is a test for each.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::identity::Validity;
use rustls::pki_types::UnixTime;
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

/// A life, how much of it is left, and whether it should have been renewed; all in seconds.
const RENEWALS: [(u64, i64, bool); 26] = {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    const fn life(seconds: i64) -> u64 {
        seconds.unsigned_abs()
    }
    [
        // 90 days, renewed by cert-manager with 30 left.
        (life(90 * DAY), 30 * DAY, false),
        (life(90 * DAY), 18 * DAY + 1, false),
        (life(90 * DAY), 18 * DAY, true),
        (life(90 * DAY), DAY, true),
        // A day, renewed with eight hours left.
        (life(DAY), 8 * HOUR, false),
        (life(DAY), 5 * HOUR, false),
        (life(DAY), 4 * HOUR, true),
        // A year, renewed with 30 days left.
        (life(365 * DAY), 73 * DAY, false),
        (life(365 * DAY), 30 * DAY, false),
        (life(365 * DAY), 30 * DAY - 1, true),
        // Five years.
        (life(1_826 * DAY), 147 * DAY, false),
        (life(1_826 * DAY), 146 * DAY, true),
        // Ten years, renewed with one left: not due two years before, and not forgotten until the last month.
        (life(3_650 * DAY), 1_095 * DAY, false),
        (life(3_650 * DAY), 366 * DAY, false),
        (life(3_650 * DAY), 292 * DAY, false),
        (life(3_650 * DAY), 292 * DAY - 1, true),
        (life(3_650 * DAY), 30 * DAY, true),
        // A list for an hour, replaced with 20 minutes left, one for a week and one for a month.
        (life(HOUR), 1_200, false),
        (life(HOUR), 721, false),
        (life(HOUR), 720, true),
        (life(7 * DAY), 2 * DAY, false),
        (life(7 * DAY), DAY, true),
        (life(30 * DAY), 7 * DAY, false),
        (life(30 * DAY), 5 * DAY, true),
        // Ended.
        (life(DAY), -1, true),
        (life(3_650 * DAY), -DAY, true),
    ]
};

#[test]
fn the_gate_and_the_alerts_call_the_same_things_due() {
    const NOW: u64 = 2_000_000_000;
    let at = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    for (life, left, due) in RENEWALS {
        let not_after = NOW.saturating_add_signed(left);
        let validity = Validity {
            not_before: at(not_after - life),
            not_after: at(not_after),
        };
        assert_eq!(validity.is_due(at(NOW)), due, "{left} of {life}");
    }

    // promtool's clock starts at 0.
    let roles = [
        ("certificate_not_before", "certificate_not_after"),
        ("crl_this_update", "crl_next_update"),
    ];
    let mut series = String::new();
    for (index, (life, left, _)) in RENEWALS.iter().enumerate() {
        let from = left - i64::try_from(*life).expect("a life");
        for (first, last) in roles {
            for (name, value) in [(first, from), (last, *left)] {
                series.push_str(&format!(
                    "      - {{series: 'portcullis_{name}_timestamp_seconds{{case=\"{index}\"}}', values: '{value}'}}\n"
                ));
            }
        }
    }
    let mut expected = String::new();
    for alert in ["CertificateNearExpiry", "RevocationListNearNextUpdate"] {
        let due = RENEWALS.iter().enumerate().filter(|(_, (.., due))| *due);
        let samples = due.map(|(index, _)| {
            format!(
                "          - {{labels: 'ALERTS{{alertname=\"Portcullis{alert}\", alertstate=\"pending\", \
                 severity=\"warning\", case=\"{index}\"}}', value: 1}}\n"
            )
        });
        expected.push_str(&format!(
            "      - expr: ALERTS{{alertname=\"Portcullis{alert}\"}}\n        eval_time: 0s\n        exp_samples:\n{}",
            samples.collect::<String>()
        ));
    }
    let folder = temporary_folder();
    let tests = folder.path().join("renewals.test.yml");
    let alerts = file("prometheus/alerts.yml").display().to_string();
    let text = format!(
        "rule_files: [{alerts:?}]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{series}    \
         promql_expr_test:\n{expected}"
    );
    write(&tests, &text);
    promtool(&["test", "rules"], &tests);
}
