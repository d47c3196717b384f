//! What one scrape costs as Prometheus makes it: one client that keeps its connection, with answers from small to large;
//! and four such clients at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::floor::Floor;
use crate::load::{Buffer, Client, Connection};
use crate::relays::{Relay, Variant};
use crate::report::{Better, Metric, median, quantile, short};
use crate::scenarios::{CLIENTS, SCRAPE, Setup, cpu_per_unit, interleave, scrapes};

/// Bytes of an answer: a small exporter's, a node agent's, a cluster's.
const ANSWERS: [usize; 3] = [2_000, SCRAPE, 5_000_000];
/// Scrapes before TCP and whatever else grows with use have grown.
const WARM: usize = 20;
/// Between scrapes, so that nobody is still awake from the one before: who scrapes every few seconds always wakes
/// everybody, and two cores that are busy with each other hide who waits for whom.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) const P50: &str = "kept-p50";
pub(crate) const P99: &str = "kept-p99";
pub(crate) const FIRST: &str = "kept-first";
pub(crate) const CPU: &str = "kept-cpu";
pub(crate) const CPU_OF_FOUR: &str = "kept-cpu-of-4";

pub(crate) fn kept(setup: &Setup<'_>) -> Result<Vec<Metric>> {
    let relays = setup.start_all(&Variant::default())?;
    let mut metrics = Vec::new();
    for bytes in ANSWERS {
        metrics.extend(of_one_size(setup, &relays, bytes)?);
    }
    // A picture shows one of them over all sizes.
    metrics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(metrics)
}

fn of_one_size(setup: &Setup<'_>, relays: &[Relay], bytes: usize) -> Result<[Metric; 5]> {
    let metric = |name, title, unit| Metric::new(name, title, unit, Better::Lower).of_answer(bytes);
    let mut p50 = metric(P50, "one client: added, p50", "µs");
    let mut p99 = metric(P99, "one client: added, p99", "µs");
    let mut first = metric(FIRST, "one client: first byte, p50", "µs");
    let mut cpu = metric(CPU, "one client: a scrape", "µs CPU");
    let mut four = metric(CPU_OF_FOUR, "four clients: a scrape", "µs CPU");
    let mut pace = setup.pace;
    // Half of the time nobody does anything.
    pace.round *= 2;
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    interleave(
        [&mut p50, &mut p99, &mut first, &mut cpu],
        relays,
        pace,
        |relay, time| {
            let took = beside(relay, bytes, time)?;
            let [median, tail] = [50, 99].map(|percent| quantile(&took.direct, percent));
            medians.push(median);
            tails.push(tail);
            Ok([
                quantile(&took.through, 50) - median,
                quantile(&took.through, 99) - tail,
                quantile(&took.first, 50),
                took.cpu + sealed(setup, relay, bytes)?,
            ])
        },
    )?;
    interleave([&mut four], relays, setup.pace, |relay, time| {
        let spent = cpu_per_unit(relay, || scrapes(relay, bytes, CLIENTS, time))?;
        Ok([1e6 * spent + sealed(setup, relay, bytes)?])
    })?;
    p50.beside = format!(" ({} without a relay)", short(median(medians)));
    p99.beside = format!(" ({} without a relay)", short(median(tails)));
    Ok([p50, p99, first, cpu, four])
}

/// µs of the cryptography that the plain relay does not do.
fn sealed(setup: &Setup<'_>, relay: &Relay, bytes: usize) -> Result<f64> {
    Ok(1e6 * bytes as f64 * setup.bare(relay, Floor::sealed_byte)?)
}

/// What scrapes took, in µs.
#[derive(Default)]
struct Took {
    /// Through the relay, to the last byte.
    through: Vec<f64>,
    /// Through the relay, to the first byte.
    first: Vec<f64>,
    /// From the target itself, to the last byte.
    direct: Vec<f64>,
    /// The relay's CPU time of each.
    cpu: f64,
}

/// One client's scrapes for this long, each through the relay followed by one without it, so that a busy moment of the
/// machine meets both.
fn beside(relay: &Relay, bytes: usize, time: Duration) -> Result<Took> {
    let open = relay.open();
    let mut buffer = Buffer::new();
    let mut through = relay.client.open(relay.address)?;
    let mut direct = Client::PLAIN.open(relay.target)?;
    for _ in 0..WARM {
        timed(&mut through, bytes, &mut buffer)?;
        timed(&mut direct, bytes, &mut buffer)?;
    }
    let mut took = Took::default();
    let before = relay.tree.cpu_of_threads()?;
    let until = Instant::now() + time;
    while Instant::now() < until {
        let (whole, first) = timed(&mut through, bytes, &mut buffer)?;
        let (without, _) = timed(&mut direct, bytes, &mut buffer)?;
        took.through.push(whole);
        took.first.push(first);
        took.direct.push(without);
    }
    // The connection is not closed yet: a thread that ends with it takes its time along.
    let spent = relay.tree.cpu_of_threads()?.saturating_sub(before);
    took.cpu = 1e6 * spent.as_secs_f64() / took.through.len().max(1) as f64;
    through.close(&mut buffer)?;
    direct.close(&mut buffer)?;
    relay.settle(open)?;
    Ok(took)
}

/// µs until all of the answer was there, and until its first byte was.
fn timed(connection: &mut Connection, bytes: usize, buffer: &mut Buffer) -> Result<(f64, f64)> {
    sleep(PAUSE);
    let since = Instant::now();
    let first = connection.get(bytes, buffer)?;
    let whole = since.elapsed();
    let micros = |time: Duration| 1e6 * time.as_secs_f64();
    Ok((micros(whole), micros(first - since)))
}
