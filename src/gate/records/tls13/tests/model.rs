//! Random streams of records, cut anywhere, against a model that has no keys and no bytes of TLS.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, KeyLog};

use super::forged::Forger;
use super::*;
use crate::gate::records::tests::after;
use crate::gate::tests::handshaken_with;

/// The secret that the client's next keys come from.
#[derive(Default)]
struct Secret(Mutex<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446 section 7.1) without a context.
fn expand<const N: usize>(secret: &[u8], label: &str) -> [u8; N] {
    let label = ["tls13 ", label].concat();
    let lengths = [0, N as u8, label.len() as u8];
    let mut bytes = [0; N];
    Prk::new_less_safe(HKDF_SHA256, secret)
        .expand(&[&lengths, label.as_bytes(), &[0]], Length(N))
        .unwrap()
        .fill(&mut bytes)
        .unwrap();
    bytes
}

impl Secret {
    /// The next keys (section 7.2).
    fn next(&self) -> Direction {
        let mut secret = self.0.lock().unwrap();
        *secret = expand::<32>(&secret, "traffic upd").to_vec();
        let key = AeadKey::from(expand(&secret, "key"));
        let iv = Iv::new(expand(&secret, "iv"));
        Direction::new((0, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })).unwrap()
    }
}

/// What a record holds.
#[derive(Debug, Clone)]
struct Held {
    kind: u8,
    content: Vec<u8>,
    padding: usize,
}

/// One or more records that belong together.
fn some_records() -> impl Strategy<Value = Vec<Held>> {
    let held = |kind, content, padding| Held {
        kind,
        content,
        padding,
    };
    let data = (0..600_usize, 0..40_usize);
    let data = data.prop_map(move |(length, padding)| vec![held(23, bytes(length), padding)]);
    let new_keys = (0..=1_u8, any::<[bool; 4]>(), 0..3_usize);
    let new_keys = new_keys.prop_map(move |(request, cut, padding)| {
        let mut records = vec![held(22, Vec::new(), padding)];
        for (at, byte) in [24, 0, 0, 1, request].into_iter().enumerate() {
            if at > 0 && cut[at - 1] {
                records.push(held(22, Vec::new(), padding));
            }
            records.last_mut().unwrap().content.push(byte);
        }
        records
    });
    let canceled = Just(vec![held(21, vec![WARNING, 90], 0)]);
    // Types with and without a place, and contents that are nearly right.
    let odd_kind = prop::sample::select(vec![0, 20, 21, 22, 22, 22, 23, 24, 99]);
    let odd_byte = prop::sample::select(vec![0, 0, 1, 1, 2, 24, 80, 90]);
    let odd = (odd_kind, prop::collection::vec(odd_byte, 0..7));
    let odd = odd.prop_map(move |(kind, content)| vec![held(kind, content, 0)]);
    let end = Just(vec![held(21, vec![WARNING, 0], 0)]);
    prop_oneof![8 => data, 8 => new_keys, 2 => canceled, 1 => odd, 1 => end]
}

#[derive(Debug, Default)]
struct Model {
    data: Vec<u8>,
    /// A handshake message that is not whole.
    begun: Vec<u8>,
    fruitless: u8,
    owes_key_update: bool,
    end: Option<Result<Incoming, Fault>>,
}

impl Model {
    /// Returns whether the client seals with new keys from here on.
    fn receive(&mut self, held: &Held) -> bool {
        if self.end.is_some() {
            return false;
        }
        // A type of zero is padding: the type is then the last byte before it that is none.
        let mut inner = held.content.clone();
        inner.push(held.kind);
        while inner.last() == Some(&0) {
            inner.pop();
        }
        let Some(kind) = inner.pop() else {
            self.end = Some(Err(Fault::EMPTY));
            return false;
        };
        let broken = match (kind, &inner[..]) {
            (_, _) if kind != 22 && !self.begun.is_empty() => Fault::BETWEEN,
            (23, data) => {
                self.data.extend(data);
                if !data.is_empty() {
                    self.fruitless = 0;
                }
                return false;
            }
            (21 | 22, []) => Fault::EMPTY,
            (21, [_, 90]) => return self.count(false),
            (21, [_, 0]) => {
                self.end = Some(Ok(Incoming::Closed));
                return false;
            }
            (21, [_, alert]) => {
                let why = ended_by((*alert).into());
                self.end = Some(Ok(Incoming::Broken(why)));
                return false;
            }
            (21, _) => Fault::ALERT,
            (22, piece) => {
                self.begun.extend(piece);
                match self.begun[..] {
                    [24] | [24, 0] | [24, 0, 0] | [24, 0, 0, 1] => return false,
                    [24, 0, 0, 1, request @ (0 | 1)] => {
                        self.begun.clear();
                        self.owes_key_update |= request == 1;
                        return self.count(true);
                    }
                    [24, 0, 0, 1, _] => Fault::REQUEST,
                    [24, 0, 0, 1, ..] => Fault::BEHIND,
                    [24, ..] => Fault::UNREADABLE,
                    _ => Fault::MESSAGE,
                }
            }
            (_, _) => Fault::TYPE,
        };
        self.end = Some(Err(broken));
        false
    }

    fn count(&mut self, new_keys: bool) -> bool {
        self.fruitless += 1;
        if self.fruitless > FRUITLESS {
            self.end = Some(Err(Fault::FRUITLESS));
        }
        new_keys
    }
}

/// Padding is a type of zero behind the true one.
fn seal(client: &mut Forger, held: &Held) -> Vec<u8> {
    if held.padding == 0 {
        return client.seal(held.kind.into(), &held.content);
    }
    let mut padded = held.content.clone();
    padded.push(held.kind);
    padded.resize(padded.len() + held.padding - 1, 0);
    client.seal(ContentType::from(0), &padded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_stream_of_records_is_what_the_model_says(
        stream in prop::collection::vec(some_records(), 0..60),
        // What comes in the middle of what belongs together.
        strays in prop::collection::vec((any::<prop::sample::Index>(), some_records()), 0..2),
        cuts in prop::collection::vec(prop_oneof![1..8_usize, 1..400_usize, 1..9000_usize], 1..20),
    ) {
        let mut stream = stream.concat();
        for (at, stray) in strays {
            let at = at.index(stream.len() + 1);
            stream.splice(at..at, stray);
        }
        let secret = Arc::new(Secret::default());
        let keys = Arc::clone(&secret) as Arc<dyn KeyLog>;
        let (client, mut gate) = after(handshaken_with(TLS13_CHACHA20_POLY1305_SHA256, keys));
        let mut client = Forger::new(client);
        let (mut wire, mut model) = (Vec::new(), Model::default());
        for held in &stream {
            wire.extend(seal(&mut client, held));
            if model.receive(held) {
                client.write = secret.next();
            }
        }
        let (mut rest, mut cuts, mut data) = (&wire[..], cuts.iter().cycle(), Vec::new());
        let (mut end, mut answer) = (Incoming::Open, Vec::new());
        while !rest.is_empty() && end == Incoming::Open {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            let (more, now_end, said) = decrypt(&mut gate, now);
            prop_assert!(gate.incomplete().len() < RECORD);
            prop_assert!(ours(&mut gate).begun.len() <= KEY_UPDATE.len() + 1);
            data.extend(more);
            answer.extend(said);
            (rest, end) = (later, now_end);
        }
        prop_assert_eq!(data, model.data);
        match model.end {
            None => {
                prop_assert_eq!(end, Incoming::Open);
                prop_assert!(gate.incomplete().is_empty());
                prop_assert_eq!(&ours(&mut gate).begun, &model.begun);
            }
            Some(Ok(expected)) => prop_assert_eq!(end, expected),
            Some(Err(fault)) => {
                prop_assert_eq!(end, Incoming::Broken(fault.why));
                prop_assert_eq!(client.hear(&answer), fault.alert);
                answer.clear();
            }
        }
        prop_assert!(answer.is_empty());
        prop_assert_eq!(ours(&mut gate).owes_key_update, model.owes_key_update);
    }
}
