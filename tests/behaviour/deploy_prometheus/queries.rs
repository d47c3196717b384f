//! What is asked: the rules are tested with metrics that exist, and the dashboard is one that Grafana can show. That every
//! query of the dashboard finds something is seen in `end_to_end`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::end_to_end::METRICZ;
use super::rules::shipped;
use super::text;
use crate::support::gate::Setup;
use crate::support::http::Metrics;
use crate::support::pki::{Pki, temporary_folder, write};
use crate::support::target::exporter;
use crate::support::volume::list_params;

pub(super) fn dashboard() -> Value {
    serde_json::from_str(&text("prometheus/dashboard.json")).expect("JSON")
}

/// The panels that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row")
}

/// Everything that panels, annotations and variables ask, with the variables filled in as Grafana does for "All".
pub(super) fn queries(dashboard: &Value) -> Vec<String> {
    let panels = panels(dashboard).flat_map(|panel| panel["targets"].as_array().expect("queries"));
    let annotations = dashboard["annotations"]["list"].as_array().expect("a list");
    let asked = panels.map(|target| target["expr"].as_str().expect("a query"));
    let noted = annotations
        .iter()
        .filter_map(|annotation| annotation["expr"].as_str());
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let chosen = variables.iter().filter_map(|variable| {
        let arguments = variable["query"]["query"]
            .as_str()?
            .strip_prefix("label_values(");
        let (query, _label) = arguments.expect("label_values").rsplit_once(", ")?;
        Some(query)
    });
    let filled_in = asked.chain(noted).chain(chosen).map(|query| {
        let query = query.replace("$__rate_interval", "1m");
        let query = query.replace("$node", ".*").replace("$route", ".*");
        assert!(!query.contains('$'), "an unknown variable: {query}");
        query
    });
    filled_in.collect()
}

/// What the gate tells, of everything that it can.
fn metrics_of_the_gate() -> String {
    let (pki, target, folder) = (Pki::shared(), exporter(), temporary_folder());
    let list = folder.path().join("ca.crl");
    let signed = pki.authority().sign_list(&list_params([]));
    write(&list, &signed.pem().expect("PEM"));
    let gate = Setup::open_to(&pki, &target).flag("--client-crl", &list);
    gate.start().get("/metrics").body
}

fn sample_name(line: &str) -> &str {
    line.split(['{', ' ']).next().expect("a part")
}

fn sample_names(exposition: &str) -> impl Iterator<Item = &str> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    samples.map(sample_name)
}

/// The rules are seen to work on these series and no others, so they ask for nothing that nobody tells.
#[test]
fn the_unit_tests_of_the_rules_feed_them_only_series_that_exist() {
    let exposition = metrics_of_the_gate();
    let mut known: BTreeSet<_> = sample_names(&exposition)
        .chain(sample_names(METRICZ))
        .collect();
    known.insert("up");
    let (gate, mut fed) = (Metrics::parse(&exposition), 0);
    for name in ["alerts", "recording"] {
        let tests = text(&format!("prometheus/{name}.test.yml"));
        for series in tests
            .lines()
            .filter_map(|line| line.split_once("- series: "))
        {
            let series = series.1.replace(", ", ",");
            assert!(
                known.contains(sample_name(&series)),
                "nobody tells {series}"
            );
            let series = Metrics::parse(&format!("{series} 0"));
            for label in ["outcome", "reason", "result", "role"] {
                let existing = gate.label_values(label);
                let values = series.label_values(label);
                assert!(
                    values.iter().all(|value| existing.contains(value)),
                    "{series:?}"
                );
            }
            fed += 1;
        }
    }
    assert!(fed > 50, "{fed} series");
}

#[test]
fn rules_and_dashboard_know_every_outcome_and_reason_they_ask_for() {
    let exposition = metrics_of_the_gate();
    let gate = Metrics::parse(&exposition);
    let outcomes = gate.label_values("outcome");
    let reasons = gate.label_values("reason");
    let rules = shipped();
    let asked = rules
        .iter()
        .map(|rule| rule["query"].as_str().expect("a query").to_owned());
    let asked: Vec<_> = asked.chain(queries(&dashboard())).collect();
    let mut seen = 0;
    for query in &asked {
        for (label, known) in [("outcome", &outcomes), ("reason", &reasons)] {
            let matchers = [format!("{label}="), format!("{label}!~")];
            let matchers = matchers
                .iter()
                .flat_map(|matcher| query.match_indices(&**matcher));
            for (at, _) in matchers {
                let (_, matcher) = query.split_at(at);
                let quoted = matcher.split('"').nth(1).expect("a quoted value");
                for value in quoted.split('|') {
                    assert!(known.contains(&value), "{value}: {query}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "{asked:#?}");
}

#[test]
fn the_dashboard_takes_any_data_source_and_every_panel_shows_something() {
    let dashboard = dashboard();
    assert_eq!(
        dashboard["uid"],
        Value::Null,
        "importing it twice must not clash"
    );
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let names: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(names, ["datasource", "node", "route"]);
    assert_eq!(
        [&variables[0]["type"], &variables[0]["query"]],
        ["datasource", "prometheus"]
    );
    let (mut titles, mut lines) = (BTreeSet::new(), 0);
    for panel in panels(&dashboard) {
        assert!(
            titles.insert(panel["title"].as_str().expect("a title")),
            "twice: {panel:#}"
        );
        assert!(
            ["timeseries", "stat"]
                .iter()
                .any(|kind| panel["type"] == *kind),
            "{panel:#}"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{panel:#}");
        let targets = panel["targets"].as_array().expect("queries");
        let ids: BTreeSet<_> = targets
            .iter()
            .map(|target| target["refId"].as_str())
            .collect();
        assert!(
            !targets.is_empty() && ids.len() == targets.len(),
            "{panel:#}"
        );
        let sources = targets.iter().map(|target| &target["datasource"]);
        for source in sources.chain([&panel["datasource"]]) {
            assert_eq!(
                [&source["type"], &source["uid"]],
                ["prometheus", "${datasource}"],
                "{panel:#}"
            );
        }
        lines += targets.len();
    }
    assert!(titles.len() > 20 && lines > 25, "{titles:?}");
}

#[test]
fn the_panels_of_the_dashboard_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeMap::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{panel:#}"
        );
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel:#}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let before = taken.insert(cell, &panel["title"]);
            assert!(before.is_none(), "{} lies on {before:?}", panel["title"]);
        }
    }
}
