//! One revocation list: DER in, whom it revokes and for whom it speaks out (RFC 5280 section 5).
//!
//! The bytes are kept as they came, and beside them only where each entry stands, in the order of serial numbers. What
//! this file does not understand makes the list unusable: a list that is read in part could miss the one entry that
//! counts. Whether its issuer signed it is asked once for each key and remembered.

mod fault;
mod scope;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::Digest as Hash;
use rustls::pki_types::UnixTime;

pub use self::fault::ListFault;
pub(super) use self::scope::Reasons;
use self::scope::Scope;
use super::bundle::display_name;
use super::certificate::{Certificate, Extension, extensions, oid, time};
use super::der::{self, Reader};
use super::signature::{Check, Signed};
use super::words;
use crate::crypto::{Digest, digest_of};
use crate::identity::Validity;
use crate::pem::Der;

/// The most keys that are remembered to have been asked.
const MOST_ASKED: usize = 64;

/// A usable list.
#[derive(Debug)]
pub struct List {
    der: Der,
    issuer: Range<usize>,
    number: Range<usize>,
    life: Validity,
    scope: Scope,
    /// Where the serial numbers stand, by their bytes.
    entries: Box<[u32]>,
    hash: Option<Hash>,
    asked: Mutex<Vec<(Digest, Check)>>,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(der: impl Into<Der>) -> Result<Self, ListFault> {
        let der = der.into();
        let signed = Signed::parse(&der).ok_or(ListFault::NoList)?;
        let parts = Parts::of(signed)?;
        let entries = entries(parts.revoked, &der)?;
        let (issuer, number) = place(&der, parts.issuer)
            .zip(place(&der, parts.number))
            .ok_or(ListFault::NoList)?;
        Ok(Self {
            issuer,
            number,
            life: parts.life,
            scope: parts.scope,
            entries,
            hash: signed.hash(),
            asked: Mutex::default(),
            der,
        })
    }

    /// The whole Name of its issuer.
    pub fn issuer(&self) -> &[u8] {
        self.der.get(self.issuer.clone()).unwrap_or_default()
    }

    /// Its issuer for people, escaped and bounded.
    pub fn issuer_name(&self) -> String {
        display_name(self.issuer())
    }

    /// From thisUpdate to nextUpdate; at the latter it is stale.
    pub fn life(&self) -> Validity {
        self.life
    }

    /// How many certificates it revokes.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The whole list.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The algorithm that it is signed with: the content of the AlgorithmIdentifier.
    pub(super) fn algorithm(&self) -> &[u8] {
        Signed::parse(&self.der).map_or(&[], |signed| signed.algorithm)
    }

    /// Whether this key, a whole SubjectPublicKeyInfo, signed it.
    pub(super) fn is_by(&self, key: &[u8]) -> Check {
        let digest = digest_of([key]);
        let known = |asked: &[(Digest, Check)]| {
            let same = asked.iter().find(|(other, _)| *other == digest);
            same.map(|(_, check)| *check)
        };
        if let Some(check) = known(&self.asked()) {
            return check;
        }
        let Some(signed) = Signed::parse(&self.der) else {
            return Check::Wrong;
        };
        let check = match &self.hash {
            Some(hash) => signed.hash_is_by(hash, key),
            None => signed.is_by(key),
        };
        let mut asked = self.asked();
        if asked.len() >= MOST_ASKED {
            asked.clear();
        }
        asked.push((digest, check));
        check
    }

    /// True once a key was met that signed it.
    pub fn is_met(&self) -> bool {
        self.asked().iter().any(|(_, check)| *check == Check::Good)
    }

    /// A panic elsewhere leaves what is remembered right.
    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<(Digest, Check)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if it revokes the certificate of its issuer with this serial number (the content of the INTEGER).
    pub(super) fn revokes(&self, serial: &[u8]) -> bool {
        let serial = shortest(serial);
        self.entries
            .binary_search_by(|at| serial_at(&self.der, *at).cmp(serial))
            .is_ok()
    }

    /// True if it takes the place of the other list of its issuer: it speaks for the same certificates, and is newer by
    /// thisUpdate, then by cRLNumber.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        self.scope == other.scope && self.age() > other.age()
    }

    /// Its cRLNumber (RFC 5280 section 5.2.3), in hexadecimal if it is longer than any counter, and bounded.
    pub fn number(&self) -> String {
        const MOST: usize = 20;
        let content = self.der.get(self.number.clone()).unwrap_or_default();
        if content.len() <= 8 {
            let number = content
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            return number.to_string();
        }
        let digits: String = content
            .iter()
            .take(MOST)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let more = if content.len() > MOST { "…" } else { "" };
        format!("0x{digits}{more}")
    }

    fn age(&self) -> (UnixTime, usize, &[u8]) {
        let number = self.der.get(self.number.clone()).unwrap_or_default();
        (self.life.not_before, number.len(), number)
    }

    /// For which reasons it says whether this certificate of its issuer is revoked; none if it does not speak for it.
    pub(super) fn reasons_for(&self, certificate: &Certificate<'_>, is_ca: bool) -> Reasons {
        self.scope.reasons_for(certificate, is_ca)
    }
}

/// The parts of a list that are kept or looked at.
struct Parts<'a> {
    issuer: &'a [u8],
    life: Validity,
    revoked: Reader<'a>,
    number: &'a [u8],
    scope: Scope,
}

impl<'a> Parts<'a> {
    /// RFC 5280 section 5.1.2.
    fn of(signed: Signed<'a>) -> Result<Self, ListFault> {
        let mut parts = der::only(signed.content, der::SEQUENCE).ok_or(ListFault::NoList)?;
        match parts.optional(der::INTEGER) {
            None => return Err(ListFault::Version1),
            Some(version) if version.content == [1] => {}
            Some(_) => return Err(ListFault::Version),
        }
        let algorithm = parts.take(der::SEQUENCE).ok_or(ListFault::NoList)?;
        if algorithm.content != signed.algorithm {
            return Err(ListFault::TwoAlgorithms);
        }
        let issuer = parts.take(der::SEQUENCE).ok_or(ListFault::NoList)?.whole;
        let this_update = parts.any().and_then(time);
        let not_before = this_update.ok_or(ListFault::Malformed("thisUpdate"))?;
        let not_after = match parts.optional(der::UTC_TIME) {
            Some(element) => Some(element),
            None => parts.optional(der::GENERALIZED_TIME),
        };
        let not_after = not_after.ok_or(ListFault::NoNextUpdate)?;
        let not_after = time(not_after).ok_or(ListFault::Malformed("nextUpdate"))?;
        if not_after < not_before {
            return Err(ListFault::EndsBeforeItBegins);
        }
        let revoked = parts.optional(der::SEQUENCE);
        let extensions = parts.optional(der::holding(0));
        parts.end().ok_or(ListFault::NoList)?;
        let (number, scope) = match extensions {
            None => return Err(ListFault::NoNumber),
            Some(extensions) => of_extensions(extensions.content)?,
        };
        Ok(Self {
            issuer,
            life: Validity {
                not_before,
                not_after,
            },
            revoked: Reader::new(revoked.map_or(&[], |revoked| revoked.content)),
            number,
            scope,
        })
    }
}

/// The number and the scope (RFC 5280 section 5.2).
fn of_extensions(all: &[u8]) -> Result<(&[u8], Scope), ListFault> {
    const MALFORMED: ListFault = ListFault::Malformed("list of extensions");
    let mut seen = HashSet::new();
    let mut number = None;
    let mut scope = Scope::WHOLE;
    for extension in extensions(der::only(all, der::SEQUENCE).ok_or(MALFORMED)?) {
        let Extension {
            oid,
            critical,
            value,
        } = extension.ok_or(MALFORMED)?;
        if !seen.insert(oid) {
            return Err(ListFault::Twice(words::extension(oid)));
        }
        match oid {
            oid::CRL_NUMBER => {
                let mut value = Reader::new(value);
                let read = value.integer().filter(|_| value.is_empty());
                number = Some(read.ok_or(ListFault::Malformed("cRLNumber"))?);
            }
            oid::DELTA_CRL_INDICATOR => return Err(ListFault::Delta),
            oid::ISSUING_DISTRIBUTION_POINT => scope = Scope::read(value)?,
            oid::AUTHORITY_KEY_IDENTIFIER => {}
            _ if critical => return Err(ListFault::Critical(words::extension(oid))),
            _ => {}
        }
    }
    Ok((number.ok_or(ListFault::NoNumber)?, scope))
}

/// Where the serial numbers stand, by their bytes.
fn entries(mut revoked: Reader<'_>, der: &[u8]) -> Result<Box<[u32]>, ListFault> {
    let mut entries = Vec::new();
    while !revoked.is_empty() {
        let number = entries.len() + 1;
        let serial = entry(&mut revoked, number)?;
        let at = place(der, serial).and_then(|place| u32::try_from(place.start).ok());
        entries.push(at.ok_or(ListFault::Entry(number))?);
    }
    entries.sort_unstable_by(|one, other| serial_at(der, *one).cmp(serial_at(der, *other)));
    Ok(entries.into())
}

/// Reads an entry and returns its serial number, the whole element.
fn entry<'a>(revoked: &mut Reader<'a>, number: usize) -> Result<&'a [u8], ListFault> {
    let malformed = || ListFault::Entry(number);
    let mut parts = revoked.enter(der::SEQUENCE).ok_or_else(malformed)?;
    let serial = parts.take(der::INTEGER).ok_or_else(malformed)?;
    if shortest(serial.content).len() < serial.content.len() {
        return Err(ListFault::PaddedSerial(number));
    }
    parts.any().and_then(time).ok_or_else(malformed)?;
    if let Some(all) = parts.optional(der::SEQUENCE) {
        for extension in extensions(Reader::new(all.content)) {
            let Extension { oid, critical, .. } = extension.ok_or_else(malformed)?;
            match oid {
                oid::CERTIFICATE_ISSUER => return Err(ListFault::Indirect),
                _ if critical => {
                    let extension = words::extension(oid);
                    return Err(ListFault::CriticalInEntry {
                        entry: number,
                        extension,
                    });
                }
                _ => {}
            }
        }
    }
    parts.end().ok_or_else(malformed)?;
    match serial.content {
        [] => Err(malformed()),
        _ => Ok(serial.whole),
    }
}

fn serial_at(der: &[u8], at: u32) -> &[u8] {
    let from = der.get(at as usize..).unwrap_or_default();
    Reader::new(from)
        .take(der::INTEGER)
        .map_or(&[], |serial| serial.content)
}

/// An integer without the bytes that DER leaves out: certificates are seen with them.
fn shortest(mut content: &[u8]) -> &[u8] {
    while let [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] = content {
        content = content.get(1..).unwrap_or_default();
    }
    content
}

/// Where a part of these bytes lies in them.
fn place(der: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(der.as_ptr().addr())?;
    (start + part.len() <= der.len()).then_some(start..start + part.len())
}
