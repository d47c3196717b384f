//! Why a client may not pass, and how it hears of it: one row a cause.
//!
//! Its own file so that the sentence, the alert and the label of a cause stand beside each other. Text of certificates
//! is here only where a CA of the bundle vouches for it; what a stranger claims is in no sentence.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, OtherError};

use super::revocation::Unknown;
use super::rules::Fault;
use crate::event::RefusalKind;
use crate::identity::{Client, ClientAuthUsage, UnreadableCertificate, rfc3339};
use crate::policy::NotAdmitted;

/// Why a client may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It sent more certificates than anybody needs; this many.
    TooMany(usize),
    /// No CA of the bundle vouches for its certificate.
    Unvouched(Unvouched),
    /// A certificate on the way from the bundle to the client is not good.
    Bad {
        /// Which.
        whose: Whose,
        /// Why not.
        why: Why,
    },
    /// What the certificate says of the client could not be established.
    Unreadable(UnreadableCertificate),
    /// The chain holds, and no rule names the client.
    NotAdmitted {
        /// Who it is.
        client: Arc<Client>,
        /// The verdict of the rules.
        error: NotAdmitted,
    },
}

/// A certificate by its place in a chain, with its subject for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The client's own.
    Client,
    /// One that the client sent, and that a CA of the bundle vouches for.
    Issuer(String),
    /// An entry of the bundle.
    Ca(String),
}

/// What is wrong with one certificate of a chain whose signatures are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It cannot be used in its place, ever.
    Fault(Fault),
    /// It was good until then.
    Expired(UnixTime),
    /// It is good from then on.
    Early(UnixTime),
    /// A list names it.
    Revoked,
    /// No list knows.
    StatusUnknown(Unknown),
    /// The list that would know is stale since then.
    ListStale(UnixTime),
    /// It allows fewer issuers below it than there are (RFC 5280 section 4.2.1.9).
    PathLen {
        /// How many it allows.
        most: usize,
    },
    /// A name lies outside the name constraints of a CA above it.
    NameConstraints,
    /// webpki refuses it for a reason that nothing else here sees.
    Other,
}

/// Why no CA of the bundle vouches for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unvouched {
    /// None bears the name of its issuer; so many certificates were sent beside it.
    NoCa {
        /// How many others the client sent.
        sent: usize,
    },
    /// It is signed with its own key.
    SelfSigned,
    /// One bears the name of its issuer in another encoding.
    OtherEncoding {
        /// That CA's subject.
        ca: String,
    },
    /// One bears the name, and did not sign it.
    OtherKey {
        /// That CA's subject.
        ca: String,
    },
    /// One bears the name, and the signature is of a kind that does not count.
    Algorithm {
        /// The algorithm.
        algorithm: String,
    },
    /// One bears the name, and has a key that no signature can be verified with.
    CaKey {
        /// That CA's subject.
        ca: String,
        /// What is wrong with its key.
        fault: Fault,
    },
}

/// A row: the sentence, the alert (by way of rustls, which turns the error into it), the label.
struct Told {
    words: String,
    error: CertificateError,
    kind: RefusalKind,
}

impl Refusal {
    /// The client, where its chain was verified.
    pub fn client(&self) -> Option<&Arc<Client>> {
        match self {
            Self::NotAdmitted { client, .. } => Some(client),
            Self::TooMany(_) | Self::Unvouched(_) | Self::Bad { .. } | Self::Unreadable(_) => None,
        }
    }

    /// The alert by which the client hears of it (RFC 8446 section 6.2).
    pub fn alert(&self) -> AlertDescription {
        self.told().error.into()
    }

    /// The TLS error that rustls turns into the alert.
    pub(super) fn tls_error(&self) -> CertificateError {
        self.told().error
    }

    /// What it is counted as.
    pub fn kind(&self) -> RefusalKind {
        self.told().kind
    }

    fn told(&self) -> Told {
        match self {
            Self::TooMany(sent) => Told {
                words: format!("the client sent {sent} certificates, and no chain needs so many"),
                error: CertificateError::BadEncoding,
                kind: RefusalKind::Unreadable,
            },
            Self::Unvouched(why) => Told {
                words: why.to_string(),
                error: CertificateError::UnknownIssuer,
                kind: RefusalKind::UnknownIssuer,
            },
            Self::Bad { whose, why } => why.told(whose),
            Self::Unreadable(error) => Told {
                words: error.to_string(),
                error: CertificateError::BadEncoding,
                kind: RefusalKind::Unreadable,
            },
            Self::NotAdmitted { client, error } => Told {
                words: format!("{error}: it is {}", client.brief_names()),
                error: CertificateError::ApplicationVerificationFailure,
                kind: RefusalKind::NoRule,
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told().words)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("the certificate"),
            Self::Issuer(name) => write!(f, "the intermediate CA {name:?}"),
            Self::Ca(name) => write!(f, "the CA {name:?} of the client-CA bundle"),
        }
    }
}

impl Why {
    fn told(&self, whose: &Whose) -> Told {
        let (words, error, kind) = match self {
            Self::Fault(fault) => {
                let (error, kind) = told_of_fault(fault, whose);
                (format!("{whose} {fault}"), error, kind)
            }
            Self::Expired(at) => (
                format!("{whose} expired at {}", rfc3339(*at)),
                CertificateError::Expired,
                RefusalKind::Expired,
            ),
            Self::Early(from) => (
                format!("{whose} is not valid before {}", rfc3339(*from)),
                CertificateError::NotValidYet,
                RefusalKind::Expired,
            ),
            Self::Revoked => (
                format!("{whose} is revoked"),
                CertificateError::Revoked,
                RefusalKind::Revoked,
            ),
            Self::StatusUnknown(unknown) => (
                format!("whether {whose} is revoked is unknown: {unknown}"),
                CertificateError::UnknownRevocationStatus,
                RefusalKind::StatusUnknown,
            ),
            Self::ListStale(since) => (
                format!(
                    "the revocation list that speaks for {whose} is stale since {} and --stale-crl is refuse",
                    rfc3339(*since)
                ),
                CertificateError::ExpiredRevocationList,
                RefusalKind::ListStale,
            ),
            Self::PathLen { most } => (
                format!("{whose} allows {most} CAs below it, and there are more (pathLenConstraint)"),
                CertificateError::UnknownIssuer,
                RefusalKind::Constraints,
            ),
            Self::NameConstraints => (
                "a name lies outside the name constraints of a CA above it, or these constrain URIs or directory \
                 names, which the gate does not judge"
                    .to_owned(),
                unknown_certificate(),
                RefusalKind::Constraints,
            ),
            Self::Other => (
                format!("{whose} is not as RFC 5280 wants it"),
                unknown_certificate(),
                RefusalKind::Unreadable,
            ),
        };
        Told { words, error, kind }
    }
}

fn told_of_fault(fault: &Fault, whose: &Whose) -> (CertificateError, RefusalKind) {
    match fault {
        Fault::Malformed(_) | Fault::Version | Fault::Twice(_) => {
            (CertificateError::BadEncoding, RefusalKind::Unreadable)
        }
        Fault::Critical(_) => (
            CertificateError::UnhandledCriticalExtension,
            RefusalKind::Unreadable,
        ),
        Fault::NotCa | Fault::KeyCertSign => {
            (CertificateError::UnknownIssuer, RefusalKind::KeyUsage)
        }
        Fault::Key(_) => match whose {
            Whose::Client => (CertificateError::InvalidPurpose, RefusalKind::KeyUsage),
            Whose::Issuer(_) | Whose::Ca(_) => {
                (CertificateError::UnknownIssuer, RefusalKind::KeyUsage)
            }
        },
        Fault::NotForClients
        | Fault::CaAsClient
        | Fault::DigitalSignature
        | Fault::ClientAuth(
            ClientAuthUsage::Absent | ClientAuthUsage::NotListed | ClientAuthUsage::Listed,
        ) => (CertificateError::InvalidPurpose, RefusalKind::KeyUsage),
    }
}

/// certificate_unknown: some other issue (RFC 8446 section 6.2).
fn unknown_certificate() -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(fmt::Error)))
}

impl fmt::Display for Unvouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCa { sent: 0 } => f.write_str(
                "no CA of the client-CA bundle issued the certificate, and the client sent no other with it",
            ),
            Self::NoCa { sent } => write!(
                f,
                "no CA of the client-CA bundle issued the certificate, nor one of the {sent} that the client sent with it"
            ),
            Self::SelfSigned => {
                f.write_str("the certificate is self-signed, by no CA of the client-CA bundle")
            }
            Self::OtherEncoding { ca } => write!(
                f,
                "the certificate names its issuer like the CA {ca:?} of the client-CA bundle, but encoded in another \
                 way (string type, case or spaces), and only the same bytes are the same name (RFC 5280 section 7.1)"
            ),
            Self::OtherKey { ca } => write!(
                f,
                "the certificate, or one above it, was not signed by the CA {ca:?} of the client-CA bundle, but by one \
                 of the same name with another key"
            ),
            Self::Algorithm { algorithm } => write!(
                f,
                "the certificate, or one above it, is signed with {algorithm}, which TLS does not take here; let the CA \
                 sign with SHA-256 or better"
            ),
            Self::CaKey { ca, fault } => {
                write!(f, "the CA {ca:?} of the client-CA bundle cannot vouch: it {fault}")
            }
        }
    }
}
