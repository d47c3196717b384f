//! The whole question about a client: does a CA of the bundle vouch for it now, and does a rule name it.
//!
//! Asked in the handshake, after it, by every live session whenever something changes, and by `explain`. Pure but for two
//! memories: of verdicts about clients that a rule names, so that the next handshake of such a client costs little, and
//! of signatures of issuers, so that nobody can have them verified over and over. A stranger leaves nothing in either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::{CertificateDer, UnixTime};

use super::bundle::{Bundle, Entry};
use super::chain::Chain;
use super::path::Judge;
use super::refusal::{Refusal, Unvouched, Whose, Why};
use super::revocation::Lists;
use super::rules::Fault;
use super::search::{Edge, Line, Obstacle, Search, Seen};
use super::signature::Check;
use super::words;
use crate::crypto::{Digest, digest_of};
use crate::identity::{Client, Validity};
use crate::policy::{self, Admission, Allow};

/// The most verdicts that are remembered, and the most bytes of certificates in them.
const MOST_VERDICTS: usize = 1024;
pub(super) const MOST_BYTES: usize = 2 * 1024 * 1024;
const MOST_BYTES_OF_ONE: usize = 16 * 1024;
/// The most signatures of issuers that are remembered.
const MOST_ISSUERS: usize = 64;

/// The CAs that vouch for clients, the revocation lists, and what else a chain must meet.
#[derive(Debug)]
pub struct Trust {
    bundle: Bundle,
    lists: Lists,
    allow_missing_eku: bool,
    known: Mutex<Known>,
}

/// What was found before.
#[derive(Debug, Default)]
struct Known {
    /// By the client's own certificate.
    verdicts: HashMap<Digest, Arc<Verified>>,
    bytes: usize,
    issuers: Vec<Edge>,
}

/// A client whose chain holds.
#[derive(Debug)]
pub struct Verified {
    /// Who the certificate speaks of.
    pub client: Arc<Client>,
    /// From when the chain was judged until when it is known to hold: every certificate, the CA, and the lists that it
    /// hangs on.
    pub validity: Validity,
    /// The client's certificate, and those of its issuers that it was judged by.
    pub chain: Chain,
    /// The signatures on it.
    edges: Arc<[Edge]>,
}

impl Trust {
    /// Puts together what vouches for clients.
    pub fn new(bundle: Bundle, lists: Lists, allow_missing_eku: bool) -> Self {
        Self {
            bundle,
            lists,
            allow_missing_eku,
            known: Mutex::default(),
        }
    }

    /// True if clients without any extended key usage are let in.
    pub fn allows_missing_eku(&self) -> bool {
        self.allow_missing_eku
    }

    /// The certificates of the bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The revocation lists.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The entries of the bundle that vouch for nobody now, by their place in it, with why.
    pub fn left_out(&self, now: UnixTime) -> Vec<(usize, Why)> {
        let judge = self.judge(now);
        let entries = self.bundle.entries().iter().enumerate();
        let why = entries.filter_map(|(place, entry)| Some((place, judge.entry(entry).err()?)));
        why.collect()
    }

    /// True if this entry of the bundle vouches for clients now.
    pub fn vouches(&self, entry: &Entry, now: UnixTime) -> bool {
        self.judge(now).entry(entry).is_ok()
    }

    /// Verifies a chain and asks the rules: the whole question.
    ///
    /// # Errors
    /// Why the client may not pass.
    pub fn admit(
        &self,
        allow: &Allow,
        chain: &Chain,
        now: UnixTime,
    ) -> Result<(Arc<Verified>, Admission), Refusal> {
        self.ask(allow, chain, &[], now)
    }

    /// Asks again about a client that was admitted. Its signatures are good for ever, everything else is looked at.
    ///
    /// # Errors
    /// Why it may not stay.
    pub fn admit_again(
        &self,
        allow: &Allow,
        before: &Verified,
        now: UnixTime,
    ) -> Result<(Arc<Verified>, Admission), Refusal> {
        if let Some(verified) = self.recall(before.chain.end_entity(), before.chain.issuers(), now)
        {
            let admission = rule(allow, &verified.client)?;
            return Ok((verified, admission));
        }
        self.ask(allow, &before.chain, &before.edges, now)
    }

    /// The verdict about this client, if it is remembered and still holds for somebody who sent just this.
    pub(super) fn recall(
        &self,
        end_entity: &[u8],
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Arc<Verified>> {
        if end_entity.len() > MOST_BYTES_OF_ONE {
            return None;
        }
        let known = self.known();
        let verified = known.verdicts.get(&digest_of([end_entity]))?;
        let holds = verified.validity.covers(now) && verified.chain.issuers_are_among(issuers);
        holds.then(|| Arc::clone(verified))
    }

    /// Verifies a chain as of `now`: signatures, validity, limits and revocation of every certificate in it, and that
    /// two parsers agree about the client. Then asks the rules, and only for a client that they name, looks for every other
    /// line that holds, so that it may stay as long as any of them does.
    pub(super) fn ask(
        &self,
        allow: &Allow,
        chain: &Chain,
        edges: &[Edge],
        now: UnixTime,
    ) -> Result<(Arc<Verified>, Admission), Refusal> {
        let seen = Seen {
            own: edges,
            // A copy, so that nobody waits for the questions that follow.
            issuers: &[edges, &self.known().issuers].concat(),
        };
        let mut search = Search::new(chain, &self.bundle).ok_or(Refusal::Bad {
            whose: Whose::Client,
            why: Why::Fault(Fault::Malformed("DER")),
        })?;
        let holds = self.first_line(&mut search, seen, now);
        self.remember_issuers(&search.issuer_edges);
        holds?.ok_or_else(|| Refusal::Unvouched(self.unvouched(&search, chain)))?;
        let client = Client::from_der(&CertificateDer::from(chain.end_entity()))
            .map_err(Refusal::Unreadable)?;
        let client = Arc::new(client);
        let admission = rule(allow, &client)?;
        while search.learn(seen) {}
        let lines = search.lines();
        let until = self.best(&lines, now)?.unwrap_or(now);
        let edges = search.own_edges.iter().chain(&search.issuer_edges);
        let verified = Arc::new(Verified {
            client,
            validity: Validity {
                not_before: now,
                not_after: until,
            },
            chain: chain.through(&lines),
            edges: edges.copied().collect(),
        });
        self.remember(&verified);
        Ok((verified, admission))
    }

    /// Searches until a line holds, and says until when; `None` if there is no line at all.
    fn first_line(
        &self,
        search: &mut Search<'_>,
        seen: Seen<'_>,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, Refusal> {
        let mut judged = 0;
        let mut verdict = Ok(None);
        loop {
            let more = search.learn(seen);
            let lines = search.lines();
            if lines.len() > judged {
                judged = lines.len();
                verdict = self.best(&lines, now);
            }
            match &verdict {
                Ok(None) | Err(_) if more => {}
                Ok(_) | Err(_) => return verdict,
            }
        }
    }

    /// Until when the line holds that holds longest, if there are any; if none does, what stands in the way of the first
    /// whose CA vouches.
    fn best(&self, lines: &[Line<'_>], now: UnixTime) -> Result<Option<UnixTime>, Refusal> {
        let judge = self.judge(now);
        let (mut best, mut refusal) = (None, None);
        for line in lines {
            match judge.line(line) {
                Ok(until) => best = best.max(Some(until)),
                Err(why) => {
                    let vouches = judge.entry(line.entry).is_ok();
                    let better = refusal
                        .as_ref()
                        .is_none_or(|(before, _)| vouches && !before);
                    if better {
                        refusal = Some((vouches, why));
                    }
                }
            }
        }
        match (best, refusal) {
            (None, Some((_, why))) => Err(why),
            (until, _) => Ok(until),
        }
    }

    fn judge(&self, now: UnixTime) -> Judge<'_> {
        Judge {
            bundle: &self.bundle,
            lists: &self.lists,
            allow_missing_eku: self.allow_missing_eku,
            now,
        }
    }

    fn unvouched(&self, search: &Search<'_>, chain: &Chain) -> Unvouched {
        if let Some(Obstacle { sent, entry, check }) = search.obstacle {
            let ca = entry.name().to_owned();
            return match (entry.fault(), check) {
                (Some(fault @ Fault::Key(_)), _) => Unvouched::CaKey {
                    ca,
                    fault: fault.clone(),
                },
                (_, Check::Unsupported) => Unvouched::Algorithm {
                    algorithm: words::signature(sent.signed.algorithm),
                },
                (_, Check::Wrong | Check::Good) => Unvouched::OtherKey { ca },
            };
        }
        let sent = chain.issuers().len();
        let Some(own) = search.end_entity() else {
            return Unvouched::NoCa { sent };
        };
        if let Some(ca) = self.bundle.almost_named(own.issuer) {
            return Unvouched::OtherEncoding {
                ca: ca.name().to_owned(),
            };
        }
        match own.is_self_issued() {
            true => Unvouched::SelfSigned,
            false => Unvouched::NoCa { sent },
        }
    }

    fn remember(&self, verified: &Arc<Verified>) {
        let size = verified.chain.size();
        if size > MOST_BYTES_OF_ONE {
            return;
        }
        let own = digest_of([verified.chain.end_entity()]);
        let mut known = self.known();
        if known.verdicts.len() >= MOST_VERDICTS || known.bytes + size > MOST_BYTES {
            known.verdicts.clear();
            known.bytes = 0;
        }
        known.bytes += size;
        if let Some(before) = known.verdicts.insert(own, Arc::clone(verified)) {
            known.bytes -= before.chain.size();
        }
    }

    fn remember_issuers(&self, edges: &[Edge]) {
        if edges.is_empty() {
            return;
        }
        let mut known = self.known();
        if known.issuers.len() + edges.len() > MOST_ISSUERS {
            known.issuers.clear();
        }
        for edge in edges {
            if !known.issuers.contains(edge) {
                known.issuers.push(*edge);
            }
        }
    }

    /// A panic elsewhere leaves what is remembered right: it is true, or it is not there.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rule that names the client.
fn rule(allow: &Allow, client: &Arc<Client>) -> Result<Admission, Refusal> {
    policy::judge(allow, client).map_err(|error| Refusal::NotAdmitted {
        client: Arc::clone(client),
        error,
    })
}

#[cfg(test)]
impl Trust {
    /// How many verdicts, bytes of certificates, and signatures of issuers are remembered.
    pub(super) fn remembered(&self) -> (usize, usize, usize) {
        let known = self.known();
        (known.verdicts.len(), known.bytes, known.issuers.len())
    }
}

#[cfg(test)]
impl Verified {
    /// The signatures on its chain.
    pub(super) fn edges(&self) -> &[Edge] {
        &self.edges
    }
}
