//! The file: everything that is wrong with it is told at once, with its line.

use std::time::Duration;

use proptest::prelude::*;

use super::{good_file, parse, wrong_file};
use crate::config::{
    Admin, Config, Flags, LogFormat, LogLevel, Problems, ProxyProtocol, TlsVersion,
};

const ROUTE: &str =
    "[[route]]\nname = 'a'\nlisten = '0.0.0.0:1'\ntarget = '127.0.0.1:2'\nallow = { cn = ['x'] }\n";

#[test]
fn the_contracts_example_is_understood() {
    let config = good_file(
        r#"
[tls]
cert = "/etc/portcullis/tls/tls.crt"
client_ca = ["/etc/portcullis/tls/ca.crt"]

[[route]]
name = "gke-metadata-server"
listen = "0.0.0.0:54899"
target = "127.0.0.1:54898"
allow = { dns = ["prometheus.monitoring.svc"], uri = ["spiffe://cluster.local/ns/monitoring/sa/*"] }
allow_from = ["10.0.0.0/8"]

[[route]]
name = "kube-proxy"
listen = "0.0.0.0:54902"
target = "127.0.0.1:10249"
allow = { dns = ["prometheus.monitoring.svc"] }

[[route]]            # the gate's own metrics, through the gate
name = "portcullis"
listen = "0.0.0.0:54901"
target = "127.0.0.1:54900"
allow = { dns = ["prometheus.monitoring.svc"] }
"#,
    );
    let routes = config.routes.iter().map(|route| {
        let allow_from = route.allow_from.iter().map(ToString::to_string);
        (
            route.name.to_string(),
            route.listen.place.to_string(),
            route.target.to_string(),
            allow_from.collect::<Vec<_>>().join(" "),
        )
    });
    let expected = [
        (
            "gke-metadata-server",
            "route[0].listen at gate.toml:8",
            "127.0.0.1:54898",
            "10.0.0.0/8",
        ),
        (
            "kube-proxy",
            "route[1].listen at gate.toml:15",
            "127.0.0.1:10249",
            "",
        ),
        (
            "portcullis",
            "route[2].listen at gate.toml:21",
            "127.0.0.1:54900",
            "",
        ),
    ]
    .map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(routes.collect::<Vec<_>>(), expected);
    assert_eq!(config.tls.cert.place.to_string(), "tls.cert at gate.toml:3");
    assert_eq!(config.tls.key.place.to_string(), "--key (default)");
    assert_eq!(
        config.tls.client_ca[0].place.to_string(),
        "tls.client_ca[0] at gate.toml:4"
    );
    assert_eq!(config.unsafe_settings(), Vec::<String>::new());
}

#[test]
fn every_key_is_understood() {
    let config = good_file(
        "admin = 'unix:/run/a.sock'\nmax_connections = 1\nmax_connections_per_source = 0x10\nmax_handshakes = 3\n\
         bind_timeout = '1s'\nhandshake_timeout = '2s'\nconnect_timeout = '3s'\nidle_timeout = '4s'\nmax_session = 0\n\
         drain_timeout = '5s'\nlog_format = 'json'\nlog_level = 'debug'\nthreads = 2\n\
         [tls]\ncert = 'c'\nkey = 'k'\nclient_ca = ['a', 'b']\ntls_min = 1.2\nallow_missing_eku = true\n\
         [[route]]\nname = 'r'\nlisten = '[::]:1'\ntarget = '10.0.0.1:2'\nunsafe_target = true\n\
         allow = { dns = ['d'], uri = ['u:v'], cn = ['c'], ou = ['o'] }\nallow_any_client = false\n\
         allow_from = ['::/0', '10.0.0.1']\nproxy_protocol = 'v2'\n",
    );
    assert!(matches!(&config.admin, Admin::Unix(path) if path.value.as_os_str() == "/run/a.sock"));
    let limits = config.limits;
    assert_eq!(limits.connections.get(), 1);
    assert_eq!(
        limits.connections_per_source.map(|most| most.get()),
        Some(16)
    );
    assert_eq!(limits.handshakes.get(), 3);
    let timeouts = config.timeouts;
    let seconds = [
        timeouts.bind,
        timeouts.handshake,
        timeouts.connect,
        timeouts.idle,
        timeouts.drain,
    ];
    assert_eq!(seconds, [1, 2, 3, 4, 5].map(Duration::from_secs));
    assert_eq!(timeouts.session, None);
    assert_eq!(*config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(config.threads.get(), 2);
    assert_eq!(config.tls.client_ca.len(), 2);
    assert_eq!(config.tls.min_version, TlsVersion::V1_2);
    assert_eq!(config.routes[0].proxy_protocol, ProxyProtocol::V2);
    assert_eq!(
        config.unsafe_settings(),
        ["allow_missing_eku", "unsafe_target of route r: 10.0.0.1:2"]
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_their_lines() {
    let text = "\
max_connections = 0
admni = 'off'
idle_timeout = '10'

[tls]
cert = ''
tls_min = '1.1'

[[route]]
name = 'a b'
listen = ':54899'
target = 'localhost:1'
allow = {
  dns = [
    'prometheus.test',
    '*.test',
  ],
}
";
    assert_eq!(
        wrong_file(text),
        [
            "max_connections at gate.toml:1: \"0\": zero; write 1 or more",
            "admni at gate.toml:2: unknown key; did you mean admin?",
            "idle_timeout at gate.toml:3: \"10\": has no unit; write ms, s, m or h behind it, like 10s",
            "tls.cert at gate.toml:6: empty; remove it or give a value",
            "tls.tls_min at gate.toml:7: \"1.1\": unknown; write 1.2 or 1.3",
            "route[0].name at gate.toml:10: \"a b\": not a route name; write up to 63 of letters, digits, `.`, `_` and \
             `-`",
            "route[0].listen at gate.toml:11: \":54899\": has no address; write 0.0.0.0:54899 or [::]:54899",
            "route[0].target at gate.toml:12: \"localhost:1\": a name, and nothing is resolved; write 127.0.0.1:1",
            "route[0].allow.dns[1] at gate.toml:16: \"*.test\": a dns rule is exact, `*` is not; write each name out",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    for (before, key, problem) in [
        (
            "",
            "threds = 1",
            "threds at gate.toml:1: unknown key; did you mean threads?",
        ),
        (
            "",
            "cert = 'x'",
            "cert at gate.toml:1: unknown key; it belongs in [tls], move it there",
        ),
        (
            "",
            "listen = 'x'",
            "listen at gate.toml:1: unknown key; it belongs in a [[route]], move it there",
        ),
        (
            "[tls]\n",
            "admin = 'off'",
            "tls.admin at gate.toml:2: unknown key; it belongs at the top level, above the first [table], move it there",
        ),
        (
            "[tls]\n",
            "ciphers = 'x'",
            "tls.ciphers at gate.toml:2: unknown key; the keys here are cert, key, client_ca, client_crl, stale_crl, tls_min, allow_missing_eku",
        ),
        (
            ROUTE,
            "lisen = 'x'",
            "route[0].lisen at gate.toml:6: unknown key; did you mean listen?",
        ),
        (
            ROUTE,
            "allow_uri = ['x:y']",
            "route[0].allow_uri at gate.toml:6: unknown key; write uri = [\"…\"] into the allow table of a [[route]]",
        ),
        (
            ROUTE,
            "[route.allow.email]",
            "gate.toml:6: \"[route.allow.email]\": not TOML: cannot extend value of type inline table with a dotted key; \
             mend this line",
        ),
        (
            "[[route]]\nname = 'a'\nlisten = '0.0.0.0:1'\ntarget = '127.0.0.1:2'\n[route.allow]\ncn = ['x']\n",
            "email = ['x']",
            "route[0].allow.email at gate.toml:7: unknown key; the keys here are dns, uri, cn, ou, spki",
        ),
    ] {
        let text = format!("{before}{key}\n");
        let route = if before.contains("[[route]]") {
            ""
        } else {
            ROUTE
        };
        assert_eq!(wrong_file(&format!("{text}{route}")), [problem]);
    }
}

#[test]
fn a_wrong_type_is_refused_with_the_right_one() {
    for (line, problem) in [
        (
            "admin = 54900",
            "admin at gate.toml:1: \"54900\": is of type integer, but a string is wanted; write admin = \"…\"",
        ),
        (
            "threads = '2'",
            "threads at gate.toml:1: \"'2'\": is of type string, but an integer is wanted; write threads = NUMBER without \
             quotes",
        ),
        (
            "max_session = true",
            "max_session at gate.toml:1: \"true\": is of type boolean, but a string is wanted; write max_session = \"…\"",
        ),
        (
            "tls = 1",
            "tls at gate.toml:1: \"1\": is of type integer, but a table is wanted; write [tls]",
        ),
        (
            "tls.client_ca = 'a'",
            "tls.client_ca at gate.toml:1: \"'a'\": is of type string, but a list is wanted; write client_ca = [\"…\"]",
        ),
        (
            "tls.client_ca = [\n'a',\n2]",
            "tls.client_ca[1] at gate.toml:3: \"2\": is of type integer, but a string is wanted; write \"…\"",
        ),
        (
            "tls.client_ca = []",
            "tls.client_ca at gate.toml:1: empty list; remove it or name at least one",
        ),
        (
            "tls.allow_missing_eku = 'yes'",
            "tls.allow_missing_eku at gate.toml:1: \"'yes'\": is of type string, but a boolean is wanted; write \
             allow_missing_eku = true or allow_missing_eku = false",
        ),
    ] {
        assert_eq!(wrong_file(&format!("{line}\n{ROUTE}")), [problem]);
    }
    let single = ROUTE.replace("[[route]]", "[route]");
    assert_eq!(
        wrong_file(&single),
        [
            "route at gate.toml:1: \"[route]\": is of type table, but a list of tables is wanted; write [[route]]"
        ]
    );
    assert_eq!(
        wrong_file("route = [1]"),
        [
            "route[0] at gate.toml:1: \"1\": is of type integer, but a list of tables is wanted; write [[route]]"
        ]
    );
}

#[test]
fn a_syntax_error_is_one_problem_with_its_line() {
    for (text, problem) in [
        ("\n\nx = \n", "gate.toml:3: \"x = \": not TOML: "),
        (
            "x = 1\nx = 2\n",
            "gate.toml:2: \"x = 2\": not TOML: duplicate key",
        ),
        ("[tls\ncert = 1", "gate.toml:1: \"[tls\": not TOML: "),
        ("\u{0}", "gate.toml:1: \"\\0\": not TOML: "),
    ] {
        let problems = wrong_file(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(problem), "{problems:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_beside_the_others() {
    let flags = super::flags(
        &["--threads", "0"],
        &[("PORTCULLIS_CONFIG", "/nowhere/gate.toml")],
    );
    let Problems(problems) = Config::parse(&flags).expect_err("there is no such file");
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "--threads: \"0\": not a whole number from 1 to 1024; write digits only",
            "PORTCULLIS_CONFIG: \"/nowhere/gate.toml\": no such file, and no folder /nowhere; name the right path, or mount \
             what should be there",
        ]
    );
}

#[test]
fn a_file_is_read_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("gate.toml");
    std::fs::write(&path, ROUTE).expect("it can be written");
    let path = path.to_str().expect("it is UTF-8");
    let config = Config::parse(&super::flags(&["--config", path], &[])).expect("nothing is wrong");
    assert_eq!(
        config.routes[0].listen.place.to_string(),
        format!("route[0].listen at {path}:3")
    );
    let refused = |path: &str| {
        let parsed = Config::parse(&super::flags(&["--config", path], &[]));
        let Problems(problems) = parsed.expect_err("it is no configuration");
        problems[0].what.clone()
    };
    std::fs::write(path, b"# K\xc3\xb6ln\n# K\xf6ln\n").expect("it can be written");
    assert_eq!(
        refused(path),
        "line 2 is not UTF-8; write the file as UTF-8"
    );
    let folder = folder.path().to_str().expect("it is UTF-8");
    assert!(refused(folder).starts_with("a folder, not a file; "));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in any::<String>()) {
        drop(parse(&Flags::default(), Some(&text)));
    }

    #[test]
    fn any_assortment_of_keys_and_values_is_parsed_or_refused_with_a_problem(
        lines in proptest::collection::vec(
            (
                prop::sample::select(vec![
                    "[tls]", "[[route]]", "[route]", "[route.allow]", "cert", "client_ca", "tls_min", "route", "name",
                    "listen", "target", "allow", "allow_from", "allow_any_client", "admin", "max_session", "x",
                ]),
                prop::sample::select(vec![
                    "''", "'x'", "1", "1.2", "true", "[]", "['x', 1]", "{}", "{ dns = 1 }", "{ dns = ['x'] }",
                    "'127.0.0.1:1'", "'0.0.0.0:0'", "1979-05-27", "[[[]]]", "'::/0'",
                ]),
            ),
            0..12,
        ),
    ) {
        let line = |(key, value): &(&str, &str)| {
            if key.starts_with('[') { format!("{key}\n") } else { format!("{key} = {value}\n") }
        };
        let text: String = lines.iter().map(line).collect();
        if let Err(problems) = parse(&Flags::default(), Some(&text)) {
            prop_assert!(!problems.is_empty(), "refused without a reason: {text}");
        }
    }
}
