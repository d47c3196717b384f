//! Addresses as text and what they have in common: listeners, targets, the admin listener, source networks.
//!
//! An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is judged, kept and shown as the IPv4 address it is. Nothing is
//! resolved and no socket is opened here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

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

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) address: SocketAddr,
    /// The environment variable that the address comes from, if it was written as one.
    pub(super) variable: Option<Arc<str>>,
}

/// Parses a `--listen` value. Port 0 lets the kernel choose; `$(NAME):PORT` takes the address from the environment.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    listen_in(text, |name| std::env::var(name).ok())
}

/// A file of settings is the same on every node and the node's own address is not: it comes as a variable, written as
/// Kubernetes writes one, <https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>.
fn listen_in(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Listen, String> {
    let Some((name, port)) = text
        .strip_prefix("$(")
        .and_then(|rest| rest.split_once("):"))
    else {
        let address = socket(text, &LISTEN)?;
        return Ok(Listen {
            address,
            variable: None,
        });
    };
    let value = variable(name).ok_or_else(|| {
        format!("the environment has no variable {name:?}; set it to an IP address, or write the address out")
    })?;
    if value.is_empty() {
        return Err(format!(
            "the variable {name} is empty; set it to an IP address (a pod has the node's in status.hostIP), or write the \
             address out"
        ));
    }
    let ip: IpAddr = value.parse().map_err(|_| {
        let value = super::value::bounded(&value);
        format!("the variable {name} is {value:?}, which is no IP address; set it to one")
    })?;
    let port: u16 = port
        .parse()
        .map_err(|_| format!("no port behind $({name}); write $({name}):54899"))?;
    Ok(Listen {
        address: canonical(SocketAddr::new(ip, port)),
        variable: Some(name.into()),
    })
}

/// Where bytes go; whether it must be loopback is decided where `--unsafe-target` is known.
pub(super) fn target(text: &str) -> Result<TargetAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path, LONGEST).map(TargetAddress::Unix);
    }
    no_bare_path(text)?;
    let address = socket(text, &TARGET)?;
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
    no_bare_path(text)?;
    let address = socket(text, &ADMIN)?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "not a loopback address, and the admin listener has no TLS; write 127.0.0.1:{}, unix:/path or off, and let \
             other hosts in through a route",
            address.port()
        ));
    }
    Ok(AdminAddress::Tcp(address))
}

/// What an address is for, and so what stands in for the part of it that is missing.
struct Purpose {
    address: SocketAddr,
    /// What else may be written where no address is named.
    or: &'static str,
}

const LISTEN: Purpose = Purpose {
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 54899)),
    or: " or [::]:PORT",
};
const TARGET: Purpose = Purpose {
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 54898)),
    or: " or unix:/path",
};
const ADMIN: Purpose = Purpose {
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 54900)),
    or: ", unix:/path or off",
};

fn socket(text: &str, purpose: &Purpose) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(canonical(address));
    }
    let what = if text.parse::<IpAddr>().is_ok() {
        "has no port"
    } else if text.contains('/') {
        "not IP:PORT"
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => match host {
                "" | "*" => "has no address",
                host if host.contains(':') && host.parse::<Ipv6Addr>().is_ok() => {
                    "an IPv6 address without brackets"
                }
                host if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(':') => {
                    "a name, and nothing is resolved"
                }
                _ => "not IP:PORT",
            },
            Some(_) | None => "not IP:PORT",
        }
    };
    Err(format!("{what}; write {}", meant(text, purpose)))
}

/// What was meant, as far as it can be told: the address and the port that stand in the text.
fn meant(text: &str, purpose: &Purpose) -> String {
    let (_, text) = text.split_once("://").unwrap_or(("", text));
    let text = text.split('/').next().unwrap_or_default();
    let (host, port) = match text.rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok() => (text, None),
        Some((host, port)) => (host, port.parse().ok()),
        None => ("", text.parse().ok()),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: Option<IpAddr> = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse().ok(),
    };
    let mut address = purpose.address;
    address.set_port(port.unwrap_or(address.port()));
    match ip {
        Some(ip) => {
            address.set_ip(ip);
            address.to_string()
        }
        None => {
            let or = purpose.or.replace("PORT", &address.port().to_string());
            format!("{address}{or}")
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // Not rebuilt: that would lose the scope of a link-local address.
        IpAddr::V6(_) => address,
    }
}

fn no_bare_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Ok(());
    }
    let path = super::value::bounded(text);
    Err(format!(
        "a path without the word before it; write unix:{path}"
    ))
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
mod tests;
