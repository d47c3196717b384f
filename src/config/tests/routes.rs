//! Routes: what each must have and what must not meet.

use super::{Flags, flags, good, good_file, parse, wrong, wrong_file};
use crate::policy::Allow;

/// A route with this listener and target.
fn route(name: &str, listen: &str, target: &str) -> String {
    format!(
        "[[route]]\nname = '{name}'\nlisten = '{listen}'\ntarget = '{target}'\nallow.cn = ['x']\n"
    )
}

#[test]
fn a_route_of_the_file_has_no_default_name_listener_or_target() {
    assert_eq!(
        wrong_file("\n[[route]]\nallow = { dns = ['x.test'] }\n"),
        [
            "route[0].name at gate.toml:2: missing; write name = \"…\"",
            "route[0].listen at gate.toml:2: missing; write listen = \"IP:PORT\"",
            "route[0].target at gate.toml:2: missing; write target = \"127.0.0.1:PORT\"",
        ]
    );
}

#[test]
fn nobody_is_admitted_unless_somebody_is_named() {
    let nobody = "route[0].allow at gate.toml:1: nobody would be admitted; name the clients, like allow = { dns = \
                  [\"prometheus.monitoring.svc\"] }, or write allow_any_client = true for all that the CA vouches for";
    let bare = "[[route]]\nname = 'a'\nlisten = '0.0.0.0:1'\ntarget = '127.0.0.1:2'\n";
    for more in ["", "allow = {}\n", "allow_any_client = false\n"] {
        assert_eq!(wrong_file(&format!("{bare}{more}")), [nobody]);
    }
    assert_eq!(
        wrong_file(&format!("{bare}allow = {{ dns = [] }}\n")),
        ["route[0].allow.dns at gate.toml:5: empty list; remove it or name at least one"]
    );
    assert_eq!(wrong(&[], &[]).len(), 1);
}

#[test]
fn any_client_and_named_clients_exclude_each_other() {
    assert_eq!(
        wrong(
            &["--allow-any-client"],
            &[("PORTCULLIS_ALLOW_URI", "spiffe://td/x")]
        ),
        [
            "--allow-any-client: admits every client, but PORTCULLIS_ALLOW_URI names some; leave one of them out"
        ]
    );
    let config = parse(&flags(&["--allow-any-client"], &[]), None).expect("nothing is wrong");
    assert!(matches!(*config.routes[0].allow, Allow::AnyClient));
    assert_eq!(
        config.unsafe_settings(),
        ["allow_any_client of route default"]
    );
}

#[test]
fn a_target_is_loopback_unless_permitted() {
    for target in [
        "127.0.0.1:1",
        "127.8.9.10:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "unix:/run/x.sock",
    ] {
        good(&["--target", target], &[]);
    }
    for target in [
        "10.0.0.1:1",
        "0.0.0.0:1",
        "[::]:1",
        "[::ffff:10.0.0.1]:1",
        "[fe80::1]:1",
    ] {
        let problems = wrong(&["--allow-dns", "x.test", "--target", target], &[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("not a loopback address"),
            "{problems:?}"
        );
        let config = good(&["--target", target, "--unsafe-target"], &[]);
        assert!(config.routes[0].target.is_unsafe(), "{target}");
        assert_eq!(config.unsafe_settings().len(), 1);
    }
    for (arguments, variables, remedy) in [
        (&["--target", "10.0.0.1:1"][..], &[][..], "--unsafe-target"),
        (
            &[],
            &[("PORTCULLIS_TARGET", "10.0.0.1:1")],
            "PORTCULLIS_UNSAFE_TARGET=true",
        ),
    ] {
        let arguments: Vec<_> = arguments
            .iter()
            .copied()
            .chain(["--allow-cn", "x"])
            .collect();
        let problems = wrong(&arguments, variables);
        assert!(
            problems[0].ends_with(&format!("or permit it with {remedy}")),
            "{problems:?}"
        );
    }
    assert_eq!(
        wrong_file(&route("a", "0.0.0.0:1", "10.0.0.1:2")),
        [
            "route[0].target at gate.toml:4: \"10.0.0.1:2\": not a loopback address, so plaintext would leave this host; \
          write 127.0.0.1:2 or unix:/path, or permit it with unsafe_target = true"
        ]
    );
}

#[test]
fn a_target_is_never_one_of_the_gates_own_listeners() {
    for (listen, target) in [
        ("0.0.0.0:7", "127.0.0.1:7"),
        ("0.0.0.0:7", "127.1.2.3:7"),
        ("[::]:7", "127.0.0.1:7"),
        ("[::]:7", "[::1]:7"),
        ("127.0.0.1:7", "127.0.0.1:7"),
        ("127.0.0.1:7", "[::ffff:127.0.0.1]:7"),
    ] {
        let text = route("a", "0.0.0.0:1", target) + &route("b", listen, "127.0.0.1:9");
        let problems = wrong_file(&text);
        assert_eq!(problems.len(), 1, "{listen} {target}: {problems:?}");
        assert!(
            problems[0].contains("the gate would connect to itself, it listens there (route[1].listen at gate.toml:8)"),
            "{problems:?}"
        );
    }
    let unspecified = wrong(
        &[
            "--allow-cn=x",
            "--listen=0.0.0.0:7",
            "--target=0.0.0.0:7",
            "--unsafe-target",
        ],
        &[],
    );
    assert!(
        unspecified[0].contains("connect to itself"),
        "{unspecified:?}"
    );
    for (listen, target) in [
        ("0.0.0.0:7", "[::1]:7"),
        ("127.0.0.1:7", "127.0.0.2:7"),
        ("0.0.0.0:0", "127.0.0.1:7"),
        ("10.0.0.1:7", "127.0.0.1:7"),
        ("0.0.0.0:7", "127.0.0.1:54900"),
    ] {
        good_file(&route("a", listen, target));
    }
    good(
        &[
            "--listen=0.0.0.0:7",
            "--target=10.0.0.1:7",
            "--unsafe-target",
        ],
        &[],
    );
}

#[test]
fn listeners_and_names_are_unique() {
    for (one, other) in [
        ("0.0.0.0:7", "0.0.0.0:7"),
        ("0.0.0.0:7", "127.0.0.1:7"),
        ("127.0.0.1:7", "0.0.0.0:7"),
        ("[::]:7", "127.0.0.1:7"),
        ("0.0.0.0:7", "[::]:7"),
        ("[::1]:7", "[::]:7"),
        ("[::ffff:127.0.0.1]:7", "127.0.0.1:7"),
    ] {
        let text = route("a", one, "127.0.0.1:9") + &route("b", other, "127.0.0.1:9");
        let problems = wrong_file(&text);
        assert_eq!(problems.len(), 1, "{one} {other}: {problems:?}");
        assert!(
            problems[0].starts_with("route[1].listen at gate.toml:8: ")
                && problems[0].contains("taken by route[0].listen at gate.toml:3, which is "),
            "{problems:?}"
        );
    }
    for (one, other) in [
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("127.0.0.1:7", "[::1]:7"),
        ("0.0.0.0:7", "0.0.0.0:8"),
    ] {
        let text = route("a", one, "127.0.0.1:9") + &route("b", other, "127.0.0.1:9");
        assert_eq!(good_file(&text).routes.len(), 2);
    }
    let text = route("a", "0.0.0.0:1", "127.0.0.1:9") + &route("a", "0.0.0.0:2", "127.0.0.1:9");
    assert_eq!(
        wrong_file(&text),
        [
            "route[1].name at gate.toml:7: \"a\": already the name of route[0].name at gate.toml:2; choose another"
        ]
    );
}

#[test]
fn the_admin_listener_does_not_stand_on_a_route() {
    assert_eq!(
        wrong(&["--allow-cn=x", "--listen=[::]:54900"], &[]),
        [
            "--admin (default): \"127.0.0.1:54900\": taken by --listen, which is [::]:54900; choose another port"
        ]
    );
    good(&["--listen=[::]:54900", "--admin=off"], &[]);
    good(
        &["--listen=[::]:54900", "--admin=unix:/run/admin.sock"],
        &[],
    );
}

#[test]
fn flags_of_a_route_do_not_stand_beside_routes_of_the_file() {
    let file = route("a", "0.0.0.0:1", "127.0.0.1:2");
    let arguments = [
        "--listen=0.0.0.0:3",
        "--target=127.0.0.1:4",
        "--allow-dns=x.test",
        "--allow-from=10.0.0.0/8",
        "--proxy-protocol=v2",
        "--unsafe-target",
        "--max-connections=3",
    ];
    let variables = [("PORTCULLIS_ALLOW_ANY_CLIENT", "false")];
    let problems =
        parse(&flags(&arguments, &variables), Some(&file)).expect_err("they would do nothing");
    let expected = [
        "--listen",
        "--target",
        "--unsafe-target",
        "--allow-dns",
        "PORTCULLIS_ALLOW_ANY_CLIENT",
        "--allow-from",
        "--proxy-protocol",
    ]
    .map(|place| {
        format!(
            "{place}: has no effect beside the routes of gate.toml; move it into a [[route]] of gate.toml or unset it"
        )
    });
    assert_eq!(problems, expected);
}

#[test]
fn a_file_without_routes_leaves_the_route_to_flags() {
    let flags = flags(&["--allow-dns=x.test", "--listen=127.0.0.1:5"], &[]);
    for file in ["", "route = []\n", "admin = 'off'\n"] {
        let config = parse(&flags, Some(file)).expect("nothing is wrong");
        assert_eq!(&*config.routes[0].name, "default");
        assert_eq!(config.routes[0].listen.value.to_string(), "127.0.0.1:5");
    }
    assert_eq!(
        parse(&Flags::default(), Some(""))
            .expect_err("nobody is named")
            .len(),
        1
    );
}
