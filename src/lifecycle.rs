//! Where the gate stands in its life, as one value that only moves forward.
//!
//! Starting, serving, draining, forced, stopped: `/readyz`, the accept loops and every session watch the same
//! value, so a gate that drains can never look ready again.

use tokio::sync::watch;

/// The phases in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Listeners are being bound.
    Starting,
    /// Clients are let in.
    Serving,
    /// Nobody new is let in; sessions may finish.
    Draining,
    /// Sessions end now.
    Forced,
    /// Nothing is left to do.
    Stopped,
}

/// The side that moves the gate on.
#[derive(Debug, Clone)]
pub struct Lifecycle(watch::Sender<Phase>);

impl Lifecycle {
    /// A gate that is starting.
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Starting))
    }

    /// Moves on to `phase`; a phase already behind is left behind.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Where the gate stands.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns once the gate has reached `phase`. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.0.subscribe();
        // `self` holds a sender, so the channel cannot close while this waits.
        let _open = phases.wait_for(|now| *now >= phase).await;
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_once_left_never_returns() {
        let lifecycle = Lifecycle::new();
        lifecycle.advance(Phase::Draining);
        lifecycle.advance(Phase::Serving);
        assert_eq!(lifecycle.phase(), Phase::Draining);
        lifecycle.reached(Phase::Serving).await;
        lifecycle.reached(Phase::Draining).await;
    }
}
