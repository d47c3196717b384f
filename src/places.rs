//! Places of which there are only so many, where the oldest holder gives way to the newest.
//!
//! Whoever holds a place for nothing piles up at the old end; whoever means it has the newest place and needs it for
//! moments. So nobody can lock others out by holding on.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The places.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    most: NonZeroU32,
    held: Arc<Mutex<Held>>,
}

/// By age: the key counts up.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

impl Places {
    pub(crate) fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            held: Arc::default(),
        }
    }

    /// Takes a place; if all are taken, the oldest holder is told to give way.
    pub(crate) fn take(&self) -> Place {
        let (give_way, gives_way) = oneshot::channel();
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.by_age.insert(number, give_way);
        if held.by_age.len() > self.most.get() as usize {
            // Dropping the sender is the message.
            held.by_age.pop_first();
        }
        drop(held);
        Place {
            places: self.clone(),
            number,
            gives_way,
        }
    }

    /// A panic elsewhere leaves the count right: it is changed in one step.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns once a newer holder needs the place. Cancel safe.
    pub(crate) async fn gives_way(&mut self) {
        let _place_taken = (&mut self.gives_way).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_to_the_newest() {
        let places = Places::new(NonZeroU32::new(2).unwrap());
        let (mut first, mut second) = (places.take(), places.take());
        let mut third = places.take();
        first.gives_way().await;
        let others = async {
            tokio::select! { () = second.gives_way() => {}, () = third.gives_way() => {} }
        };
        assert!(
            tokio::time::timeout(Duration::from_millis(20), others)
                .await
                .is_err()
        );
        drop(first);
        drop(third);
        let _fourth = places.take();
        assert_eq!(
            places.lock().by_age.len(),
            2,
            "a dropped place is free again"
        );
    }
}
