//! Who listens beyond loopback: what the kernel lists in, addresses out.
//!
//! Its own file because a target does not say where it listens, and the gate guards nothing if others reach it anyway.
//! What can be seen is who listens on its port, in the network that this process is in. Connects to nobody.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Target, TargetAddress};

/// A line has 150 to 180 bytes, so this is more listeners than any host has.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// All that listen on TCP beyond loopback, but for `own`. None where `/proc` does not say: what is not known is not told.
/// Blocks for moments.
pub fn beyond_loopback(own: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        if let Ok(table) = File::open(table) {
            let lines = BufReader::new(table.take(MOST_BYTES)).lines();
            found.extend(listeners(lines.map_while(Result::ok)));
        }
    }
    let place = |address: &SocketAddr| (address.ip().to_canonical(), address.port());
    let own: Vec<_> = own.iter().map(place).collect();
    found.retain(|address| !address.ip().is_loopback() && !own.contains(&place(address)));
    found
}

/// The one of `beyond` through which this target may be reached without the gate: whoever has its port. Only a loopback
/// TCP port can be exposed: a Unix socket is a file, and another target was never hidden.
pub fn exposing(target: &Target, beyond: &[SocketAddr]) -> Option<SocketAddr> {
    match target.address() {
        TargetAddress::Tcp(address) if !target.is_unsafe() => {
            let mut beyond = beyond.iter();
            beyond.find(|other| other.port() == address.port()).copied()
        }
        TargetAddress::Tcp(_) | TargetAddress::Unix(_) => None,
    }
}

/// What to tell an operator.
pub fn warning(route: &str, target: &Target, exposing: SocketAddr) -> String {
    format!(
        "route {route:?}: somebody listens on {exposing}, beyond loopback, so its target may be reached without the \
         gate; have that listen on {target} only, as many exporters do with --web.listen-address={target}, or close the \
         port to other hosts"
    )
}

/// The addresses of the sockets that listen. They come first (kernel documentation, networking/proc_net_tcp), and the
/// rest, which may be long, is not read.
fn listeners(lines: impl Iterator<Item = String>) -> impl Iterator<Item = SocketAddr> {
    lines.skip(1).map_while(|line| listener(&line))
}

fn listener(line: &str) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
    (state == LISTEN).then(|| address(local)).flatten()
}

/// `0100007F:D672`: the port, and the address in words of four bytes, each as this machine reads it from memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    fn line(local: &str, state: &str) -> String {
        format!(
            "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 9 1"
        )
    }

    /// As the kernel of a little-endian machine writes it.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_tables_are_read_as_it_writes_them() {
        let lines = [
            HEADER.to_owned(),
            line("0100007F:238C", "0A"),
            line("00000000:238C", "0A"),
            line("0700000A:0050", "0A"),
            line("00000000000000000000000000000000:238C", "0A"),
            line("0000000000000000FFFF00000700000A:238C", "0A"),
            line("000000FD000000000000000001000000:0001", "0A"),
            line("0700000A:9999", "01"),
            line("00000000:1111", "0A"),
        ];
        let found: Vec<_> = listeners(lines.into_iter())
            .map(|it| it.to_string())
            .collect();
        assert_eq!(
            found,
            [
                "127.0.0.1:9100",
                "0.0.0.0:9100",
                "10.0.0.7:80",
                "[::]:9100",
                "10.0.0.7:9100",
                "[fd00::1]:1",
            ],
            "and nothing behind the first that does not listen"
        );
    }

    #[test]
    fn whoever_has_the_port_of_a_loopback_target_exposes_it() {
        let beyond = ["0.0.0.0:9100", "[::]:9101"].map(|text| text.parse().unwrap());
        let tcp = |text: &str| TargetAddress::Tcp(text.parse().unwrap());
        let exposed = |address| {
            let target = Target::unsafe_any(address);
            exposing(&target, &beyond).map(|address| address.to_string())
        };
        assert_eq!(exposed(tcp("127.0.0.1:9100")).unwrap(), "0.0.0.0:9100");
        assert_eq!(exposed(tcp("[::1]:9100")).unwrap(), "0.0.0.0:9100");
        assert_eq!(exposed(tcp("127.0.0.1:9101")).unwrap(), "[::]:9101");
        assert_eq!(exposed(tcp("127.0.0.1:9102")), None);
        assert_eq!(exposed(tcp("10.0.0.7:9100")), None);
        assert_eq!(exposed(TargetAddress::Unix("/run/9100".into())), None);
    }

    #[test]
    fn sockets_of_this_machine_are_found_unless_they_are_ours() {
        let bound: Vec<_> = [
            "0.0.0.0:0",
            "127.0.0.1:0",
            "127.0.0.9:0",
            "[::]:0",
            "[::1]:0",
        ]
        .map(|text| TcpListener::bind(text).unwrap())
        .into();
        let at: Vec<_> = bound.iter().map(|it| it.local_addr().unwrap()).collect();
        let found = beyond_loopback(&[]);
        let seen: Vec<_> = at.iter().map(|address| found.contains(address)).collect();
        assert_eq!(seen, [true, false, false, true, false]);
        let found = beyond_loopback(&at);
        assert!(at.iter().all(|address| !found.contains(address)));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(text in "\\PC{0,80}", near in "[0-9A-F:]{0,40}") {
            let _nothing = listener(&text);
            let _something = listener(&line(&near, "0A"));
        }
    }
}
