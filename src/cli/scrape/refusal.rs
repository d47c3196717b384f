//! An error of any layer in; which step it was, what happened and what it usually means out.
//!
//! Its own file because the explanations are the point of the command: read the tables here to know them all. Does no
//! IO.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::TlsFacts;
use super::meanings;
use super::untrusted;
use crate::gate::alert_name;
use crate::identity::printable;

/// Why there is no good answer.
#[derive(Debug)]
pub struct Refusal {
    /// How far it got.
    pub step: Step,
    /// The server's words, if it said any in TLS.
    pub alert: Option<AlertDescription>,
    /// What it usually means, and what to do.
    pub meaning: &'static str,
    /// What the handshake agreed on, if it got that far.
    pub tls: Option<Box<TlsFacts>>,
    what: String,
}

/// The steps of a scrape, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The host has an address and a TCP connection to it.
    Connecting,
    /// Both sides have a key. In TLS 1.2 the server has judged the client, too.
    Handshake,
    /// Up to the head of the answer. In TLS 1.3 the client is done before the server has judged it, so a refusal of
    /// its certificate arrives here.
    FirstRead,
    /// The answer says whether it is one.
    Status,
    /// The rest of the answer.
    Body,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "while connecting",
            Self::Handshake => "in the TLS handshake",
            Self::FirstRead => "at the first read after the TLS handshake",
            Self::Status => "by its HTTP status",
            Self::Body => "while reading the body",
        })
    }
}

/// What ended a scrape. The text says what happened, [`meanings::of`] why it usually does.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("the host has no address: {0}")]
    Unresolved(io::Error),
    #[error("connection refused")]
    Refused,
    #[error("no connection: {0}")]
    Unreachable(io::Error),
    #[error("no end after {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    #[error("the server sent the alert {} ({})", alert_name(*.0), u8::from(*.0))]
    Alert(AlertDescription),
    #[error("the server's certificate is not accepted: {}", untrusted::what(.0))]
    Untrusted(CertificateError),
    #[error("what answered does not speak TLS")]
    NotTls,
    #[error("TLS failed: {}", tls_reason(.0))]
    Tls(rustls::Error),
    #[error("connection reset")]
    Reset,
    #[error("the connection ended without a TLS close_notify")]
    Cut,
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error("not an HTTP answer: {}", printable(.0))]
    NotHttp(String),
    #[error("{0}")]
    Status(u16),
    #[error("more than {0} bytes")]
    TooLong(usize),
    #[error("{0}")]
    Io(io::Error),
}

/// Marks an end of the stream that TLS did not announce, so that it is known from ends that HTTP did not expect.
#[derive(Debug, thiserror::Error)]
#[error("end of stream without close_notify")]
pub(super) struct EndWithoutNotice;

impl Refusal {
    pub(super) fn new(step: Step, cause: &Cause) -> Self {
        let alert = match cause {
            Cause::Alert(alert) => Some(*alert),
            Cause::Unresolved(_)
            | Cause::Refused
            | Cause::Unreachable(_)
            | Cause::TimedOut(_)
            | Cause::Untrusted(_)
            | Cause::NotTls
            | Cause::Tls(_)
            | Cause::Reset
            | Cause::Cut
            | Cause::Closed
            | Cause::NotHttp(_)
            | Cause::Status(_)
            | Cause::TooLong(_)
            | Cause::Io(_) => None,
        };
        Self {
            step,
            alert,
            meaning: meanings::of(step, cause),
            tls: None,
            what: cause.to_string(),
        }
    }

    /// The same, with what was agreed on before it.
    pub(super) fn after(mut self, tls: TlsFacts) -> Self {
        self.tls = Some(Box::new(tls));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.what)
    }
}

impl Error for Refusal {}

impl Cause {
    /// Finds what happened under the layers of an error: hyper wraps an IO error, and that wraps rustls' own.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut layer = Some(error);
        let mut incomplete = false;
        while let Some(error) = layer {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::of_tls(error);
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                incomplete |= error.is_incomplete_message();
                if error.is_parse() {
                    return Self::NotHttp(error.to_string());
                }
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                // An IO error shows what it wraps through get_ref, not through source.
                let inner = error.get_ref();
                let is_marker = inner.is_some_and(|inner| inner.is::<EndWithoutNotice>());
                match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(tls) => return Self::of_tls(tls),
                    None => return Self::of_io(error, is_marker),
                }
            }
            layer = error.source();
        }
        if incomplete {
            return Self::Closed;
        }
        Self::NotHttp(error.to_string())
    }

    fn of_tls(error: &rustls::Error) -> Self {
        if let rustls::Error::AlertReceived(alert) = error {
            return Self::Alert(*alert);
        }
        if let rustls::Error::InvalidCertificate(error) = error {
            return Self::Untrusted(error.clone());
        }
        if let rustls::Error::InvalidMessage(_) = error {
            return Self::NotTls;
        }
        Self::Tls(error.clone())
    }

    fn of_io(error: &io::Error, without_notice: bool) -> Self {
        let kind = error.kind();
        if without_notice {
            Self::Cut
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else if is_reset(kind) {
            Self::Reset
        } else {
            Self::Io(io::Error::new(kind, error.to_string()))
        }
    }
}

/// What failed, in words that name no library.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' error is open-ended"
)]
fn tls_reason(error: &rustls::Error) -> &'static str {
    use rustls::Error;
    match error {
        Error::PeerIncompatible(_) => "the server offers nothing that this command speaks",
        Error::PeerMisbehaved(_) => "the server broke the protocol",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server sent a message out of turn"
        }
        Error::DecryptError => {
            "what the server sent cannot be decrypted: bytes were changed or lost on the way"
        }
        Error::PeerSentOversizedRecord => "the server sent more than TLS allows",
        Error::NoCertificatesPresented => "the server presented no certificate",
        _ => "for a reason that has no name",
    }
}

/// The other side of a connection threw it away.
pub(super) fn is_reset(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
