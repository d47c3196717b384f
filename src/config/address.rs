//! Addresses as text and what they have in common: listeners, targets, the admin listener, source networks.
//!
//! An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is judged, kept and shown as the IPv4 address it is. Nothing is
//! resolved and no socket is opened here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::{Admin, Located, Problem, TargetAddress, setting};

/// Where the admin listener is, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AdminAddress {
    Off,
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Admin {
    /// Parses an `--admin` value: `off`, a loopback `IP:PORT`, or `unix:/path`.
    pub fn parse(written: Located<String>) -> Result<Self, Problem> {
        setting::parse_one(written, admin).map(Self::from)
    }
}

impl From<Located<AdminAddress>> for Admin {
    fn from(Located { value, place }: Located<AdminAddress>) -> Self {
        match value {
            AdminAddress::Off => Self::Off,
            AdminAddress::Tcp(value) => Self::Tcp(Located { value, place }),
            AdminAddress::Unix(value) => Self::Unix(Located { value, place }),
        }
    }
}

/// Where clients connect. Port 0 lets the kernel choose; `$(NAME):PORT` takes the address from the environment.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    listen_in(text, |name| std::env::var(name).ok())
}

/// A file of settings is the same on every node and the node's own address is not: it comes as a variable, written as
/// Kubernetes writes one, <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>.
fn listen_in(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<SocketAddr, String> {
    let Some((name, port)) = text
        .strip_prefix("$(")
        .and_then(|rest| rest.split_once("):"))
    else {
        return socket(text, "0.0.0.0:54899 or [::]:54899");
    };
    let value = variable(name).ok_or_else(|| {
        format!("the environment has no variable {name:?}; set it to an IP address, or write the address out")
    })?;
    let ip: IpAddr = value.parse().map_err(|_| {
        let value = super::value::bounded(&value);
        format!("the variable {name} is {value:?}, which is no IP address; set it to one")
    })?;
    let port: u16 = port
        .parse()
        .map_err(|_| format!("no port behind $({name}); write $({name}):54899"))?;
    Ok(canonical(SocketAddr::new(ip, port)))
}

/// Where bytes go; whether it must be loopback is decided where `--unsafe-target` is known.
pub(super) fn target(text: &str) -> Result<TargetAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, LONGEST).map(TargetAddress::Unix);
    }
    let address = socket(text, "127.0.0.1:54898 or unix:/path")?;
    if address.port() == 0 {
        return Err("port 0 cannot be connected to; write the port of the target".to_owned());
    }
    Ok(TargetAddress::Tcp(address))
}

/// Where the admin listener is: nowhere that other hosts can reach.
pub(super) fn admin(text: &str) -> Result<AdminAddress, String> {
    if text == "off" {
        return Ok(AdminAddress::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, LONGEST - MADE_UNDER).map(AdminAddress::Unix);
    }
    let address = socket(text, "127.0.0.1:54900, unix:/path or off")?;
    if !address.ip().is_loopback() {
        return Err(
            "not a loopback address, and the admin listener has no TLS; write 127.0.0.1:54900, unix:/path or off, \
             and lend it to other hosts through a route"
                .to_owned(),
        );
    }
    Ok(AdminAddress::Tcp(address))
}

fn socket(text: &str, example: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(canonical(address));
    }
    let what = if text.parse::<IpAddr>().is_ok() {
        "has no port".to_owned()
    } else if text.contains('/') {
        "not IP:PORT".to_owned()
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => match host {
                "" | "*" => "has no address".to_owned(),
                host if host.contains(':') && host.parse::<Ipv6Addr>().is_ok() => {
                    "an IPv6 address without brackets".to_owned()
                }
                host if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':') => {
                    "a name, and nothing is resolved".to_owned()
                }
                _ => "not IP:PORT".to_owned(),
            },
            Some(_) | None => "not IP:PORT".to_owned(),
        }
    };
    Err(format!("{what}; write {example}"))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // Not rebuilt: that would lose the scope of a link-local address.
        IpAddr::V6(_) => address,
    }
}

/// `sun_path` of sockaddr_un, less the closing NUL: unix(7).
const LONGEST: usize = 107;
/// A socket of the gate's is made under a name that is longer by `.` and eight digits.
const MADE_UNDER: usize = 9;

fn socket_path(path: &str, longest: usize) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("not an absolute path; write unix:/path".to_owned());
    }
    if path.contains('\0') {
        return Err("no file name has a NUL in it; write the path out".to_owned());
    }
    if path.len() > longest {
        return Err(format!(
            "longer than the {longest} bytes the path of such a socket may have; choose a shorter one"
        ));
    }
    Ok(PathBuf::from(path))
}

/// A source network; a bare address is a network of one.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| "not a network; write it like 10.0.0.0/8 or fd00::/8".to_owned())?;
    if net.addr() != net.network() {
        return Err(format!(
            "has bits set behind the prefix; write {} for the network or {} for the host",
            net.trunc(),
            net.addr()
        ));
    }
    Ok(canonical_network(net))
}

fn canonical_network(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let v4 = match (net.addr().to_canonical(), net) {
        (IpAddr::V4(ip), IpNet::V6(mapped)) => mapped
            .prefix_len()
            .checked_sub(MAPPED_BITS)
            .and_then(|prefix| Ipv4Net::new(ip, prefix).ok()),
        (_, _) => None,
    };
    v4.map_or(net, IpNet::V4)
}

/// True if both cannot be listened on at once.
pub(super) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

/// True if a connection to `target` would arrive at `listener`.
pub(super) fn reaches(target: SocketAddr, listener: SocketAddr) -> bool {
    // Linux takes a connection to the unspecified address as one to loopback.
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let local = ip.is_loopback() || ip == listener.ip();
    local && target.port() == listener.port() && covers(listener.ip(), ip)
}

fn covers(listener: IpAddr, ip: IpAddr) -> bool {
    match (listener, ip) {
        (IpAddr::V6(any), _) if any.is_unspecified() => true,
        (IpAddr::V4(any), IpAddr::V4(_)) if any.is_unspecified() => true,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_socket_address_is_told_apart() {
        for (text, what) in [
            ("10.0.0.1", "has no port"),
            ("::1", "has no port"),
            (":54899", "has no address"),
            ("*:54899", "has no address"),
            ("fd00::1:2:3:4:5:6:7:8:54899", "not IP:PORT"),
            (
                "2001:db8:1:2:3:4:5:6:80",
                "an IPv6 address without brackets",
            ),
            ("localhost:54899", "a name, and nothing is resolved"),
            ("54899", "not IP:PORT"),
            ("0.0.0.0:65536", "not IP:PORT"),
            ("0.0.0.0:", "not IP:PORT"),
            ("http://127.0.0.1:1", "not IP:PORT"),
            ("256.0.0.1:1", "not IP:PORT"),
            (" 127.0.0.1:1", "not IP:PORT"),
        ] {
            let remedy = "0.0.0.0:54899 or [::]:54899";
            assert_eq!(
                listen(text),
                Err(format!("{what}; write {remedy}")),
                "{text}"
            );
        }
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
        let address = |text: &str| text.parse().expect("an address");
        assert_eq!(
            listen_in("$(V4):54899", variable),
            Ok(address("10.0.0.1:54899"))
        );
        assert_eq!(
            listen_in("$(V6):54899", variable),
            Ok(address("[fd00::1]:54899"))
        );
        for (text, why) in [
            ("$(UNSET):1", "no variable \"UNSET\""),
            ("$():1", "no variable \"\""),
            ("$(NAME):1", "is \"node-1\", which is no IP address"),
            ("$(EMPTY):1", "is \"\", which is no IP address"),
            ("$(V4):", "no port behind $(V4)"),
            ("$(V4):65536", "no port behind $(V4)"),
            ("$(V4)", "write 0.0.0.0:54899"),
            ("$V4:1", "write 0.0.0.0:54899"),
            ("x$(V4):1", "write 0.0.0.0:54899"),
        ] {
            let error = listen_in(text, variable).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_undressed() {
        let plain = "10.0.0.1:1".parse().expect("it is an address");
        assert_eq!(listen("[::ffff:10.0.0.1]:1"), Ok(plain));
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
                "not IP:PORT; write 127.0.0.1:54898 or unix:/path",
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
        let longest = format!("unix:/{}", "x".repeat(97));
        assert!(admin(&longest).is_ok());
        let error = admin(&format!("{longest}x")).expect_err("99 bytes");
        assert!(error.contains("longer than the 98 bytes"), "{error}");
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
}
