//! What the tests of both versions share: both ends of a connection, and bytes between them.

use std::io::Read as _;

use rustls::ClientConnection;
use tokio::io::DuplexStream;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::gate::handshake::Authenticated;
use crate::gate::tests::handshaken;

type Shaken = (TlsStream<DuplexStream>, DuplexStream, Authenticated);

/// Both ends of one connection after the handshake.
pub(super) fn connected() -> (ClientConnection, Records) {
    after(handshaken(64 * 1024))
}

pub(super) fn after(handshake: impl Future<Output = Shaken>) -> (ClientConnection, Records) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (client, _, gate) = runtime.block_on(handshake);
    (client.into_inner().1, gate.records)
}

/// What the client has to send.
pub(super) fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

pub(super) fn decrypt(records: &mut Records, wire: &[u8]) -> (Vec<u8>, Incoming, Vec<u8>) {
    let mut input = records.incomplete().to_vec();
    input.extend_from_slice(wire);
    let (mut plaintext, mut answer) = (vec![0; input.len()], Vec::new());
    let (length, end) = records.decrypt(&mut input, &mut plaintext, &mut answer);
    plaintext.truncate(length);
    (plaintext, end, answer)
}

/// Decrypts what ends nothing and asks for no answer, cut into pieces as long as `cuts` say, over and over; in the end
/// nothing is left over.
pub(super) fn decrypt_in_pieces(records: &mut Records, mut wire: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut cuts, mut plaintext) = (cuts.iter().cycle(), Vec::new());
    while !wire.is_empty() {
        let (now, later) = wire.split_at(wire.len().min(*cuts.next().unwrap()));
        let (data, end, answer) = decrypt(records, now);
        assert_eq!((end, answer), (Incoming::Open, vec![]));
        plaintext.extend(data);
        wire = later;
    }
    assert!(records.incomplete().is_empty());
    plaintext
}

pub(super) fn encrypt(records: &mut Records, plaintext: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; plaintext.len() + 4096];
    let length = records.encrypt(plaintext, &mut wire);
    wire.truncate(length.expect("TLS is open"));
    wire
}

pub(super) fn read(
    client: &mut ClientConnection,
    mut wire: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    let mut plaintext = Vec::new();
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        let ready = client.process_new_packets()?.plaintext_bytes_to_read();
        let start = plaintext.len();
        plaintext.resize(start + ready, 0);
        client.reader().read_exact(&mut plaintext[start..]).unwrap();
    }
    Ok(plaintext)
}

pub(super) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
