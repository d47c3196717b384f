//! Of which certificates of its issuer a revocation list speaks (RFC 5280 section 5.2.5).
//!
//! Its own file because two sides have to meet here: what the list says of its distribution point, and what the
//! certificate says of where its lists are.

use super::ListFault;
use crate::judge::certificate::{Certificate, oid};
use crate::judge::der::{self, Reader};

/// Reasons for which a certificate can be revoked, a bit each (RFC 5280 section 4.2.1.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::judge) struct Reasons(u16);

impl Reasons {
    pub(in crate::judge) const NONE: Self = Self(0);
    /// Bits 1 to 8; bit 0 means nothing.
    const ALL: Self = Self(0b1_1111_1110);

    fn read(content: &[u8]) -> Option<Self> {
        der::flags(content).map(|flags| Self(flags & Self::ALL.0))
    }

    pub(in crate::judge) fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    fn that_are_in(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(in crate::judge) fn are_all(self) -> bool {
        self == Self::ALL
    }
}

/// Of which certificates of its issuer a list speaks (RFC 5280 section 5.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// The names of the distribution point, as whole GeneralNames; `None` speaks for every point.
    point: Option<Names>,
    only: Only,
    reasons: Reasons,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Names(Box<[Box<[u8]>]>);

impl Names {
    fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| **own == *name)
    }

    fn contain_ca(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| is_name_of(own, name))
    }
}

/// True if a GeneralName is this Name.
fn is_name_of(general: &[u8], name: &[u8]) -> bool {
    der::only(general, der::holding(4))
        .and_then(|mut inside| inside.any())
        .is_some_and(|inside| inside.whole == name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    All,
    Users,
    Cas,
}

impl Scope {
    /// Of a list that does not say: all there are.
    pub(super) const WHOLE: Self = Self {
        point: None,
        only: Only::All,
        reasons: Reasons::ALL,
    };

    /// Reads an issuing distribution point.
    pub(super) fn read(value: &[u8]) -> Result<Self, ListFault> {
        const MALFORMED: ListFault = ListFault::Malformed("issuingDistributionPoint");
        let mut parts = der::only(value, der::SEQUENCE).ok_or(MALFORMED)?;
        let point = match parts.optional(der::holding(0)) {
            None => None,
            Some(point) => {
                let mut name = Reader::new(point.content);
                if name.optional(der::holding(1)).is_some() {
                    return Err(ListFault::RelativePoint);
                }
                let names = name.enter(der::holding(0)).ok_or(MALFORMED)?;
                name.end().ok_or(MALFORMED)?;
                let names = general_names(names).ok_or(MALFORMED)?;
                Some(Names(names.into_iter().map(Box::from).collect()))
            }
        };
        // BOOLEANs, false unless they are there.
        let flag = |parts: &mut Reader<'_>, number| match parts.optional(der::bare(number)) {
            None => Ok(false),
            Some(element) if element.content == [0xff] => Ok(true),
            Some(_) => Err(MALFORMED),
        };
        let (users, cas) = (flag(&mut parts, 1)?, flag(&mut parts, 2)?);
        let reasons = match parts.optional(der::bare(3)) {
            None => Reasons::ALL,
            Some(reasons) => Reasons::read(reasons.content).ok_or(MALFORMED)?,
        };
        let (indirect, attributes) = (flag(&mut parts, 4)?, flag(&mut parts, 5)?);
        parts.end().ok_or(MALFORMED)?;
        match (indirect, attributes) {
            (true, _) => return Err(ListFault::Indirect),
            (false, true) => return Err(ListFault::AttributeCertificates),
            (false, false) => {}
        }
        let only = match (users, cas) {
            (false, false) => Only::All,
            (true, false) => Only::Users,
            (false, true) => Only::Cas,
            (true, true) => return Err(ListFault::ForNobody),
        };
        Ok(Self {
            point,
            only,
            reasons,
        })
    }

    /// For which reasons a list says whether this certificate of its issuer is revoked.
    pub(super) fn reasons_for(&self, certificate: &Certificate<'_>, is_ca: bool) -> Reasons {
        match (self.only, is_ca) {
            (Only::Users, true) | (Only::Cas, false) => return Reasons::NONE,
            (Only::All, _) | (Only::Users, false) | (Only::Cas, true) => {}
        }
        let Some(names) = &self.point else {
            return self.reasons;
        };
        // In the end every certificate has the name of its issuer for a point of all reasons (RFC 5280 section 6.3.3).
        if names.contain_ca(certificate.issuer) {
            return self.reasons;
        }
        let meets = |point: &Point<'_>| point.names.iter().any(|name| names.contains(name));
        let points = points(certificate).filter(meets);
        let of_points = points.fold(Reasons::NONE, |all, point| all.and(point.reasons));
        self.reasons.that_are_in(of_points)
    }
}

/// Each name whole; at least one (RFC 5280 section 4.2.1.6).
fn general_names(mut names: Reader<'_>) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while !names.is_empty() {
        all.push(names.any()?.whole);
    }
    (!all.is_empty()).then_some(all)
}

/// A distribution point of a certificate that its own issuer serves (RFC 5280 section 4.2.1.13).
struct Point<'a> {
    names: Vec<&'a [u8]>,
    reasons: Reasons,
}

/// Those that can be read; a list with a name speaks for no other.
fn points<'a>(certificate: &Certificate<'a>) -> impl Iterator<Item = Point<'a>> {
    let value = certificate.extension(oid::CRL_DISTRIBUTION_POINTS);
    let mut all = value
        .and_then(|value| der::only(value, der::SEQUENCE))
        .unwrap_or(Reader::new(&[]));
    let issuer = certificate.issuer;
    std::iter::from_fn(move || point(all.enter(der::SEQUENCE)?, issuer))
}

fn point<'a>(mut parts: Reader<'a>, issuer: &[u8]) -> Option<Point<'a>> {
    let mut names = Vec::new();
    if let Some(name) = parts.optional(der::holding(0))
        && let Some(full) = Reader::new(name.content).enter(der::holding(0))
    {
        names = general_names(full)?;
    }
    let reasons = match parts.optional(der::bare(1)) {
        None => Reasons::ALL,
        Some(reasons) => Reasons::read(reasons.content)?,
    };
    if let Some(by) = parts.optional(der::holding(2)) {
        let by = general_names(Reader::new(by.content))?;
        match by.iter().any(|name| is_name_of(name, issuer)) {
            // Superfluous, since that is so without; where the point has no name, these are its names.
            true if names.is_empty() => names = by,
            true => {}
            // Somebody else's list, which would be an indirect one.
            false => names.clear(),
        }
    }
    parts.end()?;
    Some(Point { names, reasons })
}
