//! Why a client may not pass: in words for the record, and as the alert for the client.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, OtherError};

use crate::identity::{Client, ClientAuthUsage, UnreadableCertificate, rfc3339};
use crate::policy::NotAdmitted;

/// Why a client may not pass.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The chain does not lead to one of the CAs, or a certificate in it is not good now.
    #[error("{}", chain_reason(.0))]
    Chain(webpki::Error),
    /// `clientAuth` is not among the extended key usages.
    #[error("{}", match .0 {
        ClientAuthUsage::Absent => "the certificate has no extended key usage and --allow-missing-eku is off",
        ClientAuthUsage::Listed | ClientAuthUsage::NotListed => "the certificate's extended key usage does not list clientAuth",
    })]
    KeyUsage(ClientAuthUsage),
    /// The certificate's facts could not be established.
    #[error(transparent)]
    Unreadable(#[from] UnreadableCertificate),
    /// The chain holds, and no rule names the client.
    #[error("{error}: it is {}", .client.display_names().join(", "))]
    NotAdmitted {
        /// Who it is.
        client: Arc<Client>,
        /// The judge's verdict.
        error: NotAdmitted,
    },
}

impl Refusal {
    /// The client, where its chain was verified.
    pub fn client(&self) -> Option<&Arc<Client>> {
        match self {
            Self::NotAdmitted { client, .. } => Some(client),
            Self::Chain(_) | Self::KeyUsage(_) | Self::Unreadable(_) => None,
        }
    }

    /// The alert by which the client hears of it: rustls makes it of the same error.
    pub fn alert(&self) -> AlertDescription {
        certificate_error(self).into()
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "webpki's error is open-ended; the rest keeps webpki's own name"
)]
fn chain_reason(error: &webpki::Error) -> String {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => {
            format!("the certificate, or one that vouches for it, expired at {}", rfc3339(*not_after))
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("the certificate, or one that vouches for it, is not valid before {}", rfc3339(*not_before))
        }
        Error::UnknownIssuer => "no CA of the client-CA bundle vouches for the certificate".to_owned(),
        Error::CertRevoked => "the certificate, or one that vouches for it, is revoked".to_owned(),
        Error::UnknownRevocationStatus => "no revocation list of --client-crl knows the status of the whole chain".to_owned(),
        Error::CrlExpired { next_update, .. } => {
            format!("the revocation list is stale since {} and --stale-crl is refuse", rfc3339(*next_update))
        }
        Error::RequiredEkuNotFoundContext(_) => {
            "the extended key usage of the certificate, or of one that vouches for it, does not list clientAuth".to_owned()
        }
        Error::InvalidSignatureForPublicKey => "a signature in the chain is wrong".to_owned(),
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => "the certificate cannot be parsed".to_owned(),
        Error::CaUsedAsEndEntity => "the certificate is a CA's, and a CA is no client".to_owned(),
        Error::UnsupportedCriticalExtension => {
            "the certificate, or one that vouches for it, has a critical extension that is not understood".to_owned()
        }
        Error::UnsupportedCertVersion => "the certificate is not X.509 version 3".to_owned(),
        Error::NameConstraintViolation => "a name lies outside the name constraints of its CA".to_owned(),
        other => format!("the chain does not hold: {other}"),
    }
}

/// The TLS error, and with it the alert, that tells the client why (contract, promise 10). rustls turns the variants
/// into alerts in `error.rs`.
pub(super) fn certificate_error(refusal: &Refusal) -> CertificateError {
    match refusal {
        Refusal::NotAdmitted { .. } => CertificateError::ApplicationVerificationFailure,
        Refusal::KeyUsage(_) => CertificateError::InvalidPurpose,
        Refusal::Unreadable(_) => CertificateError::BadEncoding,
        Refusal::Chain(error) => chain_error(error),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "webpki's error is open-ended; the rest is one alert"
)]
fn chain_error(error: &webpki::Error) -> CertificateError {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::InvalidCertValidity => CertificateError::Expired,
        Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Error::UnknownIssuer => CertificateError::UnknownIssuer,
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::BadEncoding,
        Error::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        other => CertificateError::Other(OtherError(Arc::new(other.clone()))),
    }
}
