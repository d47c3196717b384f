//! Tells of each route, for as long as it is so, that its target may be reached without the gate.
//!
//! Its own file because it follows no file of ours: targets start and end on their own. Looks at the start and at every
//! reload interval; the looking happens off the data path.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::config::{Config, Route};
use crate::listen::beyond;
use crate::telemetry::Metrics;

/// Of each route who exposes its target, in the order of the configuration; shared with those who show it.
#[derive(Debug, Clone, Default)]
pub struct Exposed(Arc<Mutex<Vec<Option<SocketAddr>>>>);

impl Exposed {
    /// Who exposes the target of this route, as far as is known.
    pub fn route(&self, index: usize) -> Option<SocketAddr> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(index).copied().flatten()
    }

    /// Returns what was seen before.
    fn see(&self, now: Vec<Option<SocketAddr>>) -> Vec<Option<SocketAddr>> {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }
}

/// Looks again and again.
#[derive(Debug)]
pub struct Lookout {
    routes: Vec<Route>,
    /// The gate's own listeners, which may have a target's port on another address.
    own: Vec<SocketAddr>,
    interval: Duration,
    metrics: Arc<Metrics>,
    seen: Exposed,
}

impl Lookout {
    /// For the targets of `config`; `own` are the gate's listeners.
    pub fn new(config: &Config, own: Vec<SocketAddr>, metrics: Arc<Metrics>) -> Self {
        Self {
            routes: config.routes.clone(),
            own,
            interval: config.reload_interval,
            metrics,
            seen: Exposed::default(),
        }
    }

    /// What is seen.
    pub fn seen(&self) -> Exposed {
        self.seen.clone()
    }

    /// Looks for as long as it is polled.
    pub async fn run(self) {
        loop {
            let own = self.own.clone();
            let looked = tokio::task::spawn_blocking(move || beyond::beyond_loopback(&own)).await;
            // A look that was lost says nothing new.
            if let Ok(beyond) = looked {
                self.tell(&beyond);
            }
            sleep(self.interval).await;
        }
    }

    fn tell(&self, beyond: &[SocketAddr]) {
        let exposing = |route: &Route| beyond::exposing(&route.target, beyond);
        let now: Vec<_> = self.routes.iter().map(exposing).collect();
        self.metrics
            .targets_exposed(now.iter().map(Option::is_some));
        let before = self.seen.see(now.clone());
        for (index, (route, now)) in self.routes.iter().zip(now).enumerate() {
            let (name, target) = (&*route.name, &route.target);
            match (before.get(index).copied().flatten(), now) {
                (before, Some(by)) if before != now => {
                    let warning = beyond::warning(name, target, by);
                    tracing::warn!(event = "target_exposed", route = name, %target, "{warning}");
                }
                (Some(_), None) => {
                    tracing::info!(event = "target_hidden", route = name, %target, "nobody listens on its port beyond loopback any more");
                }
                (Some(_) | None, Some(_) | None) => {}
            }
        }
    }
}
