//! One client's certificate chain in, a verdict out: webpki's about the chain, then the judge's about the client. Pure
//! but for the signature checks and the memory of what was found before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::StaleCrl;
use super::refusal::Refusal;
use crate::crypto::{Digest, digest_of, provider};
use crate::identity::{Client, ClientAuthUsage, UnreadableCertificate, Validity};
use crate::policy::{self, Admission, Allow};

/// The most verdicts that are remembered.
const VERDICTS: usize = 1024;

/// The CAs that vouch for clients, the revocation lists, and what else a chain must meet.
#[derive(Debug)]
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    /// When each CA is good, by subject and key: webpki's anchors do not say.
    anchor_validity: HashMap<(Vec<u8>, Vec<u8>), Validity>,
    allow_missing_eku: bool,
    revocation: Revocation,
    /// What was found of chains, by their digest. Only chains that hold get in here, so no stranger can fill it; a
    /// verdict counts for as long as its validity lasts, and the client proves its key in every handshake anew.
    verdicts: Mutex<HashMap<Digest, Verified>>,
}

/// The revocation lists; none means that revocation is not checked.
#[derive(Debug)]
pub struct Revocation {
    /// The lists, newest first.
    pub lists: Vec<CertRevocationList<'static>>,
    /// What becomes of clients whose list is past its end.
    pub stale: StaleCrl,
    /// When the first of the lists should be replaced by a newer one.
    pub next_update: Option<UnixTime>,
}

/// A chain that holds, whose end entity is this client.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Who the certificate speaks of.
    pub client: Arc<Client>,
    /// When the whole chain is known to be good: the certificate, its intermediates, the CA, the revocation lists.
    pub validity: Validity,
    /// The chain as the client presented it, its own certificate first.
    pub chain: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// Puts CAs together, each with the time it is good, and the revocation lists.
    pub fn new(
        cas: impl IntoIterator<Item = (TrustAnchor<'static>, Validity)>,
        revocation: Revocation,
        allow_missing_eku: bool,
    ) -> Self {
        let mut anchors = Vec::new();
        let mut anchor_validity: HashMap<_, Validity> = HashMap::new();
        for (anchor, validity) in cas {
            // A renewed CA keeps name and key; while both are in the bundle, either one vouches.
            anchor_validity
                .entry(key_of(&anchor))
                .and_modify(|known| {
                    known.not_before = known.not_before.min(validity.not_before);
                    known.not_after = known.not_after.max(validity.not_after);
                })
                .or_insert(validity);
            anchors.push(anchor);
        }
        Self {
            anchors,
            anchor_validity,
            allow_missing_eku,
            revocation,
            verdicts: Mutex::default(),
        }
    }

    /// True if these settings would make the same of the same files.
    pub fn is_governed_by(&self, stale: StaleCrl, allow_missing_eku: bool) -> bool {
        self.allow_missing_eku == allow_missing_eku && self.revocation.stale == stale
    }

    /// Verifies a chain as of `now`: signatures, validity and revocation of every certificate in it, key usages, and
    /// that two parsers agree about the client. A chain that was seen before is looked up.
    ///
    /// # Errors
    /// Why the chain does not hold. Whether the client may pass is not asked here.
    pub fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, Refusal> {
        let digest = digest_of(
            [end_entity]
                .into_iter()
                .chain(intermediates)
                .map(|der| &**der),
        );
        let known = lock(&self.verdicts).get(&digest).cloned();
        if let Some(verified) = known.filter(|verified| verified.validity.covers(now)) {
            return Ok(verified);
        }
        let verified = self.verify_anew(end_entity, intermediates, now)?;
        let mut verdicts = lock(&self.verdicts);
        if verdicts.len() >= VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(digest, verified.clone());
        Ok(verified)
    }

    fn verify_anew(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, Refusal> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(Refusal::Chain)?;
        let in_date = |anchor: &&TrustAnchor<'static>| {
            self.anchor_validity
                .get(&key_of(anchor))
                .is_some_and(|validity| validity.covers(now))
        };
        let anchors: Vec<TrustAnchor<'static>> =
            self.anchors.iter().filter(in_date).cloned().collect();
        let lists: Vec<_> = self.revocation.lists.iter().collect();
        let algorithms = provider().signature_verification_algorithms.all;
        let path = certificate
            .verify_for_usage(
                algorithms,
                &anchors,
                intermediates,
                now,
                KeyUsage::client_auth(),
                self.revocation.options(&lists),
                None,
            )
            .map_err(Refusal::Chain)?;

        let client = Client::from_der(end_entity)?;
        match client.client_auth() {
            ClientAuthUsage::Listed => {}
            ClientAuthUsage::Absent if self.allow_missing_eku => {}
            usage @ (ClientAuthUsage::Absent | ClientAuthUsage::NotListed) => {
                return Err(Refusal::KeyUsage(usage));
            }
        }
        let mut validity = client.validity();
        for intermediate in path.intermediate_certificates() {
            validity = validity.intersect(validity_of(&intermediate.der())?);
        }
        if let Some(anchor) = self.anchor_validity.get(&key_of(path.anchor())) {
            validity = validity.intersect(*anchor);
        }
        // Past this time the lists have to be asked again; which one this chain hangs on is webpki's to say.
        if let Some(until) = self.revocation.counts_until().filter(|until| now <= *until) {
            validity.not_after = validity.not_after.min(until);
        }
        let chain = [end_entity]
            .into_iter()
            .chain(intermediates)
            .map(|der| der.clone().into_owned())
            .collect();
        Ok(Verified {
            client: Arc::new(client),
            validity,
            chain,
        })
    }

    /// Verifies a chain and asks the judge: the whole question of admission.
    pub fn admit(
        &self,
        allow: &Allow,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(Verified, Admission), Refusal> {
        let verified = self.verify(end_entity, intermediates, now)?;
        match policy::judge(allow, &verified.client) {
            Ok(admission) => Ok((verified, admission)),
            Err(error) => Err(Refusal::NotAdmitted {
                client: verified.client,
                error,
            }),
        }
    }
}

impl Revocation {
    /// Every certificate of a chain is checked but the CA of the bundle, and an unknown status is a refusal.
    fn options<'a>(
        &self,
        lists: &'a [&'a CertRevocationList<'static>],
    ) -> Option<RevocationOptions<'a>> {
        let expiration = match self.stale {
            StaleCrl::Refuse => ExpirationPolicy::Enforce,
            StaleCrl::Accept => ExpirationPolicy::Ignore,
        };
        // The builder refuses an empty slice: then there is nothing to check.
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        Some(
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(expiration)
                .build(),
        )
    }

    fn counts_until(&self) -> Option<UnixTime> {
        match self.stale {
            StaleCrl::Refuse => self.next_update,
            StaleCrl::Accept => None,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_of(anchor: &TrustAnchor<'_>) -> (Vec<u8>, Vec<u8>) {
    (
        anchor.subject.to_vec(),
        anchor.subject_public_key_info.to_vec(),
    )
}

fn validity_of(der: &CertificateDer<'_>) -> Result<Validity, UnreadableCertificate> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(Validity::of(&certificate)),
        Err(error) => Err(UnreadableCertificate::Malformed(format!(
            "intermediate: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests;
