//! The revocation lists together: what they say of one certificate, at one time (RFC 5280 section 6.3).
//!
//! A list counts for a certificate if the certificate's issuer signed it with the very key that signed the certificate.
//! That issuer may stand in the bundle or be sent by a client below one that does; a list whose issuer was not met yet
//! waits, and says nothing about anybody. Nothing that no list knows is good.

use std::collections::HashMap;
use std::fmt;

use rustls::pki_types::UnixTime;

use super::certificate::Certificate;
use super::list::{List, Reasons};
use super::signature::Check;
use crate::identity::rfc3339;

/// What becomes of clients whose revocation list is past its `nextUpdate` (RFC 5280 section 5.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleCrl {
    /// They are refused: what the list does not know is unknown.
    Refuse,
    /// The list counts as if it were new.
    Accept,
}

/// The lists, by issuer; without one, nothing is asked and everybody is good.
#[derive(Debug)]
pub struct Lists {
    all: Vec<List>,
    by_issuer: HashMap<Box<[u8]>, Vec<usize>>,
    stale: StaleCrl,
}

/// Whoever issued a certificate, as far as lists are concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issuer<'a> {
    /// The whole SubjectPublicKeyInfo.
    pub(super) key: &'a [u8],
    pub(super) signs_lists: bool,
}

/// What lists say of a certificate, at some time.
struct Statement {
    revoked: bool,
    /// See [`known_until`].
    known_until: Option<UnixTime>,
    /// When another list begins to count.
    next: Option<UnixTime>,
}

/// What the lists say against a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It is revoked.
    Revoked,
    /// No list knows.
    Unknown(Unknown),
    /// The list that would know is past its end.
    Stale {
        /// Since when.
        since: UnixTime,
    },
}

/// Why no list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// There is none of its issuer.
    NoList,
    /// Those of its issuer do not count before this time.
    Early(UnixTime),
    /// Those of its issuer speak for other certificates.
    OtherScope,
    /// Its issuer may not sign lists.
    MayNotSign,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoList => {
                f.write_str("no revocation list of --client-crl is signed by its issuer")
            }
            Self::Early(from) => write!(
                f,
                "the list of its issuer does not count before {} (thisUpdate)",
                rfc3339(*from)
            ),
            Self::OtherScope => f.write_str(
                "the lists of its issuer speak for other certificates (issuingDistributionPoint)",
            ),
            Self::MayNotSign => {
                f.write_str("its issuer may not sign lists (keyUsage without cRLSign)")
            }
        }
    }
}

impl Lists {
    /// Puts lists together.
    pub fn new(all: Vec<List>, stale: StaleCrl) -> Self {
        let mut by_issuer: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        for (index, list) in all.iter().enumerate() {
            by_issuer
                .entry(list.issuer().into())
                .or_default()
                .push(index);
        }
        Self {
            all,
            by_issuer,
            stale,
        }
    }

    /// The lists, as they were given.
    pub fn all(&self) -> &[List] {
        &self.all
    }

    /// What becomes of clients whose list is stale.
    pub fn stale(&self) -> StaleCrl {
        self.stale
    }

    /// The last second at which what is said now will still be said, if it ends: nothing is said against the
    /// certificate.
    ///
    /// # Errors
    /// What is said against it.
    pub(super) fn ask(
        &self,
        certificate: &Certificate<'_>,
        is_ca: bool,
        issuer: Issuer<'_>,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Objection> {
        if self.all.is_empty() {
            return Ok(None);
        }
        let said = self
            .said(certificate, is_ca, issuer, now)
            .map_err(Objection::Unknown)?;
        if said.revoked {
            return Err(Objection::Revoked);
        }
        let known_until = said.known_until.ok_or(Objection::Unknown(
            said.next.map_or(Unknown::OtherScope, Unknown::Early),
        ))?;
        let end = match self.stale {
            StaleCrl::Refuse if known_until <= now => {
                return Err(Objection::Stale { since: known_until });
            }
            StaleCrl::Refuse => Some(known_until),
            StaleCrl::Accept => None,
        };
        // Whatever comes first: these lists end, or another begins to count.
        let change = end.into_iter().chain(said.next).min();
        Ok(change.map(second_before))
    }

    /// As [`ask`](Self::ask), where only a list that names the certificate says anything: unknown is not revoked. What
    /// lists say of it may still change when another begins.
    pub(super) fn revoke(
        &self,
        certificate: &Certificate<'_>,
        is_ca: bool,
        issuer: Issuer<'_>,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Objection> {
        match self.said(certificate, is_ca, issuer, now) {
            Ok(said) if said.revoked => Err(Objection::Revoked),
            Ok(said) => Ok(said.next.map(second_before)),
            Err(_) => Ok(None),
        }
    }

    /// What the lists of this issuer say of its certificate.
    ///
    /// # Errors
    /// Why none says anything.
    fn said(
        &self,
        certificate: &Certificate<'_>,
        is_ca: bool,
        issuer: Issuer<'_>,
        now: UnixTime,
    ) -> Result<Statement, Unknown> {
        let named = self.of(certificate.issuer);
        let signed: Vec<&List> = named
            .filter(|list| list.is_by(issuer.key) == Check::Good)
            .collect();
        match (signed.is_empty(), issuer.signs_lists) {
            (true, _) => return Err(Unknown::NoList),
            (false, false) => return Err(Unknown::MayNotSign),
            (false, true) => {}
        }
        let in_scope = signed
            .into_iter()
            .map(|list| (list, list.reasons_for(certificate, is_ca)))
            .filter(|(_, reasons)| *reasons != Reasons::NONE)
            .collect::<Vec<_>>();
        if in_scope.is_empty() {
            return Err(Unknown::OtherScope);
        }
        let (begun, early): (Vec<_>, Vec<_>) = in_scope
            .into_iter()
            .partition(|(list, _)| list.life().not_before <= now);
        let newest = begun
            .iter()
            .filter(|(list, _)| !begun.iter().any(|(other, _)| other.supersedes(list)))
            .copied()
            .collect::<Vec<_>>();
        Ok(Statement {
            revoked: newest
                .iter()
                .any(|(list, _)| list.revokes(certificate.serial)),
            known_until: known_until(&newest),
            next: early.iter().map(|(list, _)| list.life().not_before).min(),
        })
    }

    /// Those that name this issuer, whoever signed them.
    pub(super) fn of(&self, issuer: &[u8]) -> impl Iterator<Item = &List> {
        let named = self.by_issuer.get(issuer).map_or(&[][..], Vec::as_slice);
        named.iter().filter_map(|index| self.all.get(*index))
    }
}

/// The first time at which some reason for revoking a certificate is known to none of these lists any more; `None` if
/// that is so from the start.
fn known_until(lists: &[(&List, Reasons)]) -> Option<UnixTime> {
    let mut by_end: Vec<_> = lists
        .iter()
        .map(|(list, reasons)| (list.life().not_after, *reasons))
        .collect();
    by_end.sort_unstable_by_key(|(end, _)| std::cmp::Reverse(*end));
    let mut known = Reasons::NONE;
    for (end, reasons) in by_end {
        known = known.and(reasons);
        if known.are_all() {
            return Some(end);
        }
    }
    None
}

fn second_before(time: UnixTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        time.as_secs().saturating_sub(1),
    ))
}
