//! Our records against rustls' client, and against records that no decent client sends.

use std::io::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
};
use rustls::{ClientConnection, NoKeyLog, SupportedCipherSuite};

use super::*;
use crate::gate::records::tests::{after, bytes, decrypt, decrypt_in_pieces, encrypt, read, sent};
use crate::gate::records::{FRUITLESS, Protection, RECORD, Records};
use crate::gate::tests::handshaken_with;

const SUITES: [SupportedCipherSuite; 3] = [
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

fn connected(suite: SupportedCipherSuite) -> (ClientConnection, Records) {
    after(handshaken_with(suite, Arc::new(NoKeyLog)))
}

fn ours(records: &mut Records) -> &mut Tls12 {
    match &mut records.protection {
        Protection::Tls12(tls) => tls,
        Protection::Tls13(_) => panic!("TLS 1.2 was negotiated"),
    }
}

/// A client that seals whatever it likes, with the keys that were negotiated.
struct Forger {
    read: Direction,
    write: Direction,
    explicit: usize,
}

impl Forger {
    fn new(client: ClientConnection, gate: &mut Records) -> Self {
        let ExtractedSecrets { tx, rx } = client.dangerous_extract_secrets().unwrap();
        Self {
            read: Direction::new(rx).unwrap(),
            write: Direction::new(tx).unwrap(),
            explicit: ours(gate).explicit,
        }
    }

    fn seal(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER + self.explicit + content.len() + TAG];
        let length = seal(&mut self.write, self.explicit, kind, content, &mut record);
        assert_eq!(length, Some(record.len()));
        record
    }

    /// The alert that the gate answered with, and nothing else.
    fn hear(&mut self, answer: &[u8]) -> (u8, AlertDescription) {
        let (header, protected) = answer.split_first_chunk::<HEADER>().expect("an answer");
        assert_eq!(header[..3], [ContentType::Alert.into(), 3, 3]);
        let (explicit, sealed) = protected.split_at(self.explicit);
        let (ciphertext, tag) = sealed.split_last_chunk().expect("a record");
        let mut alert = [0; 2];
        let bound = |sequence| additional(sequence, ContentType::Alert, [3, 3], 2);
        let opened = self
            .read
            .open(explicit, bound, (ciphertext, tag), &mut alert);
        opened.expect("it is authentic");
        (alert[0], alert[1].into())
    }
}

/// What came before counts, the records themselves do not, and the client hears why.
fn assert_refused(what: &str, records: impl Fn(&mut Forger) -> Vec<u8>, fault: Fault) {
    for suite in SUITES {
        let (client, mut gate) = connected(suite);
        let mut client = Forger::new(client, &mut gate);
        let mut wire = client.seal(ContentType::ApplicationData, b"before");
        wire.extend(records(&mut client));
        wire.extend(client.seal(ContentType::ApplicationData, b"after"));
        let (data, end, answer) = decrypt(&mut gate, &wire);
        assert_eq!(data, b"before", "{what}, {suite:?}");
        assert_eq!(end, Incoming::Broken(fault.why), "{what}, {suite:?}");
        assert_eq!(client.hear(&answer), (FATAL, fault.alert), "{what}");
    }
}

#[test]
fn data_of_any_size_arrives_both_ways() {
    for suite in SUITES {
        let (mut client, mut gate) = connected(suite);
        for length in [0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT] {
            let data = bytes(length);
            client.writer().write_all(&data).unwrap();
            let wire = sent(&mut client);
            let opened = decrypt(&mut gate, &wire);
            assert_eq!(opened, (data.clone(), Incoming::Open, vec![]), "{suite:?}");
            let wire = encrypt(&mut gate, &data);
            assert_eq!(read(&mut client, &wire), Ok(data), "{suite:?}");
        }
        client.send_close_notify();
        let mut wire = sent(&mut client);
        wire.extend_from_slice(b"what is no record at all");
        let closed = (vec![], Incoming::Closed, vec![]);
        assert_eq!(decrypt(&mut gate, &wire), closed);
        let mut farewell = Vec::new();
        assert!(gate.close_notify(&mut farewell));
        assert_eq!(read(&mut client, &farewell), Ok(vec![]));
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn a_key_seals_no_more_than_it_may_but_the_end_can_still_be_told() {
    let (_, mut gate) = connected(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let used = ours(&mut gate).write.sequence;
    ours(&mut gate).records_per_key = used + 2;
    let mut wire = vec![0; 4 * RECORD];
    let mut seal = |gate: &mut Records, length| {
        let data = bytes(length);
        gate.encrypt(&data, &mut wire).is_some()
    };
    assert!(seal(&mut gate, FRAGMENT + 1));
    assert!(!seal(&mut gate, 1));
    assert!(gate.close_notify(&mut Vec::new()));
    ours(&mut gate).write.sequence = u64::MAX;
    assert!(!gate.close_notify(&mut Vec::new()));
}

#[test]
fn a_message_that_no_client_may_send_ends_the_connection() {
    use ContentType as Is;
    let too_long = vec![1; FRAGMENT + 1];
    let refused: &[(&str, Is, &[u8], Fault)] = &[
        ("an unknown type", Is::from(99), b"x", Fault::TYPE),
        (
            "a change of cipher",
            Is::ChangeCipherSpec,
            &[1],
            Fault::TYPE,
        ),
        ("a heartbeat", Is::Heartbeat, &[1, 0, 0], Fault::TYPE),
        ("an empty handshake", Is::Handshake, &[], Fault::EMPTY),
        ("a finished", Is::Handshake, &[20, 0, 0, 12], Fault::MESSAGE),
        (
            "a hello of nothing",
            Is::Handshake,
            &[1, 0, 0, 0],
            Fault::UNREADABLE,
        ),
        (
            "a hello that never ends",
            Is::Handshake,
            &[1, 1, 0, 0, 3],
            Fault::UNREADABLE,
        ),
        (
            "more behind a hello",
            Is::Handshake,
            &[1, 0, 0, 1, 3, 1],
            Fault::BEHIND,
        ),
        ("an empty alert", Is::Alert, &[], Fault::EMPTY),
        ("half an alert", Is::Alert, &[1], Fault::ALERT),
        ("two alerts", Is::Alert, &[1, 90, 1, 90], Fault::ALERT),
        (
            "an alert of no level",
            Is::Alert,
            &[3, 0],
            Fault::ALERT_LEVEL,
        ),
        (
            "too much in one record",
            Is::ApplicationData,
            &too_long,
            Fault::TOO_LONG,
        ),
    ];
    for &(what, kind, content, fault) in refused {
        assert_refused(what, |client| client.seal(kind, content), fault);
    }
    let between = |client: &mut Forger| {
        let piece = client.seal(Is::Handshake, &[1, 0]);
        [piece, client.seal(Is::ApplicationData, b"data")].concat()
    };
    assert_refused("data between pieces", between, Fault::BETWEEN);
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    type Tamper = fn(&mut Vec<u8>);
    let refused: &[(&str, Tamper, Fault)] = &[
        ("its type", |record| record[0] = 21, Fault::NOT_AUTHENTIC),
        (
            "its type, to an unknown one",
            |record| record[0] = 99,
            Fault::TYPE,
        ),
        ("its version", |record| record[2] = 1, Fault::NOT_AUTHENTIC),
        (
            "its length, too short for a tag",
            |record| record[4] = 15,
            Fault::NOT_AUTHENTIC,
        ),
        (
            "its length, too short for anything",
            |record| record[4] = 0,
            Fault::NOT_AUTHENTIC,
        ),
        (
            "its length, by one",
            |record| {
                record[4] -= 1;
                record.pop();
            },
            Fault::NOT_AUTHENTIC,
        ),
        (
            "its length, beyond all limits",
            |record| record[3..HEADER].copy_from_slice(&18_433_u16.to_be_bytes()),
            Fault::TOO_LONG,
        ),
        (
            "its first byte",
            |record| record[HEADER] ^= 1,
            Fault::NOT_AUTHENTIC,
        ),
        (
            "its tag",
            |record| *record.last_mut().unwrap() ^= 0x80,
            Fault::NOT_AUTHENTIC,
        ),
    ];
    for &(what, tamper, fault) in refused {
        let record = |client: &mut Forger| {
            let mut record = client.seal(ContentType::ApplicationData, b"data");
            tamper(&mut record);
            record
        };
        assert_refused(what, record, fault);
    }
    let replayed = |client: &mut Forger| {
        let number = client.write.sequence;
        client.write.sequence = number - 1;
        let record = client.seal(ContentType::ApplicationData, b"before");
        client.write.sequence = number;
        record
    };
    assert_refused("the same record again", replayed, Fault::NOT_AUTHENTIC);
}

#[test]
fn another_handshake_is_denied_however_it_is_cut_and_the_session_goes_on() {
    let hello = [&[1, 0, 1, 44][..], &[7; 300]].concat();
    for piece in [1, 3, 4, 5, 299, 304] {
        let (client, mut gate) = connected(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
        let mut client = Forger::new(client, &mut gate);
        for _ in 0..2 {
            let pieces = hello
                .chunks(piece)
                .map(|piece| client.seal(ContentType::Handshake, piece));
            let wire = pieces.collect::<Vec<_>>().concat();
            let (data, end, answer) = decrypt(&mut gate, &wire);
            assert_eq!((data, end), (vec![], Incoming::Open), "{piece}");
            let denied = (WARNING, AlertDescription::NoRenegotiation);
            assert_eq!(client.hear(&answer), denied, "{piece}");
        }
        let wire = client.seal(ContentType::ApplicationData, b"data");
        assert_eq!(decrypt(&mut gate, &wire).0, b"data", "{piece}");
    }
}

#[test]
fn warnings_end_nothing_until_there_are_many_and_a_fatal_alert_is_told_by_name() {
    let (client, mut gate) = connected(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let mut client = Forger::new(client, &mut gate);
    for _ in 0..3 {
        for _ in 0..FRUITLESS {
            let wire = client.seal(ContentType::Alert, &[WARNING, 90]);
            let nothing = (vec![], Incoming::Open, vec![]);
            assert_eq!(decrypt(&mut gate, &wire), nothing);
        }
        let wire = client.seal(ContentType::ApplicationData, b"data makes it good");
        assert_eq!(decrypt(&mut gate, &wire).1, Incoming::Open);
    }
    let warnings = |client: &mut Forger| {
        let warnings = (0..=FRUITLESS).map(|_| client.seal(ContentType::Alert, &[WARNING, 90]));
        warnings.collect::<Vec<_>>().concat()
    };
    assert_refused("warnings without end", warnings, Fault::FRUITLESS);
    let wire = client.seal(ContentType::Alert, &[FATAL, 80]);
    let why = "the client ended TLS with the alert internal_error (80)";
    let ended = (vec![], Incoming::Broken(why), vec![]);
    assert_eq!(decrypt(&mut gate, &wire), ended);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_does_not_matter_how_the_network_cuts_the_records(
        suite in prop::sample::select(SUITES.to_vec()),
        lengths in prop::collection::vec(0..2000_usize, 1..6),
        cuts in prop::collection::vec(1..700_usize, 1..40),
    ) {
        let (client, mut gate) = connected(suite);
        let mut client = Forger::new(client, &mut gate);
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for length in lengths {
            wire.extend(client.seal(ContentType::ApplicationData, &bytes(length)));
            expected.extend(bytes(length));
        }
        prop_assert_eq!(decrypt_in_pieces(&mut gate, &wire, &cuts), expected);
    }

    #[test]
    fn what_is_not_authentic_is_never_data(mut wire in prop::collection::vec(any::<u8>(), 0..300), typed in any::<bool>()) {
        let (_, mut gate) = connected(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
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
