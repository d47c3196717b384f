//! Memory: what an idle connection costs, and what is left of thousands of them once they are gone.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::load::{Buffer, Connection};
use crate::relays::{Relay, SMALL, Variant};
use crate::report::{Better, Metric};
use crate::scenarios::{SCRAPE, Setup};

/// How long a relay may take to tidy up.
const QUIET: Duration = Duration::from_millis(1500);
/// How long its allocator may take to give memory back, beside that.
const LATER: Duration = Duration::from_secs(4);

/// Opens connections until there are this many, each with one small answer, on a few threads.
pub(crate) fn hold(relay: &Relay, held: &mut Vec<Connection>, wanted: usize) -> Result<()> {
    const THREADS: usize = 4;
    let missing = wanted.saturating_sub(held.len());
    let open = |count: usize| -> Result<Vec<Connection>> {
        let mut buffer = Buffer::new();
        let one = |_| {
            let mut connection = relay.client.open(relay.address)?;
            connection.get(SMALL, &mut buffer)?;
            Ok(connection)
        };
        (0..count).map(one).collect()
    };
    let opened = std::thread::scope(|scope| {
        let share = |index| missing / THREADS + usize::from(index < missing % THREADS);
        let threads: Vec<_> = (0..THREADS)
            .map(|index| scope.spawn(move || open(share(index))))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    held.extend(opened.into_iter().flatten());
    Ok(())
}

/// Closes them all.
pub(crate) fn release(relay: &Relay, held: Vec<Connection>) -> Result<()> {
    let mut buffer = Buffer::new();
    for connection in held {
        connection.close(&mut buffer)?;
    }
    relay.settle(0)
}

pub(crate) fn idle(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let many = setup.pace.idle;
    let per = |name: &str, title: String| Metric::new(name, &title, "KiB PSS", Better::Lower);
    let mut few = per("idle-1000", "per idle connection, of 1,000".to_owned());
    let mut all = per("idle-all", format!("per idle connection, of {many}"));
    let mut scraped = per(
        "idle-scraped",
        format!("the same after a 102 KB scrape on each of {many}"),
    );
    let mut left = Metric::new(
        "idle-left",
        "more than at start, 5 s after all are closed",
        "MiB PSS",
        Better::Lower,
    );
    for subject in setup.subjects {
        let relay = Relay::start(setup.world, subject, &Variant::default())?;
        relay.settle(0)?;
        sleep(QUIET / 2);
        let at_start = relay.tree.pss()? as f64;
        let grown = || -> Result<f64> {
            sleep(QUIET);
            Ok(relay.tree.pss()? as f64 - at_start)
        };
        let mut held = Vec::new();
        hold(&relay, &mut held, 1000)?;
        few.add(&relay.label, grown()? / 1024.0 / 1000.0);
        hold(&relay, &mut held, many)?;
        all.add(&relay.label, grown()? / 1024.0 / many as f64);
        let mut buffer = Buffer::new();
        for connection in &mut held {
            connection.get(SCRAPE, &mut buffer)?;
        }
        scraped.add(&relay.label, grown()? / 1024.0 / many as f64);
        release(&relay, held)?;
        sleep(LATER);
        left.add(&relay.label, grown()? / f64::from(1 << 20));
    }
    Ok(vec![few, all, scraped, left])
}
