//! Listening sockets: bound with patience, and with a message that names the reason when patience ends.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::config::{Located, Place, Route};

/// How many connections the kernel holds for the accept loop.
const BACKLOG: i32 = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listener that could not be bound in time. The operator's or the node's fault.
#[derive(Debug)]
pub struct BindError {
    place: Place,
    address: SocketAddr,
    /// The environment variable that the address comes from.
    variable: Option<Arc<str>>,
    source: io::Error,
    tried: Duration,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            address,
            variable,
            source,
            tried,
        } = self;
        write!(f, "{place}: \"{address}\": {source}")?;
        if let Some(variable) = variable {
            write!(
                f,
                "; the variable {variable} is {:?}",
                address.ip().to_string()
            )?;
        }
        if source.kind() == io::ErrorKind::AddrInUse {
            write!(
                f,
                "; tried for {tried:.1?}. `ss -tanp 'sport = :{}'` on the node shows who holds it",
                address.port()
            )?;
            if let Some(range) = ephemeral_range(address.port()) {
                write!(
                    f,
                    ". The port lies in the kernel's ephemeral range {}-{} (net.ipv4.ip_local_port_range), so any \
                     outgoing connection can hold it: add it to net.ipv4.ip_local_reserved_ports or choose another",
                    range.start(),
                    range.end()
                )?;
            }
            return Ok(());
        }
        if source.kind() == io::ErrorKind::AddrNotAvailable {
            f.write_str(
                "; no interface of this host has the address: use one that it has, or 0.0.0.0",
            )?;
            if variable.is_some() {
                f.write_str(
                    " (a pod reads the node's address, status.hostIP, once: after the node got another, start it anew)",
                )?;
            }
            return Ok(());
        }
        if source.kind() == io::ErrorKind::PermissionDenied {
            return write!(
                f,
                "; a port below 1024 needs CAP_NET_BIND_SERVICE: choose a higher one"
            );
        }
        Ok(())
    }
}

impl std::error::Error for BindError {}

/// As [`bind`], for a route, whose address may come from an environment variable.
pub async fn bind_route(route: &Route, patience: Duration) -> Result<TcpListener, BindError> {
    let bound = bind(&route.listen, patience).await;
    bound.map_err(|error| BindError {
        variable: route.listen_variable.clone(),
        ..error
    })
}

/// Binds and listens, ready for any runtime to take over. A taken port, or an address that is not there yet, is tried
/// again with growing pauses for up to `patience`. `SO_REUSEPORT` is never set: with it, another process of the same
/// user could take half the connections.
pub async fn bind(
    listen: &Located<SocketAddr>,
    patience: Duration,
) -> Result<TcpListener, BindError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let source = match listener(listen.value) {
            Ok(listener) => return Ok(listener),
            Err(source) => source,
        };
        let may_pass = matches!(
            source.kind(),
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
        );
        let left = patience.saturating_sub(began.elapsed());
        if !may_pass || left.is_zero() {
            let tried = began.elapsed();
            return Err(BindError {
                place: listen.place.clone(),
                address: listen.value,
                variable: None,
                source,
                tried,
            });
        }
        if pause == FIRST_PAUSE {
            let address = listen.value;
            tracing::warn!(event = "bind_retry", %address, error = %source, "trying again for up to {left:.1?}");
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` is dual stack whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the last run's connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // The kernel gives it to every connection that is accepted: records leave at once.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The range that the kernel takes source ports from, if `port` lies in it and is not reserved
/// (kernel documentation, networking/ip-sysctl, `ip_local_port_range` and `ip_local_reserved_ports`).
pub fn ephemeral_range(port: u16) -> Option<RangeInclusive<u16>> {
    let sysctl = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let range = parse_range(&sysctl("ip_local_port_range")?)?;
    let reserved = sysctl("ip_local_reserved_ports").unwrap_or_default();
    (range.contains(&port) && !is_reserved(port, &reserved)).then_some(range)
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

fn is_reserved(port: u16, list: &str) -> bool {
    list.trim().split(',').any(|entry| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range(""), None);
        assert!(is_reserved(54899, "8080,54898-54900\n"));
        assert!(!is_reserved(54897, "8080,54898-54900\n"));
        assert!(!is_reserved(1, "\n"));
    }

    #[test]
    fn what_is_accepted_sends_at_once() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listener(address.parse().unwrap()).unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(listener.accept().unwrap().0.nodelay().unwrap(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_tried_again_and_then_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Located {
            value: taken.local_addr().unwrap(),
            place: Place::Flag("--listen"),
        };
        let error = bind(&listen, Duration::from_millis(120))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("--listen: \"{}\": ", listen.value)),
            "{error}"
        );
        assert!(error.contains("tried for"), "{error}");
        let waiting = bind(&listen, Duration::from_secs(10));
        let (bound, ()) = tokio::join!(waiting, async { drop(taken) });
        assert_eq!(bound.unwrap().local_addr().unwrap(), listen.value);
    }

    #[test]
    fn an_address_that_is_not_here_is_told_with_the_variable_that_holds_it() {
        for (variable, said) in [
            (
                Some("NODE_IP".into()),
                "; the variable NODE_IP is \"192.0.2.1\"; no interface of this host has the address",
            ),
            (
                None,
                "; no interface of this host has the address: use one that it has, or 0.0.0.0",
            ),
        ] {
            let error = BindError {
                place: Place::Flag("--listen"),
                address: "192.0.2.1:54899".parse().unwrap(),
                source: io::ErrorKind::AddrNotAvailable.into(),
                tried: Duration::ZERO,
                variable: variable.clone(),
            };
            let error = error.to_string();
            assert!(error.contains(said), "{said}: {error}");
            assert_eq!(
                error.contains("status.hostIP"),
                variable.is_some(),
                "{error}"
            );
        }
    }
}
