//! What was last seen of a route's target: that it took a connection, or why it took none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::RouteMetrics;

/// The newest of each, since the gate was started.
#[derive(Debug, Clone, Default)]
pub struct LastSeen {
    /// When it took a connection.
    pub reached: Option<SystemTime>,
    /// When it could not be reached, and why.
    pub failure: Option<(SystemTime, String)>,
}

/// Shared by all sessions of a route.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<LastSeen>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, LastSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(&self, reason: &str) {
        self.lock().failure = Some((SystemTime::now(), reason.to_owned()));
    }
}

impl RouteMetrics {
    /// Counts a target that answered a connection attempt.
    pub fn target_connected(&self, took: Duration) {
        self.target_connect.observe(took.as_secs_f64());
        self.target.lock().reached = Some(SystemTime::now());
    }

    /// What was last seen of the target.
    pub fn target_seen(&self) -> LastSeen {
        self.target.lock().clone()
    }
}
