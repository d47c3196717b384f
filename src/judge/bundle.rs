//! The certificates of the client-CA bundle, each with what it says of itself.
//!
//! Its own file because a CA is a name and a key, and an entry of the bundle is one certificate about them: a CA that was
//! renewed stands there twice, with other dates and other limits, and each entry is judged by its own. An entry that
//! cannot vouch is kept all the same: its clients are told why, and its lists are known to be its own.

use std::collections::HashMap;

use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::certificate::Certificate;
use super::rules::{Fault, Said};
use super::signature::Check;
use crate::crypto::{Digest, digest_of};
use crate::identity::{Validity, printable};

/// A longer name, in bytes, is nobody's; a stranger may send one of 64 KiB.
const MOST_NAME: usize = 4096;

/// One certificate of the bundle.
#[derive(Debug)]
pub struct Entry {
    der: CertificateDer<'static>,
    /// Its subject for people.
    name: String,
    validity: Validity,
    said: Option<Said>,
    /// What webpki starts from; there is none where there is a fault.
    anchor: Result<TrustAnchor<'static>, Fault>,
    /// The entries that issued this one, itself left out.
    issuers: Vec<usize>,
}

/// The entries, in the order of the files.
#[derive(Debug)]
pub struct Bundle {
    entries: Vec<Entry>,
    /// By subject, as it is encoded.
    by_name: HashMap<Box<[u8]>, Vec<usize>>,
    /// By subject, as people read it.
    by_folded_name: HashMap<Digest, usize>,
    most_of_one_name: usize,
}

impl Entry {
    /// Reads a certificate of the bundle.
    ///
    /// # Errors
    /// If it is none, so that not even its name can be told.
    pub fn read(der: CertificateDer<'static>) -> Result<Self, Fault> {
        let certificate = Certificate::skim(&der).ok_or(Fault::Malformed("DER"))?;
        let validity = certificate.validity();
        let validity = validity.ok_or(Fault::Malformed("validity"))?;
        let name = display_name(certificate.subject);
        let said = Said::of(&certificate);
        let anchor = said
            .as_ref()
            .map_err(Clone::clone)
            .and_then(Said::as_issuer)
            .and_then(|()| {
                let anchor = webpki::anchor_from_trusted_cert(&der);
                anchor.map_err(|_| Fault::Malformed("nameConstraints or key"))
            })
            .map(|anchor| anchor.to_owned());
        Ok(Self {
            name,
            validity,
            said: said.ok(),
            anchor,
            issuers: Vec::new(),
            der,
        })
    }

    /// Its subject, escaped and bounded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What keeps it from vouching at any time, if anything does. Its times and the lists are not looked at.
    pub fn fault(&self) -> Option<&Fault> {
        self.anchor.as_ref().err()
    }

    /// What webpki starts from.
    pub(super) fn anchor(&self) -> Result<&TrustAnchor<'static>, &Fault> {
        self.anchor.as_ref()
    }

    pub(super) fn certificate(&self) -> Certificate<'_> {
        Certificate::skim(&self.der).expect("it was skimmed when it was read")
    }

    /// False if no signature of its key can be verified.
    pub(super) fn has_usable_key(&self) -> bool {
        !matches!(self.anchor, Err(Fault::Key(_)))
    }

    /// How many issuers that are not self-issued may come below it.
    pub(super) fn path_len(&self) -> Option<usize> {
        self.said.and_then(|said| said.path_len())
    }

    /// Whether it may sign revocation lists.
    pub(super) fn signs_lists(&self) -> bool {
        self.said.is_none_or(|said| said.signs_lists())
    }
}

impl Bundle {
    /// Puts the entries together, and finds out which of them issued which.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        let mut by_name: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        let mut by_folded_name = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let name = entry.certificate().subject;
            by_name.entry(name.into()).or_default().push(index);
            by_folded_name.extend(folded(name).map(|name| (name, index)));
        }
        let issuers: Vec<Vec<usize>> = (0..entries.len())
            .map(|index| issuers_of(index, &entries, &by_name))
            .collect();
        for (entry, issuers) in entries.iter_mut().zip(issuers) {
            entry.issuers = issuers;
        }
        Self {
            entries,
            most_of_one_name: by_name.values().map(Vec::len).max().unwrap_or(0),
            by_name,
            by_folded_name,
        }
    }

    /// The entries, in the order of the files.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// How many entries the name has that most have.
    pub(super) fn most_of_one_name(&self) -> usize {
        self.most_of_one_name
    }

    /// The entries with this subject.
    pub(super) fn named(&self, name: &[u8]) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The entries that issued this one, itself left out.
    pub(super) fn issuers_of(&self, entry: &Entry) -> impl Iterator<Item = &Entry> {
        entry.issuers.iter().filter_map(|index| self.get(*index))
    }

    /// An entry whose subject is this name in another encoding: other string types, other case, other spaces (RFC 5280
    /// section 7.1). Names are compared as they are encoded, so it does not count.
    pub(super) fn almost_named(&self, name: &[u8]) -> Option<&Entry> {
        self.get(*self.by_folded_name.get(&folded(name)?)?)
    }
}

/// Which entries issued this one: those of its issuer's name whose key signed it.
fn issuers_of(
    index: usize,
    entries: &[Entry],
    by_name: &HashMap<Box<[u8]>, Vec<usize>>,
) -> Vec<usize> {
    let Some(certificate) = entries.get(index).map(Entry::certificate) else {
        return Vec::new();
    };
    let named = by_name
        .get(certificate.issuer)
        .map_or(&[][..], Vec::as_slice);
    let signed_it = |other: &usize| {
        entries.get(*other).is_some_and(|other| {
            let other = other.certificate();
            // One that issued itself, and its twins, have nobody above them.
            other.key != certificate.key && certificate.signed.is_by(other.key) == Check::Good
        })
    };
    named.iter().copied().filter(signed_it).collect()
}

/// A Name without any attribute: a SEQUENCE of nothing.
const EMPTY_NAME: &[u8] = &[0x30, 0];

/// A Name for people, escaped and bounded; a long one is not even read.
pub(super) fn display_name(name: &[u8]) -> String {
    if name.len() > MOST_NAME {
        return format!("(a name of {} bytes)", name.len());
    }
    match X509Name::from_der(name) {
        Ok((_, read)) if read.iter_attributes().next().is_some() || name == EMPTY_NAME => {
            printable(&read.to_string())
        }
        Ok(_) | Err(_) => "(a name that cannot be read)".to_owned(),
    }
}

/// The digest of a name in a form in which encodings that people cannot tell apart are the same.
fn folded(name: &[u8]) -> Option<Digest> {
    let name = (name.len() <= MOST_NAME).then_some(name)?;
    let (_, name) = X509Name::from_der(name).ok()?;
    let mut parts = Vec::new();
    for attribute in name.iter_attributes() {
        let text = attribute.as_str().ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        parts.push(attribute.attr_type().as_bytes().to_vec());
        parts.push(words.join(" ").to_lowercase().into_bytes());
    }
    Some(digest_of(parts.iter().map(Vec::as_slice)))
}
