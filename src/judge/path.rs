//! One line from the bundle to a client in, until when it holds or why it does not out (RFC 5280 section 6.1).
//!
//! Two judges, and both must agree: the rules here, which say what is wrong in words that help, and webpki, which is
//! given this line and nothing else to build a path from. Reads no clock.

use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage};

use super::bundle::{Bundle, Entry, display_name};
use super::certificate::{Certificate, oid};
use super::refusal::{Refusal, Whose, Why};
use super::revocation::{Issuer, Lists, Objection};
use super::rules::Said;
use super::search::Line;
use super::signature::key_parts;
use crate::crypto::provider;
use crate::identity::Validity;

/// What a line is judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) lists: &'a Lists,
    pub(super) allow_missing_eku: bool,
    pub(super) now: UnixTime,
}

impl Judge<'_> {
    /// Until when the line is known to hold: every certificate on it, and every list that it hangs on.
    pub(super) fn line(&self, line: &Line<'_>) -> Result<UnixTime, Refusal> {
        let ca = || Whose::Ca(line.entry.name().to_owned());
        let mut until = self.entry(line.entry).map_err(|why| bad(ca(), why))?;
        let mut above = Above::of(line.entry);
        // From the top down: who vouches is looked at before whoever is vouched for.
        for (place, certificate) in line.sent.iter().enumerate().rev() {
            let whose = || match place {
                0 => Whose::Client,
                _ => Whose::Issuer(display_name(certificate.subject)),
            };
            let refuse = |why| bad(whose(), why);
            until = until.min(self.in_time(certificate.validity()).map_err(refuse)?);
            let said = Said::of(certificate).map_err(|fault| refuse(Why::Fault(fault)))?;
            let fits = match place {
                0 => said.as_client(self.allow_missing_eku),
                _ => said.as_issuer(),
            };
            fits.map_err(|fault| refuse(Why::Fault(fault)))?;
            let asked = self
                .lists
                .ask(certificate, said.is_ca(), above.issuer, self.now);
            let end = asked.map_err(|objection| refuse(objection.into()))?;
            until = end.map_or(until, |end| until.min(end));
            if place > 0 {
                above
                    .pass(certificate, &said)
                    .map_err(|(most, whose)| bad(whose, Why::PathLen { most }))?;
            }
        }
        second_opinion(line, self.now).map_err(|why| bad(Whose::Client, why))?;
        Ok(until)
    }

    /// Whether an entry of the bundle vouches now, and until when.
    pub(super) fn entry(&self, entry: &Entry) -> Result<UnixTime, Why> {
        if let Some(fault) = entry.fault() {
            return Err(Why::Fault(fault.clone()));
        }
        let mut until = self.in_time(Some(entry.validity()))?;
        // It needs nobody's word but the operator's, yet whoever issued it may have taken theirs back.
        for issuer in self.bundle.issuers_of(entry) {
            let by = Issuer {
                key: issuer.certificate().key,
                signs_lists: issuer.signs_lists(),
            };
            let end = self
                .lists
                .revoke(&entry.certificate(), true, by, self.now)?;
            until = end.map_or(until, |end| until.min(end));
        }
        Ok(until)
    }

    fn in_time(&self, validity: Option<Validity>) -> Result<UnixTime, Why> {
        let validity = validity.ok_or(Why::Fault(super::rules::Fault::Malformed("validity")))?;
        if validity.not_after < self.now {
            return Err(Why::Expired(validity.not_after));
        }
        if self.now < validity.not_before {
            return Err(Why::Early(validity.not_before));
        }
        Ok(validity.not_after)
    }
}

fn bad(whose: Whose, why: Why) -> Refusal {
    Refusal::Bad { whose, why }
}

impl From<Objection> for Why {
    fn from(objection: Objection) -> Self {
        match objection {
            Objection::Revoked => Self::Revoked,
            Objection::Unknown(unknown) => Self::StatusUnknown(unknown),
            Objection::Stale { since } => Self::ListStale(since),
        }
    }
}

/// What holds for the next certificate on the way down.
struct Above<'a> {
    issuer: Issuer<'a>,
    /// How many more issuers may come that are not self-issued (RFC 5280 section 6.1.4 (l) and (m)).
    left: Option<usize>,
    /// Who said so, and how many it allowed.
    limit: Option<(usize, Whose)>,
}

impl<'a> Above<'a> {
    fn of(entry: &'a Entry) -> Self {
        let most = entry.path_len();
        Self {
            issuer: Issuer {
                key: entry.certificate().key,
                signs_lists: entry.signs_lists(),
            },
            left: most,
            limit: most.map(|most| (most, Whose::Ca(entry.name().to_owned()))),
        }
    }

    /// Goes below this issuer.
    fn pass(&mut self, issuer: &Certificate<'a>, said: &Said) -> Result<(), (usize, Whose)> {
        if !issuer.is_self_issued() {
            self.left = match (self.left, &self.limit) {
                (Some(0), Some(limit)) => return Err(limit.clone()),
                (left, _) => left.map(|left| left.saturating_sub(1)),
            };
        }
        if let Some(most) = said.path_len()
            && self.left.is_none_or(|left| most < left)
        {
            self.left = Some(most);
            let whose = Whose::Issuer(display_name(issuer.subject));
            self.limit = Some((most, whose));
        }
        self.issuer = Issuer {
            key: issuer.key,
            signs_lists: said.signs_lists(),
        };
        Ok(())
    }
}

/// What webpki says of the line. It is the one that knows name constraints; of the rest it sees nothing that was not
/// seen here, or there is something that was overlooked here.
fn second_opinion(line: &Line<'_>, now: UnixTime) -> Result<(), Why> {
    let anchor = line.entry.anchor();
    let anchor = anchor.map_err(|fault| Why::Fault(fault.clone()))?;
    let [client, issuers @ ..] = &*line.sent else {
        return Err(Why::Other);
    };
    let constrains = |one: &Certificate<'_>| one.extension(oid::NAME_CONSTRAINTS).is_some();
    let is_constrained = issuers.iter().any(constrains) || constrains(&line.entry.certificate());
    match (ask_webpki(line, client, issuers, anchor, now), issuers) {
        (Ok(()), _) => Ok(()),
        // Which of its errors it tells depends on the ways that it tried; where there are constraints, these are what it saw.
        (Err(_), _) if is_constrained => Err(Why::NameConstraints),
        // It counts self-issued certificates, which do not count (RFC 5280 section 4.2.1.9); they were counted here.
        (Err(_), [issuer, ..]) if counts_otherwise(issuers) => {
            let issuer = CertificateDer::from(issuer.der);
            let issuer = webpki::anchor_from_trusted_cert(&issuer).map_err(|_| Why::Other)?;
            ask_webpki(line, client, &[], &issuer, now).map_err(|_| Why::Other)
        }
        (Err(_), _) => Err(Why::Other),
    }
}

/// True if one of these, from the client upwards, allows fewer CAs below it than there are with the self-issued ones.
fn counts_otherwise(issuers: &[Certificate<'_>]) -> bool {
    let most = |issuer| Said::of(issuer).ok().and_then(|said| said.path_len());
    let mut issuers = issuers.iter().enumerate();
    issuers.any(|(below, issuer)| most(issuer).is_some_and(|most| most < below))
}

/// Whether webpki finds a way from the anchor to the client through these issuers of the line.
fn ask_webpki(
    line: &Line<'_>,
    client: &Certificate<'_>,
    issuers: &[Certificate<'_>],
    anchor: &TrustAnchor<'_>,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let client_der = CertificateDer::from(client.der);
    let client = EndEntityCert::try_from(&client_der)?;
    let issuers: Vec<_> = issuers
        .iter()
        .map(|one| CertificateDer::from(one.der))
        .collect();
    let algorithms: Vec<Seen<'_>> = provider()
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|algorithm| {
            let id = algorithm.signature_alg_id();
            line.sent.iter().any(|one| *one.signed.algorithm == *id)
        })
        .map(|algorithm| Seen {
            line,
            algorithm: *algorithm,
        })
        .collect();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = algorithms
        .iter()
        .map(|seen| seen as &dyn SignatureVerificationAlgorithm)
        .collect();
    let verdict = client.verify_for_usage(
        &algorithms,
        std::slice::from_ref(anchor),
        &issuers,
        now,
        KeyUsage::client_auth(),
        None,
        None,
    );
    verdict.map(|_| ())
}

/// An algorithm that takes the signatures on a line for good, since that was seen before, and no other.
#[derive(Debug)]
struct Seen<'a> {
    line: &'a Line<'a>,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
}

impl SignatureVerificationAlgorithm for Seen<'_> {
    fn verify_signature(
        &self,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let signed = self.line.sent.iter().map(|one| one.signed);
        let above = self.line.sent.iter().skip(1).map(|one| one.key);
        let keys = above.chain([self.line.entry.certificate().key]);
        let is_on_the_line = signed.zip(keys).any(|(signed, by)| {
            signed.content == message
                && signed.signature == signature
                && key_parts(by).is_some_and(|(_, bits)| bits == key)
        });
        match is_on_the_line {
            true => Ok(()),
            false => Err(InvalidSignature),
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}
