//! The PROXY protocol header, version 2: what the target is told about an admitted client
//! (haproxy.org, "The PROXY protocol", section 2.2, TLVs in 2.2.1 to 2.2.8).

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol, Type, Version, WriteToHeader as _, Writer};

use super::handshake::TlsFacts;
use crate::identity::Client;

/// `PP2_CLIENT_SSL | PP2_CLIENT_CERT_CONN | PP2_CLIENT_CERT_SESS`: over TLS, with a certificate on this connection.
const CLIENT: u8 = 0x01 | 0x02 | 0x04;
/// `verify` is zero for a certificate that was verified; no other client gets here.
const VERIFIED: [u8; 4] = [0; 4];
/// Longer common names than X.520 has are left out rather than cut: a cut name is another name.
const MOST_CN_BYTES: usize = 256;

/// Makes the header of one connection from `source` to the gate's own address `local`.
pub(super) fn header(
    source: SocketAddr,
    local: SocketAddr,
    facts: &TlsFacts,
    client: &Client,
) -> io::Result<Vec<u8>> {
    let mut tls = vec![CLIENT];
    tls.extend(VERIFIED);
    tls.extend(tlv(Type::SSLVersion, facts.version.as_bytes())?);
    tls.extend(tlv(Type::SSLCipher, facts.cipher.as_bytes())?);
    if let [cn] = client.common_names()
        && cn.len() <= MOST_CN_BYTES
    {
        tls.extend(tlv(Type::SSLCommonName, cn.as_bytes())?);
    }
    Builder::with_addresses(
        Version::Two | Command::Proxy,
        Protocol::Stream,
        (source, local),
    )
    .write_tlv(Type::SSL, &tls)?
    .build()
}

fn tlv(kind: Type, value: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::default();
    (u8::from(kind), value).write_to(&mut writer)?;
    Ok(writer.finish())
}
