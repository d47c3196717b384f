//! One generation at a time: certificate, key, CAs, revocation lists and rules change together or not at all, within
//! a second of the change where the kernel reports it, else within `--reload-interval`. A bad set is refused, counted,
//! logged and retried while the last good one serves on, and nobody who is admissible notices any of it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use rustls::{AlertDescription, ClientConfig};
use serde_json::Value;

use crate::support::client::Ending;
use crate::support::gate::Gate;
use crate::support::peers::Server;
use crate::support::pki::{
    Authority, SERVER_NAME, authority_params, client_params, dns, server_params, temporary_folder,
    write,
};
use crate::support::target::{self, Target};
use crate::support::volume::{
    Identity, Mount, Mounted, Rules, Writer, allow, knock, list_params, presented,
};
use crate::support::{eventually, http, pattern};

/// The contract says one second; the rest is for a machine that is busy with other work.
const SOON: Duration = Duration::from_secs(3);
/// Longer than an update that is seen half-way is waited for.
const LONGER_THAN_AN_UPDATE: Duration = Duration::from_secs(2);

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

// ---- what changes, and how ----

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
    assert_eq!(events(&mounted.gate, "reloaded").len(), 4);
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

// ---- many changes, and changes seen half-way ----

#[test]
fn a_storm_of_swaps_ends_at_the_last_one_and_nobody_notices() {
    const SWAPS: u32 = 1_000;
    const EVERY: Duration = Duration::from_millis(10);
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    let address = mounted.gate.address();
    let servers: Vec<_> = (0..20).map(|_| mounted.servers.server()).collect();
    let last = mounted.servers.server();
    let descriptors = mounted.gate.descriptors();
    let over = AtomicBool::new(false);
    let scrapes = AtomicUsize::new(0);
    let (changed, took) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let mut connection = knock(address, &client).expect("no scrape fails");
                connection.finish();
                assert_eq!(connection.ending(), Ending::Clean);
                scrapes.fetch_add(1, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        for number in 1..SWAPS {
            replace_pair(
                &mut mounted.mount,
                &servers[number as usize % servers.len()],
            );
            // The pace of the storm.
            let next = began + EVERY * number;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        replace_pair(&mut mounted.mount, &last);
        let changed = Instant::now();
        let took = began.elapsed();
        over.store(true, Ordering::SeqCst);
        (changed, took)
    });
    soon("the last of the storm", changed, || {
        mounted.served(&client) == last.serial()
    });
    let (good, bad) = (
        mounted.gate.reloads("success"),
        mounted.gate.reloads("failure"),
    );
    let scrapes = scrapes.load(Ordering::SeqCst);
    println!("{SWAPS} swaps in {took:?}: {good} reloads, {bad} failures, {scrapes} scrapes");
    assert_eq!(bad, 0);
    assert!(good <= took.as_secs() * 20 + 20, "{good} reloads");
    assert!(scrapes > 0);
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors + 2).then_some(())
    });
}

/// How a writer that does not replace files as one goes about it: each step, and a pause after each.
type Steps = fn(&Mount, &Identity);

/// Shorter than the gate waits, longer than it takes to look.
const GAP: Duration = Duration::from_millis(150);

fn put(mount: &Mount, name: &str, content: &str) {
    write(&mount.path(name), content);
}

fn pause() {
    std::thread::sleep(GAP);
}

const TORN: [(&str, Steps); 6] = [
    ("the key before the certificate", |mount, server| {
        put(mount, "tls.key", &server.key);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    ("the certificate before the key", |mount, server| {
        put(mount, "tls.crt", &server.chain);
        pause();
        put(mount, "tls.key", &server.key);
    }),
    ("both empty at first", |mount, server| {
        put(mount, "tls.crt", "");
        put(mount, "tls.key", "");
        pause();
        put(mount, "tls.crt", &server.chain);
        pause();
        put(mount, "tls.key", &server.key);
    }),
    ("half a certificate at first", |mount, server| {
        put(mount, "tls.key", &server.key);
        put(mount, "tls.crt", &server.chain[..server.chain.len() / 2]);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    ("files that are gone for a while", |mount, server| {
        fs::remove_file(mount.path("tls.crt")).expect("it is there");
        fs::remove_file(mount.path("tls.key")).expect("it is there");
        pause();
        put(mount, "tls.key", &server.key);
        pause();
        put(mount, "tls.crt", &server.chain);
    }),
    (
        "the certificate removed, the key rewritten",
        |mount, server| {
            fs::remove_file(mount.path("tls.crt")).expect("it is there");
            put(mount, "tls.key", &server.key);
            pause();
            put(mount, "tls.crt", &server.chain);
        },
    ),
];

#[test]
fn an_update_that_is_seen_half_way_is_waited_out() {
    for (what, steps) in TORN {
        let (mounted, client, _target) = plain(Writer::Rewrite, "1h");
        let address = mounted.gate.address();
        let (old, new) = (mounted.served(&client), mounted.servers.server());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // A certificate with the wrong key would fail the handshake.
                    let connection = knock(address, &client).expect("never a mixed pair");
                    let served = presented(&connection);
                    assert!(served == old || served == new.serial(), "{what}: {served}");
                }
            });
            steps(&mounted.mount, &new);
            let changed = Instant::now();
            soon(what, changed, || mounted.served(&client) == new.serial());
            over.store(true, Ordering::SeqCst);
        });
        assert_eq!(mounted.gate.reloads("failure"), 0, "{what}");
        assert_eq!(mounted.gate.generation(), 2, "{what}");
    }
}

// ---- bad files ----

/// A bad set of files: what changes, and what the reason must say.
struct Bad {
    what: &'static str,
    changes: Vec<(&'static str, Vec<u8>)>,
    file: &'static str,
    reason: &'static str,
    remedy: &'static str,
}

fn bad_sets(servers: &Authority, clients: &Authority, rules: &str) -> Vec<Bad> {
    let bad = |what, name, content: Vec<u8>, reason, remedy| Bad {
        what,
        changes: vec![(name, content)],
        file: name,
        reason,
        remedy,
    };
    let past = |days: u64| (SystemTime::now() - Duration::from_secs(days * 86_400)).into();
    let mut expired = server_params();
    (expired.not_before, expired.not_after) = (past(3), past(1));
    let expired = servers.issue(expired, &[]);
    let mut old_ca = authority_params("an expired CA");
    (old_ca.not_before, old_ca.not_after) = (past(3), past(1));
    let old_ca = Authority::root_from(old_ca);
    let stranger = Authority::root("a stranger");
    let forger = Authority::root("clients");
    let not_a_ca = clients.client("no CA");
    let garbage = || b"-----BEGIN CERTIFICATE-----\nnonsense\n".to_vec();
    vec![
        bad(
            "garbage for a certificate",
            "tls.crt",
            garbage(),
            "cut short",
            "PEM",
        ),
        bad(
            "text for a certificate",
            "tls.crt",
            b"hello".to_vec(),
            "no PEM block",
            "leaf first",
        ),
        bad(
            "garbage for a key",
            "tls.key",
            b"hello".to_vec(),
            "no PEM block",
            "put the PEM key",
        ),
        bad(
            "another key",
            "tls.key",
            servers.server().key.into_bytes(),
            "does not belong",
            "same issue",
        ),
        Bad {
            what: "an expired certificate",
            changes: vec![
                ("tls.crt", expired.chain.into_bytes()),
                ("tls.key", expired.key.into_bytes()),
            ],
            file: "tls.crt",
            reason: "expired at",
            remedy: "renew it",
        },
        bad(
            "an empty certificate",
            "tls.crt",
            Vec::new(),
            "empty",
            "update",
        ),
        bad(
            "an empty CA bundle",
            "ca.crt",
            Vec::new(),
            "empty",
            "update",
        ),
        bad(
            "a CA bundle of text",
            "ca.crt",
            b"# no CA yet\n".to_vec(),
            "no PEM block",
            "vouch",
        ),
        bad(
            "a CA bundle of expired CAs",
            "ca.crt",
            old_ca.pem.clone().into_bytes(),
            "no CA in the bundle",
            "put a valid CA",
        ),
        bad(
            "a CA bundle without a CA",
            "ca.crt",
            not_a_ca.chain.into_bytes(),
            "is not a CA",
            "put a valid CA",
        ),
        bad(
            "a list of an unknown CA",
            "ca.crl",
            stranger.revoking(&[]).into_bytes(),
            "no CA of the bundle",
            "add that CA",
        ),
        bad(
            "a list that the CA did not sign",
            "ca.crl",
            forger.revoking(&[]).into_bytes(),
            "did not sign it",
            "issue it again",
        ),
        bad(
            "a list of garbage",
            "ca.crl",
            b"hello".to_vec(),
            "no PEM block",
            "revocation list",
        ),
        bad(
            "DER garbage",
            "ca.crl",
            vec![0x30, 3, 1, 2, 3],
            "cannot be parsed",
            "again",
        ),
        bad(
            "a configuration that is no TOML",
            "gate.toml",
            [rules, "\n[[route\n"].concat().into_bytes(),
            "gate.toml",
            "",
        ),
        bad(
            "a configuration with an unknown key",
            "gate.toml",
            [rules, "\nalow_from = []\n"].concat().into_bytes(),
            "alow_from",
            "",
        ),
        bad(
            "rules that allow nobody",
            "gate.toml",
            rules
                .replace("allow = { dns = [\"good.test\"] }", "")
                .into_bytes(),
            "allow",
            "",
        ),
    ]
}

#[test]
fn a_bad_set_is_refused_counted_and_told_once_while_the_last_good_one_serves_on() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let count = bad_sets(&servers, &clients, "").len();
    // Each has a gate of its own; most of the time is spent waiting.
    for some in (0..count).collect::<Vec<_>>().chunks(6) {
        std::thread::scope(|scope| {
            for number in some {
                scope.spawn(move || bad_set(*number));
            }
        });
    }
}

fn bad_set(number: usize) {
    let clients = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = "reload_interval = \"500ms\"\n".to_owned();
    rules.lists = vec!["ca.crl"];
    let list = clients.revoking(&[]);
    let lists = [("ca.crl", list.as_bytes())];
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &clients.pem, &lists);
    let client = mounted.client(&clients.client("good"));
    let text_of_rules = rules.text(&mounted.mount);
    let bad = bad_sets(&mounted.servers, &clients, &text_of_rules).remove(number);
    let what = bad.what;
    let served = mounted.served(&client);
    let names: Vec<&str> = bad.changes.iter().map(|(name, _)| *name).collect();
    let good: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (*name, mounted.mount.content(name).to_vec()))
        .collect();

    let changes: Vec<(&str, &[u8])> = bad.changes.iter().map(|(n, c)| (*n, &**c)).collect();
    mounted.mount.update(&changes);
    eventually(what, || {
        (mounted.gate.reloads("failure") >= 3).then_some(())
    });
    assert_eq!(mounted.served(&client), served, "{what}");
    assert_eq!(mounted.gate.generation(), 1, "{what}");
    let told = events(&mounted.gate, "reload_failed");
    assert_eq!(
        told.len(),
        1,
        "{what}: told once for three attempts: {told:#?}"
    );
    assert_eq!(told[0]["level"], "WARN", "{what}");
    let reason = text(&told[0], "reason");
    let path = mounted.mount.path(bad.file).display().to_string();
    for part in [&*path, bad.reason, bad.remedy] {
        assert!(reason.contains(part), "{what}: {part:?} in {reason:?}");
    }
    println!("{what}: {reason}");
    let status = mounted.gate.status();
    assert_eq!(status["last_failure"]["reason"], reason, "{what}");
    assert_ne!(text(&status["last_failure"], "since"), "", "{what}");
    assert_eq!(mounted.gate.get("/readyz").status, 200, "{what}");

    // The old files again: nothing to publish, and nothing wrong any more.
    let good: Vec<(&str, &[u8])> = good.iter().map(|(n, c)| (*n, &**c)).collect();
    mounted.mount.update(&good);
    eventually(&format!("{what}: recovered"), || {
        mounted.gate.status()["last_failure"]
            .is_null()
            .then_some(())
    });
    assert_eq!(mounted.gate.generation(), 1, "{what}");
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon(what, changed, || mounted.served(&client) == server.serial());
    assert_eq!(mounted.gate.generation(), 2, "{what}");
}

#[test]
fn another_reason_is_told_again_and_so_is_the_same_one_after_a_success() {
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "500ms");
    let key = mounted.mount.content("tls.key").to_vec();
    let fail = |mounted: &mut Mounted, content: &[u8], times: usize| {
        mounted.mount.update(&[("tls.key", content)]);
        mounted.gate.log.wait_for("a failure", |records| {
            let failed = records.iter().filter(|r| r["event"] == "reload_failed");
            (failed.count() >= times).then_some(())
        });
    };
    fail(&mut mounted, b"hello", 1);
    fail(&mut mounted, b"", 2);
    mounted.mount.update(&[("tls.key", &key)]);
    eventually("recovered", || {
        mounted.gate.status()["last_failure"]
            .is_null()
            .then_some(())
    });
    fail(&mut mounted, b"hello", 3);
    assert!(is_admitted(mounted.gate.address(), &client));
}

// ---- when the kernel says nothing ----

#[test]
fn a_folder_that_is_replaced_by_another_is_still_followed() {
    let (mut mounted, client, _target) = plain(Writer::Rewrite, "1s");
    let server = mounted.servers.server();
    let (root, aside) = (
        mounted.mount.root(),
        mounted.mount.elsewhere().join("aside"),
    );
    fs::rename(&root, &aside).expect("it can be moved");
    fs::create_dir(&root).expect("the name is free");
    for name in ["tls.crt", "tls.key", "ca.crt", "gate.toml"] {
        fs::copy(aside.join(name), root.join(name)).expect("it is there");
    }
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a new folder", changed, || {
        mounted.served(&client) == server.serial()
    });
    // And what changes in the new folder is seen as before.
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a change in it", changed, || {
        mounted.served(&client) == server.serial()
    });
}

#[test]
fn a_folder_that_was_gone_for_a_moment_is_watched_again_without_the_timer() {
    let (mut mounted, client, _target) = plain(Writer::Rewrite, "1h");
    let (root, aside) = (
        mounted.mount.root(),
        mounted.mount.elsewhere().join("aside"),
    );
    let made = mounted.mount.elsewhere().join("made");
    fs::create_dir(&made).expect("the name is free");
    let server = mounted.servers.server();
    for name in ["ca.crt", "gate.toml"] {
        fs::copy(root.join(name), made.join(name)).expect("it is there");
    }
    write(&made.join("tls.crt"), &server.chain);
    write(&made.join("tls.key"), &server.key);
    fs::rename(&root, &aside).expect("it can be moved");
    pause();
    pause();
    fs::rename(&made, &root).expect("it can be moved");
    let changed = Instant::now();
    soon("a new folder", changed, || {
        mounted.served(&client) == server.serial()
    });
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a change in it", changed, || {
        mounted.served(&client) == server.serial()
    });
}

#[test]
fn what_changes_right_after_the_start_is_not_missed() {
    for _ in 0..5 {
        let (mut mounted, client, _target) = plain(Writer::Rename, "1h");
        let server = mounted.servers.server();
        replace_pair(&mut mounted.mount, &server);
        let changed = Instant::now();
        soon("an early change", changed, || {
            mounted.served(&client) == server.serial()
        });
    }
}

#[test]
fn a_file_that_is_named_from_now_on_is_watched_as_well() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    let mut mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &[]);
    let good = ca.client("good");
    let client = mounted.client(&good);
    let address = mounted.gate.address();
    let folder = temporary_folder();
    let list = folder.path().join("ca.crl");
    write(&list, &ca.revoking(&[]));
    rules.tls = format!("client_crl = [{:?}]\n", list.display().to_string());
    mounted.rule(&rules);
    mounted.gate.wait_for_generation_after(1);
    assert!(is_admitted(address, &client));
    write(&list, &ca.revoking(&[&good]));
    let changed = Instant::now();
    soon("a new file", changed, || {
        is_refused(address, &client, AlertDescription::CertificateRevoked)
    });
}

#[test]
fn the_timer_finds_what_no_watch_reports() {
    let (mut mounted, client, _target) = plain(Writer::Unseen, "1s");
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("the timer", changed, || {
        mounted.served(&client) == server.serial()
    });
    assert_eq!(mounted.gate.reloads("failure"), 0);
}

#[test]
fn where_inotify_cannot_be_had_the_timer_does_and_the_log_says_so() {
    const WRAPPER: [&str; 7] = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"",
        "sh",
    ];
    let mut probe = Command::new(WRAPPER[0]);
    if !probe
        .args(&WRAPPER[1..])
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("skipped: this system gives no user namespace with a limit of its own");
        return;
    }
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = "reload_interval = \"1s\"\n".to_owned();
    let mut mounted = Mounted::start_with(Writer::Kubelet, &rules, &ca.pem, &[], |setup| {
        setup.under(&WRAPPER)
    });
    let client = mounted.client(&ca.client("good"));
    for _ in 0..2 {
        let server = mounted.servers.server();
        replace_pair(&mut mounted.mount, &server);
        let changed = Instant::now();
        soon("without inotify", changed, || {
            mounted.served(&client) == server.serial()
        });
    }
    assert_eq!(mounted.gate.watches(), 0);
    assert_eq!(events(&mounted.gate, "not_watching").len(), 1, "told once");
}

// ---- under load ----

#[test]
fn two_hundred_reloads_fail_no_connection_and_change_no_byte() {
    under_load(200);
}

fn under_load(reloads: usize) {
    const CLIENTS: usize = 50;
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.lists = vec!["ca.crl"];
    let lists = [
        [ours.revoking(&[]), theirs.revoking(&[])].concat(),
        [ours.revoking(&[&ours.client("bad")]), theirs.revoking(&[])].concat(),
    ];
    let bundles = [
        [&*ours.pem, &*theirs.pem].concat(),
        [&*theirs.pem, &*ours.pem].concat(),
    ];
    let first = [("ca.crl", lists[0].as_bytes())];
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &bundles[0], &first);
    let address = mounted.gate.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let authority = if number % 2 == 0 { &ours } else { &theirs };
            mounted.client(&authority.client("good"))
        })
        .collect();
    let servers: Vec<_> = (0..10).map(|_| mounted.servers.server()).collect();
    let descriptors = mounted.gate.descriptors();
    let watches = mounted.gate.watches();
    let over = AtomicBool::new(false);
    let (sessions, exchanges) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let exchange = |connection: &mut crate::support::client::Connection, seed: usize| {
        let bytes = pattern(20_000, seed as u64);
        connection.send(&bytes);
        assert!(connection.receive(bytes.len()) == bytes, "wrong bytes");
        exchanges.fetch_add(1, Ordering::SeqCst);
    };
    let began = Instant::now();
    let mut warm = 0;
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            let (over, sessions, exchange) = (&over, &sessions, &exchange);
            scope.spawn(move || {
                let mut round = number;
                // Half of them connect anew for every exchange, half hold one session for all.
                let holds = number % 4 < 2;
                while !over.load(Ordering::SeqCst) {
                    let mut connection = knock(address, client).expect("nobody is refused");
                    sessions.fetch_add(1, Ordering::SeqCst);
                    exchange(&mut connection, round);
                    while holds && !over.load(Ordering::SeqCst) {
                        round += 1;
                        exchange(&mut connection, round);
                        // Holding is the point, not throughput.
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    connection.finish();
                    assert_eq!(connection.ending(), Ending::Clean);
                }
            });
        }
        for number in 0..reloads {
            let generation = mounted.gate.generation();
            let server = &servers[number % servers.len()];
            match number % 4 {
                0 => replace_pair(&mut mounted.mount, server),
                1 => {
                    let bundle = &bundles[(number / 4 + 1) % 2];
                    mounted.mount.update(&[("ca.crt", bundle.as_bytes())]);
                }
                2 => {
                    let list = &lists[(number / 4 + 1) % 2];
                    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
                }
                _ => {
                    rules.route = allow(&["good", ["one", "other"][number / 4 % 2]]);
                    mounted.rule(&rules);
                }
            }
            mounted.gate.wait_for_generation_after(generation);
            if number == reloads / 4 {
                warm = mounted.gate.resident();
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let took = began.elapsed();
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    let records = events(&mounted.gate, "connection");
    assert!(
        records.iter().all(|r| r["outcome"] == "relayed"),
        "{:#?}",
        records[0]
    );
    let resident = mounted.gate.resident();
    println!(
        "{reloads} reloads in {took:?}: {} sessions, {} exchanges; {warm} KiB when warm, {resident} KiB after",
        sessions.load(Ordering::SeqCst),
        exchanges.load(Ordering::SeqCst),
    );
    assert_eq!(mounted.gate.reloads("success"), reloads as u64);
    assert_eq!(mounted.gate.reloads("failure"), 0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors).then_some(())
    });
    assert_eq!(mounted.gate.watches(), watches);
    assert!(
        resident < warm + warm / 4 + 4_096,
        "{warm} KiB grew to {resident} KiB"
    );
}

#[test]
fn reloads_leak_no_memory_no_descriptor_and_no_watch() {
    // `make soak` asks for ten thousand.
    let reloads = std::env::var("SOAK_RELOADS")
        .ok()
        .and_then(|text| text.parse().ok());
    let reloads: usize = reloads.unwrap_or(100);
    let (mut mounted, client, _target) = plain(Writer::Kubelet, "1h");
    let servers: Vec<_> = (0..10).map(|_| mounted.servers.server()).collect();
    let mut seen = None;
    let began = Instant::now();
    let mut generation = mounted.gate.generation();
    for number in 0..reloads {
        replace_pair(&mut mounted.mount, &servers[number % servers.len()]);
        generation = mounted.gate.wait_for_generation_after(generation);
        if number % 50 == 49 {
            assert!(is_admitted(mounted.gate.address(), &client));
        }
        // When everything has been used once, it has its size.
        if number == 50.min(reloads / 2) || number % 1_000 == 999 {
            let now = (
                mounted.gate.resident(),
                mounted.gate.descriptors(),
                mounted.gate.watches(),
            );
            println!(
                "{number} reloads, {:?}: {now:?} KiB, descriptors, watches",
                began.elapsed()
            );
            seen.get_or_insert(now);
        }
    }
    let (resident, descriptors, watches) = seen.expect("there were some");
    let after = mounted.gate.resident();
    println!(
        "{reloads} reloads in {:?}: {resident} KiB, then {after} KiB",
        began.elapsed()
    );
    mounted
        .gate
        .wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    eventually("as many descriptors as before", || {
        (mounted.gate.descriptors() <= descriptors).then_some(())
    });
    assert_eq!(mounted.gate.watches(), watches);
    assert!(
        after < resident + 4_096,
        "{resident} KiB grew to {after} KiB"
    );
    assert_eq!(mounted.gate.reloads("success"), reloads as u64);
}

// ---- revocation lists ----

/// A gate with one revocation list, and how three clients fare: by their alert, `None` for one who is let in.
fn with_lists(
    lists: &[u8],
    bundle: &str,
    tls: &str,
    clients: &[&Identity],
) -> (Mounted, Target<target::Ended>, Vec<Result<(), Ending>>) {
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good", "bad"]);
    rules.lists = vec!["ca.crl"];
    rules.tls = tls.to_owned();
    let mounted = Mounted::start(Writer::Kubelet, &rules, bundle, &[("ca.crl", lists)]);
    let fared = clients.iter().map(|identity| {
        let client = mounted.client(identity);
        knock(mounted.gate.address(), &client).map(|_| ())
    });
    let fared = fared.collect();
    (mounted, target, fared)
}

#[test]
fn a_revoked_client_is_told_so_by_a_list_in_pem_and_in_der() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let list = ca.list(&list_params([bad.number()]));
    for bytes in [list.pem().expect("PEM").into_bytes(), list.der().to_vec()] {
        let (mounted, target, fared) = with_lists(&bytes, &ca.pem, "", &[&good, &bad]);
        assert_eq!(fared[0], Ok(()));
        assert_eq!(
            fared[1],
            Err(Ending::Alert(AlertDescription::CertificateRevoked))
        );
        assert_eq!(
            target.accepts(),
            1,
            "the target never heard of the revoked one"
        );
        let records = mounted.gate.records(2);
        let refused = records.iter().find(|r| r["outcome"] == "handshake_failed");
        let reason = refused.map(|record| text(record, "reason").to_owned());
        assert!(
            reason.as_ref().is_some_and(|r| r.contains("revoked")),
            "{reason:?}"
        );
        let status = mounted.gate.status();
        assert_eq!(status["client_crl"][0]["entries"], 1, "{status}");
        let file = mounted.mount.path("ca.crl").display().to_string();
        assert_eq!(status["client_crl"][0]["file"], file, "{status}");
    }
}

#[test]
fn a_client_below_a_revoked_intermediate_is_refused() {
    let root = Authority::root("clients");
    let mut params = authority_params("a revoked intermediate");
    params.serial_number = Some(rcgen::SerialNumber::from(0x2002_u64));
    let (middle, _) = root.intermediate(params);
    let (spared, _) = root.intermediate(authority_params("a good intermediate"));
    let below = |middle: &Authority| middle.issue(client_params([dns("good.test")]), &[middle]);
    let lists = [
        root.list(&list_params([0x2002])).pem().expect("PEM"),
        middle.revoking(&[]),
        spared.revoking(&[]),
    ];
    // A list must be signed by a CA of the bundle, so the intermediates are in it too; then they are what is trusted.
    // With the root alone, its list is the only one there can be.
    let (mounted, _target, fared) = with_lists(
        lists[0].as_bytes(),
        &root.pem,
        "",
        &[&below(&middle), &below(&spared)],
    );
    println!("{fared:?}");
    assert_eq!(
        fared[0],
        Err(Ending::Alert(AlertDescription::CertificateRevoked))
    );
    assert!(
        fared[1].is_err(),
        "nobody speaks for what the good intermediate issued"
    );
    let reasons: Vec<_> = mounted
        .gate
        .records(2)
        .iter()
        .map(|r| text(r, "reason").to_owned())
        .collect();
    assert!(reasons[0].contains("revoked"), "{reasons:?}");
    assert!(reasons[1].contains("no revocation list"), "{reasons:?}");
}

#[test]
fn a_client_whose_status_no_list_knows_is_refused_with_the_true_cause_in_the_record() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let bundle = [&*ours.pem, &*theirs.pem].concat();
    let (good, unknown) = (ours.client("good"), theirs.client("good"));
    let list = ours.revoking(&[]);
    let (mounted, target, fared) = with_lists(list.as_bytes(), &bundle, "", &[&good, &unknown]);
    assert_eq!(fared[0], Ok(()));
    assert!(fared[1].is_err());
    println!("{fared:?}");
    assert_eq!(target.accepts(), 1);
    let records = mounted.gate.records(2);
    let refused = records
        .iter()
        .find(|r| r["outcome"] == "handshake_failed")
        .expect("a refusal");
    assert!(
        text(refused, "reason").contains("no revocation list"),
        "{refused}"
    );
}

#[test]
fn a_stale_list_refuses_or_counts_as_the_operator_says() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let mut params = list_params([bad.number()]);
    params.this_update = (SystemTime::now() - Duration::from_secs(7_200)).into();
    params.next_update = (SystemTime::now() - Duration::from_secs(3_600)).into();
    let list = ca.list(&params).pem().expect("PEM");
    let revoked = Err(Ending::Alert(AlertDescription::CertificateRevoked));
    for setting in ["", "stale_crl = \"refuse\"\n"] {
        let (mounted, target, fared) =
            with_lists(list.as_bytes(), &ca.pem, setting, &[&good, &bad]);
        println!("{setting:?}: {fared:?}");
        assert!(fared[0].is_err() && fared[1].is_err(), "{fared:?}");
        assert_eq!(target.accepts(), 0);
        let reason = text(&mounted.gate.records(1)[0], "reason").to_owned();
        assert!(reason.contains("stale since"), "{reason}");
        let warned = events(&mounted.gate, "configuration");
        assert!(
            warned.iter().any(|r| text(r, "message").contains("stale")),
            "{warned:#?}"
        );
    }
    let accept = "stale_crl = \"accept\"\n";
    let (_mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, accept, &[&good, &bad]);
    assert_eq!(fared, [Ok(()), revoked]);
}

#[test]
fn the_newest_of_two_lists_of_one_ca_counts() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let mut old = list_params([good.number()]);
    old.this_update = (SystemTime::now() - Duration::from_secs(7_200)).into();
    let old = ca.list(&old).pem().expect("PEM");
    let new = ca.list(&list_params([bad.number()])).pem().expect("PEM");
    for both in [[&*old, &*new].concat(), [&*new, &*old].concat()] {
        let (_mounted, _target, fared) = with_lists(both.as_bytes(), &ca.pem, "", &[&good, &bad]);
        assert_eq!(fared[0], Ok(()));
        assert_eq!(
            fared[1],
            Err(Ending::Alert(AlertDescription::CertificateRevoked))
        );
    }
}

#[test]
fn a_list_that_runs_out_while_serving_refuses_from_then_on_until_there_is_a_newer_one() {
    let ca = Authority::root("clients");
    let good = ca.client("good");
    let mut params = list_params([]);
    params.next_update = (SystemTime::now() + Duration::from_secs(4)).into();
    let list = ca.list(&params).pem().expect("PEM");
    let (mut mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, "", &[&good]);
    assert_eq!(fared, [Ok(())]);
    let client = mounted.client(&good);
    let address = mounted.gate.address();
    eventually("the list runs out", || {
        (!is_admitted(address, &client)).then_some(())
    });
    let list = ca.revoking(&[]);
    mounted.mount.update(&[("ca.crl", list.as_bytes())]);
    let changed = Instant::now();
    soon("a newer list", changed, || is_admitted(address, &client));
}

#[test]
fn a_list_of_two_hundred_thousand_delays_nobody() {
    let ca = Authority::root("clients");
    let (good, bad) = (ca.client("good"), ca.client("bad"));
    let list = ca.revoking(&[]);
    let (mut mounted, _target, fared) = with_lists(list.as_bytes(), &ca.pem, "", &[&good, &bad]);
    assert_eq!(fared, [Ok(()), Ok(())]);
    let address = mounted.gate.address();
    let (good, revoked) = (mounted.client(&good), mounted.client(&bad));
    let many = (1..=200_000_u64).chain([bad.number()]);
    let list = ca.list(&list_params(many)).der().to_vec();
    let mut session = knock(address, &good).expect("it is admitted");
    let over = AtomicBool::new(false);
    let (old, new, took) = std::thread::scope(|scope| {
        let in_session = scope.spawn(|| longest(&over, || session.prove_admitted()));
        let anew = scope.spawn(|| {
            longest(&over, || {
                drop(knock(address, &good).expect("it is admitted"))
            })
        });
        mounted.mount.update(&[("ca.crl", &list)]);
        let changed = Instant::now();
        eventually("the list counts", || {
            is_refused(address, &revoked, AlertDescription::CertificateRevoked).then_some(())
        });
        over.store(true, Ordering::SeqCst);
        let longest = |thread: std::thread::ScopedJoinHandle<'_, Duration>| {
            thread.join().expect("nothing fails meanwhile")
        };
        (longest(in_session), longest(anew), changed.elapsed())
    });
    println!(
        "{} bytes took {took:?}; meanwhile a byte took {old:?} at most, a connection {new:?}",
        list.len()
    );
    assert!(
        old < Duration::from_secs(1) && new < Duration::from_secs(1),
        "{old:?}, {new:?}"
    );
    assert_eq!(mounted.gate.status()["client_crl"][0]["entries"], 200_001);
    assert_eq!(mounted.gate.reloads("failure"), 0);
}

/// The longest that something took, done again and again until it is over.
fn longest(over: &AtomicBool, mut act: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        act();
        longest = longest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    longest
}

// ---- what is not followed, and what is shown ----

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
    params.not_after = (SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 5_000)).into();
    let server = mounted.servers.issue(params, &[]);
    let mut list = list_params([]);
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
    let not_after = "portcullis_certificate_not_after_timestamp_seconds";
    let role = [("role", "server")];
    assert_eq!(
        metrics.value(not_after, &role),
        (now.as_secs() + 5_000) as f64
    );
    assert!(metrics.has(not_after, &[("role", "client_ca")]));
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

// ---- the first user ----

#[test]
fn a_prometheus_whose_certificate_is_rotated_under_it_never_loses_its_target() {
    let (old_ca, new_ca) = (Authority::root("old"), Authority::root("new"));
    let exporter = target::exporter();
    let rules = Rules::allowing(&exporter.flag(), &["prometheus"]);
    let bundle = [&*old_ca.pem, &*new_ca.pem].concat();
    let mounted = Mounted::start(Writer::Kubelet, &rules, &bundle, &[]);
    let mut params = client_params([dns("prometheus.test")]);
    // Kept connections of the old certificate end while it scrapes.
    let not_after = SystemTime::now() + Duration::from_secs(10);
    params.not_after = not_after.into();
    let (old, new) = (old_ca.issue(params, &[]), new_ca.client("prometheus"));
    let mut secret = Mount::new(Writer::Kubelet);
    secret.update(&[
        ("tls.crt", old.chain.as_bytes()),
        ("tls.key", old.key.as_bytes()),
        ("ca.crt", mounted.servers.pem.as_bytes()),
    ]);
    let folder = temporary_folder();
    let file = folder.path().join("prometheus.yml");
    let configuration = format!(
        "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n\
         scrape_configs:\n  - job_name: node\n    scheme: https\n    tls_config:\n      \
         ca_file: {}\n      cert_file: {}\n      key_file: {}\n      server_name: {SERVER_NAME}\n    \
         static_configs:\n      - targets: ['{}']\n",
        secret.path("ca.crt").display(),
        secret.path("tls.crt").display(),
        secret.path("tls.key").display(),
        mounted.gate.address(),
    );
    write(&file, &configuration);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        folder.path().join("data").display()
    ));
    command.arg("--web.listen-address=127.0.0.1:0");
    let prometheus = Server::start(&mut command);
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        let answer = http::get(&prometheus.address.to_string(), &path);
        let answer: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|value| value.parse::<f64>().ok())
    };
    eventually("up == 1", || query("up").filter(|up| *up == 1.0));
    let session = |serial: &str| mounted.gate.get("/sessions").body.contains(serial);
    eventually("it scrapes with the old one", || {
        session(&old.serial()).then_some(())
    });
    replace_pair(&mut secret, &new);
    eventually("it scrapes with the new one", || {
        session(&new.serial()).then_some(())
    });
    eventually("the old one is gone", || {
        (!session(&old.serial())).then_some(())
    });
    eventually("the old one has expired", || {
        (SystemTime::now() > not_after + Duration::from_secs(2)).then_some(())
    });
    let scrapes = query("count_over_time(up[1h])").unwrap_or_default();
    eventually("it scrapes on", || {
        query("count_over_time(up[1h])").filter(|now| *now >= scrapes + 4.0)
    });
    println!("{scrapes} scrapes until the old certificate expired");
    assert!(scrapes >= 4.0);
    assert_eq!(
        query("min_over_time(up[1h])"),
        Some(1.0),
        "up == 1 throughout"
    );
}
