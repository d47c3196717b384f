//! Records that only a client gone wrong sends, sealed with the keys that were negotiated.

use super::*;

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
