//! Everything a connection can end as. Read this and know what an operator may see in a record or a label.

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

/// An outcome with the reason a person wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it counts as.
    pub outcome: Outcome,
    /// Why, in words; never raw text of a stranger.
    pub reason: Cow<'static, str>,
}

impl Ended {
    /// Pairs an outcome with its reason.
    pub fn new(outcome: Outcome, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome,
            reason: reason.into(),
        }
    }
}
