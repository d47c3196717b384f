//! The client-certificate verifier of one connection, and what it found.
//!
//! [`Witness`] asks [`Trust::admit`] inside the TLS handshake, so that a refused client hears the alert that fits, and
//! keeps the finding: only what a verifier really found can later become an admitted client.

use std::sync::{Arc, Mutex};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::provider;
use super::refusal::{Refusal, certificate_error};
use super::verify::{Trust, Verified, lock};
use crate::policy::Allow;

/// What the verifier of one handshake found.
#[derive(Debug, Clone)]
pub enum Finding {
    /// The chain holds and a rule names the client.
    Admissible(Verified),
    /// Why not.
    Refused(Refusal),
}

/// The client-certificate verifier of one connection; keeps what it found.
#[derive(Debug)]
pub struct Witness {
    trust: Arc<Trust>,
    allow: Arc<Allow>,
    finding: Mutex<Option<Finding>>,
}

impl Witness {
    pub(super) fn new(trust: Arc<Trust>, allow: Arc<Allow>) -> Self {
        Self {
            trust,
            allow,
            finding: Mutex::new(None),
        }
    }

    /// What was found, once; `None` if no certificate was ever judged.
    pub fn finding(&self) -> Option<Finding> {
        lock(&self.finding).take()
    }

    fn note(&self, finding: Finding) {
        *lock(&self.finding) = Some(finding);
    }
}

impl ClientCertVerifier for Witness {
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
        match self
            .trust
            .admit(&self.allow, end_entity, intermediates, now)
        {
            Ok((verified, _)) => {
                self.note(Finding::Admissible(verified));
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                let error = certificate_error(&refusal);
                self.note(Finding::Refused(refusal));
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
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
