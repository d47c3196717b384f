//! The TLS port: what is spoken, and what never is. No resumption, no tickets, no early data: every connection is a
//! full handshake with every check.

use std::process::Command;
use std::sync::Arc;

use rustls::crypto::{SupportedKxGroup, aws_lc_rs::kx_group};
use rustls::{HandshakeKind, NamedGroup};

use crate::support::client::{Connection, Ending, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::peers::{Dialogue, Done, Input, gnutls_cli, openssl, run, s_client};
use crate::support::pki::{Pki, client_params, dns, server_params, temporary_folder, write};
use crate::support::target::{self, Ended, Target};

fn echoing(pki: &Arc<Pki>) -> (Target<Ended>, Gate) {
    let target = target::echo();
    let gate = Setup::open_to(pki, &target).start();
    (target, gate)
}

/// One GET through the gate with `openssl s_client`.
fn s_client_get(gate: &Gate, pki: &Pki, options: &[&str]) -> Done {
    let client = pki.client("openssl");
    let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
    run(command.args(options), &Input::Open(GET))
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn scraping(pki: &Arc<Pki>, setup: impl FnOnce(Setup) -> Setup) -> (Target<()>, Gate) {
    let target = target::exporter();
    let gate = setup(Setup::open_to(pki, &target)).start();
    (target, gate)
}

#[test]
fn openssl_speaks_tls_1_3_with_the_gate() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let done = s_client_get(&gate, &pki, &[]);
    assert!(done.stdout.contains(target::EXPOSITION), "{done:?}");
    assert!(done.stdout.contains("New, TLSv1.3"), "{done:?}");
    assert!(
        done.stdout.contains("Verify return code: 0 (ok)"),
        "{done:?}"
    );
    let record = gate.record();
    assert_eq!(record["tls_version"], "TLSv1.3", "{record}");
    assert_eq!(record["outcome"], "relayed", "{record}");
}

#[test]
fn tls_1_2_is_refused_by_default_and_older_versions_always() {
    let pki = Pki::shared();
    let (target, gate) = scraping(&pki, |setup| setup);
    let (_target, lenient) = scraping(&pki, |setup| setup.flag("--tls-min", "1.2"));
    for (gate, versions) in [
        (&gate, &["-tls1_2", "-tls1_1"][..]),
        (&lenient, &["-tls1_1"]),
    ] {
        for version in versions {
            // OpenSSL itself refuses to offer old versions at its default security level.
            let done = s_client_get(gate, &pki, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
            assert_ne!(done.code, 0, "{version}: {done:?}");
            // protocol_version; for versions without signature_algorithms rustls says handshake_failure.
            let alert = done.alert();
            assert!(
                matches!(alert, Some(70)) || *version == "-tls1_1" && alert == Some(40),
                "{done:?}"
            );
        }
    }
    assert_eq!(target.accepts(), 0);
    let outcomes: Vec<_> = gate
        .records(2)
        .iter()
        .map(|r| r["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["handshake_failed", "handshake_failed"]);
}

#[test]
fn tls_1_2_can_be_allowed() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup.flag("--tls-min", "1.2"));
    let done = s_client_get(&gate, &pki, &["-tls1_2"]);
    assert!(done.stdout.contains(target::EXPOSITION), "{done:?}");
    assert!(done.stdout.contains("New, TLSv1.2"), "{done:?}");
    assert!(
        done.stdout.contains("Extended master secret: yes"),
        "{done:?}"
    );
    assert_eq!(gate.record()["tls_version"], "TLSv1.2");
}

#[test]
fn tls_1_2_without_extended_master_secret_is_refused() {
    let pki = Pki::shared();
    let (target, gate) = scraping(&pki, |setup| setup.flag("--tls-min", "1.2"));
    let client = pki.client("gnutls");
    let refused = |priority: &str| {
        let mut command = gnutls_cli(gate.address(), &pki.ca(), Some(&client));
        run(command.args(["--priority", priority]), &Input::All(GET))
    };
    let done = refused("NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_SESSION_HASH");
    assert_ne!(done.code, 0, "{done:?}");
    assert_eq!(target.accepts(), 0);
    assert_eq!(gate.record()["outcome"], "handshake_failed");
    // The same client is welcome with it, so it is the missing extension that was refused.
    let done = refused("NORMAL:-VERS-ALL:+VERS-TLS1.2");
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn no_session_is_ever_resumed() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup.flag("--tls-min", "1.2"));
    let folder = temporary_folder();
    let mut connections = 0;
    for version in ["-tls1_3", "-tls1_2"] {
        connections += 1;
        let session = folder.path().join(version);
        let session = session.to_str().expect("a UTF-8 path");
        let first = s_client_get(&gate, &pki, &[version, "-sess_out", session]);
        assert!(first.stdout.contains("New, TLSv1."), "{first:?}");
        assert!(!first.stdout.contains("Reused"), "{first:?}");
        for ticket in [
            "TLS session ticket:",
            "New Session Ticket",
            "NewSessionTicket",
        ] {
            assert!(
                !first.stdout.contains(ticket),
                "a ticket was issued: {first:?}"
            );
        }
        // Without a ticket or a session id there is nothing to write, so the file may not be there.
        if std::path::Path::new(session).exists() {
            connections += 1;
            let second = s_client_get(&gate, &pki, &[version, "-sess_in", session]);
            assert!(second.stdout.contains("New, TLSv1."), "{second:?}");
            assert!(second.stdout.contains(target::EXPOSITION), "{second:?}");
        }
    }
    let records = gate.records(connections);
    assert!(
        records.iter().all(|record| record["resumed"] == false),
        "{records:#?}"
    );
}

#[test]
fn a_client_that_remembers_sessions_never_gets_to_resume_one() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--tls-min", "1.2")
        .start();
    let client = pki.client("rustls");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let ca = pki.ca();
        let mut offer = Offer::of(&client, &ca);
        offer.version = version;
        // One configuration, hence one session store, for all connections.
        let mut config = offer.config();
        Arc::get_mut(&mut config)
            .expect("it is not shared yet")
            .enable_early_data = true;
        for _ in 0..3 {
            let mut connection =
                Connection::open(gate.address(), Arc::clone(&config)).expect("a handshake");
            connection.prove_admitted();
            assert_eq!(connection.tls().handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(connection.tls().tls13_tickets_received(), 0);
            assert!(!connection.tls().is_early_data_accepted());
            connection.finish();
            assert_eq!(connection.ending(), Ending::Clean);
        }
    }
}

#[test]
fn a_client_that_prefers_the_post_quantum_group_gets_it_and_classic_groups_work() {
    let pki = Pki::shared();
    let (_target, gate) = echoing(&pki);
    let client = pki.client("groups");
    let agreed = |groups: Vec<&'static dyn SupportedKxGroup>| {
        let ca = pki.ca();
        let mut offer = Offer::of(&client, &ca);
        offer.groups = groups;
        let mut connection = offer.connect(gate.address()).expect("a handshake");
        connection.prove_admitted();
        let group = connection.tls().negotiated_key_exchange_group();
        group.expect("a TLS 1.3 key exchange").name()
    };
    assert_eq!(agreed(Vec::new()), NamedGroup::X25519MLKEM768);
    assert_eq!(agreed(vec![kx_group::X25519]), NamedGroup::X25519);
    assert_eq!(agreed(vec![kx_group::SECP256R1]), NamedGroup::secp256r1);
    assert_eq!(agreed(vec![kx_group::SECP384R1]), NamedGroup::secp384r1);
    let groups: Vec<_> = gate
        .records(4)
        .iter()
        .map(|r| r["group"].to_string())
        .collect();
    assert!(groups[0].contains("X25519MLKEM768"), "{groups:?}");
}

#[test]
fn openssl_agrees_on_each_classic_group() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    for (group, shown) in [
        ("X25519", "X25519"),
        ("P-256", "prime256v1"),
        ("P-384", "secp384r1"),
    ] {
        let done = s_client_get(&gate, &pki, &["-groups", group]);
        assert!(
            done.stdout.contains(target::EXPOSITION),
            "{group}: {done:?}"
        );
        assert!(
            done.stdout.contains("Server Temp Key:"),
            "{group}: {done:?}"
        );
        let key = done
            .stdout
            .lines()
            .find(|line| line.starts_with("Server Temp Key:"));
        let key = key.unwrap_or_default();
        assert!(key.contains(shown) || key.contains(group), "{group}: {key}");
    }
    let done = s_client_get(&gate, &pki, &["-groups", "X448"]);
    assert_eq!(
        done.alert(),
        Some(40),
        "handshake_failure without a common group: {done:?}"
    );
}

#[test]
fn no_early_data_is_accepted() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let done = s_client_get(&gate, &pki, &[]);
    assert!(done.stdout.contains("Early data was not sent"), "{done:?}");
    assert!(!done.stdout.contains("Max Early Data: 1"), "{done:?}");
}

/// Every kind of key, with the name of the file form that `openssl` can turn it into.
fn algorithms() -> [(&'static str, &'static rcgen::SignatureAlgorithm); 5] {
    [
        ("RSA", &rcgen::PKCS_RSA_SHA256),
        ("P-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("P-384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("P-521", &rcgen::PKCS_ECDSA_P521_SHA512),
        ("Ed25519", &rcgen::PKCS_ED25519),
    ]
}

#[test]
fn every_kind_of_client_key_is_accepted() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup.flag("--tls-min", "1.2"));
    for (name, algorithm) in algorithms() {
        let client = pki.forge_with(&client_params([dns("kinds.test")]), algorithm);
        for version in ["-tls1_3", "-tls1_2"] {
            let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
            let done = run(command.arg(version), &Input::Open(GET));
            assert!(
                done.stdout.contains(target::EXPOSITION),
                "{name} {version}: {done:?}"
            );
        }
    }
}

#[test]
fn every_kind_of_server_key_is_usable_in_every_file_form() {
    let pki = Pki::shared();
    let target = target::exporter();
    let client = pki.client("openssl");
    for (name, algorithm) in algorithms() {
        let server = pki.forge_with(&server_params(), algorithm);
        let pkcs8 = server.key();
        let pkcs8 = pkcs8.to_str().expect("a UTF-8 path");
        let mut forms = vec![(
            "PKCS#8",
            std::fs::read_to_string(pkcs8).expect("it was written"),
        )];
        match name {
            "RSA" => forms.push(("PKCS#1", openssl(&["rsa", "-in", pkcs8, "-traditional"]))),
            "Ed25519" => {}
            _ => forms.push(("SEC1", openssl(&["ec", "-in", pkcs8]))),
        }
        for (form, key) in forms {
            write(&server.key(), &key);
            let gate = Setup::open_to(&pki, &target)
                .flag("--cert", server.cert())
                .flag("--key", server.key())
                .flag("--tls-min", "1.2")
                .start();
            for version in ["-tls1_3", "-tls1_2"] {
                let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
                let done = run(command.arg(version), &Input::Open(GET));
                assert!(
                    done.stdout.contains(target::EXPOSITION),
                    "{name} {form} {version}: {done:?}"
                );
            }
        }
    }
}

#[test]
fn gnutls_is_served_too() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let client = pki.client("gnutls");
    let mut command = gnutls_cli(gate.address(), &pki.ca(), Some(&client));
    let done = run(&mut command, &Input::Open(GET));
    assert!(done.stdout.contains(target::EXPOSITION), "{done:?}");
    assert!(done.stdout.contains("TLS1.3"), "{done:?}");
    // gnutls-cli leaves without a close_notify of its own, which is a cut.
    assert_eq!(gate.record()["outcome"], "io_error");
}

#[test]
fn no_application_protocol_is_negotiated() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let done = s_client_get(&gate, &pki, &["-alpn", "h2,http/1.1"]);
    assert!(done.stdout.contains("No ALPN negotiated"), "{done:?}");
    assert!(done.stdout.contains(target::EXPOSITION), "{done:?}");
}

#[test]
fn a_server_name_that_is_none_is_told_and_an_address_is_ignored() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let client = pki.client("openssl");
    let ask = |name: &str| {
        let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
        run(command.args(["-servername", name]), &Input::Open(GET))
    };
    let asked = [
        (
            "portcullis.internal:9090",
            "let it ask for \"portcullis.internal\"",
        ),
        (
            "[portcullis.internal]",
            "let it ask for \"portcullis.internal\"",
        ),
        (
            "portcullis internal",
            "let it ask for a name of the gate's certificate",
        ),
    ];
    for (at, (name, remedy)) in (1..).zip(asked) {
        let done = ask(name);
        assert_eq!(done.alert(), Some(47), "illegal_parameter: {done:?}");
        let records = gate.records(at);
        let reason = records[at - 1]["reason"].as_str().expect("a reason");
        let said = format!("the server name {name:?}, which is no host name; {remedy}");
        assert!(reason.contains(&said), "{said}: {reason}");
    }
    // What RFC 6066 section 3 forbids, many clients send, and nobody minds.
    for name in ["127.0.0.1", "::1", "elsewhere.test"] {
        let done = ask(name);
        assert!(done.stdout.contains(target::EXPOSITION), "{name}: {done:?}");
    }
}

#[test]
fn a_client_that_gives_up_is_told_by_the_name_and_meaning_of_its_alert() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let client = pki.client("openssl");
    let mut command = s_client(gate.address(), &client.cert(), Some(&client));
    let done = run(&mut command, &Input::Open(GET));
    assert_ne!(done.code, 0, "{done:?}");
    let reason = gate.record()["reason"].to_string();
    let said = "gave up with the alert unknown_ca (48): it does not trust the CA of the gate's";
    assert!(reason.contains(said), "{reason}");
}

#[test]
fn the_whole_chain_of_the_server_is_sent() {
    let pki = Pki::shared();
    let (below, certificate) = pki
        .authority()
        .intermediate(crate::support::pki::authority_params("server issuing CA"));
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = below.sign(&server_params(), &key);
    let server = pki.store(&[&leaf, &certificate], &key);
    let (_target, gate) = scraping(&pki, |setup| {
        setup
            .flag("--cert", server.cert())
            .flag("--key", server.key())
    });
    let done = s_client_get(&gate, &pki, &[]);
    assert!(
        done.stdout.contains("Verify return code: 0 (ok)"),
        "{done:?}"
    );
}

#[test]
fn curl_scrapes_through_the_gate() {
    let pki = Pki::shared();
    let (_target, gate) = scraping(&pki, |setup| setup);
    let mut command = crate::support::peers::curl(gate.address(), "/metrics", &pki.client("curl"));
    let done = run(&mut command, &Input::All(b""));
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, target::EXPOSITION),
        "{done:?}"
    );
}

#[test]
fn a_plain_http_client_gets_no_byte_to_the_target() {
    let pki = Pki::shared();
    let (target, gate) = scraping(&pki, |setup| setup);
    let mut command = Command::new("curl");
    command.args(["--silent", &format!("http://{}/metrics", gate.address())]);
    let done = run(&mut command, &Input::All(b""));
    assert_ne!(done.code, 0, "{done:?}");
    assert!(!done.stdout.contains("sample_up"), "{done:?}");
    assert_eq!(target.accepts(), 0);
    assert_eq!(gate.record()["outcome"], "handshake_failed");
}

#[test]
fn a_handshake_whose_bytes_arrive_one_at_a_time_succeeds() {
    let pki = Pki::shared();
    let (_target, gate) = echoing(&pki);
    let client = pki.client("slow");
    let config = Offer::of(&client, &pki.ca()).config();
    Connection::open_slowly(gate.address(), config).prove_admitted();
}

#[test]
fn bytes_and_an_end_that_come_along_with_the_handshake_arrive() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target).start();
    let client = pki.client("hasty");
    let config = Offer::of(&client, &pki.ca()).config();
    let mut connection = Connection::open_and_say(gate.address(), config, b"all at once");
    assert_eq!(target.result(), (b"all at once".to_vec(), Ended::Clean));
    assert_eq!(connection.ending(), Ending::Clean);
    assert_eq!(
        gate.record()["outcome"],
        "unanswered",
        "a sink says nothing"
    );
}

#[test]
fn keys_can_be_changed_while_bytes_flow() {
    let pki = Pki::shared();
    let (_target, gate) = echoing(&pki);
    let mut connection = pki.client("update").connect(gate.address());
    for _ in 0..10 {
        connection.prove_admitted();
        connection.update_keys();
    }
    connection.finish();
    assert_eq!(connection.ending(), Ending::Clean);
}

#[test]
fn a_client_may_ask_the_gate_to_change_its_keys_too() {
    let pki = Pki::shared();
    let (_target, gate) = echoing(&pki);
    let client = pki.client("openssl");
    let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
    // Without the option that keeps it, it takes a `K` at the start of a line for the wish to update both keys.
    let mut dialogue = Dialogue::start(command.arg("-no_ign_eof"));
    for round in 0..3 {
        let line = format!("round {round}\n");
        dialogue.say(&line);
        dialogue.wait_for(&line);
        dialogue.say("K\n");
        dialogue.wait_for("KEYUPDATE");
    }
}
