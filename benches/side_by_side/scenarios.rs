//! What is measured, one function a scenario. Rounds of all relays are interleaved (A B C, A B C, …), so that whatever
//! else the machine does meets all of them alike.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::floor::Floor;
use crate::load::{Buffer, repeat};
use crate::quota::Quota;
use crate::relays::{Kind, Relay, SMALL, Subject, Variant, World};
use crate::report::{Better, Metric};
use crate::{burst, growth, kept, squeezed};

/// Bytes of a scrape.
pub(crate) const SCRAPE: usize = 102_000;
/// Bytes of one request of a bulk transfer.
const BULK: usize = 32 << 20;
/// Clients at once that come anew.
pub(crate) const CLIENTS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// CPU time of a full handshake and one small request
    Handshake,
    /// CPU time of a scrape of 102 KB on a kept connection, two clients at once
    Scrape,
    /// One client on one kept connection, scrapes of 2 KB, 102 KB and 5 MB: latency, first byte, CPU time; four clients
    Kept,
    /// CPU time of a GB, down and up
    Bulk,
    /// Memory of idle connections, and after they are gone
    Idle,
    /// Memory and time at start
    Start,
    /// A tenth of a core and 100 MiB
    Quota,
    /// The gate's handshake with many rules, revoked serials and sessions
    Growth,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    pub(crate) starts: usize,
    pub(crate) idle: usize,
    pub(crate) paced: usize,
}

impl Pace {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        round: Duration::from_millis(1200),
        starts: 9,
        idle: 5000,
        paced: 500,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        round: Duration::from_millis(500),
        starts: 3,
        idle: 2000,
        paced: 150,
    };
}

/// What every scenario is given.
pub(crate) struct Setup<'a> {
    pub(crate) world: &'a World,
    pub(crate) subjects: &'a [Subject],
    pub(crate) pace: Pace,
    pub(crate) floor: Floor,
}

impl Setup<'_> {
    /// What the plain relay does not do, and no other relay can leave out; for all others, nothing.
    pub(crate) fn bare(&self, relay: &Relay, cost: fn(&Floor) -> Result<f64>) -> Result<f64> {
        if relay.kind == Kind::Floor {
            cost(&self.floor)
        } else {
            Ok(0.0)
        }
    }

    /// Starts every relay.
    pub(crate) fn start_all(&self, variant: &Variant) -> Result<Vec<Relay>> {
        let start = |subject| Relay::start(self.world, subject, variant);
        self.subjects.iter().map(start).collect()
    }

    pub(crate) fn gates(&self) -> impl Iterator<Item = &Subject> {
        self.subjects
            .iter()
            .filter(|subject| subject.kind == Kind::Gate)
    }
}

/// Runs one scenario.
pub(crate) fn run(scenario: Scenario, setup: &Setup<'_>) -> Result<Vec<Metric>> {
    match scenario {
        Scenario::Handshake => handshake(setup),
        Scenario::Scrape => scrape(setup),
        Scenario::Kept => kept::kept(setup),
        Scenario::Bulk => bulk(setup),
        Scenario::Idle => burst::idle(setup),
        Scenario::Start => start(setup),
        Scenario::Quota => match Quota::make() {
            Ok(_usable) => squeezed::quota(setup),
            Err(error) => {
                eprintln!("  not measured: no control group can be made here: {error:#}");
                Ok(Vec::new())
            }
        },
        Scenario::Growth => growth::growth(setup),
    }
}

/// CPU time of the relay's tree for each unit that the work returns, in seconds.
pub(crate) fn cpu_per_unit(relay: &Relay, work: impl Fn() -> Result<u64>) -> Result<f64> {
    let (open, before) = (relay.open(), relay.tree.cpu()?);
    let units = work()?;
    relay.settle(open)?;
    let spent = relay.tree.cpu()?.saturating_sub(before);
    Ok(spent.as_secs_f64() / units.max(1) as f64)
}

/// Interleaves the rounds of all relays, each of which gives a value for every metric; a first, short round of each
/// warms up and is thrown away.
pub(crate) fn interleave<const N: usize>(
    mut metrics: [&mut Metric; N],
    relays: &[Relay],
    pace: Pace,
    mut measure: impl FnMut(&Relay, Duration) -> Result<[f64; N]>,
) -> Result<()> {
    let mut measure =
        |relay: &Relay, time| measure(relay, time).with_context(|| relay.label.clone());
    for relay in relays {
        measure(relay, pace.round / 4)?;
    }
    for _ in 0..pace.rounds {
        for relay in relays {
            let values = measure(relay, pace.round)?;
            for (metric, value) in metrics.iter_mut().zip(values) {
                metric.add(&relay.label, value);
            }
        }
    }
    Ok(())
}

/// Handshakes with one small request each for this long; returns how many.
pub(crate) fn handshakes(relay: &Relay, clients: usize, time: Duration) -> Result<u64> {
    let one = |(): &mut (), buffer: &mut Buffer| {
        let mut connection = relay.client.open(relay.address)?;
        connection.get(SMALL, buffer)?;
        connection.close(buffer)?;
        Ok(1)
    };
    repeat(clients, time, || Ok(()), one, |(), _| Ok(()))
}

/// Scrapes of this many bytes on this many kept connections for this long; returns how many.
pub(crate) fn scrapes(relay: &Relay, bytes: usize, kept: usize, time: Duration) -> Result<u64> {
    repeat(
        kept,
        time,
        || relay.client.open(relay.address),
        |connection, buffer| connection.get(bytes, buffer).map(|_first| 1),
        |connection, buffer| connection.close(buffer),
    )
}

fn handshake(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let relays = setup.start_all(&Variant::default())?;
    let mut metric = Metric::new(
        "handshake",
        "full handshake + one small request",
        "µs CPU",
        Better::Lower,
    );
    interleave([&mut metric], &relays, setup.pace, |relay, time| {
        let through = cpu_per_unit(relay, || handshakes(relay, CLIENTS, time))?;
        Ok([1e6 * (through + setup.bare(relay, Floor::handshake)?)])
    })?;
    Ok(vec![metric])
}

fn scrape(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let relays = setup.start_all(&Variant::default())?;
    let mut metric = Metric::new(
        "scrape",
        "102 KB scrape, kept connection",
        "µs CPU",
        Better::Lower,
    );
    interleave([&mut metric], &relays, setup.pace, |relay, time| {
        let through = cpu_per_unit(relay, || scrapes(relay, SCRAPE, 2, time))?;
        let sealed = setup.bare(relay, Floor::sealed_byte)?;
        Ok([1e6 * (through + sealed * SCRAPE as f64)])
    })?;
    Ok(vec![metric])
}

fn bulk(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let relays = setup.start_all(&Variant::default())?;
    let mut down = Metric::new(
        "bulk-down",
        "bulk, target to client",
        "s CPU/GB",
        Better::Lower,
    );
    let mut up = Metric::new(
        "bulk-up",
        "bulk, client to target",
        "s CPU/GB",
        Better::Lower,
    );
    let transfer = |relay: &Relay, time, downwards: bool| {
        repeat(
            2,
            time,
            || relay.client.open(relay.address),
            |connection, buffer| {
                if downwards {
                    connection.get(BULK, buffer)?;
                } else {
                    connection.put(BULK, buffer)?;
                }
                Ok(BULK as u64)
            },
            |connection, buffer| connection.close(buffer),
        )
    };
    for (metric, downwards) in [(&mut down, true), (&mut up, false)] {
        interleave([metric], &relays, setup.pace, |relay, time| {
            let through = cpu_per_unit(relay, || transfer(relay, time, downwards))?;
            let bare = setup.bare(
                relay,
                if downwards {
                    Floor::sealed_byte
                } else {
                    Floor::opened_byte
                },
            )?;
            Ok([1e9 * (through + bare)])
        })?;
    }
    Ok(vec![down, up])
}

fn start(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let mut pss = Metric::new("start-pss", "PSS at start", "MiB", Better::Lower);
    let mut time = Metric::new("start-time", "exec to first answer", "ms", Better::Lower);
    for _ in 0..setup.pace.starts {
        for subject in setup.subjects {
            let relay = Relay::start(setup.world, subject, &Variant::default())?;
            time.add(&relay.label, 1e3 * relay.first_answer.as_secs_f64());
            relay.settle(0)?;
            pss.add(&relay.label, relay.tree.pss()? as f64 / f64::from(1 << 20));
        }
    }
    Ok(vec![pss, time])
}
