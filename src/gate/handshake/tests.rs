//! Handshakes that rustls' own client would not make: all at once, or far too long.

use std::io::Write as _;

use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion, SupportedCipherSuite};
use tokio::io::duplex;
use tokio_rustls::TlsConnector;

use super::*;
use crate::gate::tests::{HERE, Pki, long};

const SUITES: [SupportedCipherSuite; 2] = [
    TLS13_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

fn server_name() -> ServerName<'static> {
    ServerName::try_from("gate").unwrap()
}

#[test]
fn rustls_is_shown_one_record_after_the_other() {
    let records = [&[22, 3, 3, 0, 2, 1, 2][..], &[23, 3, 3, 0, 1, 9], &[23, 3]];
    let mut incoming = Incoming {
        bytes: records.concat(),
        ..Incoming::default()
    };
    assert!(incoming.shown().is_empty());
    assert!(incoming.show_more());
    assert_eq!(incoming.shown(), records[0]);
    incoming.discard(records[0].len());
    assert!(incoming.shown().is_empty(), "not the next one unasked");
    assert!(incoming.show_more());
    assert_eq!(incoming.shown(), records[1]);
    // What is kept, as a part of a message, stands before what is shown next.
    assert!(incoming.show_more());
    assert_eq!(incoming.shown(), records[1..].concat());
    assert!(!incoming.show_more(), "there is no more");
    incoming.bytes.extend_from_slice(&[3, 0, 0, 23, 3]);
    assert!(incoming.show_more());
    assert_eq!(incoming.shown().len(), records[1].len() + HEADER);
}

#[tokio::test]
async fn what_comes_in_one_piece_with_the_end_of_the_handshake_is_left_unopened() {
    let pki = Pki::new();
    let route = pki.route();
    let (mut near, mut far) = duplex(64 * 1024);
    let client = async {
        let config = Arc::new(pki.offering(Some("prometheus"), &SUITES[..1], 0));
        let mut tls = ClientConnection::new(config, server_name()).unwrap();
        let mut wire = Vec::new();
        tls.write_tls(&mut wire).unwrap();
        near.write_all(&wire).await.unwrap();
        let mut received = Vec::new();
        while tls.is_handshaking() {
            received.clear();
            near.read_buf(&mut received).await.unwrap();
            tls.read_tls(&mut &received[..]).unwrap();
            tls.process_new_packets().unwrap();
        }
        for data in [&b"one"[..], b"two"] {
            tls.writer().write_all(data).unwrap();
        }
        wire.clear();
        while tls.wants_write() {
            tls.write_tls(&mut wire).unwrap();
        }
        assert!(wire.len() < READ, "one read takes all");
        near.write_all(&wire).await.unwrap();
        wire
    };
    let (wire, gate) = tokio::join!(client, run(&mut far, HERE, &route, long()));
    let mut records = gate.expect("the client is admissible").records;
    let behind = records.incomplete().to_vec();
    assert!(wire.ends_with(&behind));
    assert_eq!(behind.len(), 2 * (HEADER + 3 + 1 + 16), "two records");
    let (mut input, mut plaintext) = (behind.clone(), vec![0; behind.len()]);
    let (length, end) = records.decrypt(&mut input, &mut plaintext, &mut Vec::new());
    assert_eq!(&plaintext[..length], b"onetwo");
    assert_eq!(end, records::Incoming::Open);
}

#[tokio::test]
async fn a_handshake_that_is_too_long_is_ended_by_an_alert() {
    for suite in SUITES {
        for (filler, fragment, why) in [
            // A message within bounds, in so many records that they are not.
            (
                63 * 1024,
                Some(32),
                "the client sent more than a TLS handshake may have",
            ),
            // A message that says at once how long it is.
            (
                100 * 1024,
                None,
                "the client sent a certificate chain or another message of more than 64 KiB",
            ),
        ] {
            let pki = Pki::new();
            let route = pki.route();
            let (near, mut far) = duplex(4096);
            let client = async {
                let mut config = pki.offering(Some("prometheus"), &[suite], filler);
                config.max_fragment_size = fragment;
                let connector = TlsConnector::from(Arc::new(config));
                match connector.connect(server_name(), near).await {
                    Ok(mut tls) => tls.read_u8().await.unwrap_err().to_string(),
                    // In TLS 1.2 the client waits for an answer.
                    Err(error) => error.to_string(),
                }
            };
            let gate = async {
                let refused = run(&mut far, HERE, &route, long()).await;
                // Like a socket's buffer, which takes what the client still sends.
                let mut rest = Vec::new();
                far.shutdown().await.unwrap();
                far.read_to_end(&mut rest).await.unwrap();
                refused.err().expect("nobody is let in")
            };
            let (heard, refused) = tokio::join!(client, gate);
            let what = format!("{:?}, {filler}", suite.version().version);
            assert_eq!(refused.to_string(), why, "{what}");
            assert!(heard.contains("DecodeError"), "{what}: {heard}");
        }
    }
}

#[tokio::test]
async fn a_hello_that_never_ends_is_ended_by_an_alert_in_the_clear() {
    let route = Pki::new().route();
    let (mut near, mut far) = duplex(128 * 1024);
    let header = [1, 0, 0xff, 0xff];
    let hello = header.into_iter().chain(std::iter::repeat(0));
    let records = hello.map(|byte| [22, 3, 1, 0, 1, byte]);
    let records: Vec<_> = records.take(MOST_INCOMING / 6 + 1).flatten().collect();
    near.write_all(&records).await.unwrap();
    let refused = run(&mut far, HERE, &route, long()).await.err();
    let why = "the client sent more than a TLS handshake may have";
    assert_eq!(refused.map(|error| error.to_string()).as_deref(), Some(why));
    drop(far);
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).await.unwrap();
    let version = u16::from(ProtocolVersion::TLSv1_2).to_be_bytes();
    assert_eq!(heard, [21, version[0], version[1], 0, 2, 2, 50]);
}
