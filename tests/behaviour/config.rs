//! What can be written and what becomes of it: every mistake ends with exit code 2 before anything is served, and its
//! message says where, which value, what is wrong and what to do; every flag has a variable and a place in the file.

use std::ffi::OsString;
use std::sync::Arc;

use crate::support::gate::{Setup, portcullis};
use crate::support::peers::{Done, Input, openssl, run};
use crate::support::pki::{
    Credentials, Pki, authority_params, named, server_params, temporary_folder, uri, write,
};
use crate::support::target;

/// A blameless command line that ends by itself only if something is added that is wrong.
fn sound() -> Setup {
    Setup::to(&Pki::shared(), "127.0.0.1:9").flag("--allow-dns", "prometheus.test")
}

/// Exit code 2, nothing served, and all of these texts in the message.
fn refused(setup: Setup, texts: &[&str]) {
    let (code, said) = setup.run();
    assert_eq!(code, 2, "{said}");
    assert!(!said.contains("\"listening\""), "nothing is served: {said}");
    for text in texts {
        assert!(said.contains(text), "no {text:?} in: {said}");
    }
}

#[test]
fn a_value_that_is_none_is_refused_with_its_flag_and_a_remedy() {
    let mistakes: &[(&str, &str, &[&str])] = &[
        ("--listen", "54899", &["write"]),
        ("--listen", "localhost:54899", &["resolved", "write"]),
        ("--listen", "127.0.0.1", &["port"]),
        ("--listen", "::1:54899", &["brackets"]),
        ("--listen", "127.0.0.1:99999", &["IP:PORT"]),
        ("--target", "metrics.example:80", &["resolved"]),
        ("--target", "127.0.0.1:0", &["port"]),
        ("--target", "unix:relative/path", &["absolute"]),
        (
            "--target",
            "10.0.0.1:9100",
            &["loopback", "--unsafe-target"],
        ),
        ("--target", "0.0.0.0:9100", &["loopback"]),
        ("--target", "[::]:9100", &["loopback"]),
        ("--admin", "0.0.0.0:54900", &["loopback"]),
        ("--admin", "10.0.0.1:54900", &["loopback"]),
        ("--admin", "on", &["off"]),
        ("--tls-min", "1.1", &["1.2", "1.3"]),
        ("--max-connections", "0", &["1"]),
        ("--max-connections", "many", &["number"]),
        ("--max-connections-per-source", "-1", &["number"]),
        ("--max-handshakes", "0", &["1"]),
        ("--threads", "0", &["1"]),
        ("--handshake-timeout", "0s", &["short"]),
        ("--handshake-timeout", "10", &["10s"]),
        ("--connect-timeout", "soon", &["10s"]),
        ("--idle-timeout", "0", &["short"]),
        ("--max-session", "1 fortnight", &["10s"]),
        ("--drain-timeout", "", &["--drain-timeout"]),
        ("--bind-timeout", "2h", &["1h"]),
        ("--proxy-protocol", "v1", &["v2"]),
        ("--log-format", "xml", &["json"]),
        ("--log-level", "loud", &["info"]),
        ("--allow-dns", "*.monitoring.svc", &["exact"]),
        ("--allow-dns", "", &["--allow-dns"]),
        ("--allow-uri", "spiffe://*/sa/x", &["authority"]),
        ("--allow-uri", "*://td/x", &["scheme"]),
        ("--allow-uri", "spiffe://td/a*/b", &["segment"]),
        ("--allow-uri", "spiffe://td/**/b", &["/**"]),
        ("--allow-uri", "not a uri", &["RFC 3986"]),
        ("--allow-spki", "sha1:AAAA", &["sha256:"]),
        ("--allow-spki", "sha256:short", &["sha256:"]),
        ("--allow-from", "10.0.0.0/33", &["10.0.0.0/8"]),
        ("--allow-from", "10.1.2.3/8", &["10.0.0.0/8"]),
        ("--allow-from", "example.test", &["10.0.0.0/8"]),
    ];
    for (flag, value, texts) in mistakes {
        let mut texts = texts.to_vec();
        texts.extend([*flag, *value]);
        refused(sound().flag(flag, *value), &texts);
    }
}

#[test]
fn a_listener_whose_address_is_not_of_this_host_names_the_variable_that_holds_it() {
    // Of TEST-NET-1 (RFC 5737): no interface has it.
    let stale = sound()
        .flag("--listen", "$(TEST_NODE_IP):54899")
        .flag("--bind-timeout", "10ms")
        .variable("TEST_NODE_IP", "192.0.2.1");
    let (code, said) = stale.run();
    assert_eq!(code, 1, "{said}");
    for told in [
        "the variable TEST_NODE_IP is \"192.0.2.1\"",
        "No interface of this host has the address",
        "status.hostIP",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let empty = sound().flag("--listen", "$(TEST_NODE_IP):54899");
    let empty = empty.variable("TEST_NODE_IP", "");
    refused(empty, &["--listen", "the variable TEST_NODE_IP is empty"]);
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_judged_as_what_it_is() {
    let setup = sound().flag("--target", "[::ffff:10.0.0.1]:9100");
    refused(setup, &["--target", "10.0.0.1:9100", "loopback"]);
    let admin = sound().flag("--admin", "[::ffff:10.0.0.1]:9100");
    refused(admin, &["--admin", "[::ffff:10.0.0.1]:9100", "loopback"]);
    let _loopback = sound().flag("--target", "[::ffff:127.0.0.1]:9").start();
}

#[test]
fn a_gate_that_would_admit_nobody_or_everybody_by_accident_is_refused() {
    let pki = Pki::shared();
    let nobody = || Setup::to(&pki, "127.0.0.1:9");
    refused(nobody(), &["--allow-dns", "--allow-any-client"]);
    refused(
        sound().switch("--allow-any-client"),
        &["--allow-any-client", "--allow-dns"],
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let setup = sound()
        .flag("--listen", "nowhere")
        .flag("--target", "192.0.2.1:80")
        .flag("--tls-min", "1.0")
        .flag("--idle-timeout", "never")
        .flag("--allow-uri", "spiffe://*/x")
        .variable("PORTCULLIS_LOG_LEVEL", "loud");
    refused(
        setup,
        &[
            "--listen",
            "--target",
            "--tls-min",
            "--idle-timeout",
            "--allow-uri",
            "PORTCULLIS_LOG_LEVEL",
        ],
    );
}

#[test]
fn what_does_not_exist_yet_is_no_flag() {
    for flag in [
        "--client-crl",
        "--stale-crl",
        "--reload-interval",
        "--allow-http",
        "--listen",
    ] {
        refused(sound().flag(flag, "x"), &[flag]);
    }
}

/// A sound command line whose files lie in a folder of their own, these of them with other content.
fn with_files(changed: &[(&str, &str)]) -> (tempfile::TempDir, Setup) {
    let pki = Pki::shared();
    let server = pki.server();
    let folder = temporary_folder();
    let copy = Credentials::at(folder.path().to_owned());
    for (from, to) in [
        (server.cert(), copy.cert()),
        (server.key(), copy.key()),
        (pki.ca(), copy.ca()),
    ] {
        std::fs::copy(from, to).expect("it was made");
    }
    for (name, text) in changed {
        write(&folder.path().join(name), text);
    }
    let setup = Setup::bare()
        .flag("--listen", "127.0.0.1:0")
        .flag("--admin", "off")
        .flag("--allow-dns", "prometheus.test")
        .flag("--cert", copy.cert())
        .flag("--key", copy.key())
        .flag("--client-ca", copy.ca());
    (folder, setup)
}

#[test]
fn an_unusable_file_is_named_with_its_flag() {
    let pki = Pki::shared();
    let path = pki.server().key();
    let key = std::fs::read_to_string(&path).expect("it was made");
    let half = &key[..key.len() / 2];
    let path = path.to_str().expect("a UTF-8 path");
    let encrypted = openssl(&["pkcs8", "-topk8", "-in", path, "-passout", "pass:secret"]);
    let old_way = openssl(&["ec", "-aes256", "-in", path, "-passout", "pass:secret"]);
    let cases: &[(&str, &str, &[&str])] = &[
        ("tls.crt", "", &["--cert", "empty"]),
        ("tls.crt", "hello", &["--cert", "CERTIFICATE"]),
        ("tls.crt", &key, &["--cert", "CERTIFICATE"]),
        ("tls.key", "", &["--key", "empty"]),
        ("tls.key", "hello", &["--key", "PRIVATE KEY"]),
        ("tls.key", half, &["--key"]),
        ("tls.key", &encrypted, &["--key", "line 1", "encrypted"]),
        ("tls.key", &old_way, &["--key", "line 2", "encrypted"]),
        ("ca.crt", "", &["--client-ca", "empty"]),
        ("ca.crt", "hello", &["--client-ca", "CERTIFICATE"]),
        ("ca.crt", &key, &["--client-ca", "CERTIFICATE"]),
    ];
    for (name, text, texts) in cases {
        let (folder, setup) = with_files(&[(name, text)]);
        let path = folder.path().join(name);
        refused(
            setup,
            &[texts, &[path.to_str().expect("a UTF-8 path")][..]].concat(),
        );
    }
}

#[test]
fn a_missing_file_is_named_with_its_flag() {
    for flag in ["--cert", "--key", "--client-ca"] {
        let (folder, setup) = with_files(&[]);
        let missing = folder.path().join("missing.pem");
        let path = missing.to_str().expect("a UTF-8 path");
        refused(setup.flag(flag, &missing), &[flag, path, "no such file"]);
        let (folder, setup) = with_files(&[]);
        refused(setup.flag(flag, folder.path()), &[flag]);
    }
    let missing = "/nonexistent/gate.toml";
    refused(sound().flag("--config", missing), &["--config", missing]);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let other = std::fs::read_to_string(Pki::shared().client("other").key()).expect("it was made");
    let (_folder, setup) = with_files(&[("tls.key", &other)]);
    refused(setup, &["--key", "tls.key", "tls.crt", "does not belong"]);
}

#[test]
fn a_server_certificate_out_of_its_time_is_refused() {
    let pki = Pki::shared();
    let mut expired = server_params();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut future = server_params();
    future.not_before = rcgen::date_time_ymd(4000, 1, 1);
    for (params, text) in [(expired, "expired"), (future, "not valid before")] {
        let server = pki.forge(&params);
        let setup = sound()
            .flag("--cert", server.cert())
            .flag("--key", server.key());
        refused(setup, &["--cert", text]);
    }
}

#[test]
fn a_bundle_in_which_no_ca_can_vouch_is_refused() {
    let mut expired = authority_params("the expired CA");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    for (params, why) in [(expired, "expired"), (named("no CA at all"), "not a CA")] {
        let authority = crate::support::pki::Authority::root_from(params);
        let (_folder, setup) = with_files(&[("ca.crt", &authority.pem)]);
        refused(setup, &["--client-ca", "ca.crt", why]);
    }
}

/// A file with two routes; `tail` comes after them.
fn file(target: &str, tail: &str) -> (tempfile::TempDir, Setup) {
    let pki = Pki::shared();
    let server = pki.server();
    let folder = temporary_folder();
    let text = format!(
        "admin = \"127.0.0.1:0\"\nidle_timeout = \"5m\"\n\n[tls]\ncert = {:?}\nkey = {:?}\nclient_ca = [{:?}]\n\n\
         [[route]]\nname = \"metadata\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n\
         allow = {{ dns = [\"prometheus.test\"], uri = [\"spiffe://cluster.local/ns/*\"] }}\n\n\
         [[route]]\nname = \"other\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n\
         allow = {{ dns = [\"other.test\"] }}\nallow_from = [\"127.0.0.0/8\"]\n{tail}",
        server.cert(),
        server.key(),
        pki.ca(),
    );
    let path = folder.path().join("gate.toml");
    write(&path, &text);
    (folder, Setup::bare().file(&path, 2))
}

#[test]
fn several_routes_each_have_their_own_rules() {
    let pki = Pki::shared();
    let target = target::echo();
    let (_folder, setup) = file(&target.flag(), "");
    let gate = setup.start();
    let admitted = |name: &str, route: &str| {
        let mut connection = pki.client(name).connect(gate.route(route));
        connection.refusal().is_none()
    };
    assert!(admitted("prometheus", "metadata"));
    assert!(!admitted("prometheus", "other"));
    assert!(admitted("other", "other"));
    assert!(!admitted("other", "metadata"));
    let spiffe = pki.forge(&crate::support::pki::client_params([uri(
        "spiffe://cluster.local/ns/a",
    )]));
    spiffe.connect(gate.route("metadata")).prove_admitted();
    for record in gate.records(5) {
        assert!(
            ["metadata", "other"].contains(&record["route"].as_str().expect("a route")),
            "{record}"
        );
    }
    let metrics = gate.metrics();
    let accepted =
        |route| metrics.value("portcullis_connections_accepted_total", &[("route", route)]);
    assert_eq!((accepted("metadata"), accepted("other")), (3.0, 2.0));
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line() {
    let mistakes: &[(&str, &[&str])] = &[
        (
            "alow_from = [\"10.0.0.0/8\"]\n",
            &["alow_from", "gate.toml:21"],
        ),
        (
            "proxy_protocol = \"v3\"\n",
            &["proxy_protocol", "gate.toml:21", "v2"],
        ),
        (
            "unsafe_target = \"perhaps\"\n",
            &["unsafe_target", "gate.toml:21"],
        ),
        (
            "allow_any_client = true\n",
            &["allow_any_client", "gate.toml:21", "leave one of them out"],
        ),
        (
            "[[route]]\nname = \"third\"\n",
            &[
                "listen",
                "target",
                "nobody would be admitted",
                "gate.toml:21",
            ],
        ),
        (
            "[[route]]\nname = \"other\"\nlisten = \"127.0.0.1:0\"\ntarget = \"127.0.0.1:9\"\nallow_any_client = true\n",
            &["other", "gate.toml:22"],
        ),
        (
            "[[route]]\nname = \"third\"\nlisten = \"127.0.0.1:0\"\ntarget = \"10.0.0.1:9\"\nallow_any_client = true\n",
            &["10.0.0.1:9", "gate.toml:24", "unsafe_target"],
        ),
        (
            "[[route]]\nname = \"a b\"\nlisten = \"127.0.0.1:0\"\ntarget = \"127.0.0.1:9\"\nallow = { uri = [\"spiffe://*/x\"] }\n",
            &["a b", "gate.toml:22", "spiffe://*/x", "gate.toml:25"],
        ),
        ("this is no toml\n", &["gate.toml:21"]),
        ("[unknown]\n", &["unknown", "gate.toml"]),
    ];
    for (tail, texts) in mistakes {
        let (_folder, setup) = file("127.0.0.1:9", tail);
        refused(setup, texts);
    }
}

#[test]
fn two_routes_on_one_port_are_refused() {
    let route = |name| {
        format!(
            "[[route]]\nname = \"{name}\"\nlisten = \"127.0.0.1:20443\"\ntarget = \"127.0.0.1:9\"\nallow_any_client = true\n"
        )
    };
    let (_folder, setup) = file(
        "127.0.0.1:9",
        &format!("{}{}", route("third"), route("fourth")),
    );
    refused(setup, &["127.0.0.1:20443", "gate.toml"]);
}

#[test]
fn a_route_to_a_listener_of_the_gate_itself_is_refused() {
    let setup = sound()
        .flag("--listen", "127.0.0.1:20443")
        .flag("--target", "127.0.0.1:20443");
    refused(setup, &["--target", "itself"]);
}

#[test]
fn flags_of_a_route_beside_routes_of_the_file_are_refused() {
    let (_folder, setup) = file("127.0.0.1:9", "");
    refused(
        setup.flag("--allow-dns", "prometheus.test"),
        &["--allow-dns", "gate.toml"],
    );
}

/// Every flag by its variable, and none on the command line.
fn by_variables(pki: &Arc<Pki>, target: &str) -> Setup {
    let server = pki.server();
    let variables: [(&str, OsString); 22] = [
        ("LISTEN", "127.0.0.1:0".into()),
        ("TARGET", target.into()),
        ("CERT", server.cert().into()),
        ("KEY", server.key().into()),
        ("CLIENT_CA", pki.ca().into()),
        ("ALLOW_DNS", "one.test,two.test".into()),
        (
            "ALLOW_URI",
            "spiffe://cluster.local/ns/*,https://exact.test/a".into(),
        ),
        ("ALLOW_CN", "nobody".into()),
        ("ALLOW_FROM", "127.0.0.0/8,10.0.0.0/8".into()),
        ("TLS_MIN", "1.2".into()),
        ("ADMIN", "127.0.0.1:0".into()),
        ("MAX_CONNECTIONS", "100".into()),
        ("MAX_CONNECTIONS_PER_SOURCE", "50".into()),
        ("MAX_HANDSHAKES", "20".into()),
        ("BIND_TIMEOUT", "5s".into()),
        ("HANDSHAKE_TIMEOUT", "5s".into()),
        ("CONNECT_TIMEOUT", "5s".into()),
        ("IDLE_TIMEOUT", "1m".into()),
        ("MAX_SESSION", "1h".into()),
        ("DRAIN_TIMEOUT", "5s".into()),
        ("LOG_FORMAT", "json".into()),
        ("THREADS", "1".into()),
    ];
    variables
        .into_iter()
        .fold(Setup::bare(), |setup, (name, value)| {
            setup.variable(&format!("PORTCULLIS_{name}"), value)
        })
}

#[test]
fn everything_can_be_said_by_variables_alone() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = by_variables(&pki, &target.flag())
        // What Kubernetes injects for a Service of that name is none of the gate's business.
        .variable("PORTCULLIS_SERVICE_HOST", "10.0.0.1")
        .variable("PORTCULLIS_PORT", "tcp://10.0.0.1:54899")
        .variable("PORTCULLIS_PORT_54899_TCP_PROTO", "tcp")
        .start();
    for name in ["one", "two"] {
        pki.client(name).connect(gate.address()).prove_admitted();
    }
    let refused = pki.client("three").connect(gate.address()).ending();
    assert!(refused.is_a_cut(), "{refused:?}");
}

#[test]
fn a_flag_wins_over_its_variable_and_a_variable_over_the_file() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = by_variables(&pki, &target.flag())
        .flag("--allow-dns", "three.test")
        .start();
    let refusal = |name: &str| pki.client(name).connect(gate.address()).refusal();
    assert_eq!(refusal("three"), None);
    assert!(refusal("one").is_some(), "a list is replaced, not added to");

    // Each of these would keep the gate from starting, or from writing the JSON that is waited for, if the file won.
    let folder = temporary_folder();
    let path = folder.path().join("gate.toml");
    write(
        &path,
        "admin = \"unix:/nonexistent/admin\"\nlog_format = \"text\"\n",
    );
    let _gate = sound()
        .file(&path, 1)
        .flag("--admin", "127.0.0.1:0")
        .variable("PORTCULLIS_LOG_FORMAT", "json")
        .start();
}

#[test]
fn a_mistake_in_a_variable_is_named_with_the_variable() {
    let pki = Pki::shared();
    let setup = by_variables(&pki, "127.0.0.1:9").variable("PORTCULLIS_IDLE_TIMEOUT", "never");
    refused(setup, &["PORTCULLIS_IDLE_TIMEOUT", "never"]);
    let setup = by_variables(&pki, "10.1.1.1:9");
    refused(
        setup,
        &[
            "PORTCULLIS_TARGET",
            "10.1.1.1:9",
            "PORTCULLIS_UNSAFE_TARGET",
        ],
    );
}

#[test]
fn an_unsafe_target_is_permitted_by_name_only_and_shown() {
    let gate = sound()
        .flag("--target", "192.0.2.1:9")
        .switch("--unsafe-target")
        .start();
    gate.log
        .wait_for_record("a first line that says so", |record| {
            record.to_string().contains("unsafe")
        });
    let status = gate.get("/status").body;
    assert!(status.contains("unsafe"), "{status}");
}

#[test]
fn without_arguments_the_commands_are_shown() {
    let nothing = run(&mut portcullis(), &Input::All(b""));
    assert_eq!(nothing.code, 2, "{nothing:?}");
    for command in [
        "serve", "demo", "pki", "check", "explain", "scrape", "probe",
    ] {
        assert!(nothing.text().contains(command), "{command} in {nothing:?}");
    }
    let unknown = run(portcullis().arg("server"), &Input::All(b""));
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("serve"), "a hint: {unknown:?}");
    let version = run(portcullis().arg("--version"), &Input::All(b""));
    assert_eq!(
        version.stdout.trim(),
        concat!("portcullis ", env!("CARGO_PKG_VERSION"))
    );
}

fn help(arguments: &[&str]) -> Done {
    let done = run(portcullis().args(arguments).arg("--help"), &Input::All(b""));
    assert_eq!(done.code, 0, "{done:?}");
    for line in done.stdout.lines() {
        assert!(line.chars().count() <= 100, "wide: {line}");
    }
    assert!(
        done.stdout.contains("Example"),
        "{arguments:?} has an example: {}",
        done.stdout
    );
    done
}

#[test]
fn help_names_every_flag_with_variable_and_default() {
    let flags: &[(&str, &str)] = &[
        ("--config", ""),
        ("--listen", "0.0.0.0:54899"),
        ("--target", "127.0.0.1:54898"),
        ("--unsafe-target", ""),
        ("--cert", "/etc/portcullis/tls/tls.crt"),
        ("--key", "/etc/portcullis/tls/tls.key"),
        ("--client-ca", "/etc/portcullis/tls/ca.crt"),
        ("--allow-dns", ""),
        ("--allow-uri", ""),
        ("--allow-cn", ""),
        ("--allow-ou", ""),
        ("--allow-spki", ""),
        ("--allow-any-client", ""),
        ("--allow-missing-eku", ""),
        ("--allow-from", ""),
        ("--tls-min", "1.3"),
        ("--admin", "127.0.0.1:54900"),
        ("--max-connections", "4096"),
        ("--max-connections-per-source", "0"),
        ("--max-handshakes", "256"),
        ("--bind-timeout", "10s"),
        ("--handshake-timeout", "10s"),
        ("--connect-timeout", "5s"),
        ("--idle-timeout", "10m"),
        ("--max-session", "0"),
        ("--drain-timeout", "30s"),
        ("--proxy-protocol", "off"),
        ("--log-format", ""),
        ("--log-level", "info"),
        ("--threads", ""),
    ];
    for command in ["serve", "check", "explain"] {
        let text = help(&[command]).stdout;
        for (flag, default) in flags {
            let option = format!("\n      {flag}");
            let about = text
                .split(&option)
                .skip(1)
                .find(|rest| rest.starts_with([' ', '[']));
            let about = about.and_then(|rest| rest.split("\n      --").next());
            let about = about.unwrap_or_else(|| panic!("{command} {flag}: not in {text}"));
            let variable = format!("PORTCULLIS_{}", flag[2..].to_uppercase().replace('-', "_"));
            assert!(
                about.contains(&variable),
                "{command} {flag}: no {variable} in {about}"
            );
            if !default.is_empty() {
                assert!(
                    about.contains(&format!("[default: {default}]")),
                    "{command} {flag}: {about}"
                );
            }
        }
    }
}

#[test]
fn every_command_has_a_help_with_an_example() {
    for command in [
        &["demo"][..],
        &["pki"],
        &["pki", "init"],
        &["pki", "issue"],
        &["pki", "revoke"],
        &["scrape"],
        &["probe"],
        &["explain"],
    ] {
        help(command);
    }
}
