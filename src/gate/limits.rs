//! How much may be going on at once: admitted connections, unfinished handshakes, connections of one source.
//!
//! Every count is held by a value that gives it back when dropped, so no way out of a connection can leak one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::places::{Place, Places};

/// How many unfinished handshakes may have sent much at once: each may hold 250 KiB.
const LONG_HANDSHAKES: NonZeroU32 = NonZeroU32::new(8).expect("more than none");

/// The limits of all routes together.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    admitted: Arc<Semaphore>,
    handshakes: Places,
    /// Those of them that have sent much.
    pub(super) long_handshakes: Places,
    sources: Option<Arc<Sources>>,
}

impl Limits {
    pub(crate) fn new(limits: &config::Limits) -> Self {
        let most = usize::try_from(limits.connections.get()).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            admitted: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            handshakes: Places::new(limits.handshakes),
            long_handshakes: Places::new(LONG_HANDSHAKES),
            sources: limits.connections_per_source.map(|most| {
                Arc::new(Sources {
                    most,
                    open: Mutex::default(),
                })
            }),
        }
    }

    /// Counts one more connection of this source, unless it has as many as it may.
    pub(super) fn source(&self, source: IpAddr) -> Result<Option<SourceSlot>, OverLimit> {
        self.sources
            .as_ref()
            .map(|sources| Sources::enter(sources, source))
            .transpose()
    }

    /// Counts one more unfinished handshake; over the cap the source that has most of them gives one up.
    pub(super) fn handshake(&self, source: IpAddr) -> Place {
        self.handshakes.take(source)
    }

    /// Returns once those whose handshakes gave way are gone. Cancel safe.
    pub(super) async fn settled(&self) {
        self.handshakes.settled().await;
    }

    /// Counts one more admitted connection, unless there are as many as there may be.
    pub(super) fn admit(&self) -> Result<AdmittedSlot, OverLimit> {
        match Arc::clone(&self.admitted).try_acquire_owned() {
            Ok(permit) => Ok(AdmittedSlot { _permit: permit }),
            Err(_) => Err(OverLimit(
                "as many connections are admitted as --max-connections lets in",
            )),
        }
    }
}

/// Which cap was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct OverLimit(pub(super) &'static str);

/// One admitted connection.
#[derive(Debug)]
pub(super) struct AdmittedSlot {
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Sources {
    most: NonZeroU32,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// One connection of a source.
#[derive(Debug)]
pub(super) struct SourceSlot {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    fn enter(this: &Arc<Self>, source: IpAddr) -> Result<SourceSlot, OverLimit> {
        let mut open = lock(&this.open);
        let count = open.entry(source).or_insert(0);
        if *count >= this.most.get() {
            return Err(OverLimit(
                "the source has as many connections as --max-connections-per-source lets in",
            ));
        }
        *count += 1;
        Ok(SourceSlot {
            sources: Arc::clone(this),
            source,
        })
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.sources.open);
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// A panic elsewhere leaves the counts right: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u32, handshakes: u32, per_source: Option<u32>) -> Limits {
        Limits::new(&config::Limits {
            connections: NonZeroU32::new(connections).unwrap(),
            connections_per_source: per_source.and_then(NonZeroU32::new),
            handshakes: NonZeroU32::new(handshakes).unwrap(),
        })
    }

    #[test]
    fn a_source_gets_its_places_back() {
        let limits = limits(1, 1, Some(2));
        let source = IpAddr::from([10, 0, 0, 1]);
        let (first, _second) = (
            limits.source(source).unwrap(),
            limits.source(source).unwrap(),
        );
        assert!(limits.source(source).is_err());
        assert!(limits.source(IpAddr::from([10, 0, 0, 2])).is_ok());
        drop(first);
        assert!(limits.source(source).is_ok());
    }

    #[test]
    fn an_admitted_place_is_free_after_the_session() {
        let limits = limits(1, 1, None);
        let place = limits.admit().unwrap();
        assert!(limits.admit().is_err());
        drop(place);
        assert!(limits.admit().is_ok());
    }
}
