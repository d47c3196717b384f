//! Records that only a client gone wrong sends, sealed with the keys that were negotiated.

use super::*;

/// A client that seals whatever it likes, with the keys that were negotiated.
pub(super) struct Forger {
    read: Direction,
    pub(super) write: Direction,
}

impl Forger {
    pub(super) fn new(client: ClientConnection) -> Self {
        let ExtractedSecrets { tx, rx } = client.dangerous_extract_secrets().unwrap();
        Self {
            read: Direction::new(rx).unwrap(),
            write: Direction::new(tx).unwrap(),
        }
    }

    pub(super) fn seal(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER + content.len() + 1 + TAG];
        let length = seal(&mut self.write, kind, content, &mut record);
        assert_eq!(length, Some(record.len()));
        record
    }

    /// The alert that the gate answered with, and nothing else.
    pub(super) fn hear(&mut self, answer: &[u8]) -> AlertDescription {
        let (header, sealed) = answer.split_first_chunk::<HEADER>().expect("an answer");
        let (ciphertext, tag) = sealed.split_last_chunk().expect("a record");
        let mut inner = vec![0; ciphertext.len()];
        let opened = self
            .read
            .open(&[], |_| *header, (ciphertext, tag), &mut inner);
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
    let why = "the client ended TLS with the alert internal_error (80)";
    assert_eq!((data, end, answer), (vec![], Incoming::Broken(why), vec![]));
}

/// What came before counts, the records themselves do not, and the client hears why.
fn assert_refused(
    what: &str,
    (client, mut gate): (ClientConnection, Records),
    records: impl FnOnce(&mut Forger) -> Vec<u8>,
    fault: Fault,
) {
    let mut client = Forger::new(client);
    let mut wire = client.seal(ContentType::ApplicationData, b"before");
    wire.extend(records(&mut client));
    wire.extend(client.seal(ContentType::ApplicationData, b"after"));
    let (data, end, answer) = decrypt(&mut gate, &wire);
    assert_eq!(data, b"before", "{what}");
    assert_eq!(end, Incoming::Broken(fault.why), "{what}");
    assert_eq!(client.hear(&answer), fault.alert, "{what}");
}

#[test]
fn a_message_that_no_client_may_send_ends_the_connection() {
    use ContentType as Is;
    let too_long = vec![1; FRAGMENT + 1];
    let refused: &[(&str, Is, &[u8], Fault)] = &[
        ("nothing but padding", Is::from(0), &[0; 9], Fault::EMPTY),
        ("an unknown type", Is::from(99), b"x", Fault::TYPE),
        (
            "a change of cipher",
            Is::ChangeCipherSpec,
            &[1],
            Fault::TYPE,
        ),
        ("a heartbeat", Is::Heartbeat, &[1, 0, 0], Fault::TYPE),
        ("an empty handshake", Is::Handshake, &[], Fault::EMPTY),
        (
            "a finished",
            Is::Handshake,
            &[20, 0, 0, 1, 0],
            Fault::MESSAGE,
        ),
        (
            "the first byte of a hello",
            Is::Handshake,
            &[1],
            Fault::MESSAGE,
        ),
        (
            "more behind a key update",
            Is::Handshake,
            &[24, 0, 0, 1, 0, 24],
            Fault::BEHIND,
        ),
        (
            "a key update of two bytes",
            Is::Handshake,
            &[24, 0, 0, 2, 0, 0],
            Fault::UNREADABLE,
        ),
        (
            "a key update of many bytes, cut",
            Is::Handshake,
            &[24, 1],
            Fault::UNREADABLE,
        ),
        (
            "an unknown request",
            Is::Handshake,
            &[24, 0, 0, 1, 2],
            Fault::REQUEST,
        ),
        ("an empty alert", Is::Alert, &[], Fault::EMPTY),
        ("half an alert", Is::Alert, &[1], Fault::ALERT),
        ("two alerts", Is::Alert, &[1, 90, 1, 90], Fault::ALERT),
        (
            "too much in one record",
            Is::ApplicationData,
            &too_long,
            Fault::TOO_LONG,
        ),
    ];
    for &(what, kind, content, fault) in refused {
        assert_refused(
            what,
            connected(),
            |client| client.seal(kind, content),
            fault,
        );
    }
}

#[test]
fn nothing_may_come_between_the_pieces_of_a_key_update() {
    use ContentType as Is;
    let refused: &[(&str, Is, &[u8], Fault)] = &[
        ("data", Is::ApplicationData, b"data", Fault::BETWEEN),
        ("no data", Is::ApplicationData, b"", Fault::BETWEEN),
        ("an alert", Is::Alert, &[WARNING, 90], Fault::BETWEEN),
        ("an end", Is::Alert, &[WARNING, 0], Fault::BETWEEN),
        ("an empty piece", Is::Handshake, b"", Fault::EMPTY),
        ("padding", Is::from(0), &[0; 9], Fault::EMPTY),
        (
            "the beginning of another",
            Is::Handshake,
            &[24],
            Fault::UNREADABLE,
        ),
        (
            "more than the rest",
            Is::Handshake,
            &[0, 0, 1, 0, 24],
            Fault::BEHIND,
        ),
    ];
    for &(what, kind, content, fault) in refused {
        let records = |client: &mut Forger| {
            let first = client.seal(Is::Handshake, &[24]);
            [first, client.seal(kind, content)].concat()
        };
        assert_refused(what, connected(), records, fault);
    }
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    type Tamper = fn(&mut Vec<u8>);
    let refused: &[(&str, Tamper, Fault)] = &[
        ("its type", |record| record[0] = 22, Fault::TYPE),
        (
            "its version, which is authenticated",
            |record| record[2] = 1,
            Fault::NOT_AUTHENTIC,
        ),
        (
            "its length, too short for a tag",
            |record| record[4] = 15,
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
            |record| record[3] = 0x41,
            Fault::TOO_LONG,
        ),
        (
            "its content",
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
        assert_refused(what, connected(), record, fault);
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
        assert_eq!(end, Incoming::Broken(Fault::NOT_AUTHENTIC.why), "{what}");
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
