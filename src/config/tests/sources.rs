//! Flags, variables, file and defaults: which one wins, and that none is forgotten.

use std::time::Duration;

use super::{flags, good, parse, wrong};
use crate::config::{Admin, Place, ProxyProtocol, TlsVersion, surface};

const FILE: &str =
    "idle_timeout = '3m'\nmax_handshakes = 3\n[tls]\ncert = 'file.crt'\nkey = 'file.key'\n";

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let flags = flags(
        &["--cert", "flag.crt", "--allow-dns", "x.test"],
        &[
            ("PORTCULLIS_CERT", "variable.crt"),
            ("PORTCULLIS_KEY", "variable.key"),
            ("PORTCULLIS_IDLE_TIMEOUT", "2m"),
        ],
    );
    let config = parse(&flags, Some(FILE)).expect("nothing is wrong");
    assert_eq!(config.tls.cert.value.as_os_str(), "flag.crt");
    assert_eq!(config.tls.cert.place, Place::Flag("--cert"));
    assert_eq!(config.tls.key.value.as_os_str(), "variable.key");
    assert_eq!(config.tls.key.place.to_string(), "PORTCULLIS_KEY");
    assert_eq!(config.timeouts.idle, Duration::from_secs(120));
    assert_eq!(config.limits.handshakes.get(), 3);
    assert_eq!(config.limits.connections.get(), 4096);
    assert_eq!(config.tls.client_ca[0].place, Place::Default("--client-ca"));
}

#[test]
fn a_value_that_another_source_overrides_is_checked_all_the_same() {
    let flags = flags(&["--max-handshakes", "5", "--allow-dns", "x.test"], &[]);
    let problems = parse(&flags, Some("max_handshakes = 0\n")).expect_err("zero is refused");
    assert_eq!(
        problems,
        ["max_handshakes at gate.toml:1: \"0\": zero; write 1 or more"]
    );
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = good(&[], &[]);
    assert_eq!(
        config.tls.cert.value.as_os_str(),
        "/etc/portcullis/tls/tls.crt"
    );
    assert_eq!(
        config.tls.key.value.as_os_str(),
        "/etc/portcullis/tls/tls.key"
    );
    assert_eq!(config.tls.client_ca.len(), 1);
    assert_eq!(
        config.tls.client_ca[0].value.as_os_str(),
        "/etc/portcullis/tls/ca.crt"
    );
    assert_eq!(config.tls.min_version, TlsVersion::V1_3);
    assert!(!config.tls.allow_missing_eku);
    assert_eq!(config.routes.len(), 1);
    let route = &config.routes[0];
    assert_eq!(&*route.name, "default");
    assert_eq!(route.listen.value.to_string(), "0.0.0.0:54899");
    assert_eq!(route.target.to_string(), "127.0.0.1:54898");
    assert_eq!(route.proxy_protocol, ProxyProtocol::Off);
    assert!(route.allow_from.is_empty());
    assert!(
        matches!(&config.admin, Admin::Tcp(admin) if admin.value.to_string() == "127.0.0.1:54900")
    );
    assert_eq!(config.limits.connections.get(), 4096);
    assert_eq!(config.limits.connections_per_source, None);
    assert_eq!(config.limits.handshakes.get(), 256);
    let timeouts = config.timeouts;
    let seconds = [
        timeouts.bind,
        timeouts.handshake,
        timeouts.connect,
        timeouts.idle,
        timeouts.drain,
    ];
    assert_eq!(seconds, [10, 10, 5, 600, 30].map(Duration::from_secs));
    assert_eq!(timeouts.session, None);
    assert!((1..=4).contains(&config.threads.get()));
    assert_eq!(config.unsafe_settings(), Vec::<String>::new());
}

#[test]
fn a_variable_of_many_is_a_list_and_a_flag_is_not() {
    let config = good(
        &["--allow-cn", "Example, Inc."],
        &[
            ("PORTCULLIS_CLIENT_CA", "a.crt, b.crt"),
            ("PORTCULLIS_ALLOW_FROM", "10.0.0.0/8,fd00::/8"),
        ],
    );
    let client_ca = config.tls.client_ca.iter().map(|ca| ca.value.as_os_str());
    assert_eq!(client_ca.collect::<Vec<_>>(), ["a.crt", "b.crt"]);
    assert_eq!(config.routes[0].allow_from.len(), 2);
    let config = good(&["--client-ca", "a,b", "--client-ca", "c"], &[]);
    let client_ca = config.tls.client_ca.iter().map(|ca| ca.value.as_os_str());
    assert_eq!(client_ca.collect::<Vec<_>>(), ["a,b", "c"]);
    assert_eq!(
        wrong(&[], &[("PORTCULLIS_ALLOW_DNS", "a.test,,*.test")]),
        [
            "PORTCULLIS_ALLOW_DNS: one entry is empty; take it out or give it a value",
            "PORTCULLIS_ALLOW_DNS: \"*.test\": a dns rule is exact, `*` is not; write each name out",
        ]
    );
}

#[test]
fn an_empty_value_is_refused_in_every_source() {
    for flag in surface::FLAGS.iter().filter(|flag| flag.name != "--config") {
        let typed = format!("{}=", flag.name);
        let allow = ["--allow-dns", "x.test"];
        let allow = if flag.name == "--allow-dns" {
            &[][..]
        } else {
            &allow
        };
        let arguments: Vec<_> = allow.iter().copied().chain([typed.as_str()]).collect();
        let problem = format!("{}: empty; unset it or give a value", flag.name);
        assert_eq!(wrong(&arguments, &[]), [problem]);
        let problem = format!("{}: empty; unset it or give a value", flag.variable);
        assert_eq!(wrong(allow, &[(flag.variable, " ")]), [problem]);
    }
}

#[test]
fn a_switch_may_stand_alone_and_its_variable_says_true_or_false() {
    assert!(good(&["--allow-missing-eku"], &[]).tls.allow_missing_eku);
    assert!(
        !good(&["--allow-missing-eku=false"], &[])
            .tls
            .allow_missing_eku
    );
    for (value, on) in [
        ("true", true),
        ("1", true),
        ("Yes", true),
        ("false", false),
        ("0", false),
        ("no", false),
    ] {
        let config = good(&[], &[("PORTCULLIS_ALLOW_MISSING_EKU", value)]);
        assert_eq!(config.tls.allow_missing_eku, on, "{value}");
    }
    assert_eq!(
        wrong(
            &["--allow-any-client"],
            &[("PORTCULLIS_ALLOW_MISSING_EKU", "maybe")]
        ),
        ["PORTCULLIS_ALLOW_MISSING_EKU: \"maybe\": neither true nor false; write one of them"]
    );
}

#[test]
fn every_mistake_of_the_command_line_is_told_at_once() {
    assert_eq!(
        wrong(
            &[
                "--listen",
                "54899",
                "--tls-min=1",
                "--max-connections",
                "-1",
                "--admin",
                "0.0.0.0:1"
            ],
            &[
                ("PORTCULLIS_DRAIN_TIMEOUT", "0"),
                ("PORTCULLIS_LOG_LEVEL", "INFO")
            ],
        ),
        [
            "--tls-min: \"1\": unknown; write 1.2 or 1.3",
            "--admin: \"0.0.0.0:1\": not a loopback address, and the admin listener has no TLS; write 127.0.0.1:1, \
             unix:/path or off, and let other hosts in through a route",
            "--max-connections: \"-1\": not a whole number from 0 to 4294967295; write digits only",
            "PORTCULLIS_DRAIN_TIMEOUT: \"0\": too short; write 1ms or more",
            "PORTCULLIS_LOG_LEVEL: \"INFO\": unknown; write error or warn or info or debug or trace",
            "--listen: \"54899\": not IP:PORT; write 0.0.0.0:54899 or [::]:54899",
            "--allow-dns (default): nobody would be admitted; name the clients with --allow-dns, --allow-uri, --allow-cn, \
             --allow-ou or --allow-spki, or give --allow-any-client for all that the CA vouches for",
        ]
    );
}

#[test]
fn every_name_follows_from_the_name_of_the_flag() {
    for flag in surface::FLAGS {
        let name = flag.name.strip_prefix("--").expect("it has dashes");
        let variable = format!("PORTCULLIS_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(flag.variable, variable);
    }
}
