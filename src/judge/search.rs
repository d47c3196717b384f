//! The search for lines: ways from the bundle down to a client on which every signature was seen to be good.
//!
//! Its own file because here is what a stranger can make the gate compute. A certificate counts as an issuer only once the
//! key of an entry of the bundle, or of an issuer below one, was seen to have signed it; wrong answers are counted, and
//! so that they are not spent in vain, one question is asked at a time, the likeliest first.

use super::bundle::{Bundle, Entry};
use super::certificate::Certificate;
use super::chain::Chain;
use super::signature::{Check, Signed};
use crate::crypto::{Digest, digest_of};

/// The most issuers in one line, the entry of the bundle not counted: as webpki has it.
const MOST_ISSUERS: usize = 6;
/// The most lines that are judged. All are made of certificates that a CA of the bundle vouches for (a stranger has none),
/// and of so few that finding them takes no more steps than that.
const MOST_LINES: usize = 64;
/// Once so much was spent on signatures that turned out wrong, in units of one by an ECDSA P-256 key, no other is checked
/// unless it was seen before. Two wrong ones of any key are affordable, as an old key costs one where it vouches for a new
/// one; and as many as the bundle has entries of one name, since it asks for them.
const MOST_WASTED: usize = 4;

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

/// Whether one certificate issued another, as far as their key identifiers tell. These are hints (RFC 5280 section
/// 4.2.1.1) and their own word, so they decide what is looked at first and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likely {
    Same,
    Silent,
    Other,
}

impl Likely {
    pub(super) fn of(child: &Certificate<'_>, issuer: &Certificate<'_>) -> Self {
        match (child.issuer_key_id(), issuer.key_id()) {
            (Some(wanted), Some(own)) if wanted == own => Self::Same,
            (Some(_), Some(_)) => Self::Other,
            (None, _) | (_, None) => Self::Silent,
        }
    }
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
    /// How many signatures were checked, how many were wrong, and what these cost.
    #[cfg(test)]
    checks: usize,
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
        let sent: Option<Vec<_>> = chain
            .all()
            .iter()
            .map(|der| Certificate::skim(der))
            .collect();
        let sent = sent?;
        Some(Self {
            bundle,
            begun: false,
            parents: vec![Vec::new(); sent.len()],
            sent,
            asked: Vec::new(),
            #[cfg(test)]
            checks: 0,
            wrong: 0,
            wasted: 0,
            own_edges: Vec::new(),
            issuer_edges: Vec::new(),
            obstacle: None,
        })
    }

    /// Asks keys about signatures until one is good, and returns false once nothing more can be learned. The client's own
    /// certificate comes first, and at first alone: where an entry of the bundle issued it, nothing else needs to be
    /// asked; and what is sent beside it cannot use up the answers that it needs. Then the likeliest questions of all
    /// come first, so that unlikely company costs none before a line is found.
    pub(super) fn learn(&mut self, seen: Seen<'_>) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            for (likely, parent, key) in self.candidates(0) {
                if likely != Likely::Other {
                    self.ask_for(0, parent, key, seen);
                }
            }
            return true;
        }
        let mut questions: Vec<_> = (0..self.sent.len())
            .flat_map(|place| {
                let candidates = self.candidates(place).into_iter();
                candidates.map(move |(likely, parent, key)| (likely, place, parent, key))
            })
            .collect();
        questions.sort_by_key(|(likely, ..)| *likely);
        questions
            .into_iter()
            .any(|(_, place, parent, key)| self.ask_for(place, parent, key, seen))
    }

    /// True if that is a good signature that was not known before.
    fn ask_for(&mut self, place: usize, parent: Parent, key: &'a [u8], seen: Seen<'_>) -> bool {
        let Some(child) = self.sent.get(place).copied() else {
            return false;
        };
        let is_open = self.is_open(place, parent, key);
        if !is_open || self.ask(place, &child, parent, key, seen) != Some(Check::Good) {
            return false;
        }
        if let Some(parents) = self.parents.get_mut(place) {
            parents.push(parent);
        }
        true
    }

    /// Who bears the name of the certificate's issuer and may vouch, whoever is likeliest first.
    fn candidates(&self, place: usize) -> Vec<(Likely, Parent, &'a [u8])> {
        let Some(child) = self.sent.get(place) else {
            return Vec::new();
        };
        let bundle = self.bundle;
        let named = bundle.named(child.issuer).iter().copied();
        let entries = named
            .filter_map(|place| Some((Parent::Entry(place), bundle.get(place)?.certificate())));
        let sent = self.sent.iter().zip(&self.parents).enumerate();
        let sent = sent
            .filter(|(_, (one, parents))| !parents.is_empty() && one.subject == child.issuer)
            .map(|(place, (one, _))| (Parent::Sent(place), *one));
        let open: Vec<_> = entries
            .chain(sent)
            .filter(|(parent, one)| self.is_open(place, *parent, one.key))
            .collect();
        // Extensions may be many: where there is nothing to choose from, they are not looked at.
        let is_choice = self.sent.len() > 1 || open.len() > 1;
        let likely = |one: &Certificate<'_>| match is_choice {
            true => Likely::of(child, one),
            false => Likely::Silent,
        };
        let open = open.into_iter();
        let mut open: Vec<_> = open
            .map(|(parent, one)| (likely(&one), parent, one.key))
            .collect();
        open.sort_by_key(|(likely, ..)| *likely);
        open
    }

    /// True if it is not known yet whether this parent signed the certificate. One key made its signature, so where that is
    /// found, whoever has another did not.
    fn is_open(&self, place: usize, parent: Parent, key: &[u8]) -> bool {
        let parents = self.parents.get(place);
        let is_known = parents.is_some_and(|all| all.contains(&parent));
        let mut answers = self.asked.iter().filter(|(other, ..)| *other == place);
        let is_told = answers.any(|(_, by, check)| (*check == Check::Good) != (*by == key));
        !is_known && !is_told
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
            Parent::Entry(_) | Parent::Sent(_) if !self.affords_more() => return None,
            Parent::Entry(_) | Parent::Sent(_) => {
                #[cfg(test)]
                {
                    self.checks += 1;
                }
                child.signed.is_by(key)
            }
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

    /// True if another answer may turn out wrong. Its own cost does not count beforehand: a good line by a costly key is
    /// found beside the same company as any other.
    fn affords_more(&self) -> bool {
        self.wrong < self.bundle.most_of_one_name().max(2) || self.wasted < MOST_WASTED
    }

    /// How many signatures turned out wrong.
    #[cfg(test)]
    pub(super) fn wrong_answers(&self) -> usize {
        self.wrong
    }

    /// How many signatures were checked.
    #[cfg(test)]
    pub(super) fn checks(&self) -> usize {
        self.checks
    }

    /// The client's own certificate.
    pub(super) fn end_entity(&self) -> Option<&Certificate<'a>> {
        self.sent.first()
    }

    /// Every line, up to a number, short ones not before long ones.
    pub(super) fn lines(&self) -> Vec<Line<'a>> {
        let mut lines = Vec::new();
        self.walk(&mut vec![0], &mut lines);
        lines
    }

    fn walk(&self, way: &mut Vec<usize>, lines: &mut Vec<Line<'a>>) {
        let parents = way.last().and_then(|last| self.parents.get(*last));
        for parent in parents.into_iter().flatten() {
            if lines.len() >= MOST_LINES {
                return;
            }
            match *parent {
                Parent::Entry(entry) => lines.extend(self.line(way, entry)),
                Parent::Sent(next) if way.len() <= MOST_ISSUERS && !self.is_on(way, next) => {
                    way.push(next);
                    self.walk(way, lines);
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
pub(super) fn cost(key: &[u8]) -> usize {
    match key.len() {
        0..=100 => 1,
        101..=140 => 3,
        141..=200 => 6,
        201..=700 => 1,
        _ => 3,
    }
}
