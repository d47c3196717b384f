//! Our records against rustls' client, and against records that no decent client sends.

use std::io::{Read as _, Write as _};

use proptest::prelude::*;
use rustls::ClientConnection;

use super::super::{Protection, RECORD, Records};
use super::*;
use crate::gate::tests::handshaken;

/// Both ends of one connection after the handshake.
fn connected() -> (ClientConnection, Records) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (client, _, gate) = runtime.block_on(handshaken(64 * 1024));
    (client.into_inner().1, gate.records)
}

fn ours(records: &mut Records) -> &mut Tls13 {
    match &mut records.protection {
        Protection::Tls13(tls) => tls,
        Protection::Tls12(_) => panic!("TLS 1.3 was negotiated"),
    }
}

/// A client that seals whatever it likes, with the keys that were negotiated.
struct Forger {
    read: Direction,
    write: Direction,
}

impl Forger {
    fn new(client: ClientConnection) -> Self {
        let ExtractedSecrets { tx, rx } = client.dangerous_extract_secrets().unwrap();
        Self {
            read: Direction::new(rx).unwrap(),
            write: Direction::new(tx).unwrap(),
        }
    }

    fn seal(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER + content.len() + 1 + TAG];
        let length = self.write.seal(kind, content, &mut record).unwrap();
        assert_eq!(length, record.len());
        record
    }

    /// The alert that the gate answered with, and nothing else.
    fn hear(&mut self, answer: &[u8]) -> AlertDescription {
        let (header, sealed) = answer.split_first_chunk().expect("an answer");
        let (ciphertext, tag) = sealed.split_last_chunk().expect("a record");
        let mut inner = vec![0; ciphertext.len()];
        let opened = self.read.open(header, ciphertext, tag, &mut inner);
        opened.expect("it is authentic");
        assert_eq!((inner[0], inner[2]), (FATAL, ContentType::Alert.into()));
        AlertDescription::from(inner[1])
    }
}

/// What the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).unwrap();
    }
    wire
}

fn decrypt(records: &mut Records, wire: &[u8]) -> (Vec<u8>, Incoming, Vec<u8>) {
    let mut input = records.incomplete().to_vec();
    input.extend_from_slice(wire);
    let (mut plaintext, mut answer) = (vec![0; input.len()], Vec::new());
    let (length, end) = records.decrypt(&mut input, &mut plaintext, &mut answer);
    plaintext.truncate(length);
    (plaintext, end, answer)
}

fn encrypt(records: &mut Records, plaintext: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; plaintext.len() + 4096];
    let length = records.encrypt(plaintext, &mut wire, &mut Vec::new());
    wire.truncate(length.expect("TLS is open"));
    wire
}

fn read(client: &mut ClientConnection, mut wire: &[u8]) -> Result<Vec<u8>, rustls::Error> {
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

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
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
fn the_last_nonce_is_not_followed_by_the_first() {
    let (_, mut gate) = connected();
    ours(&mut gate).write.sequence = u64::MAX;
    let key = &mut ours(&mut gate).write;
    let mut record = [0; 64];
    assert_eq!(
        key.seal(ContentType::ApplicationData, b"x", &mut record),
        None
    );
    assert_eq!(key.sequence, u64::MAX);
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
fn padding_is_taken_off() {
    let (client, mut gate) = connected();
    let mut client = Forger::new(client);
    // The seal puts the type last, so the padding is put on with a type of zero.
    let mut content = b"data".to_vec();
    content.push(ContentType::ApplicationData.into());
    content.resize(300, 0);
    let record = client.seal(ContentType::from(0), &content);
    assert_eq!(decrypt(&mut gate, &record).0, b"data");
    let empty = client.seal(ContentType::ApplicationData, b"");
    assert_eq!(decrypt(&mut gate, &empty), (vec![], Incoming::Open, vec![]));
}

#[test]
fn user_canceled_ends_nothing() {
    let (client, mut gate) = connected();
    let canceled = [WARNING, AlertDescription::UserCanceled.into()];
    let record = Forger::new(client).seal(ContentType::Alert, &canceled);
    let (data, end, answer) = decrypt(&mut gate, &record);
    assert_eq!((data, end, answer), (vec![], Incoming::Open, vec![]));
}

#[test]
fn a_fatal_alert_is_no_clean_end_and_gets_no_answer() {
    let (client, mut gate) = connected();
    let alert = [FATAL, AlertDescription::InternalError.into()];
    let record = Forger::new(client).seal(ContentType::Alert, &alert);
    let (data, end, answer) = decrypt(&mut gate, &record);
    let why = "the client ended TLS with an alert";
    assert_eq!((data, end, answer), (vec![], Incoming::Broken(why), vec![]));
}

/// What came before counts, the record itself does not, and the client hears why.
fn refused(
    what: &str,
    client: ClientConnection,
    gate: &mut Records,
    record: impl FnOnce(&mut Forger) -> Vec<u8>,
) -> AlertDescription {
    let mut client = Forger::new(client);
    let mut wire = client.seal(ContentType::ApplicationData, b"before");
    wire.extend(record(&mut client));
    let (data, end, answer) = decrypt(gate, &wire);
    assert_eq!(data, b"before", "{what}");
    assert_eq!(end, Incoming::Broken("the client broke TLS"), "{what}");
    client.hear(&answer)
}

#[test]
fn a_message_that_no_client_may_send_ends_the_connection() {
    use AlertDescription::{DecodeError, IllegalParameter, RecordOverflow, UnexpectedMessage};
    let handshake = ContentType::Handshake;
    let too_long = vec![1; FRAGMENT + 1];
    for (what, kind, content, alert) in [
        (
            "nothing but padding",
            ContentType::from(0),
            &[0; 9][..],
            UnexpectedMessage,
        ),
        (
            "an unknown type",
            ContentType::from(99),
            b"x",
            UnexpectedMessage,
        ),
        (
            "a change of cipher",
            ContentType::ChangeCipherSpec,
            &[1],
            UnexpectedMessage,
        ),
        ("an empty handshake", handshake, &[], UnexpectedMessage),
        (
            "a finished",
            handshake,
            &[20, 0, 0, 1, 0],
            UnexpectedMessage,
        ),
        ("half a key update", handshake, &[24, 0], UnexpectedMessage),
        (
            "more behind a key update",
            handshake,
            &[24, 0, 0, 1, 0, 24],
            UnexpectedMessage,
        ),
        (
            "a key update of two bytes",
            handshake,
            &[24, 0, 0, 2, 0, 0],
            UnexpectedMessage,
        ),
        (
            "an unknown request",
            handshake,
            &[24, 0, 0, 1, 2],
            IllegalParameter,
        ),
        ("half an alert", ContentType::Alert, &[1], DecodeError),
        (
            "two alerts",
            ContentType::Alert,
            &[1, 90, 1, 90],
            DecodeError,
        ),
        (
            "too much in one record",
            ContentType::ApplicationData,
            &too_long,
            RecordOverflow,
        ),
    ] {
        let (client, mut gate) = connected();
        let told = refused(what, client, &mut gate, |client| client.seal(kind, content));
        assert_eq!(told, alert, "{what}");
    }
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    use AlertDescription::{BadRecordMac, RecordOverflow, UnexpectedMessage};
    type Tamper = fn(&mut Vec<u8>);
    for (what, tamper, alert) in [
        (
            "its type",
            (|record| record[0] = 22) as Tamper,
            UnexpectedMessage,
        ),
        (
            "its version, which is authenticated",
            |record| record[2] = 1,
            BadRecordMac,
        ),
        (
            "its length, too short for a tag",
            |record| record[4] = 15,
            BadRecordMac,
        ),
        (
            "its length, by one",
            |record| {
                record[4] -= 1;
                record.pop();
            },
            BadRecordMac,
        ),
        (
            "its length, beyond all limits",
            |record| record[3] = 0x41,
            RecordOverflow,
        ),
        ("its content", |record| record[HEADER] ^= 1, BadRecordMac),
        (
            "its tag",
            |record| *record.last_mut().unwrap() ^= 0x80,
            BadRecordMac,
        ),
    ] {
        let (client, mut gate) = connected();
        let told = refused(what, client, &mut gate, |client| {
            let mut record = client.seal(ContentType::ApplicationData, b"data");
            tamper(&mut record);
            record
        });
        assert_eq!(told, alert, "{what}");
    }
}

#[test]
fn a_record_counts_once_and_in_its_place() {
    let (client, mut gate) = connected();
    let mut client = Forger::new(client);
    let [first, second] = [b"1", b"2"].map(|data| client.seal(ContentType::ApplicationData, data));
    assert_eq!(decrypt(&mut gate, &first).0, b"1");
    for (what, record) in [
        ("replayed", &first),
        ("skipped one", &{
            client.seal(ContentType::ApplicationData, b"3")
        }),
    ] {
        let sequence = ours(&mut gate).read.sequence;
        let (data, end, answer) = decrypt(&mut gate, record);
        assert!(data.is_empty(), "{what}");
        assert_eq!(end, Incoming::Broken("the client broke TLS"), "{what}");
        assert_eq!(
            client.hear(&answer),
            AlertDescription::BadRecordMac,
            "{what}"
        );
        ours(&mut gate).read.sequence = sequence;
    }
    assert_eq!(
        decrypt(&mut gate, &second).0,
        b"2",
        "in its place it is good"
    );
}

#[test]
fn new_keys_without_data_are_taken_for_an_attack() {
    let (mut client, mut gate) = connected();
    let mut end = Incoming::Open;
    for _ in 0..KEY_UPDATES {
        client.refresh_traffic_keys().unwrap();
        end = decrypt(&mut gate, &sent(&mut client)).1;
        assert_eq!(end, Incoming::Open);
    }
    client.writer().write_all(b"data makes it good").unwrap();
    decrypt(&mut gate, &sent(&mut client));
    for _ in 0..=KEY_UPDATES {
        client.refresh_traffic_keys().unwrap();
        end = decrypt(&mut gate, &sent(&mut client)).1;
    }
    assert_eq!(end, Incoming::Broken("the client broke TLS"));
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
        let (mut rest, mut cuts, mut got) = (&wire[..], cuts.iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            let (data, end, answer) = decrypt(&mut gate, now);
            prop_assert_eq!((end, answer), (Incoming::Open, vec![]));
            got.extend(data);
            rest = later;
        }
        prop_assert_eq!(got, expected);
        prop_assert!(gate.incomplete().is_empty());
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
