//! From what a client sent to the lines that a CA of the bundle vouches for.
//!
//! A client may send anything beside its own certificate: the whole way up, half of it, things twice or in disorder,
//! or thousands of made-up CAs. So the way is built from the top: a certificate counts as an issuer only once the key of
//! an entry of the bundle, or of an issuer below one, was seen to have signed it. A stranger has none, and what its
//! certificates say of each other is never looked at.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::bundle::{Bundle, Entry};
use super::certificate::Certificate;
use super::refusal::Refusal;
use super::signature::{Check, Signed};
use crate::crypto::{Digest, digest_of};

/// A longer list of certificates is refused as it comes.
const MOST_PRESENTED: usize = 64;
/// The most certificates beside the client's own that are looked at: twice what webpki lets a line have.
const MOST_KEPT: usize = 12;
/// The most bytes that these may have.
const MOST_KEPT_BYTES: usize = 32 * 1024;
/// The most issuers in one line, the entry of the bundle not counted: as webpki has it.
const MOST_ISSUERS: usize = 6;
/// The most lines that are judged, and the most steps that are taken to find them.
const MOST_LINES: usize = 8;
const MOST_STEPS: usize = 256;
/// What may be spent on signatures that turn out wrong, in units of one by an ECDSA P-256 key. One wrong answer of any key
/// is affordable, and as many as the bundle has entries of one name, since it asks for them.
const MOST_WASTED: usize = 4;

/// What of a client's certificates can matter: its own first, then each that a name on the way up leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Arc<[CertificateDer<'static>]>);

impl Chain {
    /// What is kept of what a client shows: what no line can go through is left out.
    ///
    /// # Errors
    /// If it is more than anybody needs.
    pub fn shown(
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<Self, Refusal> {
        match others.len() + 1 {
            0..=MOST_PRESENTED => Ok(Self::of(end_entity, others)),
            sent => Err(Refusal::TooMany(sent)),
        }
    }

    fn of(end_entity: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Self {
        let others: Vec<_> = others
            .iter()
            .filter_map(|der| Some((der, Certificate::skim(der)?)))
            .collect();
        let mut kept = vec![end_entity];
        let mut bytes = 0;
        let mut next = 0;
        while let Some(below) = kept.get(next) {
            next += 1;
            let Some(below) = Certificate::skim(below) else {
                continue;
            };
            for (der, certificate) in &others {
                let fits = certificate.subject == below.issuer
                    && kept.len() <= MOST_KEPT
                    && bytes + der.len() <= MOST_KEPT_BYTES
                    && !kept.contains(der);
                if fits {
                    bytes += der.len();
                    kept.push(der);
                }
            }
        }
        Self(
            kept.into_iter()
                .map(|der| der.clone().into_owned())
                .collect(),
        )
    }

    /// The client's own certificate.
    pub fn end_entity(&self) -> &[u8] {
        self.0.first().map_or(&[], |der| der)
    }

    /// What was sent beside it and is kept.
    pub fn issuers(&self) -> &[CertificateDer<'static>] {
        self.0.get(1..).unwrap_or_default()
    }

    /// How many bytes of certificates these are.
    pub(super) fn size(&self) -> usize {
        self.0.iter().map(|der| der.len()).sum()
    }

    /// True if somebody who sent `others` sent all that is kept here beside the first.
    pub(super) fn issuers_are_among(&self, others: &[CertificateDer<'_>]) -> bool {
        self.issuers().iter().all(|der| others.contains(der))
    }
}

/// A way from the client's certificate up to an entry of the bundle; every signature on it was seen to be good.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    /// The client's own first, then its issuers upwards.
    pub(super) sent: Vec<Certificate<'a>>,
    /// Where it ends.
    pub(super) entry: &'a Entry,
}

/// That a key signed a certificate, by digest. Once seen, it is true for ever.
pub(super) type Edge = Digest;

/// The edge from a certificate to a key (a whole SubjectPublicKeyInfo).
fn edge(certificate: &Certificate<'_>, key: &[u8]) -> Edge {
    let Signed {
        content,
        algorithm,
        signature,
    } = certificate.signed;
    digest_of([content, algorithm, signature, key])
}

/// Signatures that were seen before: on the client's own certificate, and on issuers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) own: &'a [Edge],
    pub(super) issuers: &'a [Edge],
}

/// Why a certificate that names an entry of the bundle as its issuer is none of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Obstacle<'a> {
    /// What cannot be its own.
    pub(super) sent: Certificate<'a>,
    pub(super) entry: &'a Entry,
    /// [`Check::Wrong`], or [`Check::Unsupported`] where nobody can tell.
    pub(super) check: Check,
}

/// A search for lines, from the entries of the bundle downwards.
pub(super) struct Search<'a> {
    bundle: &'a Bundle,
    /// What the client sent, its own first.
    sent: Vec<Certificate<'a>>,
    /// The client's own certificate has been asked about.
    begun: bool,
    /// Who signed each, as far as was seen.
    parents: Vec<Vec<Parent>>,
    /// Whose keys were asked about which.
    asked: Vec<(usize, &'a [u8], Check)>,
    /// How many answers were wrong, and what they cost.
    wrong: usize,
    wasted: usize,
    /// The good signatures that were seen, on the client's own certificate and on others.
    pub(super) own_edges: Vec<Edge>,
    pub(super) issuer_edges: Vec<Edge>,
    /// What stood in the way, if anything did.
    pub(super) obstacle: Option<Obstacle<'a>>,
}

/// Who signed a certificate: an entry of the bundle, or another that was sent; by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    Entry(usize),
    Sent(usize),
}

impl<'a> Search<'a> {
    /// Nothing is asked yet. `None` if the client's own certificate is none.
    pub(super) fn new(chain: &'a Chain, bundle: &'a Bundle) -> Option<Self> {
        let sent: Option<Vec<_>> = chain.0.iter().map(|der| Certificate::skim(der)).collect();
        let sent = sent?;
        Some(Self {
            bundle,
            begun: false,
            parents: vec![Vec::new(); sent.len()],
            sent,
            asked: Vec::new(),
            wrong: 0,
            wasted: 0,
            own_edges: Vec::new(),
            issuer_edges: Vec::new(),
            obstacle: None,
        })
    }

    /// Asks keys about signatures, and returns false once nothing more can be learned. The client's own certificate comes
    /// first, and at first alone: where an entry of the bundle issued it, nothing else needs to be asked; and what is sent
    /// beside it cannot use up the answers that it needs.
    pub(super) fn learn(&mut self, seen: Seen<'_>) -> bool {
        let places = if self.begun { self.sent.len() } else { 1 };
        let mut learned = !std::mem::replace(&mut self.begun, true);
        for (place, child) in self.sent.clone().into_iter().enumerate().take(places) {
            for (parent, key) in self.candidates(&child) {
                let known = self
                    .parents
                    .get(place)
                    .is_some_and(|all| all.contains(&parent));
                if known || self.ask(place, &child, parent, key, seen) != Some(Check::Good) {
                    continue;
                }
                if let Some(parents) = self.parents.get_mut(place) {
                    learned |= parents.is_empty();
                    parents.push(parent);
                }
            }
        }
        learned
    }

    /// Who bears the name of the certificate's issuer and may vouch, whoever is likeliest first: the key identifiers
    /// of a certificate are hints (RFC 5280 section 4.2.1.1), and they are its own word.
    fn candidates(&self, child: &Certificate<'a>) -> Vec<(Parent, &'a [u8])> {
        let bundle = self.bundle;
        let named = bundle.named(child.issuer).iter().copied();
        let entries = named
            .filter_map(|place| Some((Parent::Entry(place), bundle.get(place)?.certificate())));
        let vouch =
            |(_, (_, parents)): &(usize, (&Certificate<'a>, &Vec<Parent>))| !parents.is_empty();
        let sent = self
            .sent
            .iter()
            .zip(&self.parents)
            .enumerate()
            .filter(vouch);
        let sent = sent
            .filter(|(_, (one, _))| one.subject == child.issuer)
            .map(|(place, (one, _))| (Parent::Sent(place), *one));
        let mut all: Vec<_> = entries.chain(sent).collect();
        if all.len() > 1 {
            let wanted = child.issuer_key_id();
            all.sort_by_key(|(_, one)| match (wanted, one.key_id()) {
                (Some(wanted), Some(own)) if wanted == own => 0,
                (Some(_), Some(_)) => 2,
                (None, _) | (_, None) => 1,
            });
        }
        all.into_iter()
            .map(|(parent, one)| (parent, one.key))
            .collect()
    }

    /// `None` if that would be one question too many.
    fn ask(
        &mut self,
        place: usize,
        child: &Certificate<'a>,
        parent: Parent,
        key: &'a [u8],
        seen: Seen<'_>,
    ) -> Option<Check> {
        let same = |(other, by, _): &&(usize, &[u8], Check)| *other == place && *by == key;
        if let Some((_, _, check)) = self.asked.iter().find(same) {
            return Some(*check);
        }
        let known = match place {
            0 => seen.own,
            _ => seen.issuers,
        };
        let check = match parent {
            // A certificate may be long: without anything to compare it with, it is not even hashed.
            _ if !known.is_empty() && known.contains(&edge(child, key)) => Check::Good,
            // What such a key would say means nothing.
            Parent::Entry(entry) if !self.bundle.get(entry)?.has_usable_key() => Check::Unsupported,
            Parent::Entry(_) | Parent::Sent(_) if !self.affords(cost(key)) => return None,
            Parent::Entry(_) | Parent::Sent(_) => child.signed.is_by(key),
        };
        self.asked.push((place, key, check));
        match check {
            Check::Good if place == 0 => self.own_edges.push(edge(child, key)),
            Check::Good => self.issuer_edges.push(edge(child, key)),
            Check::Wrong => {
                self.wrong += 1;
                self.wasted += cost(key);
            }
            Check::Unsupported => {}
        }
        if let Parent::Entry(entry) = parent
            && check != Check::Good
            && self.obstacle.is_none()
        {
            self.obstacle = self.bundle.get(entry).map(|entry| Obstacle {
                sent: *child,
                entry,
                check,
            });
        }
        Some(check)
    }

    /// True if one more wrong answer of this cost would not be too much.
    fn affords(&self, cost: usize) -> bool {
        self.wrong < self.bundle.most_of_one_name().max(1) || self.wasted + cost <= MOST_WASTED
    }

    /// How many signatures turned out wrong.
    #[cfg(test)]
    pub(super) fn wrong_answers(&self) -> usize {
        self.wrong
    }

    /// The client's own certificate.
    pub(super) fn end_entity(&self) -> Option<&Certificate<'a>> {
        self.sent.first()
    }

    /// Every line, up to a number, short ones not before long ones.
    pub(super) fn lines(&self) -> Vec<Line<'a>> {
        let mut lines = Vec::new();
        let mut steps = MOST_STEPS;
        self.walk(&mut vec![0], &mut steps, &mut lines);
        lines
    }

    fn walk(&self, way: &mut Vec<usize>, steps: &mut usize, lines: &mut Vec<Line<'a>>) {
        let parents = way.last().and_then(|last| self.parents.get(*last));
        for parent in parents.into_iter().flatten() {
            if *steps == 0 || lines.len() >= MOST_LINES {
                return;
            }
            *steps -= 1;
            match *parent {
                Parent::Entry(entry) => lines.extend(self.line(way, entry)),
                Parent::Sent(next) if way.len() <= MOST_ISSUERS && !self.is_on(way, next) => {
                    way.push(next);
                    self.walk(way, steps, lines);
                    way.pop();
                }
                Parent::Sent(_) => {}
            }
        }
    }

    fn line(&self, way: &[usize], entry: usize) -> Option<Line<'a>> {
        let sent: Option<Vec<_>> = way
            .iter()
            .map(|place| self.sent.get(*place).copied())
            .collect();
        Some(Line {
            sent: sent?,
            entry: self.bundle.get(entry)?,
        })
    }

    /// True if the way has been at this name and key (RFC 4158 section 5.2).
    fn is_on(&self, way: &[usize], next: usize) -> bool {
        let ca = |place: usize| self.sent.get(place).map(|one| (one.subject, one.key));
        way.iter().any(|place| ca(*place) == ca(next))
    }
}

/// What a signature check by this key costs, in units of one by an ECDSA P-256 key, roughly (measured: 0.8, 2.6 and 4.6
/// million instructions for the three curves). Kinds are told apart by length; an RSA key of 4096 bits is cheap.
fn cost(key: &[u8]) -> usize {
    match key.len() {
        0..=100 => 1,
        101..=140 => 3,
        141..=200 => 6,
        201..=700 => 1,
        _ => 3,
    }
}

impl Chain {
    /// Only what these lines go through.
    pub(super) fn through(&self, lines: &[Line<'_>]) -> Self {
        let is_used = |der: &&CertificateDer<'static>| {
            let signed = |one: &Certificate<'_>| {
                Signed::parse(der).is_some_and(|own| own.content == one.signed.content)
            };
            lines.iter().flat_map(|line| &line.sent).any(signed)
        };
        Self(self.0.iter().filter(is_used).cloned().collect())
    }
}
