//! Addresses as people write them, and the ones that were meant.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_no_socket_address_is_told_apart_and_the_one_that_was_meant_is_named() {
    let any = "0.0.0.0:54899 or [::]:54899";
    for (text, what, remedy) in [
        ("10.0.0.1", "has no port", "10.0.0.1:54899"),
        ("::1", "has no port", "[::1]:54899"),
        (":9443", "has no address", "0.0.0.0:9443 or [::]:9443"),
        ("*:9443", "has no address", "0.0.0.0:9443 or [::]:9443"),
        (
            "fd00::1:2:3:4:5:6:7:8:9443",
            "not IP:PORT",
            "0.0.0.0:9443 or [::]:9443",
        ),
        (
            "2001:db8:1:2:3:4:5:6:80",
            "an IPv6 address without brackets",
            "[2001:db8:1:2:3:4:5:6]:80",
        ),
        (
            "localhost:9443",
            "a name, and nothing is resolved",
            "127.0.0.1:9443",
        ),
        (
            "node.test:9443",
            "a name, and nothing is resolved",
            "0.0.0.0:9443 or [::]:9443",
        ),
        ("9443", "not IP:PORT", "0.0.0.0:9443 or [::]:9443"),
        ("0.0.0.0:65536", "not IP:PORT", "0.0.0.0:54899"),
        ("0.0.0.0:", "not IP:PORT", "0.0.0.0:54899"),
        ("http://127.0.0.1:1", "not IP:PORT", "127.0.0.1:1"),
        ("https://localhost:1/metrics", "not IP:PORT", "127.0.0.1:1"),
        ("256.0.0.1:1", "not IP:PORT", "0.0.0.0:1 or [::]:1"),
        (" 127.0.0.1:1", "not IP:PORT", "0.0.0.0:1 or [::]:1"),
        ("nonsense", "not IP:PORT", any),
        ("", "not IP:PORT", any),
    ] {
        assert_eq!(
            listen(text),
            Err(format!("{what}; write {remedy}")),
            "{text}"
        );
    }
    let on_loopback = |text: &str| (target(text).unwrap_err(), admin(text).unwrap_err());
    let (target, admin) = on_loopback("localhost:9100");
    assert!(
        target.ends_with("nothing is resolved; write 127.0.0.1:9100"),
        "{target}"
    );
    assert!(admin.ends_with("; write 127.0.0.1:9100"), "{admin}");
    let (target, admin) = on_loopback("9100");
    assert!(
        target.ends_with("; write 127.0.0.1:9100 or unix:/path"),
        "{target}"
    );
    assert!(
        admin.ends_with("; write 127.0.0.1:9100, unix:/path or off"),
        "{admin}"
    );
}

#[test]
fn a_listener_takes_its_address_from_the_environment() {
    let variable = |name: &str| match name {
        "V4" => Some("10.0.0.1".to_owned()),
        "V6" => Some("fd00::1".to_owned()),
        "NAME" => Some("node-1".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    for (text, address, name) in [
        ("$(V4):54899", "10.0.0.1:54899", Some("V4")),
        ("$(V6):54899", "[fd00::1]:54899", Some("V6")),
        ("10.0.0.1:54899", "10.0.0.1:54899", None),
    ] {
        let listen = listen_in(text, variable).expect("an address");
        assert_eq!(listen.address, address.parse().expect("an address"));
        assert_eq!(listen.variable.as_deref(), name);
    }
    for (text, why) in [
        ("$(UNSET):1", "no variable \"UNSET\""),
        ("$():1", "no variable \"\""),
        ("$(NAME):1", "is \"node-1\", which is no IP address"),
        (
            "$(EMPTY):1",
            "the variable EMPTY is empty; set it to an IP address",
        ),
        ("$(V4):", "no port behind $(V4)"),
        ("$(V4):65536", "no port behind $(V4)"),
        ("$(V4)", "write 0.0.0.0:54899"),
        ("$V4:1", "write 0.0.0.0:1"),
        ("x$(V4):1", "write 0.0.0.0:1"),
    ] {
        let error = listen_in(text, variable).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_undressed() {
    let plain = "10.0.0.1:1".parse().expect("it is an address");
    let listen = listen("[::ffff:10.0.0.1]:1").expect("an address");
    assert_eq!(listen.address, plain);
    let network_of = |text| network(text).map(|network| network.to_string());
    assert_eq!(
        network_of("::ffff:10.0.0.0/104"),
        Ok("10.0.0.0/8".to_owned())
    );
    assert_eq!(network_of("::ffff:10.0.0.1"), Ok("10.0.0.1/32".to_owned()));
    assert_eq!(network_of("::ffff:0:0/96"), Ok("0.0.0.0/0".to_owned()));
    assert_eq!(network_of("::/0"), Ok("::/0".to_owned()));
}

#[test]
fn a_target_is_an_address_with_a_port_or_an_absolute_path() {
    let path = PathBuf::from("/run/x.sock");
    assert_eq!(target("unix:/run/x.sock"), Ok(TargetAddress::Unix(path)));
    for (text, why) in [
        (
            "127.0.0.1:0",
            "port 0 cannot be connected to; write the port of the target",
        ),
        ("unix:run/x.sock", "not an absolute path; write unix:/path"),
        ("unix:", "not an absolute path; write unix:/path"),
        (
            "/run/x.sock",
            "a path without the word before it; write unix:/run/x.sock",
        ),
        (
            "unix:/a\0b",
            "no file name has a NUL in it; write the path out",
        ),
    ] {
        assert_eq!(target(text), Err(why.to_owned()), "{text}");
    }
    let longest = format!("unix:/{}", "x".repeat(106));
    assert!(target(&longest).is_ok());
    assert!(target(&format!("{longest}x")).is_err());
}

#[test]
fn the_admin_listener_is_off_or_local() {
    assert_eq!(admin("off"), Ok(AdminAddress::Off));
    for text in [
        "127.0.0.1:1",
        "[::1]:1",
        "unix:/run/admin.sock",
        "[::ffff:127.0.0.1]:0",
    ] {
        assert!(admin(text).is_ok(), "{text}");
    }
    for text in [
        "0.0.0.0:1",
        "[::]:1",
        "10.0.0.1:1",
        "unix:x",
        "Off",
        "localhost:1",
    ] {
        assert!(admin(text).is_err(), "{text}");
    }
}

#[test]
fn a_network_has_no_bits_behind_its_prefix() {
    assert_eq!(
        network("10.1.2.3/8"),
        Err("has bits set behind the prefix; write 10.0.0.0/8 for the network or 10.1.2.3 for the host".to_owned())
    );
    for text in ["10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/", "10.0.0.0/-1"] {
        assert!(network(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in any::<String>(), near in "[0-9a-f:.\\[\\]/x%]{0,30}") {
        for text in [text, format!("unix:{near}"), near] {
            drop(listen(&text));
            drop(network(&text));
            drop(admin(&text));
            if let Ok(TargetAddress::Tcp(address)) = target(&text) {
                prop_assert_ne!(address.port(), 0);
            }
        }
    }
}
