//! Makes cases up: a good line first, then company beside it, then lists, then faults in any of them.

use super::pki::{Basic, Case, Cert, Constraints, KeyId, Keys, List, Name, Odd, Place, Point};
use super::random::Random;
use crate::support::craft::{CRL_SIGN, DAY, DIGITAL_SIGNATURE, KEY_CERT_SIGN, oid};

/// Bit 4 of the key usage, with which a key may agree on others.
pub(super) const KEY_AGREEMENT: u8 = 0b0000_1000;

const NAMES: [Name; 12] = [
    (2, b"client.test"),
    (2, b"a.client.test"),
    (2, b"aclient.test"),
    (2, b"CLIENT.test"),
    (2, b"other.example"),
    (6, b"https://client.test/x"),
    (6, b"spiffe://test/ns/x"),
    (1, b"me@client.test"),
    (7, &[10, 0, 0, 1]),
    (7, &[192, 168, 7, 7]),
    (7, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    (2, b"x.y.client.test"),
];

const BASES: [Name; 14] = [
    (2, b"client.test"),
    (2, b"test"),
    (2, b"Test"),
    (2, b".client.test"),
    (2, b"example"),
    (2, b"a.client.test"),
    (2, b"client.test"),
    (2, b"other.example"),
    (7, &[10, 0, 0, 0, 255, 0, 0, 0]),
    (7, &[192, 168, 0, 0, 255, 255, 0, 0]),
    (
        7,
        &[
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0,
        ],
    ),
    (6, b"client.test"),
    (1, b"client.test"),
    // SEQUENCE { SET { SEQUENCE { commonName, "client" } } }
    (
        4,
        b"\x30\x11\x31\x0f\x30\x0d\x06\x03\x55\x04\x03\x0c\x06client",
    ),
];

const PLACES: [Place; 3] = [Place::Url(1), Place::Url(2), Place::Ca(50)];

/// Makes one case.
pub(super) fn case(random: &mut Random) -> Case {
    let mut maker = Maker::new(random);
    maker.good_line();
    maker.shape();
    if maker.random.percent(55) {
        maker.lists();
    }
    maker.faults();
    maker.order();
    maker.case
}

struct Maker<'a> {
    random: &'a mut Random,
    free_keys: Vec<KeyId>,
    next_name: u8,
    next_serial: u8,
    case: Case,
}

impl<'a> Maker<'a> {
    fn new(random: &'a mut Random) -> Self {
        let mut free_keys: Vec<KeyId> = (0..Keys::COUNT).collect();
        random.shuffle(&mut free_keys);
        let allow_missing_eku = random.percent(15);
        let accept_stale = random.percent(16);
        let nobody = Cert::client(0, 0, 0, 0);
        Self {
            random,
            free_keys,
            next_name: 0,
            next_serial: 0,
            case: Case {
                client: nobody,
                sent: Vec::new(),
                junk: false,
                bundle: Vec::new(),
                lists: Vec::new(),
                allow_missing_eku,
                accept_stale,
            },
        }
    }

    /// A new one, or one that was there, once all are used up.
    fn key(&mut self) -> KeyId {
        match self.free_keys.pop() {
            Some(key) => key,
            None => self.random.below(Keys::COUNT),
        }
    }

    fn name(&mut self) -> u8 {
        self.next_name += 1;
        self.next_name
    }

    fn serial(&mut self) -> u8 {
        self.next_serial = self.next_serial % 100 + 1;
        self.next_serial
    }

    fn root(&mut self) -> Cert {
        let (name, key) = (self.name(), self.key());
        Cert::ca(name, key, name, key, self.serial())
    }

    fn below(&mut self, above: &Cert) -> Cert {
        // Sometimes the CA has a new key, and the old one vouches for it.
        let name = match self.random.percent(8) {
            true => above.subject,
            false => self.name(),
        };
        Cert::ca(name, self.key(), above.subject, above.key, self.serial())
    }

    fn good_line(&mut self) {
        let root = self.root();
        let depth = self
            .random
            .pick(&[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4]);
        let depth = if self.random.percent(2) {
            6 + self.random.below(2)
        } else {
            depth
        };
        let mut last = root.clone();
        for _ in 0..depth {
            let next = self.below(&last);
            self.case.sent.insert(0, next.clone());
            last = next;
        }
        self.case.client = Cert::client(self.key(), last.subject, last.key, self.serial());
        if self.random.percent(15) {
            self.case.client.names = self.some_names();
        }
        self.case.bundle.push(root);
    }

    fn some_names(&mut self) -> Vec<Name> {
        (0..1 + self.random.below(3))
            .map(|_| self.random.pick(&NAMES))
            .collect()
    }

    /// What stands beside the line, or in its stead.
    fn shape(&mut self) {
        for _ in 0..self.random.pick(&[0, 0, 0, 1, 1, 1, 2, 2, 3]) {
            match self.random.below(13) {
                0 | 1 => self.cross_sign(),
                2 | 3 => self.renew(),
                4 | 5 => self.namesake(),
                6 => self.vouch_for_a_part(),
                7 => self.loop_back(),
                8 => self.case.junk = true,
                9 => self.hostile(),
                10 => {
                    let root = self.root();
                    self.case.bundle.push(root);
                }
                11 => {
                    let root = self.case.bundle[0].clone();
                    self.case.sent.push(root);
                }
                _ if !self.case.sent.is_empty() => {
                    let again = self.random.below(self.case.sent.len());
                    self.case.sent.push(self.case.sent[again].clone());
                }
                _ => {}
            }
        }
        if self.random.percent(3) && !self.case.sent.is_empty() {
            let missing = self.random.below(self.case.sent.len());
            self.case.sent.remove(missing);
        }
        if self.random.percent(2) {
            let other = self.root();
            self.case.bundle[0] = other;
        }
    }

    /// Another CA vouches for one that is sent, or for the root.
    fn cross_sign(&mut self) {
        let other = self.root();
        let mut cross = match self.case.sent.is_empty() || self.random.percent(20) {
            true => self.case.bundle[0].clone(),
            false => self.random.pick(&self.case.sent),
        };
        (cross.issuer, cross.signer) = (other.subject, other.key);
        cross.issuer_id = Some(other.key as u8);
        cross.serial = self.serial();
        self.case.sent.push(cross);
        match self.random.percent(70) {
            true => self.case.bundle.push(other),
            false => self.case.sent.push(other),
        }
    }

    /// Another certificate about a CA, with other limits.
    fn renew(&mut self) {
        let in_bundle = self.case.sent.is_empty() || self.random.percent(40);
        let mut again = self.random.pick(cas(&mut self.case, in_bundle));
        again.serial = self.serial();
        if self.random.percent(60) {
            self.spoil(&mut again);
        }
        cas(&mut self.case, in_bundle).push(again);
    }

    /// Another key under the name of a CA.
    fn namesake(&mut self) {
        let in_bundle = self.case.sent.is_empty() || self.random.percent(40);
        let mut other = self.random.pick(cas(&mut self.case, in_bundle));
        let own = other.key == other.signer;
        other.key = self.key();
        other.own_id = self.random.percent(80).then_some(other.key as u8);
        other.serial = self.serial();
        if own {
            other.signer = other.key;
        }
        cas(&mut self.case, in_bundle).push(other);
    }

    /// The bundle names a CA below the root, beside it or in its place.
    fn vouch_for_a_part(&mut self) {
        if self.case.sent.is_empty() {
            return;
        }
        let part = self.random.pick(&self.case.sent);
        match self.random.percent(50) {
            true => self.case.bundle.push(part),
            false => self.case.bundle[0] = part,
        }
    }

    /// A CA vouches for one above it.
    fn loop_back(&mut self) {
        let (Some(low), Some(high)) = (
            self.case.sent.first().cloned(),
            self.case.sent.last().cloned(),
        ) else {
            return;
        };
        let serial = self.serial();
        let looped = Cert::ca(high.subject, high.key, low.subject, low.key, serial);
        self.case.sent.push(looped);
        if self.random.percent(50) {
            let root = self.case.bundle[0].clone();
            let serial = self.serial();
            self.case.sent.push(Cert::ca(
                root.subject,
                root.key,
                low.subject,
                low.key,
                serial,
            ));
        }
    }

    /// Made-up certificates that bear the names of the line.
    fn hostile(&mut self) {
        let key = self.key();
        let count = if self.random.percent(25) {
            12 + self.random.below(6)
        } else {
            1 + self.random.below(6)
        };
        let line: Vec<Cert> = self
            .case
            .sent
            .iter()
            .chain(&self.case.bundle)
            .cloned()
            .collect();
        for _ in 0..count {
            let mut fake = self.random.pick(&line);
            fake.serial = self.serial();
            match self.random.below(3) {
                // Its own key, which says it is the CA's.
                0 => (fake.key, fake.signer) = (key, key),
                1 => fake.key = key,
                _ => fake.signer = key,
            }
            let place = self.random.below(self.case.sent.len() + 1);
            self.case.sent.insert(place, fake);
        }
    }

    fn order(&mut self) {
        if self.random.percent(40) {
            self.random.shuffle(&mut self.case.sent);
        }
        if self.random.percent(40) {
            self.random.shuffle(&mut self.case.bundle);
        }
        if self.random.percent(40) {
            self.random.shuffle(&mut self.case.lists);
        }
    }

    fn faults(&mut self) {
        for _ in 0..self.random.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 2]) {
            let place = self
                .random
                .below(2 + self.case.sent.len().min(6) + self.case.bundle.len());
            let sent = self.case.sent.len();
            let mut one = match place {
                0 | 1 => self.case.client.clone(),
                _ if place - 2 < sent => self.case.sent[place - 2].clone(),
                _ => self.random.pick(&self.case.bundle),
            };
            let before = (one.subject, one.key, one.serial);
            self.spoil(&mut one);
            let all = self.case.sent.iter_mut().chain(&mut self.case.bundle);
            for same in all.chain([&mut self.case.client]) {
                if (same.subject, same.key, same.serial) == before {
                    *same = one.clone();
                }
            }
        }
        if self.case.lists.is_empty() {
            return;
        }
        for _ in 0..self.random.pick(&[0, 0, 0, 1, 1, 1, 1, 2, 2]) {
            super::lists::spoil(self.random, &mut self.case);
        }
    }

    /// One thing about a certificate is not as it should be, or at least not as usual.
    fn spoil(&mut self, one: &mut Cert) {
        let is_ca = one.subject != super::pki::CLIENT;
        let random = &mut *self.random;
        match random.below(if is_ca { 13 } else { 10 }) {
            0 => {
                let times = [
                    (-2 * DAY, -1),
                    (-DAY, 0),
                    (-DAY, 1),
                    (0, DAY),
                    (1, DAY),
                    (-1, DAY),
                ];
                (one.from, one.to) = random.pick(&times);
            }
            1 => {
                let all = [
                    Basic::Missing,
                    Basic::Missing,
                    Basic::NoCa,
                    Basic::Ca(None),
                    Basic::Ca(Some(0)),
                    Basic::Ca(Some(1)),
                    Basic::Ca(Some(-1)),
                ];
                one.basic = random.pick(&all);
            }
            2 => {
                let all = [
                    None,
                    Some(KEY_CERT_SIGN),
                    Some(CRL_SIGN),
                    Some(KEY_CERT_SIGN | DIGITAL_SIGNATURE),
                    Some(DIGITAL_SIGNATURE),
                    Some(KEY_AGREEMENT),
                ];
                one.usage = random.pick(&all);
            }
            3 => {
                let all: [Option<Vec<&[u8]>>; 6] = [
                    None,
                    Some(vec![oid::CLIENT_AUTH]),
                    Some(vec![oid::SERVER_AUTH]),
                    Some(vec![oid::ANY_PURPOSE]),
                    Some(vec![oid::SERVER_AUTH, oid::CLIENT_AUTH]),
                    Some(vec![oid::SERVER_AUTH, oid::ANY_PURPOSE]),
                ];
                one.purposes = random.pick(&all);
            }
            4 => {
                let all = [
                    Odd::UnknownCritical,
                    Odd::UnknownTwice,
                    Odd::KeyUsageTwice,
                    Odd::Policies,
                ];
                one.odd = Some(random.pick(&all));
            }
            5 => one.version = random.pick(&[0, 0, 1, 2]),
            6 => one.own_id = random.pick(&[None, Some(200)]),
            7 => one.issuer_id = random.pick(&[None, None, Some(200)]),
            8 => one.signer = random.below(Keys::COUNT),
            9 if is_ca => one.names = vec![random.pick(&NAMES)],
            9 => one.names = self.some_names(),
            10 => {
                let limits = [0, 0, 0, 1, 1, 2].map(|most| Basic::Ca(Some(most)));
                one.basic = random.pick(&limits);
            }
            _ => {
                let mut constraints = Constraints::default();
                for _ in 0..1 + random.below(3) {
                    let base = random.pick(&BASES);
                    match random.percent(60) {
                        true => constraints.permitted.push(base),
                        false => constraints.excluded.push(base),
                    }
                }
                one.constraints = Some(constraints);
                if random.percent(60) {
                    self.case.client.names = self.some_names();
                }
            }
        }
    }

    /// Good lists of every CA, and distribution points in some certificates.
    fn lists(&mut self) {
        let all: Vec<Cert> = self
            .case
            .sent
            .iter()
            .chain(&self.case.bundle)
            .cloned()
            .collect();
        for ca in all {
            let has_one = |list: &List| list.issuer == ca.subject && list.signer == ca.key;
            if !self.case.lists.iter().any(has_one) && self.random.percent(97) {
                self.case.lists.push(List::of(ca.subject, ca.key));
            }
        }
        if self.random.percent(40) {
            let points = self.points();
            let client = &mut self.case.client;
            client.points = points;
            let own =
                |list: &&mut List| list.issuer == client.issuer && list.signer == client.signer;
            if let Some(own) = self.case.lists.iter_mut().find(own)
                && self.random.percent(40)
            {
                own.scope.at = match self.random.percent(85) {
                    true => self.random.pick(&client.points).at,
                    false => vec![self.random.pick(&[Place::Url(1), Place::Ca(client.issuer)])],
                };
            }
        }
        for place in 0..self.case.sent.len() {
            if self.random.percent(15) {
                let points = self.points();
                self.case.sent[place].points = points;
            }
        }
    }

    fn points(&mut self) -> Vec<Point> {
        let count = 1 + self.random.below(2);
        let mut points = Vec::new();
        for _ in 0..count {
            let random = &mut *self.random;
            let at = match random.percent(92) {
                true => vec![random.pick(&PLACES)],
                false => vec![Place::Url(1), Place::Url(2)],
            };
            let reasons = random
                .percent(6)
                .then(|| random.pick(&super::lists::HALVES));
            let by = match random.below(10) {
                0 => Some(50),
                1 | 2 => Some(self.case.client.issuer),
                _ => None,
            };
            let at = if by.is_some() && self.random.percent(40) {
                Vec::new()
            } else {
                at
            };
            points.push(Point { at, reasons, by });
        }
        points
    }
}

/// The certificates of the bundle, or those that are sent.
fn cas(case: &mut Case, in_bundle: bool) -> &mut Vec<Cert> {
    match in_bundle {
        true => &mut case.bundle,
        false => &mut case.sent,
    }
}
