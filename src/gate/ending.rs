//! How relaying ends: where both directions stand in; what both sides are shown and what is recorded out.
//!
//! Pure, and two tables, so that they can be read and are tested cell by cell. A direction has a source, which speaks,
//! and a sink, which is spoken to. What was cut off on one side is never shown to the other as finished.

use std::borrow::Cow;
use std::time::Duration;

use crate::event::{Ended, Outcome};

/// Once one direction has ended, nothing may move for at most this long, or for the idle timeout if that is shorter.
const HALF_CLOSED: Duration = Duration::from_secs(60);

const FINISHED: &str = "both sides finished";
const UNANSWERED: &str =
    "both sides finished, and the target had said nothing since the client last spoke";
const GONE: &str = "the client left before the target had answered";
const TARGET_DEAF: &str = "the target took no more bytes before the client had finished";
const CLIENT_DEAF: &str = "the client took no more bytes before the target had finished";

/// Where one direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// The source may say more.
    Open,
    /// The source has finished; the sink has not been given all of it, the end included.
    Ending,
    /// The sink was given everything, the end included.
    Ended,
    /// The source was cut off; the sink has not been given all that was said before.
    Cutting(&'static str),
    /// The sink was given all that was said before the cut.
    Cut(&'static str),
    /// The sink takes no more. What the source still says is lost.
    Deaf,
    /// The sink takes no more, and the source has ended, in whatever way.
    Lost,
}

impl Flow {
    /// Where the direction stands once its sink takes no more.
    pub(super) fn deaf(self) -> Self {
        match self {
            Self::Open | Self::Deaf => Self::Deaf,
            Self::Ending | Self::Ended | Self::Lost => Self::Lost,
            Self::Cutting(why) | Self::Cut(why) => Self::Cut(why),
        }
    }
}

/// The end of a session, and how it looks from both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Both see a clean end: close_notify to the client, FIN to the target.
    Clean(Ended),
    /// Neither may take it for one: no close_notify to the client, a reset to the target.
    Cut(Ended),
}

impl End {
    fn clean(outcome: Outcome, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Clean(Ended::new(outcome, why))
    }

    fn cut(outcome: Outcome, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Cut(Ended::new(outcome, why))
    }
}

/// Whether the session is over, and as what. `upward` goes from the client to the target; `unanswered` says that the
/// target has said nothing since the client last spoke.
pub(super) fn ending(upward: Flow, downward: Flow, unanswered: bool) -> Option<End> {
    use Flow::{Cut, Cutting, Deaf, Ended, Ending, Lost, Open};
    use Outcome::{IoError, Relayed, Unanswered};
    match (upward, downward) {
        (Cut(why), _) | (_, Cut(why)) => Some(End::cut(IoError, why)),
        (Ended, Ended) if unanswered => Some(End::clean(Unanswered, UNANSWERED)),
        (Ended, Ended) => Some(End::clean(Relayed, FINISHED)),
        (Deaf | Lost, Ended) => Some(End::clean(Relayed, TARGET_DEAF)),
        (Ended, Deaf | Lost) if unanswered => Some(End::cut(Unanswered, GONE)),
        (Ended | Deaf | Lost, Deaf | Lost) => Some(End::cut(IoError, CLIENT_DEAF)),
        // A source may say more, or a sink has not been given everything.
        (Open | Ending | Cutting(_), Open | Ending | Ended | Cutting(_) | Deaf | Lost)
        | (Ended | Deaf | Lost, Open | Ending | Cutting(_)) => None,
    }
}

/// How long nothing may move.
pub(super) fn patience(upward: Flow, downward: Flow, idle: Duration) -> Duration {
    match (upward, downward) {
        (Flow::Open, Flow::Open) => idle,
        _ => idle.min(HALF_CLOSED),
    }
}

/// As what a session is over in which nothing moved for as long as [`patience`] has it. `waiting` says that one side
/// has not taken all bytes that came for it.
pub(super) fn out_of_patience(
    upward: Flow,
    downward: Flow,
    unanswered: bool,
    waiting: bool,
    idle: Duration,
) -> End {
    use Flow::{Cut, Cutting, Deaf, Ended, Ending, Lost, Open};
    use Outcome::{IdleTimeout, Unanswered};
    let limit = patience(upward, downward, idle);
    let still = |then: &str| format!("no byte moved for {limit:?}{then}");
    let owed = if unanswered {
        ", and the target had said nothing since the client last spoke"
    } else {
        ""
    };
    match (upward, downward) {
        _ if waiting => {
            let lost = ", and bytes that one side never took are lost";
            End::cut(IdleTimeout, still(lost))
        }
        (Open, Open) => End::clean(IdleTimeout, still(owed)),
        (Open, Ended) => End::clean(IdleTimeout, still(" after the target had finished")),
        (Ended, Open) if unanswered && limit < idle => {
            let why = format!("the client finished, and the target said nothing for {limit:?}");
            End::cut(Unanswered, why)
        }
        (Ended, Open) => {
            let then = format!(" after the client had finished{owed}");
            End::clean(IdleTimeout, still(&then))
        }
        (Open | Ending | Ended | Cutting(_) | Cut(_) | Deaf | Lost, _) => {
            End::cut(IdleTimeout, still(", and one side takes no more"))
        }
    }
}

#[cfg(test)]
mod tests;
