//! Our records against rustls' client, and (`forged`, `model`) against records that no decent client sends.

mod forged;
mod model;

use std::io::Write as _;

use proptest::prelude::*;
use rustls::ClientConnection;

use super::*;
use crate::gate::records::tests::{
    bytes, connected, decrypt, decrypt_in_pieces, encrypt, read, sent,
};
use crate::gate::records::{FATAL, FRUITLESS, Protection, RECORD, Records, WARNING};

fn ours(records: &mut Records) -> &mut Tls13 {
    match &mut records.protection {
        Protection::Tls13(tls) => tls,
        Protection::Tls12(_) => panic!("TLS 1.3 was negotiated"),
    }
}

#[test]
fn data_of_any_size_arrives_both_ways() {
    let (mut client, mut gate) = connected();
    for length in [0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT] {
        let data = bytes(length);
        client.writer().write_all(&data).unwrap();
        let wire = sent(&mut client);
        assert_eq!(
            decrypt(&mut gate, &wire),
            (data.clone(), Incoming::Open, vec![])
        );
        let wire = encrypt(&mut gate, &data);
        assert_eq!(read(&mut client, &wire), Ok(data));
    }
}

#[test]
fn new_keys_that_the_client_asks_for_are_used_both_ways() {
    let (mut client, mut gate) = connected();
    for round in 1..=3 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"request").unwrap();
        let wire = sent(&mut client);
        assert_eq!(decrypt(&mut gate, &wire).0, b"request", "round {round}");
        assert_eq!(ours(&mut gate).read.sequence, 1, "the key is new");
        let wire = encrypt(&mut gate, b"answer");
        assert_eq!(ours(&mut gate).write.sequence, 1, "ours too");
        assert_eq!(
            read(&mut client, &wire).unwrap(),
            b"answer",
            "round {round}"
        );
    }
}

#[test]
fn a_key_is_replaced_before_it_has_sealed_too_much() {
    let (mut client, mut gate) = connected();
    ours(&mut gate).records_per_key = 2;
    let data = bytes(7 * FRAGMENT);
    let wire = encrypt(&mut gate, &data);
    assert_eq!(read(&mut client, &wire), Ok(data));
    // Two records of data and the key update that follows them, three times; then one.
    assert_eq!(ours(&mut gate).write.sequence, 1);
}

#[test]
fn nothing_is_sealed_after_the_last_number() {
    let (_, mut gate) = connected();
    ours(&mut gate).records_per_key = u64::MAX;
    ours(&mut gate).write.sequence = u64::MAX - 1;
    let mut wire = vec![0; 4096];
    assert!(gate.encrypt(b"x", &mut wire).is_some());
    assert_eq!(gate.encrypt(b"x", &mut wire), None);
    assert!(!gate.close_notify(&mut Vec::new()));
}

#[test]
fn close_notify_ends_a_direction_and_what_follows_is_ignored() {
    let (mut client, mut gate) = connected();
    client.writer().write_all(b"last").unwrap();
    client.send_close_notify();
    let mut wire = sent(&mut client);
    wire.extend_from_slice(b"what is no record at all");
    let (data, end, answer) = decrypt(&mut gate, &wire);
    assert_eq!(
        (&data[..], end, &answer[..]),
        (&b"last"[..], Incoming::Closed, &b""[..])
    );
    let mut farewell = Vec::new();
    assert!(gate.close_notify(&mut farewell));
    assert_eq!(read(&mut client, &farewell), Ok(vec![]));
    assert!(client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn new_keys_without_data_are_taken_for_an_attack() {
    let (mut client, mut gate) = connected();
    let mut end = Incoming::Open;
    for _ in 0..FRUITLESS {
        client.refresh_traffic_keys().unwrap();
        end = decrypt(&mut gate, &sent(&mut client)).1;
        assert_eq!(end, Incoming::Open);
    }
    client.writer().write_all(b"data makes it good").unwrap();
    decrypt(&mut gate, &sent(&mut client));
    for _ in 0..=FRUITLESS {
        client.refresh_traffic_keys().unwrap();
        end = decrypt(&mut gate, &sent(&mut client)).1;
    }
    assert_eq!(end, Incoming::Broken(Fault::FRUITLESS.why));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn it_does_not_matter_how_the_network_cuts_the_records(
        lengths in prop::collection::vec(0..2000_usize, 1..6),
        cuts in prop::collection::vec(1..700_usize, 1..40),
    ) {
        let (mut client, mut gate) = connected();
        let mut expected = Vec::new();
        for length in lengths {
            let data = bytes(length);
            client.writer().write_all(&data).unwrap();
            expected.extend(data);
        }
        let wire = sent(&mut client);
        prop_assert_eq!(decrypt_in_pieces(&mut gate, &wire, &cuts), expected);
    }

    #[test]
    fn what_is_not_authentic_is_never_data(mut wire in prop::collection::vec(any::<u8>(), 0..300), typed in any::<bool>()) {
        let (_, mut gate) = connected();
        if typed && wire.len() > HEADER {
            wire[0] = ContentType::ApplicationData.into();
            let length = u16::try_from(wire.len() - HEADER).unwrap();
            wire[3..HEADER].copy_from_slice(&length.to_be_bytes());
        }
        let (data, end, _) = decrypt(&mut gate, &wire);
        prop_assert!(data.is_empty());
        prop_assert!(end != Incoming::Closed);
        prop_assert!(gate.incomplete().len() < RECORD);
    }
}
