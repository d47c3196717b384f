//! What is not followed, and what log, metrics and status show of what is.

use super::*;

#[test]
fn what_is_near_its_end_is_told_once_for_as_long_as_it_lasts() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let rules = Rules::allowing(&target.flag(), &["good"]);
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &ca.pem, &[]);
    let day = Duration::from_secs(86_400);
    let mut params = server_params();
    params.not_before = (SystemTime::now() - 80 * day).into();
    params.not_after = (SystemTime::now() + 20 * day).into();
    let aged = mounted.servers.issue(params, &[]);
    replace_pair(&mut mounted.mount, &aged);
    let due = |record: &Value| record["event"] == "renewal_due";
    let told = mounted.gate.log.wait_for_record("a warning", due);
    assert_eq!(told["level"], "WARN", "{told}");
    let path = mounted.mount.path("tls.crt").display().to_string();
    assert!(text(&told, "message").contains(&path), "{told}");
    for number in 0..3 {
        mounted.gate.signal(Signal::HUP);
        mounted.gate.log.wait_for("a look", |records| {
            let looks = records.iter().filter(|r| r["event"] == "reload_unchanged");
            (looks.count() > number).then_some(())
        });
    }
    assert_eq!(events(&mounted.gate, "renewal_due").len(), 1);
}

#[test]
fn changed_listeners_and_targets_are_told_once_and_not_followed() {
    let ca = Authority::root("clients");
    let (target, other) = (target::echo(), target::echo());
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = "reload_interval = \"300ms\"\n".to_owned();
    let mut mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &[]);
    let address = mounted.gate.address();
    let (good, late) = (
        mounted.client(&ca.client("good")),
        mounted.client(&ca.client("late")),
    );
    rules.target = other.flag();
    rules.top.push_str("max_connections = 7\n");
    rules.route = allow(&["good", "late"]);
    let mut text_of_rules = rules.text(&mounted.mount);
    text_of_rules.push_str(
        "[[route]]\nname = \"more\"\nlisten = \"127.0.0.1:0\"\ntarget = \"127.0.0.1:1\"\nallow_any_client = true\n",
    );
    mounted
        .mount
        .update(&[("gate.toml", text_of_rules.as_bytes())]);
    let changed = Instant::now();
    soon("the rules are followed", changed, || {
        is_admitted(address, &late)
    });
    assert_eq!(other.accepts(), 0, "the target is not");
    // Three more looks at the same file.
    let looks = (0..3).map(|_| mounted.gate.signal(Signal::HUP));
    for (number, ()) in looks.enumerate() {
        mounted.gate.log.wait_for("a look", |records| {
            let looks = records.iter().filter(|r| r["event"] == "reload_unchanged");
            (looks.count() > number).then_some(())
        });
    }
    let told = events(&mounted.gate, "restart_needed");
    assert_eq!(
        told.len(),
        3,
        "route moved, route new, a setting: once each: {told:#?}"
    );
    assert!(
        told.iter()
            .all(|r| text(r, "message").contains("restart the gate")),
        "{told:#?}"
    );
    assert!(is_admitted(address, &good));
    assert_eq!(mounted.gate.reloads("failure"), 0);
}

#[test]
fn metrics_and_status_show_what_is_loaded() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &ca.pem, &[]);
    let client = mounted.client(&ca.client("good"));
    let next_update = "portcullis_crl_next_update_timestamp_seconds";
    let metrics = mounted.gate.metrics();
    assert!(!metrics.has(next_update, &[]));
    assert_eq!(metrics.value("portcullis_generation", &[]), 1.0);
    let loaded = metrics.value("portcullis_last_reload_success_timestamp_seconds", &[]);
    assert_eq!(mounted.gate.reloads("success"), 0);
    let since = text(&mounted.gate.status(), "since").to_owned();

    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is past 1970");
    let mut params = server_params();
    params.not_before =
        (SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() - 1_000)).into();
    params.not_after = (SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 5_000)).into();
    let server = mounted.servers.issue(params, &[]);
    let mut list = list_params([]);
    list.this_update = (SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() - 2_000)).into();
    list.next_update = (SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 7_000)).into();
    let list = ca.list(&list).pem().expect("PEM");
    rules.lists = vec!["ca.crl"];
    let text_of_rules = rules.text(&mounted.mount);
    mounted.mount.update(&[
        ("tls.crt", server.chain.as_bytes()),
        ("tls.key", server.key.as_bytes()),
        ("ca.crl", list.as_bytes()),
        ("gate.toml", text_of_rules.as_bytes()),
    ]);
    let metrics = mounted.gate.wait_for_metrics("generation two", |metrics| {
        metrics.value("portcullis_generation", &[]) == 2.0
    });
    assert_eq!(
        metrics.value(next_update, &[]),
        (now.as_secs() + 7_000) as f64
    );
    assert_eq!(
        metrics.value("portcullis_crl_this_update_timestamp_seconds", &[]),
        (now.as_secs() - 2_000) as f64
    );
    let not_after = "portcullis_certificate_not_after_timestamp_seconds";
    let role = [("role", "server")];
    assert_eq!(
        metrics.value(not_after, &role),
        (now.as_secs() + 5_000) as f64
    );
    assert!(metrics.has(not_after, &[("role", "client_ca")]));
    let not_before = "portcullis_certificate_not_before_timestamp_seconds";
    assert_eq!(
        metrics.value(not_before, &role),
        (now.as_secs() - 1_000) as f64
    );
    assert!(metrics.has(not_before, &[("role", "client_ca")]));
    let reloaded = metrics.value("portcullis_last_reload_success_timestamp_seconds", &[]);
    assert!(reloaded > loaded, "{loaded}, then {reloaded}");
    let status = mounted.gate.status();
    assert_eq!(status["generation"], 2);
    assert_eq!(status["certificate"]["serial"], server.serial());
    let file = mounted.mount.path("tls.crt").display().to_string();
    assert_eq!(status["certificate"]["file"], file);
    assert_eq!(status["client_crl"].as_array().map(Vec::len), Some(1));
    assert!(text(&status, "since") > &*since, "{status}");
    assert_eq!(mounted.served(&client), server.serial());
    assert_eq!(mounted.gate.records(1)[0]["generation"], 2);

    rules.lists.clear();
    mounted.rule(&rules);
    mounted
        .gate
        .wait_for_metrics("no list any more", |metrics| !metrics.has(next_update, &[]));
    assert_eq!(mounted.gate.status()["client_crl"], serde_json::json!([]));
}

#[test]
fn a_served_certificate_that_expires_makes_the_gate_unready_until_it_is_renewed() {
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    let mut params = server_params();
    params.not_after = (SystemTime::now() + LONGER_THAN_AN_UPDATE + SOON).into();
    let short = mounted.servers.issue(params, &[]);
    replace_pair(&mut mounted.mount, &short);
    mounted.gate.wait_for_generation_after(1);
    assert_eq!(mounted.gate.get("/readyz").status, 200);
    eventually("not ready", || {
        (mounted.gate.get("/readyz").status == 503).then_some(())
    });
    let body = mounted.gate.get("/readyz").body;
    assert!(body.contains("expired"), "{body}");
    assert_eq!(mounted.gate.get("/livez").status, 200);
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("ready again", changed, || {
        mounted.gate.get("/readyz").status == 200
    });
    assert_eq!(mounted.served(&client), server.serial());
}
