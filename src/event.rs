//! Everything a connection can end as, and why it was refused. Read this and know what an operator may see in a record or
//! a label.

use std::borrow::Cow;

/// How a connection ended; the value of the `outcome` label and field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides finished, or the target did and took no more of the client.
    Relayed,
    /// Both sides finished, or were given up on, and the target had said nothing since the client last spoke.
    Unanswered,
    /// The source address lies in none of the route's networks; no TLS was spoken.
    SourceDenied,
    /// A cap was reached: per source, handshakes in flight, or admitted connections.
    OverLimit,
    /// TLS failed, the client's certificate included.
    HandshakeFailed,
    /// The client did not finish the handshake in time.
    HandshakeTimeout,
    /// The certificate is good, but no allow rule names the client.
    NotAdmitted,
    /// The client was admitted and the target could not be reached.
    TargetUnreachable,
    /// No byte went either way for too long. Ends cleanly, unless bytes that one side never took are lost.
    IdleTimeout,
    /// The session was as old as a session may be.
    SessionLimit,
    /// The client is no longer admissible.
    Evicted,
    /// The gate stopped before the session was over.
    Drained,
    /// One side was cut off: a reset, or TLS that ended without close_notify.
    IoError,
}

impl Outcome {
    /// Every outcome, in the order of the variants.
    pub const ALL: [Self; 13] = [
        Self::Relayed,
        Self::Unanswered,
        Self::SourceDenied,
        Self::OverLimit,
        Self::HandshakeFailed,
        Self::HandshakeTimeout,
        Self::NotAdmitted,
        Self::TargetUnreachable,
        Self::IdleTimeout,
        Self::SessionLimit,
        Self::Evicted,
        Self::Drained,
        Self::IoError,
    ];

    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Unanswered => "unanswered",
            Self::SourceDenied => "source_denied",
            Self::OverLimit => "over_limit",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::NotAdmitted => "not_admitted",
            Self::TargetUnreachable => "target_unreachable",
            Self::IdleTimeout => "idle_timeout",
            Self::SessionLimit => "session_limit",
            Self::Evicted => "evicted",
            Self::Drained => "drained",
            Self::IoError => "io_error",
        }
    }

    /// Whose fault it is decides how loud the record is: the peer's is news, the target's and the operator's a warning.
    pub fn level(self) -> tracing::Level {
        match self {
            Self::Relayed
            | Self::SourceDenied
            | Self::HandshakeFailed
            | Self::HandshakeTimeout
            | Self::NotAdmitted
            | Self::IdleTimeout
            | Self::SessionLimit
            | Self::Evicted
            | Self::Drained
            | Self::IoError => tracing::Level::INFO,
            Self::Unanswered | Self::OverLimit | Self::TargetUnreachable => tracing::Level::WARN,
        }
    }
}

/// Why a connection was not admitted; the value of the `reason` label and of the `refusal` field. Every connection that
/// ended before it was admitted has exactly one, but for those that the gate's own end cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The source address lies in none of the route's networks.
    Source,
    /// A cap was reached, or the connection gave way to newer ones.
    OverLimit,
    /// The client did not finish the handshake in time.
    Timeout,
    /// The client went away before the handshake was over, without a word.
    ClientLeft,
    /// The client refused the gate, by an alert.
    ClientAlert,
    /// What the client sent is no TLS.
    NotTls,
    /// The client speaks TLS and breaks its rules.
    BrokenTls,
    /// Client and gate have no version, cipher, group or signature in common.
    NoCommonTls,
    /// The client presented no certificate.
    NoCertificate,
    /// The client did not prove the key of the certificate that it presented.
    KeyNotProven,
    /// A certificate cannot be read, or has what nobody may pass over.
    Unreadable,
    /// No CA of the bundle vouches for the certificate.
    UnknownIssuer,
    /// A certificate is past its end, or not good yet.
    Expired,
    /// A certificate is revoked.
    Revoked,
    /// No list says whether a certificate is revoked.
    StatusUnknown,
    /// The list that would say so is stale.
    ListStale,
    /// A certificate is not for this use.
    KeyUsage,
    /// A limit that a CA set is passed.
    Constraints,
    /// The certificate is good, and no rule names the client.
    NoRule,
    /// The gate itself failed.
    GateFault,
}

impl RefusalKind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 20] = [
        Self::Source,
        Self::OverLimit,
        Self::Timeout,
        Self::ClientLeft,
        Self::ClientAlert,
        Self::NotTls,
        Self::BrokenTls,
        Self::NoCommonTls,
        Self::NoCertificate,
        Self::KeyNotProven,
        Self::Unreadable,
        Self::UnknownIssuer,
        Self::Expired,
        Self::Revoked,
        Self::StatusUnknown,
        Self::ListStale,
        Self::KeyUsage,
        Self::Constraints,
        Self::NoRule,
        Self::GateFault,
    ];

    /// The name users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::OverLimit => "over_limit",
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::ClientAlert => "client_alert",
            Self::NotTls => "not_tls",
            Self::BrokenTls => "broken_tls",
            Self::NoCommonTls => "no_common_tls",
            Self::NoCertificate => "no_certificate",
            Self::KeyNotProven => "key_not_proven",
            Self::Unreadable => "unreadable",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::StatusUnknown => "status_unknown",
            Self::ListStale => "list_stale",
            Self::KeyUsage => "key_usage",
            Self::Constraints => "constraints",
            Self::NoRule => "no_rule",
            Self::GateFault => "gate_fault",
        }
    }

    /// The outcome that it is a part of.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Source => Outcome::SourceDenied,
            Self::OverLimit => Outcome::OverLimit,
            Self::Timeout => Outcome::HandshakeTimeout,
            Self::NoRule => Outcome::NotAdmitted,
            Self::ClientLeft
            | Self::ClientAlert
            | Self::NotTls
            | Self::BrokenTls
            | Self::NoCommonTls
            | Self::NoCertificate
            | Self::KeyNotProven
            | Self::Unreadable
            | Self::UnknownIssuer
            | Self::Expired
            | Self::Revoked
            | Self::StatusUnknown
            | Self::ListStale
            | Self::KeyUsage
            | Self::Constraints
            | Self::GateFault => Outcome::HandshakeFailed,
        }
    }
}

/// An outcome with the reason a person wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it counts as.
    pub outcome: Outcome,
    /// What it counts as among the refusals, if it is one.
    pub refusal: Option<RefusalKind>,
    /// Why, in words; never raw text of a stranger.
    pub reason: Cow<'static, str>,
}

impl Ended {
    /// The end of a connection that was not refused.
    pub fn new(outcome: Outcome, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome,
            refusal: None,
            reason: reason.into(),
        }
    }

    /// A refusal; its outcome follows from its kind.
    pub fn refused(kind: RefusalKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome: kind.outcome(),
            refusal: Some(kind),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A counter is found by the place of its variant.
    #[test]
    fn every_variant_stands_in_its_place_under_a_name_of_its_own() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
        }
        for (place, kind) in RefusalKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?}");
        }
        let outcomes: BTreeSet<_> = Outcome::ALL.map(Outcome::as_str).into();
        assert_eq!(outcomes.len(), Outcome::ALL.len());
        let kinds: BTreeSet<_> = RefusalKind::ALL.map(RefusalKind::as_str).into();
        assert_eq!(kinds.len(), RefusalKind::ALL.len());
    }
}
