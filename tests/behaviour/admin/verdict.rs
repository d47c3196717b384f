//! `/status` says first how the gate is, and of each target when it was reached last and why it was not.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Ending;
use crate::support::eventually;
use crate::support::gate::{Gate, Setup};
use crate::support::pki::{Authority, Pki, temporary_folder, write};
use crate::support::target::{self, Nobody, Target};
use crate::support::volume::{Mounted, Rules, Writer, knock, list_params};

fn verdict(gate: &Gate) -> String {
    let status = gate.get("/status").body;
    let first = status.lines().nth(1).expect("a first field");
    assert!(first.starts_with("  \"verdict\": \""), "{status}");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["verdict"].as_str().expect("a sentence").to_owned()
}

/// Returns the verdict once it begins so.
fn wait_for(gate: &Gate, start: &str) -> String {
    eventually(start, || {
        Some(verdict(gate)).filter(|verdict| verdict.starts_with(start))
    })
}

/// A gate whose only list is stale from this moment on, or was before; it admits `good`.
fn with_list(until: SystemTime, setting: &str) -> (Mounted, Authority, Target<target::Ended>) {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.lists = vec!["ca.crl"];
    rules.tls = setting.to_owned();
    let mut list = list_params([]);
    list.this_update = (until - Duration::from_secs(3_600)).into();
    list.next_update = until.into();
    let list = ca.list(&list).pem().expect("PEM");
    let files = [("ca.crl", list.as_bytes())];
    let mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &files);
    (mounted, ca, target)
}

#[test]
fn a_list_that_goes_stale_is_the_verdict_until_there_is_a_newer_one() {
    let end = SystemTime::now() + Duration::from_secs(4);
    let (mut mounted, ca, _target) = with_list(end, "");
    assert_eq!(verdict(&mounted.gate), "serving");
    // No file changes and no timer runs.
    let told = wait_for(
        &mounted.gate,
        "serving, but every client is refused: the list of ",
    );
    let at = humantime::format_rfc3339_seconds(end).to_string();
    assert!(
        told.ends_with(&format!("clients is stale since {at}")),
        "{told}"
    );
    let client = mounted.client(&ca.client("good"));
    let heard = knock(mounted.gate.address(), &client).map(|_| ());
    assert!(matches!(heard, Err(Ending::Alert(_))), "{heard:?}");
    assert_eq!(mounted.gate.get("/readyz").status, 200, "as before");
    assert_eq!(mounted.gate.status()["phase"], "serving");
    let list = ca.revoking(&[]);
    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
    eventually("all is well", || {
        (verdict(&mounted.gate) == "serving").then_some(())
    });
    assert!(knock(mounted.gate.address(), &client).is_ok());
}

#[test]
fn a_stale_list_that_is_accepted_is_no_trouble() {
    let end = SystemTime::now() - Duration::from_secs(3_600);
    let (mounted, ca, _target) = with_list(end, "stale_crl = \"accept\"\n");
    mounted.gate.wait_until_ready();
    assert_eq!(verdict(&mounted.gate), "serving");
    let client = mounted.client(&ca.client("good"));
    assert!(knock(mounted.gate.address(), &client).is_ok());
}

#[test]
fn a_reload_that_fails_is_the_verdict_until_one_succeeds_unless_something_graver_is() {
    let end = SystemTime::now() + Duration::from_secs(3_600);
    let (mut mounted, ca, _target) = with_list(end, "");
    let good = mounted.mount.content("tls.key").to_vec();
    mounted.mount.update(&[("tls.key", b"nonsense")]);
    let told = wait_for(&mounted.gate, "serving; the last reload failed: ");
    assert!(told.contains("tls.key"), "{told}");
    assert!(
        told.ends_with("; still serving the previous configuration"),
        "{told}"
    );
    mounted.mount.update(&[("tls.key", &good)]);
    eventually("all is well", || {
        (verdict(&mounted.gate) == "serving").then_some(())
    });
    let session = knock(mounted.gate.address(), &mounted.client(&ca.client("good")));
    let _session = session.expect("it is admitted");
    mounted.gate.signal(Signal::TERM);
    assert_eq!(wait_for(&mounted.gate, "not ready"), "not ready: draining");
}

#[test]
fn a_target_is_shown_with_when_it_was_reached_last_and_why_it_was_not() {
    let pki = Pki::shared();
    let nobody = Nobody::new();
    let target = target::echo();
    let config = temporary_folder();
    let file = config.path().join("gate.toml");
    let route = |name: &str, target: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n\
             allow_any_client = true\n"
        )
    };
    let routes = route("up", &target.flag()) + &route("down", &nobody.address().to_string());
    write(&file, &routes);
    let gate = Setup::bare()
        .flag("--admin", "127.0.0.1:0")
        .credentials(&pki)
        .file(&file, 2)
        .start();
    let of = |name: &str| {
        let status: Value = serde_json::from_str(&gate.get("/status").body).expect("JSON");
        let routes = status["routes"].as_array().expect("routes");
        let route = routes.iter().find(|route| route["name"] == name);
        route.expect("the route").clone()
    };
    for name in ["up", "down"] {
        let route = of(name);
        for field in ["target_last_reached", "target_last_failure"] {
            assert!(route.get(field).is_some_and(Value::is_null), "{route:#}");
        }
    }
    let before = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    pki.client("one").connect(gate.route("up")).prove_admitted();
    assert!(
        pki.client("two")
            .connect(gate.route("down"))
            .ending()
            .is_a_cut()
    );
    let records = gate.records(2);
    let failed = |record: &&Value| record["outcome"] == "target_unreachable";
    let record = records.iter().find(failed).expect("its record");
    let (up, down) = (of("up"), of("down"));
    let since = |time: &Value| time.as_str().is_some_and(|time| time >= &*before);
    assert!(since(&up["target_last_reached"]), "{up:#}");
    assert!(up["target_last_failure"].is_null(), "{up:#}");
    assert!(down["target_last_reached"].is_null(), "{down:#}");
    let failure = &down["target_last_failure"];
    assert!(since(&failure["at"]), "{down:#}");
    assert_eq!(failure["reason"], record["reason"], "{down:#}");
}
