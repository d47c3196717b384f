//! A tenth of a core and 100 MiB, as a node agent has them: how much gets through, and how long a scrape takes.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::Buffer;
use crate::relays::{Kind, Relay, Variant};
use crate::report::{Better, Metric, quantile};
use crate::scenarios::{SCRAPE, Setup, handshakes, interleave, scrapes};

/// Scrapes a second on new connections, whether or not the relay keeps up.
const RATE: u32 = 50;

/// Kept connections, and clients that come anew: enough that the relay always has something to do when it may run.
const KEPT: usize = 8;
const NEW: usize = 16;

pub(crate) fn quota(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let variant = Variant {
        workers: 1,
        quota: true,
        ..Variant::default()
    };
    let subjects = setup.subjects.iter();
    // Bare cryptography cannot be put under a quota with it.
    let with_tls = subjects.filter(|subject| subject.kind != Kind::Floor);
    let relays: Vec<_> = with_tls
        .map(|subject| Relay::start(setup.world, subject, &variant))
        .collect::<Result<_>>()?;
    let mut pace = setup.pace;
    pace.rounds = pace.rounds.div_ceil(3);
    // A round is worth many slices of the quota.
    pace.round = 2 * pace.round;
    let per_second = |count: u64, since: Instant| count as f64 / since.elapsed().as_secs_f64();
    let mut kept = Metric::new(
        "quota-scrapes",
        "scrapes/s at 0.1 core",
        "1/s",
        Better::Higher,
    );
    interleave([&mut kept], &relays, pace, |relay, time| {
        let since = Instant::now();
        Ok([per_second(scrapes(relay, SCRAPE, KEPT, time)?, since)])
    })?;
    let mut new = Metric::new(
        "quota-handshakes",
        "handshakes/s at 0.1 core",
        "1/s",
        Better::Higher,
    );
    interleave([&mut new], &relays, pace, |relay, time| {
        let since = Instant::now();
        Ok([per_second(handshakes(relay, NEW, time)?, since)])
    })?;
    let mut median = Metric::new(
        "quota-p50",
        "median of 50 new-connection scrapes/s at 0.1 core",
        "ms",
        Better::Lower,
    );
    let mut tail = Metric::new(
        "quota-p99",
        "p99 of 50 new-connection scrapes/s at 0.1 core",
        "ms",
        Better::Lower,
    );
    for relay in &relays {
        // A slice of the quota that an earlier round has used up comes back meanwhile.
        sleep(Duration::from_millis(500));
        let took = paced(relay, setup.pace.paced)?;
        let took: Vec<_> = took.iter().map(|took| 1e3 * took.as_secs_f64()).collect();
        median.add(&relay.label, quantile(&took, 50));
        tail.add(&relay.label, quantile(&took, 99));
    }
    Ok(vec![kept, new, median, tail])
}

/// How long each scrape took from the moment it was due: a relay that falls behind is not spared.
fn paced(relay: &Relay, count: usize) -> Result<Vec<Duration>> {
    const THREADS: usize = 16;
    let next = AtomicUsize::new(0);
    let took = Mutex::new(Vec::with_capacity(count));
    let begin = Instant::now();
    let work = || -> Result<()> {
        let mut buffer = Buffer::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let due = begin + Duration::from_secs(1) / RATE * u32::try_from(number)?;
            sleep(due.saturating_duration_since(Instant::now()));
            let mut connection = relay.client.open(relay.address)?;
            connection.get(SCRAPE, &mut buffer)?;
            let done = due.elapsed();
            took.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(done);
            connection.close(&mut buffer)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok(took.into_inner().unwrap_or_else(PoisonError::into_inner))
}
