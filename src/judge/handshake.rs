//! What a TLS handshake finds out about its client, step by step: nothing, certificates without a proof, a verdict.
//!
//! A stranger can show anybody's certificate. So nothing is judged until the client has proved its key: whoever cannot
//! costs one signature check, is told nothing of the bundle, and is named in no record. rustls shares one verifier among
//! all connections of a route; each connection lends it its own [`Asked`] for the one step that it takes.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::certificate::Certificate;
use super::chain::Chain;
use super::key::usable_key;
use super::presented::Presented;
use super::refusal::{Refusal, Whose, Why};
use super::rules::{Fault, Said};
use super::trust::{Trust, Verified};
use crate::crypto::provider;
use crate::policy::Allow;

/// What is known of a connection's client.
#[derive(Debug, Default)]
pub enum Asked {
    /// It has shown nothing yet.
    #[default]
    Nothing,
    /// It has shown certificates, and proved nothing.
    Shown(Shown),
    /// It has proved its key, or is refused without.
    Judged(Result<Arc<Verified>, Refused>),
}

/// A client that is refused in its handshake.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What its certificate claims. Only of a client that has proved its key, and whose chain is not verified.
    pub presented: Option<Presented>,
}

impl Refused {
    fn unproved(refusal: Refusal) -> Self {
        Self {
            refusal,
            presented: None,
        }
    }

    fn proved(refusal: Refusal, certificate: &CertificateDer<'_>) -> Self {
        let is_stranger = refusal.client().is_none();
        Self {
            refusal,
            presented: is_stranger.then(|| Presented::of(certificate)),
        }
    }
}

/// Certificates whose key is not proved.
#[derive(Debug)]
pub struct Shown {
    verdict: Verdict,
    at: UnixTime,
}

#[derive(Debug)]
enum Verdict {
    /// The same client was judged before.
    Remembered(Arc<Verified>),
    Open(Chain),
}

thread_local! {
    static LENT: Cell<Asked> = const { Cell::new(Asked::Nothing) };
}

impl Asked {
    /// Takes a step of the handshake, in which the verifier may go on with what is known.
    pub fn lend<R>(&mut self, step: impl FnOnce() -> R) -> R {
        LENT.set(std::mem::take(self));
        let result = step();
        *self = LENT.take();
        result
    }
}

/// Verifies the client certificates of a route.
#[derive(Debug)]
pub struct Verifier {
    /// The CAs and the lists.
    pub trust: Arc<Trust>,
    /// The rules.
    pub allow: Arc<Allow>,
}

impl Verifier {
    /// What is shown is kept as far as it can matter, for the moment of the proof.
    fn show(
        &self,
        end_entity: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<Shown, Refusal> {
        let verdict = match self.trust.recall(end_entity, others, at) {
            Some(verified) => Verdict::Remembered(verified),
            None => Verdict::Open(Chain::shown(end_entity, others)?),
        };
        Ok(Shown { verdict, at })
    }

    /// The client has proved the key of the certificate that it showed.
    fn judge(&self, shown: Shown) -> Result<Arc<Verified>, Refusal> {
        let (verified, _) = match shown.verdict {
            Verdict::Remembered(verified) => {
                self.trust.admit_again(&self.allow, &verified, shown.at)?
            }
            Verdict::Open(chain) => self.trust.admit(&self.allow, &chain, shown.at)?,
        };
        Ok(verified)
    }

    /// Goes on where [`show`](Self::show) ended, if the key was proved by a signature.
    fn proved(
        &self,
        certificate: &CertificateDer<'_>,
        proof: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let shown = match LENT.take() {
            Asked::Shown(shown) if shown.end_entity() == certificate.as_ref() => shown,
            Asked::Nothing | Asked::Shown(_) | Asked::Judged(_) => {
                return Err(rustls::Error::General("a proof of nothing".to_owned()));
            }
        };
        let judged = match &proof {
            Ok(_) => self
                .judge(shown)
                .map_err(|refusal| Refused::proved(refusal, certificate)),
            Err(_) => match unprovable(certificate) {
                Some(refusal) => Err(Refused::unproved(refusal)),
                None => {
                    LENT.set(Asked::Shown(shown));
                    return proof;
                }
            },
        };
        let error = judged.as_ref().err();
        let error = error.map(|refused| refused.refusal.tls_error());
        LENT.set(Asked::Judged(judged));
        match error {
            Some(error) => Err(error.into()),
            None => proof,
        }
    }
}

impl Shown {
    fn end_entity(&self) -> &[u8] {
        match &self.verdict {
            Verdict::Remembered(verified) => verified.chain.end_entity(),
            Verdict::Open(chain) => chain.end_entity(),
        }
    }
}

/// Why nobody could prove the key of this certificate, if that is so.
fn unprovable(certificate: &CertificateDer<'_>) -> Option<Refusal> {
    let fault = |fault| {
        Some(Refusal::Bad {
            whose: Whose::Client,
            why: Why::Fault(fault),
        })
    };
    let Some(certificate) = Certificate::skim(certificate) else {
        return fault(Fault::Malformed("DER"));
    };
    if let Err(key) = usable_key(certificate.key) {
        return fault(Fault::Key(key));
    }
    Said::of(&certificate).err().and_then(fault)
}

impl ClientCertVerifier for Verifier {
    /// Names no CA: a stranger who asks learns nothing of whom the gate trusts (RFC 8446 section 4.2.4 allows it).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.show(end_entity, intermediates, now) {
            Ok(shown) => {
                LENT.set(Asked::Shown(shown));
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                let error = refusal.tls_error();
                LENT.set(Asked::Judged(Err(Refused::unproved(refusal))));
                Err(error.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        let proof = verify_tls12_signature(message, certificate, signature, algorithms);
        self.proved(certificate, proof)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        // Of the certificate only the key: what else is wrong with it is told to whoever has proved it.
        let key = Certificate::skim(certificate).map_or(&[][..], |certificate| certificate.key);
        let key = SubjectPublicKeyInfoDer::from(key);
        let proof = verify_tls13_signature_with_raw_key(message, &key, signature, algorithms);
        self.proved(certificate, proof)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
