//! Who is connected now: a list to look at, never a way to act.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::Session;

/// Every admitted connection of the process.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    live: BTreeMap<u64, Arc<Session>>,
}

impl Sessions {
    /// The live sessions, oldest first.
    pub fn snapshot(&self) -> Vec<Arc<Session>> {
        self.with(|list| list.live.values().cloned().collect())
    }

    /// Lists a session for as long as the returned value lives.
    pub(super) fn enter(&self, session: Arc<Session>) -> Listed {
        let number = self.with(|list| {
            list.next += 1;
            list.live.insert(list.next, session);
            list.next
        });
        Listed {
            sessions: self.clone(),
            number,
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut List) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A place on the list.
#[derive(Debug)]
pub(super) struct Listed {
    sessions: Sessions,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.with(|list| list.live.remove(&self.number));
    }
}
