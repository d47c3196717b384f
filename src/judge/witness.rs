//! The client-certificate verifier of a route, and what it found.
//!
//! [`Verifier`] asks [`Trust::admit`] inside the TLS handshake, so that a refused client hears the alert that fits.
//! rustls calls it on the thread that takes the handshake's step, and [`observe`] hands the finding to whoever took
//! that step: only what a verifier really found can later become an admitted client.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::refusal::{Refusal, certificate_error};
use super::verify::{Trust, Verified};
use crate::crypto::provider;
use crate::policy::Allow;

/// What a verifier found.
#[derive(Debug)]
pub enum Finding {
    /// The chain holds and a rule names the client.
    Admissible(Verified),
    /// Why not.
    Refused(Refusal),
}

thread_local! {
    static FOUND: Cell<Option<Finding>> = const { Cell::new(None) };
}

/// Takes a step of a handshake. Returns what it returns, and what a verifier found in it, if one was asked.
pub fn observe<R>(step: impl FnOnce() -> R) -> (R, Option<Finding>) {
    FOUND.set(None);
    let result = step();
    (result, FOUND.take())
}

/// Verifies the client certificates of a route.
#[derive(Debug)]
pub struct Verifier {
    /// The CAs.
    pub trust: Arc<Trust>,
    /// The rules.
    pub allow: Arc<Allow>,
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
        match self
            .trust
            .admit(&self.allow, end_entity, intermediates, now)
        {
            Ok((verified, _)) => {
                FOUND.set(Some(Finding::Admissible(verified)));
                Ok(ClientCertVerified::assertion())
            }
            Err(refusal) => {
                let error = certificate_error(&refusal);
                FOUND.set(Some(Finding::Refused(refusal)));
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
