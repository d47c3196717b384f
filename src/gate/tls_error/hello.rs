//! The first bytes of a client in, the server name that it asks for out.
//!
//! Its own file because it takes a stranger's bytes apart: bounded, without a panic, and for a sentence in a record only.
//! rustls, which judges them, does not say which name it was.

use rustls::pki_types::DnsName;

use crate::identity::printable;

/// The name in a plaintext ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), if the bytes are one.
pub(super) fn server_name(records: &[u8]) -> Option<String> {
    const CLIENT_HELLO: u8 = 1;
    const SERVER_NAME: [u8; 2] = [0, 0];
    const HOST_NAME: u8 = 0;
    let handshake = handshake(records);
    let mut hello = Bytes(&handshake);
    if hello.take(1)? != [CLIENT_HELLO] {
        return None;
    }
    let mut hello = Bytes(hello.vector(3)?);
    let (_version, _random) = (hello.take(2)?, hello.take(32)?);
    let (_session, _ciphers, _compression) = (hello.vector(1)?, hello.vector(2)?, hello.vector(1)?);
    let mut extensions = Bytes(hello.vector(2)?);
    loop {
        let (kind, body) = (extensions.take(2)?, extensions.vector(2)?);
        if kind != SERVER_NAME {
            continue;
        }
        let mut names = Bytes(Bytes(body).vector(2)?);
        if names.take(1)? != [HOST_NAME] {
            return None;
        }
        let name = String::from_utf8_lossy(names.vector(2)?).into_owned();
        return Some(name);
    }
}

/// What to tell of a name that is none.
pub(super) fn no_host_name(asked: &str) -> String {
    let shown = printable(asked);
    let remedy = match host_in(asked) {
        Some(host) => format!("let it ask for {host:?}"),
        None => "let it ask for a name of the gate's certificate".to_owned(),
    };
    format!(
        "the client asks for the server name {shown:?}, which is no host name; {remedy} (`openssl s_client -servername`, \
         HAProxy's `sni`, Prometheus' server_name)"
    )
}

/// The host name that was meant: without a scheme, brackets or a port.
fn host_in(asked: &str) -> Option<&str> {
    let (_, rest) = asked.split_once("://").unwrap_or(("", asked));
    let rest = rest.split('/').next().unwrap_or_default();
    let host = match rest.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    };
    DnsName::try_from(host).is_ok().then_some(host)
}

/// The handshake bytes of the first records, which may be cut anywhere.
fn handshake(records: &[u8]) -> Vec<u8> {
    const HANDSHAKE: u8 = 22;
    let mut records = Bytes(records);
    let mut handshake = Vec::new();
    while let (Some([HANDSHAKE, _, _]), Some(fragment)) = (records.take(3), records.vector(2)) {
        handshake.extend_from_slice(fragment);
    }
    handshake
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// What a length of so many bytes stands before.
    fn vector(&mut self, length: usize) -> Option<&'a [u8]> {
        let length = self.take(length)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(length)
    }
}
