//! Whether a request was meant for this gate: the hosts it names in, yes or a reason to refuse it out.
//!
//! Its own file because of the one attack it stands against. A browser on the node may open a page of a stranger, whose
//! name then resolves to 127.0.0.1; the page would read what the admin listener says as its own (DNS rebinding). Such a
//! request names the stranger in `Host`, and nothing that is the gate's.

use std::net::{Ipv4Addr, Ipv6Addr};

/// True if `host`, as in a `Host` field or a request's target (`uri-host [ ":" port ]`), is an IP address, `localhost`,
/// or a name that is the gate's by `is_name`. An address cannot be rebound, and a name of the gate's is no stranger's.
pub(super) fn is_ours(host: &str, is_name: impl Fn(&str) -> bool) -> bool {
    if let Some(literal) = host.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else {
            return false;
        };
        let port = port.strip_prefix(':').or(port.is_empty().then_some(""));
        return port.is_some_and(is_port) && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    if !is_port(port) {
        return false;
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    // The dot at the end says that the name is whole, as names in certificates are.
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || (!name.is_empty() && is_name(name))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(host: &str) -> bool {
        is_ours(host, |name| name.eq_ignore_ascii_case("gate.test"))
    }

    #[test]
    fn addresses_localhost_and_the_gates_own_names_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:54900",
            "10.0.0.7:54901",
            "[::1]",
            "[::1]:54900",
            "[FD00::7]:1",
            "[::ffff:127.0.0.1]:54900",
            "localhost",
            "LocalHost:54900",
            "localhost.",
            "localhost.:54900",
            "gate.test",
            "GATE.test:54900",
            "gate.test.:54900",
            "gate.test:",
        ] {
            assert!(judged(host), "{host}");
        }
        for host in [
            "",
            ":54900",
            ".",
            "evil.test",
            "evil.test:54900",
            "localhost.evil.test",
            "evil-localhost",
            "127.0.0.1.evil.test",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "gate.test.evil.test",
            "gate.test..",
            "gate.test:54900:1",
            "gate.test:http",
            "user@gate.test",
            "user@127.0.0.1",
            "gate.test@evil.test",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[evil.test]",
            "[127.0.0.1]",
            "gate.test/",
            "gate.test evil.test",
        ] {
            assert!(!judged(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn a_host_that_is_no_address_is_asked_for_as_a_name(name in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", port in proptest::option::of(0_u16..)) {
            prop_assume!(name != "localhost");
            let host = port.map_or(name.clone(), |port| format!("{name}:{port}"));
            prop_assert!(!is_ours(&host, |_| false));
            prop_assert!(is_ours(&host, |asked| asked == name));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(host in "\\PC{0,40}", near in "[\\[\\]:.a-f0-9@]{0,20}") {
            is_ours(&host, |_| false);
            is_ours(&near, |_| false);
        }
    }
}
