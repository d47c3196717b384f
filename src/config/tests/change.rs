//! A file that is read again: what a running gate follows, and what it says needs a restart.

use std::num::NonZeroUsize;

use super::good_file;
use crate::config::{Chosen, Config, LogFormat};

const FILE: &str = "max_connections = 10
[tls]
cert = '/c'
client_ca = ['/ca']
[[route]]
name = 'a'
listen = '127.0.0.1:1'
target = '127.0.0.1:2'
allow = { dns = ['x.test'] }
allow_from = ['10.0.0.0/8']
[[route]]
name = 'b'
listen = '127.0.0.1:3'
target = '127.0.0.1:4'
allow_any_client = true
";

/// The file with one text in it replaced by another.
fn changed(from: &str, to: &str) -> Config {
    assert!(FILE.contains(from), "{from:?} is in the file");
    good_file(&FILE.replacen(from, to, 1))
}

#[test]
fn certificates_and_rules_are_followed() {
    let cases = [
        ("cert = '/c'", "cert = '/d'"),
        ("cert = '/c'", "cert = '/c'\nkey = '/k'"),
        ("['/ca']", "['/ca', '/more']"),
        ("['/ca']", "['/ca']\nclient_crl = ['/crl']"),
        (
            "['/ca']",
            "['/ca']\nclient_crl = ['/crl']\nstale_crl = 'accept'",
        ),
        ("['/ca']", "['/ca']\ntls_min = '1.2'"),
        ("['/ca']", "['/ca']\nallow_missing_eku = true"),
        ("x.test", "y.test"),
        ("{ dns = ['x.test'] }", "{ cn = ['x.test'] }"),
        ("['10.0.0.0/8']", "['10.0.0.0/8', '192.0.2.0/24']"),
        ("allow_any_client = true", "allow = { dns = ['x.test'] }"),
    ];
    let running = good_file(FILE);
    for (from, to) in cases {
        let written = changed(from, to);
        let (followed, restart) = running.with_trust_of(&written);
        assert!(restart.is_empty(), "{to}: {restart:?}");
        assert!(followed.same_trust(&written), "{to} is followed");
        assert!(!followed.same_trust(&running), "{to} is a change");
    }
}

#[test]
fn what_is_bound_or_dialled_stays_and_is_told() {
    let setting = |text: &'static str| ("max_connections = 10", text);
    let cases = [
        (
            ("listen = '127.0.0.1:1'", "listen = '127.0.0.1:9'"),
            "route[0].listen at gate.toml:7: listen of route \"a\" changed from 127.0.0.1:1 to 127.0.0.1:9",
        ),
        (
            ("target = '127.0.0.1:2'", "target = 'unix:/t'"),
            "--config: target of route \"a\" changed from 127.0.0.1:2 to unix:/t",
        ),
        (
            ("name = 'a'", "name = 'a'\nproxy_protocol = 'v2'"),
            "proxy_protocol of route \"a\" changed from off to v2",
        ),
        (
            ("name = 'b'", "name = 'c'"),
            "--config: route \"b\" is gone",
        ),
        (("name = 'b'", "name = 'c'"), "route \"c\" is new"),
        (
            setting("max_connections = 11"),
            "--config: max_connections changed from 10 to 11; restart the gate",
        ),
        (
            setting("max_connections_per_source = 2"),
            "max_connections changed from 10 to 4096",
        ),
        (
            setting("max_connections_per_source = 2"),
            "max_connections_per_source changed from 0 to 2",
        ),
        (
            setting("admin = 'unix:/run/x'"),
            "admin changed from 127.0.0.1:54900 to unix:/run/x",
        ),
        (
            setting("idle_timeout = '9s'"),
            "idle_timeout changed from 10m to 9s",
        ),
        (
            setting("max_session = '1h'"),
            "max_session changed from 0 to 1h",
        ),
        (
            setting("log_level = 'debug'"),
            "log_level changed from info to debug",
        ),
        (
            setting("reload_interval = '9s'"),
            "reload_interval changed from 10s to 9s",
        ),
        (setting("threads = 900"), " to 900; restart"),
    ];
    let running = good_file(FILE);
    for ((from, to), told) in cases {
        let (followed, restart) = running.with_trust_of(&changed(from, to));
        let restart: Vec<String> = restart.iter().map(ToString::to_string).collect();
        assert!(
            restart.iter().any(|what| what.contains(told)),
            "{told:?} in {restart:?}"
        );
        assert!(
            restart.iter().all(|what| what.contains("restart the gate")),
            "{restart:?}"
        );
        let stays = |config: &Config| {
            let routes = config.routes.iter();
            let routes = routes.map(|route| {
                (
                    route.name.to_string(),
                    route.listen.value,
                    route.target.to_string(),
                )
            });
            (
                routes.collect::<Vec<_>>(),
                config.limits,
                config.timeouts,
                config.threads.get(),
            )
        };
        assert_eq!(stays(&followed), stays(&running), "{to}");
        assert!(followed.same_trust(&running), "{to}");
    }
}

#[test]
fn a_route_keeps_its_own_rules_wherever_it_stands_in_the_file() {
    let running = good_file(FILE);
    let (head, routes) = FILE.split_once("[[route]]").expect("there are routes");
    let (one, other) = routes.split_once("[[route]]").expect("there are two");
    let written = good_file(&format!("{head}[[route]]{other}[[route]]{one}"));
    let (followed, restart) = running.with_trust_of(&written);
    assert!(restart.is_empty(), "{restart:?}");
    assert!(followed.same_trust(&running));
}

#[test]
fn a_file_that_only_looks_different_is_the_same() {
    let running = good_file(FILE);
    let written = changed("[tls]\n", "# a comment\n\n[tls]\n");
    let (followed, restart) = running.with_trust_of(&written);
    assert!(
        restart.is_empty() && followed.same_trust(&running),
        "{restart:?}"
    );
}

#[test]
fn rules_of_a_route_that_is_gone_from_the_file_stay_as_they_are() {
    // The route is served until the restart: by its own last rules, not by none and not by another's.
    let running = good_file(FILE);
    let (head, _) = FILE.rsplit_once("[[route]]").expect("there are routes");
    let (followed, restart) = running.with_trust_of(&good_file(head));
    assert_eq!(restart.len(), 1, "{restart:?}");
    assert_eq!(followed.routes.len(), 2);
    assert!(followed.same_trust(&running));
}

#[test]
fn what_the_machine_chose_is_no_setting_that_changed() {
    let running = good_file(FILE);
    let after = |threads, format| {
        let mut written = running.clone();
        written.threads = threads;
        written.log.format = format;
        let (_, restart) = running.with_trust_of(&written);
        restart
            .iter()
            .map(|one| one.setting.clone())
            .collect::<Vec<_>>()
    };
    let [fewer, more] = [1, 900].map(|threads| NonZeroUsize::new(threads).expect("not zero"));
    let (text, json) = (LogFormat::Text, LogFormat::Json);
    for threads in [fewer, more] {
        for format in [text, json] {
            // A CPU quota was changed, the terminal is gone.
            let chosen = after(Chosen::by_machine(threads), Chosen::by_machine(format));
            assert_eq!(chosen, [""; 0], "{threads} {format}");
        }
    }
    assert_eq!(
        after(Chosen::written(more), running.log.format),
        ["threads"]
    );
    let other = if *running.log.format == text {
        json
    } else {
        text
    };
    assert_eq!(
        after(running.threads, Chosen::written(other)),
        ["log_format"]
    );
    // Somebody wrote down what holds already.
    let same = after(Chosen::written(*running.threads), running.log.format);
    assert_eq!(same, [""; 0]);
}
