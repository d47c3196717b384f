//! Why TLS failed: an error of rustls in, a sentence of ours out.
//!
//! Its own file because these sentences reach records, and a library's debug text must not. What rustls may add one
//! day has a sentence already: the last of each table. Decides nothing.

mod hello;

use std::fmt;

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

use crate::event::RefusalKind;

/// Why TLS failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What rustls said.
    pub(super) error: Error,
    /// The server name that the client asks for, if that is the trouble.
    asked: Option<String>,
}

impl Failure {
    /// `received` is what rustls saw of the client's bytes when it failed, from the first one on.
    pub(super) fn new(error: Error, received: &[u8]) -> Self {
        let no_name = PeerMisbehaved::ServerNameMustContainOneHostName;
        let asked = (error == Error::PeerMisbehaved(no_name))
            .then(|| hello::server_name(received))
            .flatten();
        Self { error, asked }
    }

    /// What it is counted as.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' errors are open-ended"
    )]
    pub(super) fn kind(&self) -> RefusalKind {
        match &self.error {
            Error::AlertReceived(AlertDescription::CloseNotify) => RefusalKind::ClientLeft,
            Error::AlertReceived(_) => RefusalKind::ClientAlert,
            Error::NoCertificatesPresented => RefusalKind::NoCertificate,
            Error::InvalidMessage(
                InvalidMessage::InvalidServerName
                | InvalidMessage::DuplicateExtension(_)
                | InvalidMessage::CertificatePayloadTooLarge
                | InvalidMessage::HandshakePayloadTooLarge
                | InvalidMessage::NoSignatureSchemes,
            )
            | Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => RefusalKind::BrokenTls,
            Error::InvalidMessage(_) => RefusalKind::NotTls,
            Error::PeerIncompatible(_) => RefusalKind::NoCommonTls,
            Error::InvalidCertificate(CertificateError::BadEncoding) => RefusalKind::Unreadable,
            Error::InvalidCertificate(_) => RefusalKind::KeyNotProven,
            _ => RefusalKind::GateFault,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, asked: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(asked) => f.write_str(&hello::no_host_name(asked)),
            None => f.write_str(&reason(&self.error)),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' error is open-ended"
)]
fn reason(error: &Error) -> String {
    let reason = match error {
        Error::AlertReceived(alert) => return gave_up(*alert),
        Error::NoCertificatesPresented => "the client presented no certificate",
        Error::InvalidMessage(why) => no_tls(*why),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::PeerMisbehaved(why) => misbehaved(why),
        Error::InvalidCertificate(why) => unproven(why),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the client sent a TLS message out of turn"
        }
        Error::DecryptError => {
            "what the client sent cannot be decrypted: bytes were changed or lost on the way, or its keys differ"
        }
        Error::PeerSentOversizedRecord => "the client sent more than a TLS handshake may have",
        Error::FailedToGetCurrentTime => "the gate's clock cannot be read",
        Error::FailedToGetRandomBytes => "the gate cannot get random bytes",
        _ => "TLS failed inside the gate for a reason that has no name",
    };
    reason.to_owned()
}

fn gave_up(alert: AlertDescription) -> String {
    if alert == AlertDescription::CloseNotify {
        return "the client closed the connection before the handshake was over".to_owned();
    }
    let (name, number) = (alert_name(alert), u8::from(alert));
    format!(
        "the client gave up with the alert {name} ({number}): {}",
        alert_reason(alert)
    )
}

/// What a client that says this does not like in the gate.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn alert_reason(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "it does not trust the CA of the gate's certificate",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept the gate's certificate, as for its CA, its names or its dates"
        }
        AlertDescription::CertificateExpired => {
            "for it the gate's certificate, or a CA above it, is out of date; compare the clocks"
        }
        AlertDescription::CertificateRevoked => "for it the gate's certificate is revoked",
        AlertDescription::UnsupportedCertificate => {
            "for it the gate's certificate is not one of a server, or has a key that it does not know"
        }
        AlertDescription::DecryptError => {
            "it finds a signature wrong, the gate's own or one in the chain of its certificate"
        }
        AlertDescription::ProtocolVersion => "it does not speak a TLS version that the gate speaks",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the gate's certificate or settings are not of a kind that it takes"
        }
        AlertDescription::UserCanceled => "somebody or something stopped it",
        AlertDescription::InternalError => "something failed inside it",
        _ => "it does not accept what the gate sent, and does not say more",
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn no_tls(why: InvalidMessage) -> &'static str {
    match why {
        InvalidMessage::InvalidServerName => {
            "the client asks for several server names at once (RFC 6066 section 3 allows one)"
        }
        InvalidMessage::DuplicateExtension(_) => "the client has an extension twice in its hello",
        InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge => {
            "the client sent a certificate chain or another message of more than 64 KiB"
        }
        InvalidMessage::NoSignatureSchemes => "the client knows no signature algorithm",
        _ => "the client does not speak TLS, or broken TLS",
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn incompatible(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "the client supports only versions below --tls-min"
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the client offers TLS 1.2 without the extended master secret (RFC 7627)"
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            "the client offers no cipher suite that the gate has"
        }
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired => {
            "the client offers no key exchange that the gate has (X25519MLKEM768, X25519, P-256, P-384)"
        }
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "the client cannot verify a signature by the gate's kind of key"
        }
        PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            "the client does not say which signatures it can verify, as if it were older than TLS 1.2"
        }
        PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::UncompressedEcPointsRequired => {
            "the client does not take uncompressed points, which every client must (RFC 8422)"
        }
        PeerIncompatible::NullCompressionRequired => {
            "the client insists on compression, which the gate never uses"
        }
        PeerIncompatible::IncorrectCertificateTypeExtension
        | PeerIncompatible::UnsolicitedCertificateTypeExtension => {
            "the client wants raw public keys in place of certificates"
        }
        _ => "the client lacks something in TLS that the gate needs",
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn misbehaved(why: &PeerMisbehaved) -> &'static str {
    match why {
        PeerMisbehaved::ServerNameMustContainOneHostName => {
            "the client asks for a server name that is no host name; it has to ask for one without a port or brackets"
        }
        PeerMisbehaved::ServerNameDifferedOnRetry
        | PeerMisbehaved::CipherSuiteDifferedOnRetry
        | PeerMisbehaved::HandshakeHashVariedAfterRetry
        | PeerMisbehaved::RefusedToFollowHelloRetryRequest
        | PeerMisbehaved::EarlyDataAttemptedInSecondClientHello
        | PeerMisbehaved::MissingPskExtensionInSecondClientHello => {
            "the client broke the protocol: its second hello is not its first one with the key share that was asked for"
        }
        PeerMisbehaved::OfferedDuplicateKeyShares
        | PeerMisbehaved::InvalidKeyShare
        | PeerMisbehaved::MissingKeyShare
        | PeerMisbehaved::WrongGroupForKeyShare => {
            "the client broke the protocol: its key share is broken, or there twice"
        }
        PeerMisbehaved::IncorrectBinder
        | PeerMisbehaved::MissingBinderInPskExtension
        | PeerMisbehaved::MissingPskModesExtension
        | PeerMisbehaved::PskExtensionMustBeLast
        | PeerMisbehaved::PskExtensionWithMismatchedIdsAndBinders => {
            "the client broke the protocol: it wants to resume a session, which never works here, and not even rightly"
        }
        PeerMisbehaved::TooManyEmptyFragments
        | PeerMisbehaved::TooManyKeyUpdateRequests
        | PeerMisbehaved::TooManyRenegotiationRequests
        | PeerMisbehaved::TooManyWarningAlertsReceived => {
            "the client broke the protocol: it repeats what means nothing"
        }
        PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme
        | PeerMisbehaved::SignedKxWithWrongAlgorithm => {
            "the client proves its key by a signature algorithm that the gate did not offer"
        }
        PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
        | PeerMisbehaved::KeyEpochWithPendingFragment
        | PeerMisbehaved::MessageInterleavedWithHandshakeMessage => {
            "the client broke the protocol: it sent a message in the middle of another"
        }
        _ => "the client broke the protocol",
    }
}

/// What is wrong about the key or its certificate, where no verdict on the chain says it better.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn unproven(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::BadSignature => {
            "the client's signature is wrong: it does not hold the key of the certificate that it presents"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the client signs with an algorithm that does not fit its key or that TLS has no use for here"
        }
        CertificateError::BadEncoding => "the client's certificate cannot be read",
        _ => "the client's certificate, or its proof that it holds the key, is not acceptable",
    }
}

/// A number, its name, and what a record says of a session that a client ended with it.
type Alert = (u8, &'static str, &'static str);

macro_rules! alerts {
    ($($number:literal $name:literal)*) => {
        [$((
            $number,
            $name,
            concat!("the client ended TLS with the alert ", $name, " (", $number, ")"),
        )),*]
    };
}

/// RFC 8446 section 6 and the registry that it began.
const ALERTS: [Alert; 36] = alerts! {
    0 "close_notify"
    10 "unexpected_message"
    20 "bad_record_mac"
    21 "decryption_failed"
    22 "record_overflow"
    30 "decompression_failure"
    40 "handshake_failure"
    41 "no_certificate"
    42 "bad_certificate"
    43 "unsupported_certificate"
    44 "certificate_revoked"
    45 "certificate_expired"
    46 "certificate_unknown"
    47 "illegal_parameter"
    48 "unknown_ca"
    49 "access_denied"
    50 "decode_error"
    51 "decrypt_error"
    52 "too_many_cids_requested"
    60 "export_restriction"
    70 "protocol_version"
    71 "insufficient_security"
    80 "internal_error"
    86 "inappropriate_fallback"
    90 "user_canceled"
    100 "no_renegotiation"
    109 "missing_extension"
    110 "unsupported_extension"
    111 "certificate_unobtainable"
    112 "unrecognized_name"
    113 "bad_certificate_status_response"
    114 "bad_certificate_hash_value"
    115 "unknown_psk_identity"
    116 "certificate_required"
    120 "no_application_protocol"
    121 "ech_required"
};

fn known(alert: AlertDescription) -> Option<&'static Alert> {
    let number = u8::from(alert);
    ALERTS.iter().find(|(known, ..)| *known == number)
}

/// The name of an alert, which is what other programs show.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    known(alert).map_or("without a name".to_owned(), |(_, name, _)| {
        (*name).to_owned()
    })
}

/// Why a session is over whose client sent this alert.
pub(super) fn ended_by(alert: AlertDescription) -> &'static str {
    known(alert).map_or(
        "the client ended TLS with an alert that has no name",
        |(.., why)| why,
    )
}

#[cfg(test)]
mod tests;
