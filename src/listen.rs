//! Listening sockets: bound with patience, and with a message that names the reason when patience ends.

pub mod beyond;
pub mod unix;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::config::{Located, Place, Problem, Route};

/// How many connections the kernel holds for the accept loop.
const BACKLOG: i32 = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listener that could not be bound in time. The operator's or the node's fault.
#[derive(Debug)]
pub struct BindError(Problem);

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BindError {}

/// As [`bind`], for a route, whose address may come from an environment variable.
///
/// # Errors
/// If it cannot be bound in that time.
pub async fn bind_route(route: &Route, patience: Duration) -> Result<TcpListener, BindError> {
    let Located { value, place } = &route.listen;
    let attempt = || {
        listener(*value).map_err(|error| {
            let hurdle = tcp_hurdle(*value, &error);
            match &route.listen_variable {
                Some(variable) => hurdle.by_variable(variable, *value),
                None => hurdle,
            }
        })
    };
    patiently(place, value.to_string(), patience, attempt).await
}

/// Why an attempt to listen failed.
#[derive(Debug)]
struct Hurdle {
    what: String,
    remedy: String,
    /// It may be gone at the next attempt.
    may_pass: bool,
}

impl Hurdle {
    fn for_now(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            may_pass: true,
            ..Self::for_good(what, remedy)
        }
    }

    fn for_good(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            may_pass: false,
        }
    }

    /// The address comes from an environment variable, which may be older than the host's address.
    fn by_variable(mut self, variable: &str, address: SocketAddr) -> Self {
        let ip = address.ip().to_string();
        self.what
            .push_str(&format!("; the variable {variable} is {ip:?}"));
        if self.may_pass {
            self.remedy.push_str(
                " (a pod reads the node's address, status.hostIP, once: after the node got another, start it anew)",
            );
        }
        self
    }
}

impl fmt::Display for Hurdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// Binds and listens, ready for any runtime to take over. A taken port, or an address that is not there yet, is tried
/// again with growing pauses for up to `patience`. `SO_REUSEPORT` is never set: with it, another process of the same
/// user could take half the connections.
///
/// # Errors
/// If it cannot be bound in that time.
pub async fn bind(
    listen: &Located<SocketAddr>,
    patience: Duration,
) -> Result<TcpListener, BindError> {
    let address = listen.value;
    let attempt = || listener(address).map_err(|error| tcp_hurdle(address, &error));
    patiently(&listen.place, address.to_string(), patience, attempt).await
}

/// Binds a Unix socket and listens, as [`bind`] does. A dead socket that is there is replaced, one that answers is
/// waited for, and anything else stays as it is.
///
/// # Errors
/// If it cannot be bound in that time.
pub async fn bind_unix(
    path: &Located<PathBuf>,
    patience: Duration,
) -> Result<(UnixListener, unix::Name), BindError> {
    let address = format!("unix:{}", path.value.display());
    patiently(&path.place, address, patience, || unix::bind(&path.value)).await
}

async fn patiently<T>(
    place: &Place,
    address: String,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T, Hurdle>,
) -> Result<T, BindError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let hurdle = match attempt() {
            Ok(bound) => return Ok(bound),
            Err(hurdle) => hurdle,
        };
        let left = patience.saturating_sub(began.elapsed());
        if !hurdle.may_pass || left.is_zero() {
            let what = if hurdle.may_pass {
                let Hurdle { what, remedy, .. } = hurdle;
                format!("{what}; tried for {:.1?}. {remedy}", began.elapsed())
            } else {
                hurdle.to_string()
            };
            return Err(BindError(Problem {
                place: place.clone(),
                value: Some(address),
                what,
            }));
        }
        if pause == FIRST_PAUSE {
            tracing::warn!(
                event = "bind_retry",
                address,
                error = hurdle.what,
                "trying again for up to {left:.1?}"
            );
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn tcp_hurdle(address: SocketAddr, error: &io::Error) -> Hurdle {
    let port = address.port();
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => {
            let mut remedy = format!("`ss -tanp 'sport = :{port}'` on the node shows who holds it");
            if let Some(range) = ephemeral_range(port) {
                remedy.push_str(&format!(
                    ". The port lies in the kernel's ephemeral range {}-{} (net.ipv4.ip_local_port_range), so any \
                     outgoing connection can hold it: add it to net.ipv4.ip_local_reserved_ports or choose another",
                    range.start(),
                    range.end()
                ));
            }
            Hurdle::for_now(error.to_string(), remedy)
        }
        Some(Errno::ADDRNOTAVAIL) => Hurdle::for_now(
            error.to_string(),
            "No interface of this host has the address: use one that it has, or 0.0.0.0",
        ),
        Some(Errno::ACCESS) => Hurdle::for_good(
            error.to_string(),
            "a port below 1024 needs CAP_NET_BIND_SERVICE: choose a higher one",
        ),
        Some(_) | None => Hurdle::for_good(error.to_string(), "choose another address"),
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
                Some("NODE_IP"),
                "; the variable NODE_IP is \"192.0.2.1\"; No interface of this host has the address",
            ),
            (
                None,
                "; No interface of this host has the address: use one that it has, or 0.0.0.0",
            ),
        ] {
            let address = "192.0.2.1:54899".parse().unwrap();
            let gone = io::Error::from_raw_os_error(Errno::ADDRNOTAVAIL.raw_os_error());
            let mut hurdle = tcp_hurdle(address, &gone);
            if let Some(variable) = variable {
                hurdle = hurdle.by_variable(variable, address);
            }
            let error = hurdle.to_string();
            assert!(error.contains(said), "{said}: {error}");
            assert_eq!(
                error.contains("status.hostIP"),
                variable.is_some(),
                "{error}"
            );
        }
    }
}
