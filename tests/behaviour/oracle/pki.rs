//! What a case is made of: certificates and lists as they are meant, who really signed them, and their bytes.

use std::sync::OnceLock;

use crate::support::craft::{
    self, CRL_SIGN, DAY, Extension, KEY_CERT_SIGN, Key, cn, element, integer, oid, sequence,
};

/// Ids of keys, as everybody in a case knows them.
pub(super) type KeyId = usize;

/// The keys that all cases share, of every kind.
pub(super) struct Keys(Vec<Key>);

impl Keys {
    pub(super) const COUNT: usize = 24;

    pub(super) fn new() -> Self {
        let key = |place| match place {
            1 => Key::p384(),
            3 => Key::ed25519(),
            6 => Key::rsa(aws_lc_rs::rsa::KeySize::Rsa2048),
            9 => Key::p521(),
            _ => Key::p256(),
        };
        Self((0..Self::COUNT).map(key).collect())
    }

    /// What a signature check costs by the measure of the judge.
    pub(super) fn cost(id: KeyId) -> usize {
        match id {
            1 => 3,
            9 => 6,
            _ => 1,
        }
    }

    pub(super) fn get(&self, id: KeyId) -> &Key {
        &self.0[id]
    }
}

/// The bytes of something, signed once; whoever changes a copy of it signs that anew.
#[derive(Default)]
pub(super) struct Bytes(OnceLock<Vec<u8>>);

impl Clone for Bytes {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// What basicConstraints says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basic {
    Missing,
    NoCa,
    /// With the content of its pathLenConstraint, if it has one.
    Ca(Option<i8>),
}

/// An oddity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    UnknownCritical,
    UnknownTwice,
    KeyUsageTwice,
    /// certificatePolicies, critical.
    Policies,
}

/// A distribution point's name, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Url(u8),
    /// The name of a CA.
    Ca(u8),
}

/// Reasons for revoking, in two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    One,
    Other,
}

impl Half {
    fn flags(self) -> &'static [u8] {
        match self {
            Self::One => &[6, 0b0100_0000],
            Self::Other => &[7, 0b0011_1111, 0b1000_0000],
        }
    }
}

/// Where a certificate says its lists are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Vec<Place>,
    pub(super) reasons: Option<Half>,
    /// cRLIssuer.
    pub(super) by: Option<u8>,
}

/// A name or a name constraint: the number of its kind, and its value.
pub(super) type Name = (u8, &'static [u8]);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Constraints {
    pub(super) permitted: Vec<Name>,
    pub(super) excluded: Vec<Name>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cert {
    pub(super) subject: u8,
    pub(super) issuer: u8,
    pub(super) key: KeyId,
    pub(super) signer: KeyId,
    pub(super) serial: u8,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) version: u8,
    pub(super) basic: Basic,
    pub(super) usage: Option<u8>,
    pub(super) purposes: Option<Vec<&'static [u8]>>,
    pub(super) names: Vec<Name>,
    pub(super) constraints: Option<Constraints>,
    pub(super) own_id: Option<u8>,
    pub(super) issuer_id: Option<u8>,
    pub(super) points: Vec<Point>,
    pub(super) odd: Option<Odd>,
    bytes: Bytes,
    bytes_of_anchor: Bytes,
}

/// The subject of clients; everybody else is a CA.
pub(super) const CLIENT: u8 = 255;

fn name(id: u8) -> Vec<u8> {
    match id {
        CLIENT => cn("client"),
        id => cn(&format!("ca {id}")),
    }
}

impl Cert {
    /// A good CA.
    pub(super) fn ca(subject: u8, key: KeyId, issuer: u8, signer: KeyId, serial: u8) -> Self {
        Self {
            subject,
            issuer,
            key,
            signer,
            serial,
            from: -DAY,
            to: 30 * DAY,
            version: 2,
            basic: Basic::Ca(None),
            usage: Some(KEY_CERT_SIGN | CRL_SIGN),
            purposes: None,
            names: Vec::new(),
            constraints: None,
            own_id: Some(key as u8),
            issuer_id: Some(signer as u8),
            points: Vec::new(),
            odd: None,
            bytes: Bytes::default(),
            bytes_of_anchor: Bytes::default(),
        }
    }

    /// A good client.
    pub(super) fn client(key: KeyId, issuer: u8, signer: KeyId, serial: u8) -> Self {
        Self {
            basic: Basic::Missing,
            usage: Some(craft::DIGITAL_SIGNATURE),
            purposes: Some(vec![oid::CLIENT_AUTH]),
            names: vec![(2, b"client.test")],
            ..Self::ca(CLIENT, key, issuer, signer, serial)
        }
    }

    /// The identifiers as they stand in it; version 1 has no place for them.
    pub(super) fn said_own_id(&self) -> Option<u8> {
        self.own_id.filter(|_| self.version > 0)
    }

    pub(super) fn said_issuer_id(&self) -> Option<u8> {
        self.issuer_id.filter(|_| self.version > 0)
    }

    /// True if this is the CA that signed the other.
    pub(super) fn signed(&self, other: &Self) -> bool {
        self.subject == other.issuer && self.key == other.signer
    }

    pub(super) fn is_same_ca(&self, other: &Self) -> bool {
        self.subject == other.subject && self.key == other.key
    }

    /// It in DER.
    pub(super) fn der(&self, keys: &Keys) -> &[u8] {
        self.bytes.0.get_or_init(|| self.signed_with(keys, None))
    }

    /// It in DER, with a distribution point more.
    pub(super) fn der_with(&self, keys: &Keys, more: Place) -> &[u8] {
        let bytes = &self.bytes_of_anchor.0;
        bytes.get_or_init(|| self.signed_with(keys, Some(more)))
    }

    fn signed_with(&self, keys: &Keys, more: Option<Place>) -> Vec<u8> {
        let mut extensions = Vec::new();
        match self.basic {
            Basic::Missing => {}
            Basic::NoCa => {
                extensions.push(Extension::new(oid::BASIC_CONSTRAINTS, true, sequence(&[])))
            }
            Basic::Ca(most) => {
                let most = most.map_or(Vec::new(), |most| integer(&most.to_be_bytes()));
                let value = sequence(&[&element(1, &[&[0xff]]), &most]);
                extensions.push(Extension::new(oid::BASIC_CONSTRAINTS, true, value));
            }
        }
        extensions.extend(self.usage.map(Extension::key_usage));
        extensions.extend(self.purposes.as_deref().map(Extension::purposes));
        if !self.names.is_empty() {
            extensions.push(Extension::names(&self.names));
        }
        extensions.extend(self.constraints.as_ref().map(Constraints::extension));
        extensions.extend(self.own_id.map(|id| Extension::own_key_id(&[id; 4])));
        extensions.extend(self.issuer_id.map(|id| Extension::issuer_key_id(&[id; 4])));
        let more = more.map(|place| Point {
            at: vec![place],
            reasons: None,
            by: None,
        });
        let points: Vec<_> = self.points.iter().chain(&more).map(Point::der).collect();
        if !points.is_empty() {
            let points: Vec<&[u8]> = points.iter().map(Vec::as_slice).collect();
            extensions.push(Extension::new(
                oid::CRL_DISTRIBUTION_POINTS,
                false,
                sequence(&points),
            ));
        }
        let unknown = |critical| Extension::new(oid::UNKNOWN, critical, vec![5, 0]);
        match self.odd {
            None => {}
            Some(Odd::UnknownCritical) => extensions.push(unknown(true)),
            Some(Odd::UnknownTwice) => extensions.extend([unknown(false), unknown(false)]),
            Some(Odd::KeyUsageTwice) => {
                extensions.extend([0, 1].map(|_| Extension::key_usage(KEY_CERT_SIGN)));
            }
            Some(Odd::Policies) => {
                let any = sequence(&[&sequence(&[&element(6, &[&[0x55, 0x1d, 32, 0]])])]);
                extensions.push(Extension::new(oid::CERTIFICATE_POLICIES, true, any));
            }
        }
        if self.version == 0 {
            extensions.clear();
        }
        let certificate = craft::Certificate {
            version: self.version,
            serial: vec![self.serial],
            issuer: name(self.issuer),
            not_before: craft::NOW + self.from,
            not_after: craft::NOW + self.to,
            subject: name(self.subject),
            key: keys.get(self.key).public(),
            extensions,
        };
        certificate.signed_by(keys.get(self.signer))
    }
}

impl Constraints {
    fn extension(&self) -> Extension {
        let side = |tag, names: &[Name]| {
            let bases: Vec<Vec<u8>> = names
                .iter()
                .map(|(kind, value)| {
                    let tag = if *kind == 4 { 0xa4 } else { 0x80 | kind };
                    sequence(&[&element(tag, &[value])])
                })
                .collect();
            match &*bases {
                [] => Vec::new(),
                all => element(tag, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            }
        };
        let value = sequence(&[&side(0xa0, &self.permitted), &side(0xa1, &self.excluded)]);
        Extension::new(oid::NAME_CONSTRAINTS, true, value)
    }
}

fn general_names(tag: u8, places: &[Place]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = places
        .iter()
        .map(|place| match place {
            Place::Url(number) => element(0x86, &[format!("http://lists/{number}").as_bytes()]),
            Place::Ca(id) => element(0xa4, &[&name(*id)]),
        })
        .collect();
    element(tag, &names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A DistributionPointName.
fn point_name(places: &[Place]) -> Vec<u8> {
    match places {
        [] => Vec::new(),
        all => element(0xa0, &[&general_names(0xa0, all)]),
    }
}

impl Point {
    fn der(&self) -> Vec<u8> {
        sequence(&[
            &point_name(&self.at),
            &self
                .reasons
                .map_or(Vec::new(), |half| element(0x81, &[half.flags()])),
            &self
                .by
                .map_or(Vec::new(), |id| general_names(0xa2, &[Place::Ca(id)])),
        ])
    }
}

/// Of which certificates of its issuer a list speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) at: Vec<Place>,
    pub(super) users: bool,
    pub(super) cas: bool,
    pub(super) reasons: Option<Half>,
    pub(super) indirect: bool,
    pub(super) attributes: bool,
}

/// A revocation list.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) issuer: u8,
    pub(super) signer: KeyId,
    pub(super) from: i64,
    pub(super) to: Option<i64>,
    pub(super) number: Option<u8>,
    pub(super) version_1: bool,
    /// Serial numbers, and the reason if one is given.
    pub(super) revoked: Vec<(u8, Option<u8>)>,
    pub(super) scope: Scope,
    pub(super) key_id: Option<u8>,
    pub(super) delta: bool,
    pub(super) critical: bool,
    pub(super) critical_entry: bool,
    bytes: Bytes,
}

impl List {
    /// A good one of everything, which revokes somebody else.
    pub(super) fn of(issuer: u8, signer: KeyId) -> Self {
        Self {
            issuer,
            signer,
            from: -DAY,
            to: Some(7 * DAY),
            number: Some(1),
            version_1: false,
            revoked: vec![(120, None)],
            scope: Scope::default(),
            key_id: Some(signer as u8),
            delta: false,
            critical: false,
            critical_entry: false,
            bytes: Bytes::default(),
        }
    }

    /// True if it is one of those that make a set unusable, whatever else is in it.
    pub(super) fn is_unusable(&self) -> bool {
        let scope = &self.scope;
        self.version_1
            || self.number.is_none()
            || self.to.is_none_or(|to| to < self.from)
            || self.delta
            || self.critical
            || self.critical_entry
            || scope.indirect
            || scope.attributes
            || scope.users && scope.cas
    }

    pub(super) fn has_begun(&self) -> bool {
        self.from <= 0
    }

    pub(super) fn is_stale(&self) -> bool {
        self.to.is_some_and(|to| to <= 0)
    }

    pub(super) fn der(&self, keys: &Keys) -> &[u8] {
        self.bytes.0.get_or_init(|| self.signed_with(keys))
    }

    fn signed_with(&self, keys: &Keys) -> Vec<u8> {
        let mut extensions = Vec::new();
        extensions.extend(self.number.map(Extension::number));
        extensions.extend(self.key_id.map(|id| Extension::issuer_key_id(&[id; 4])));
        if self.delta {
            extensions.push(Extension::new(
                oid::DELTA_CRL_INDICATOR,
                true,
                integer(&[1]),
            ));
        }
        if self.scope != Scope::default() {
            let scope = &self.scope;
            let flag = |is, tag| {
                if is {
                    element(tag, &[&[0xff]])
                } else {
                    Vec::new()
                }
            };
            extensions.push(Extension::scope(&[
                &point_name(&scope.at),
                &flag(scope.users, 0x81),
                &flag(scope.cas, 0x82),
                &scope
                    .reasons
                    .map_or(Vec::new(), |half| element(0x83, &[half.flags()])),
                &flag(scope.indirect, 0x84),
                &flag(scope.attributes, 0x85),
            ]));
        }
        let unknown = || Extension::new(oid::UNKNOWN, true, vec![5, 0]);
        if self.critical {
            extensions.push(unknown());
        }
        let entry = |(serial, reason): &(u8, Option<u8>)| {
            let mut all = Vec::new();
            if !self.version_1 {
                let reason = reason.map(|code| element(10, &[&[code]]));
                all.extend(reason.map(|value| Extension::new(oid::REASON_CODE, false, value)));
            }
            (vec![*serial], all)
        };
        let mut entries: Vec<_> = self.revoked.iter().map(entry).collect();
        if self.critical_entry {
            entries.push((vec![121], vec![unknown()]));
        }
        if self.version_1 {
            extensions.clear();
        }
        let list = craft::List {
            version: (!self.version_1).then_some(1),
            issuer: name(self.issuer),
            this_update: craft::NOW + self.from,
            next_update: self.to.map(|to| craft::NOW + to),
            entries,
            extensions,
        };
        list.signed_by(keys.get(self.signer))
    }
}

/// A client with its company, a bundle, and lists, all of them meant to be judged at [`craft::NOW`].
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) client: Cert,
    /// What it sends beside, in order.
    pub(super) sent: Vec<Cert>,
    /// Whether it sends something that is no certificate as well.
    pub(super) junk: bool,
    pub(super) bundle: Vec<Cert>,
    /// `None` is no flag at all.
    pub(super) lists: Vec<List>,
    pub(super) allow_missing_eku: bool,
    pub(super) accept_stale: bool,
}
