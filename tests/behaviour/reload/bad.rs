//! Every kind of bad file: refused as a set, counted, told once, while the last good set serves on.

use super::*;

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
    let forger = Authority::root("clients");
    let not_a_ca = clients.client("no CA");
    let garbage = || b"-----BEGIN CERTIFICATE-----\nnonsense\n".to_vec();
    vec![
        bad(
            "garbage for a certificate",
            "tls.crt",
            garbage(),
            "cut short",
            "put the whole block there again",
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
            "it must hold the private key",
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
            "its issuer leaves ca.crt out",
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
            "no revocation list in DER",
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
