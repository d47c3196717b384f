//! What a client can do wrong once the handshake is over: the alert that it hears, and what its record says.

use rustls::AlertDescription;

/// One way to break TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) alert: AlertDescription,
    pub(super) why: &'static str,
}

impl Fault {
    pub(super) const NOT_AUTHENTIC: Self = Self {
        alert: AlertDescription::BadRecordMac,
        why: "the client broke TLS: a record is not authentic; it was changed or lost bytes on the way, or its key differs",
    };
    pub(super) const TOO_LONG: Self = Self {
        alert: AlertDescription::RecordOverflow,
        why: "the client broke TLS: a record is longer than any may be",
    };
    pub(super) const TYPE: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: a record is of a type that has no place after the handshake",
    };
    /// RFC 8446 section 5.4, RFC 5246 section 6.2.1: only data may be empty.
    pub(super) const EMPTY: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: a record is empty and of a type that may not be",
    };
    pub(super) const MESSAGE: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: a handshake message has no place after the handshake",
    };
    /// RFC 8446 section 5.1: nothing comes between the pieces of one.
    pub(super) const BETWEEN: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: a record of another type came in the middle of a handshake message",
    };
    /// RFC 8446 section 5.1: what follows new keys is sealed with them.
    pub(super) const BEHIND: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: a record goes on behind the handshake message that has to end it",
    };
    pub(super) const UNREADABLE: Self = Self {
        alert: AlertDescription::DecodeError,
        why: "the client broke TLS: a handshake message is not as long as one of its type is",
    };
    pub(super) const REQUEST: Self = Self {
        alert: AlertDescription::IllegalParameter,
        why: "the client broke TLS: it asks with new keys for something that does not exist",
    };
    pub(super) const ALERT: Self = Self {
        alert: AlertDescription::DecodeError,
        why: "the client broke TLS: a record of alerts holds more or less than one",
    };
    pub(super) const ALERT_LEVEL: Self = Self {
        alert: AlertDescription::IllegalParameter,
        why: "the client broke TLS: an alert is neither a warning nor fatal",
    };
    pub(super) const FRUITLESS: Self = Self {
        alert: AlertDescription::UnexpectedMessage,
        why: "the client broke TLS: it repeats new keys or warnings without any data between them",
    };
    /// Not the client's.
    pub(super) const OURS: Self = Self {
        alert: AlertDescription::InternalError,
        why: "TLS failed inside the gate: a record could not be opened, or a new key not be made",
    };
}
