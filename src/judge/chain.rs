//! What a client sent, as far as it can matter.
//!
//! A client may send anything beside its own certificate: the whole way up, half of it, things twice or in disorder,
//! or made-up CAs. What no name on the way up leads to is let go at once; who really signed what is asked by `search`.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;
use super::refusal::Refusal;
use super::search::{Likely, Line};
use super::signature::Signed;

/// A longer list of certificates is refused as it comes.
const MOST_PRESENTED: usize = 64;
/// The most certificates beside the client's own that are looked at: twice what webpki lets a line have.
const MOST_KEPT: usize = 12;
/// The most bytes that these may have.
const MOST_KEPT_BYTES: usize = 32 * 1024;

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
            let named = others.iter().filter(|(_, one)| one.subject == below.issuer);
            let mut named: Vec<_> = named.collect();
            // Where there is no place for all, those that no identifier speaks against come first.
            named.sort_by_cached_key(|(_, one)| Likely::of(&below, one));
            for (der, _) in named {
                let fits = kept.len() <= MOST_KEPT
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

    /// The client's own first, then what is kept of the others.
    pub(super) fn all(&self) -> &[CertificateDer<'static>] {
        &self.0
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
