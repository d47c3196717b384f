//! One generation at a time: certificate, key, CAs, revocation lists and rules change together or not at all, within
//! a second of the change where the kernel reports it, else within `--reload-interval`. A bad set is refused, counted,
//! logged and retried while the last good one serves on, and nobody who is admissible notices any of it.

mod bad;
mod lists;
mod load;
mod prometheus;
mod shown;
mod states;
mod torn;
mod watch;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use rustls::{AlertDescription, ClientConfig};
use serde_json::Value;

use crate::support::client::Ending;
use crate::support::gate::Gate;
use crate::support::pki::{
    Authority, authority_params, client_params, dns, server_params, temporary_folder, write,
};
use crate::support::target::{self, Target};
use crate::support::volume::{
    Identity, Mount, Mounted, Rules, Writer, allow, knock, list_params, presented,
};
use crate::support::{eventually, pattern};

/// The promise is one second (docs/rotation.md); the rest is for a machine that is busy with other work.
const SOON: Duration = Duration::from_secs(3);
/// Longer than an update that is seen half-way is waited for.
const LONGER_THAN_AN_UPDATE: Duration = Duration::from_secs(2);

/// What one writer waits between two steps: shorter than the gate waits, longer than it takes to look.
const GAP: Duration = Duration::from_millis(150);

fn pause() {
    std::thread::sleep(GAP);
}

/// Returns once this is so, which must be soon after `since`.
fn soon(what: &str, since: Instant, mut is: impl FnMut() -> bool) {
    eventually(what, || is().then_some(()));
    let took = since.elapsed();
    println!("{what}: {took:?}");
    assert!(took < SOON, "{what} took {took:?}");
}

fn is_admitted(address: SocketAddr, client: &Arc<ClientConfig>) -> bool {
    knock(address, client).is_ok()
}

fn is_refused(address: SocketAddr, client: &Arc<ClientConfig>, alert: AlertDescription) -> bool {
    match knock(address, client) {
        Ok(_) => false,
        Err(ending) => ending == Ending::Alert(alert),
    }
}

/// The records of an event.
fn events(gate: &Gate, event: &str) -> Vec<Value> {
    let mut records = gate.log.records();
    records.retain(|record| record["event"] == event);
    records
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

#[test]
fn every_kind_of_change_by_every_kind_of_writer_takes_effect_at_once() {
    for writer in Writer::SEEN {
        all_changes(writer, |_| ());
    }
}

#[test]
fn a_hangup_signal_takes_up_changes_that_no_watch_reports() {
    all_changes(Writer::Unseen, |gate| gate.signal(Signal::HUP));
}

/// Certificate and key, then the CAs, then the revocation list, then the rules, each alone.
fn all_changes(writer: Writer, after: impl Fn(&Gate)) {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let (good, revoked) = (ours.client("good"), ours.client("revoked"));
    let (late, foreign) = (ours.client("late"), theirs.client("foreign"));
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good", "revoked", "foreign"]);
    rules.lists = vec!["ca.crl"];
    let list = ours.revoking(&[]);
    let mut mounted = Mounted::start(writer, &rules, &ours.pem, &[("ca.crl", list.as_bytes())]);
    let address = mounted.gate.address();
    let [good, revoked, late, foreign] =
        [good, revoked, late, foreign].map(|identity| (mounted.client(&identity), identity));
    assert!(is_admitted(address, &good.0) && is_admitted(address, &revoked.0));
    assert!(is_refused(address, &foreign.0, AlertDescription::UnknownCA));
    assert!(is_refused(address, &late.0, AlertDescription::AccessDenied));
    let since_change = |what: &str, is: &dyn Fn(&Mounted) -> bool, mounted: &Mounted| {
        let changed = Instant::now();
        after(&mounted.gate);
        soon(&format!("{writer:?}: {what}"), changed, || is(mounted));
    };

    let before = mounted.served(&good.0);
    let server = mounted.servers.server();
    let pair = [
        ("tls.crt", server.chain.as_bytes()),
        ("tls.key", server.key.as_bytes()),
    ];
    mounted.mount.update(&pair);
    let new = |mounted: &Mounted| mounted.served(&good.0) == server.serial();
    since_change("certificate and key", &new, &mounted);

    let bundle = [&*ours.pem, &*theirs.pem].concat();
    mounted.mount.update(&[("ca.crt", bundle.as_bytes())]);
    // Known now, but no list speaks for it yet: the same alert for another reason.
    let known = |mounted: &Mounted| {
        assert!(!is_admitted(address, &foreign.0));
        let refused = events(&mounted.gate, "connection");
        refused
            .iter()
            .any(|r| text(r, "reason").contains("no revocation list"))
    };
    since_change("the CA", &known, &mounted);

    let lists = [ours.revoking(&[&revoked.1]), theirs.revoking(&[])].concat();
    mounted.mount.update(&[("ca.crl", lists.as_bytes())]);
    let listed =
        |_: &Mounted| is_refused(address, &revoked.0, AlertDescription::CertificateRevoked);
    since_change("the revocation list", &listed, &mounted);
    assert!(is_admitted(address, &foreign.0) && is_admitted(address, &good.0));

    rules.route = allow(&["good", "late"]);
    mounted.rule(&rules);
    let allowed = |_: &Mounted| is_admitted(address, &late.0);
    since_change("the rules", &allowed, &mounted);
    assert!(is_refused(
        address,
        &foreign.0,
        AlertDescription::AccessDenied
    ));

    assert_eq!(
        mounted.gate.generation(),
        5,
        "one generation for each change"
    );
    assert_eq!(mounted.gate.reloads("success"), 4);
    assert_eq!(mounted.gate.reloads("failure"), 0);
    let told = events(&mounted.gate, "reloaded");
    let told: Vec<_> = told.iter().map(|record| text(record, "changes")).collect();
    let [certificate, bundle, list, rule] = &*told else {
        panic!("one for each change: {told:#?}");
    };
    for serial in [before, server.serial()] {
        assert!(certificate.contains(&serial), "{certificate}");
    }
    assert_eq!(certificate.lines().count(), 1, "{certificate}");
    assert!(
        bundle.starts_with("client_ca: added ") && bundle.contains("CN=theirs"),
        "{bundle}"
    );
    assert_eq!(bundle.lines().count(), 1, "{bundle}");
    for change in ["added", "removed"] {
        assert!(
            list.contains(&format!("client_crl: {change} ")) && list.contains(", number "),
            "{list}"
        );
    }
    let expected = [
        "rules: added default allow dns:late.test",
        "rules: removed default allow dns:foreign.test",
        "rules: removed default allow dns:revoked.test",
    ];
    assert_eq!(rule.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_hangup_signal_without_a_change_says_that_nothing_changed() {
    let (mounted, client, _target) = plain(Writer::Kubelet, "1h");
    mounted.gate.signal(Signal::HUP);
    let unchanged = |record: &Value| record["event"] == "reload_unchanged";
    mounted
        .gate
        .log
        .wait_for_record("an answer to SIGHUP", unchanged);
    assert_eq!(mounted.gate.generation(), 1);
    assert!(is_admitted(mounted.gate.address(), &client));
}

#[test]
fn files_that_are_written_again_as_they_were_make_no_generation() {
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    for _ in 0..10 {
        mounted.mount.update(&[]);
    }
    // The first change after them is generation two.
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    eventually("the new certificate", || {
        (mounted.served(&client) == server.serial()).then_some(())
    });
    assert_eq!(mounted.gate.generation(), 2);
    assert_eq!(mounted.gate.reloads("success"), 1);
}

/// A gate that admits one client, that client, and the target.
fn plain(writer: Writer, interval: &str) -> (Mounted, Arc<ClientConfig>, Target<target::Ended>) {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = format!("reload_interval = \"{interval}\"\n");
    let mounted = Mounted::start(writer, &rules, &ca.pem, &[]);
    let client = mounted.client(&ca.client("good"));
    (mounted, client, target)
}

fn replace_pair(mount: &mut Mount, server: &Identity) {
    mount.update(&[
        ("tls.crt", server.chain.as_bytes()),
        ("tls.key", server.key.as_bytes()),
    ]);
}
