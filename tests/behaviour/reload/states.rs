//! What lasts is shown for as long as it lasts: as gauges and in `/status`, and told once in the log when it comes and
//! when it goes.

use std::net::TcpListener;

use serde_json::json;

use super::*;
use crate::support::http::Metrics;

const RESTART_NEEDED: &str = "portcullis_restart_needed";
const RELOAD_FAILING: &str = "portcullis_reload_failing";
const LEFT_OUT: &str = "portcullis_client_ca_left_out";
const UNSAFE_SETTINGS: &str = "portcullis_unsafe_settings";
const CRL_STALE: &str = "portcullis_crl_stale";
const TARGET_EXPOSED: &str = "portcullis_target_exposed";
const TRUST_INFO: &str = "portcullis_trust_info";
const DIGESTS: [&str; 4] = ["server", "client_ca", "client_crl", "rules"];

impl Mounted {
    fn wait_for(&self, gauge: &str, value: f64) -> Metrics {
        self.gate
            .wait_for_metrics(&format!("{gauge} is {value}"), |metrics| {
                metrics.value(gauge, &[]) == value
            })
    }
}

/// The digests that the metrics show; there is one series of them at all times.
fn digests(metrics: &Metrics) -> [String; 4] {
    assert_eq!(metrics.value(TRUST_INFO, &[]), 1.0);
    DIGESTS.map(|label| {
        let values: Vec<_> = metrics.label_values(label);
        assert_eq!(values.len(), 1, "{label}: {values:?}");
        values[0].to_owned()
    })
}

#[test]
fn every_lasting_state_is_a_series_from_the_start() {
    let (mounted, ..) = plain(Writer::Rename, "1h");
    let metrics = mounted.wait_for("portcullis_watching", 1.0);
    for gauge in [
        RESTART_NEEDED,
        RELOAD_FAILING,
        LEFT_OUT,
        UNSAFE_SETTINGS,
        CRL_STALE,
        "portcullis_limits_lowered",
    ] {
        assert!(metrics.has(gauge, &[]), "{gauge}");
        assert_eq!(metrics.value(gauge, &[]), 0.0, "{gauge}");
    }
    let route = [("route", "default")];
    assert!(metrics.has(TARGET_EXPOSED, &route));
    assert_eq!(digests(&metrics)[2], "none", "there is no list");
}

#[test]
fn a_setting_that_waits_for_a_restart_is_shown_until_it_is_taken_back() {
    let (mut mounted, _, target) = plain(Writer::Rename, "1h");
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules
        .top
        .push_str("idle_timeout = \"3m\"\nmax_connections = 7\n");
    mounted.rule(&rules);
    mounted.wait_for(RESTART_NEEDED, 1.0);
    let waiting = json!([
        { "setting": "max_connections", "running": "4096", "configured": "7" },
        { "setting": "idle_timeout", "running": "10m", "configured": "3m" },
    ]);
    assert_eq!(mounted.gate.status()["restart_needed"], waiting);
    let told = events(&mounted.gate, "restart_needed");
    for (field, value) in [
        ("setting", "idle_timeout"),
        ("running", "10m"),
        ("configured", "3m"),
    ] {
        assert_eq!(told[1][field], value);
    }
    let told: Vec<_> = told.iter().map(|record| text(record, "message")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("idle_timeout changed from 10m to 3m; restart the gate"));
    mounted.rule(&Rules::allowing(&target.flag(), &["good"]));
    mounted.wait_for(RESTART_NEEDED, 0.0);
    assert_eq!(mounted.gate.status()["restart_needed"], json!([]));
}

#[test]
fn a_reload_that_fails_is_shown_until_one_succeeds() {
    let (mut mounted, ..) = plain(Writer::Rename, "1h");
    assert_eq!(mounted.gate.status()["last_reload"]["result"], "success");
    let good = mounted.mount.content("tls.key").to_vec();
    mounted.mount.update(&[("tls.key", b"nonsense")]);
    mounted.wait_for(RELOAD_FAILING, 1.0);
    let last = &mounted.gate.status()["last_reload"];
    assert_eq!(last["result"], "failure", "{last}");
    assert!(text(last, "reason").contains("tls.key"), "{last}");
    mounted.mount.update(&[("tls.key", &good)]);
    mounted.wait_for(RELOAD_FAILING, 0.0);
    let status = mounted.gate.status();
    assert_eq!(status["last_reload"]["result"], "success", "{status:#}");
    assert_eq!(status["last_failure"], json!(null));
}

#[test]
fn a_weakening_that_comes_or_goes_by_a_reload_is_shown_and_told_once() {
    let (mut mounted, _, target) = plain(Writer::Rename, "1h");
    assert_eq!(mounted.gate.status()["unsafe_settings"], json!([]));
    let safe = Rules::allowing(&target.flag(), &["good"]);
    let mut weak = safe.clone();
    weak.tls = "allow_missing_eku = true\n".to_owned();
    weak.route = "allow_any_client = true\n".to_owned();
    mounted.rule(&weak);
    mounted.wait_for(UNSAFE_SETTINGS, 2.0);
    let settings = json!(["allow_missing_eku", "allow_any_client of route default"]);
    assert_eq!(mounted.gate.status()["unsafe_settings"], settings);
    weak.route = safe.route.clone();
    mounted.rule(&weak);
    mounted.wait_for(UNSAFE_SETTINGS, 1.0);
    mounted.rule(&safe);
    mounted.wait_for(UNSAFE_SETTINGS, 0.0);
    assert_eq!(mounted.gate.status()["unsafe_settings"], json!([]));
    let told = |event| {
        let told = events(&mounted.gate, event);
        let settings = told.iter().map(|record| text(record, "setting").to_owned());
        settings.collect::<Vec<_>>()
    };
    let [eku, any] = ["allow_missing_eku", "allow_any_client of route default"];
    assert_eq!(told("unsafe_setting"), [eku, any]);
    assert_eq!(told("unsafe_setting_gone"), [any, eku]);
}

#[test]
fn a_certificate_of_the_bundle_that_vouches_for_nobody_is_counted_and_named() {
    let (mut mounted, ..) = plain(Writer::Rename, "1h");
    let good = mounted.mount.content("ca.crt").to_vec();
    let leaf = mounted.servers.client("no-ca").chain;
    let bundle = [&*good, leaf.as_bytes()].concat();
    mounted.mount.update(&[("ca.crt", &bundle)]);
    mounted.wait_for(LEFT_OUT, 1.0);
    let status = mounted.gate.status();
    let named = status["client_ca_left_out"][0]
        .as_str()
        .expect("a sentence");
    assert!(named.contains("certificate 2 is left out"), "{named}");
    assert_eq!(status["client_ca"].as_array().map(Vec::len), Some(1));
    mounted.mount.update(&[("ca.crt", &good)]);
    mounted.wait_for(LEFT_OUT, 0.0);
    assert_eq!(mounted.gate.status()["client_ca_left_out"], json!([]));
}

#[test]
fn a_list_is_stale_from_the_second_in_which_its_life_ends() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.lists = vec!["ca.crl"];
    let mut list = list_params([]);
    list.next_update = (SystemTime::now() + Duration::from_secs(4)).into();
    let list = ca.list(&list).pem().expect("PEM");
    let files = [("ca.crl", list.as_bytes())];
    let mut mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &files);
    assert_eq!(mounted.gate.metrics().value(CRL_STALE, &[]), 0.0);
    assert_eq!(mounted.gate.status()["client_crl"][0]["stale"], false);
    // No file changes and no timer runs.
    mounted.wait_for(CRL_STALE, 1.0);
    assert_eq!(mounted.gate.status()["client_crl"][0]["stale"], true);
    let list = ca.revoking(&[]);
    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
    mounted.wait_for(CRL_STALE, 0.0);
}

#[test]
fn a_target_that_listens_beyond_loopback_is_told_and_shown_for_as_long_as_it_does() {
    let ca = Authority::root("clients");
    // Nobody talks to it: the gate sees that it is there.
    let open = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = open.local_addr().expect("it is bound").port();
    let mut rules = Rules::allowing(&format!("127.0.0.1:{port}"), &["good"]);
    rules.top = "reload_interval = \"100ms\"\n".to_owned();
    let mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &[]);
    mounted.wait_for(TARGET_EXPOSED, 1.0);
    let by = format!("0.0.0.0:{port}");
    let told = mounted
        .gate
        .log
        .wait_for_record("a warning", |record| record["event"] == "target_exposed");
    for part in [&*by, "--web.listen-address=127.0.0.1:", "\"default\""] {
        assert!(text(&told, "message").contains(part), "{part}: {told}");
    }
    assert_eq!(mounted.gate.status()["routes"][0]["target_exposed_by"], by);
    let config = mounted.mount.path("gate.toml").display().to_string();
    let mut check = Command::new(crate::support::gate::PORTCULLIS);
    let check = check.args(["check", "--config", &config]).output();
    let said = String::from_utf8_lossy(&check.expect("it runs").stdout).into_owned();
    assert!(said.contains(&by), "{said}");
    drop(open);
    mounted.wait_for(TARGET_EXPOSED, 0.0);
    let status = mounted.gate.status();
    assert_eq!(status["routes"][0]["target_exposed_by"], json!(null));
    mounted
        .gate
        .log
        .wait_for_record("its end", |record| record["event"] == "target_hidden");
    assert_eq!(events(&mounted.gate, "target_exposed").len(), 1);
}

#[test]
fn gates_that_have_the_same_have_the_same_digests() {
    let [one, two] = ["one", "two"].map(Authority::root);
    let target = target::echo();
    let rules = |names: &[&str]| {
        let mut rules = Rules::allowing(&target.flag(), names);
        rules.lists = vec!["a.crl", "b.crl"];
        rules
    };
    let lists = [one.revoking(&[]), two.revoking(&[])];
    let start = |names: &[&str], [first, second]: [&Authority; 2], [a, b]: [&String; 2]| {
        let bundle = [&*first.pem, &*second.pem].concat();
        let files = [("a.crl", a.as_bytes()), ("b.crl", b.as_bytes())];
        Mounted::start(Writer::Rename, &rules(names), &bundle, &files)
    };
    let [a, b] = &lists;
    let mut here = start(&["x", "y"], [&one, &two], [a, b]);
    let there = start(&["y", "x"], [&two, &one], [b, a]);
    let (this, that) = (
        digests(&here.gate.metrics()),
        digests(&there.gate.metrics()),
    );
    assert_eq!(this[1..], that[1..], "no order matters");
    assert_ne!(this[0], that[0], "each has a certificate of its own");
    assert!(this.iter().all(|digest| digest.len() == 12), "{this:?}");
    let status = here.gate.status();
    let shown = DIGESTS.map(|label| status["trust_info"][label].as_str().unwrap_or_default());
    assert_eq!(shown, this.each_ref().map(String::as_str));

    // What the documentation tells operators to run.
    let path = |name: &str| here.mount.path(name).display().to_string();
    let bundle = [one.pem.clone(), two.pem.clone(), one.pem.clone()].concat();
    write(&here.mount.elsewhere().join("bundle"), &bundle);
    write(&here.mount.elsewhere().join("lists"), &lists.concat());
    let elsewhere = |name: &str| here.mount.elsewhere().join(name).display().to_string();
    assert_eq!(by_hand(&path("tls.crt"), "CERTIFICATE", "x509"), this[0]);
    assert_eq!(
        by_hand(&elsewhere("bundle"), "CERTIFICATE", "x509"),
        this[1]
    );
    assert_eq!(by_hand(&elsewhere("lists"), "X509 CRL", "crl"), this[2]);
    let lines = "allow_missing_eku false\ndefault allow dns:x.test\ndefault allow dns:y.test\nstale_crl refuse\n\
                 tls_min 1.3\n";
    let sum = format!("printf '{lines}' | sha256sum | cut -c1-12");
    assert_eq!(shell(&sum), this[3]);
    // And the command that does it for them.
    let config = path("gate.toml");
    let mut check = Command::new(crate::support::gate::PORTCULLIS);
    let check = check.args(["check", "--config", &config]).output();
    let said = String::from_utf8_lossy(&check.expect("it runs").stdout).into_owned();
    for digest in &this {
        assert!(said.contains(digest), "{digest} in {said}");
    }

    here.rule(&rules(&["x"]));
    let changed = here.gate.wait_for_metrics("the rules changed", |metrics| {
        metrics.label_values("rules") != [&*this[3]]
    });
    assert_eq!(digests(&changed)[..3], this[..3]);
}

/// The recipe of docs/observability.md.
fn by_hand(file: &str, label: &str, command: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let docs = fs::read_to_string(docs).expect("it is there");
    let recipe = docs.split("```sh\ndigest()").nth(1).expect("the recipe");
    let recipe = recipe.split("```").next().expect("its end");
    let function: Vec<_> = recipe.lines().take_while(|line| *line != "}").collect();
    let function = format!("digest(){}\n}}", function.join("\n"));
    shell(&format!("{function}\ndigest '{file}' '{label}' {command}"))
}

fn shell(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output();
    let done = done.expect("there is a shell");
    assert!(done.status.success(), "{script}: {done:?}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
