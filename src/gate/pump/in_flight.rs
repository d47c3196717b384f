//! How much of what was written the other end's kernel has not acknowledged, as the kernel tells it to `ss`.
//!
//! Whether a socket takes more says little about whether bytes move: the kernel buffers megabytes, and calls a socket
//! writable again only when a third of them is gone. Asked seldom, since it costs some microseconds: of a session in
//! which nothing seems to move. (sock_diag(7), and `struct inet_diag_msg` in linux/inet_diag.h)

use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use tokio::net::TcpStream;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST: u32 = 16 + 56;
const IPPROTO_TCP: u8 = 6;
const ALL_STATES: u32 = u32::MAX;
/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: u64 = u64::MAX;
/// Where `idiag_wqueue` lies in the answer: behind its header, four bytes, the socket's address and two numbers.
const QUEUE: usize = 16 + 4 + 48 + 8;

/// Bytes that were written to this socket and not acknowledged; `None` if the kernel does not say.
pub(super) fn unacknowledged(stream: &TcpStream) -> Option<u32> {
    let (local, peer) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(netlink::SOCK_DIAG);
    let kernel = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).ok()?;
    send(&kernel, &request(local, peer), SendFlags::empty()).ok()?;
    let mut answer = [0; 512];
    // The kernel has answered when `send` returns.
    let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty()).ok()?;
    queue(answer.get(..length)?)
}

fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let scope = match local {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    let mut bytes = Vec::with_capacity(REQUEST as usize);
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // The number of this message, and of whoever asks: there is one of either.
    bytes.extend([0; 8]);
    bytes.extend([family.as_raw() as u8, IPPROTO_TCP, 0, 0]);
    bytes.extend(ALL_STATES.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        bytes.extend(octets);
    }
    bytes.extend(scope.to_ne_bytes());
    bytes.extend(NO_COOKIE.to_ne_bytes());
    bytes
}

fn queue(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?.try_into().ok()?;
    if u16::from_ne_bytes(kind) != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let queue = answer.get(QUEUE..QUEUE + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(queue))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn what_the_other_end_has_no_room_for_is_unacknowledged() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let mut target = listener.local_addr().unwrap();
            if target.ip().is_unspecified() {
                // An IPv4 peer of a dual-stack listener.
                target.set_ip([127, 0, 0, 1].into());
            }
            let mut far = std::net::TcpStream::connect(target).unwrap();
            let (mut near, _) = listener.accept().unwrap();
            near.set_nonblocking(true).unwrap();
            let mut written = 0;
            while let Ok(bytes) = near.write(&[0; 65536]) {
                written += bytes;
            }
            let near = TcpStream::from_std(near).unwrap();
            let full = unacknowledged(&near).unwrap();
            assert!(full > 0 && full as usize <= written, "{full} of {written}");
            far.read_exact(&mut vec![0; written]).unwrap();
            while unacknowledged(&near).unwrap() > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn an_answer_that_is_none_says_nothing() {
        assert_eq!(queue(&[]), None);
        assert_eq!(queue(&[0; 512]), None);
    }
}
