//! The log on standard error: lines for people or one flat JSON object each. `demo` alone takes the lines itself.
//!
//! `tracing` events reach it through [`Layer`], connection records directly, so both look alike. Whoever brings a line
//! leaves it in a bounded queue and goes on; a thread of its own writes ([`writer`]). What does not fit is counted and
//! told ([`mod@queue`]), and floods of refusals are summed up ([`flood`]).

mod flood;
mod line;
mod queue;
mod writer;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

pub(crate) use self::flood::Kind;
pub(crate) use self::line::Line;
use self::queue::Queue;
pub(crate) use self::queue::Worth;
use super::process::counter;
use crate::config::{Log, LogFormat, LogLevel};

/// How long the end of the process waits for a log that is not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Sends every `tracing` event of this process to standard error, from now on. A second call changes nothing.
///
/// # Errors
/// If the thread that writes cannot be started.
pub fn start(log: Log) -> std::io::Result<()> {
    if DESTINATION.get().is_none() {
        let queue = Arc::new(Queue::new(*log.format));
        writer::start(&queue)?;
        start_to(log, Destination::Stderr(queue));
    }
    Ok(())
}

/// As [`start`], but hands every line to `sink`: for a command that shows records in a form of its own.
pub fn start_into(log: Log, sink: impl Fn(&str) + Send + Sync + 'static) {
    start_to(log, Destination::Sink(Box::new(sink)));
}

fn start_to(log: Log, destination: Destination) {
    let layer = Layer {
        format: *log.format,
        level: level_filter(log.level),
    };
    // Only a process that embeds several gates (a test) gets here twice; its first log stays.
    let _already_started = DESTINATION.set(destination);
    let _already_started =
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Where lines go.
enum Destination {
    Stderr(Arc<Queue>),
    /// Takes whole lines, their newline included; must not block.
    Sink(Box<dyn Fn(&str) + Send + Sync>),
}

static DESTINATION: OnceLock<Destination> = OnceLock::new();

/// The queue, if standard error is where lines go.
fn queue() -> Option<&'static Queue> {
    match DESTINATION.get()? {
        Destination::Stderr(queue) => Some(queue),
        Destination::Sink(_) => None,
    }
}

/// Writes a line: takes it into the queue, and waits for nothing.
pub(crate) fn emit(line: Line, worth: Worth) {
    let line = line.into_bytes();
    match DESTINATION.get() {
        Some(Destination::Stderr(queue)) => queue.push(&line, worth),
        Some(Destination::Sink(sink)) => sink(&String::from_utf8_lossy(&line)),
        // No log was asked for.
        None => {}
    }
}

/// Whether a refusal of this kind gets a record of its own; if not, it is told together with others.
pub(crate) fn lets(kind: &Kind<'_>) -> bool {
    queue().is_none_or(|queue| queue.lets(kind, Instant::now()))
}

/// Returns once all lines are written, or after a second: a log that nobody reads keeps no process from ending.
pub fn flush() {
    if let Some(queue) = queue() {
        queue.flush(LAST_LINES);
    }
}

/// Says why the process ends, after all lines: in the form of the log, or as `early` says if none was started. Waits for
/// nobody who does not read the log.
pub fn report(problems: &[String], exit_code: u8, early: LogFormat) {
    let last = |format| match format {
        LogFormat::Text => {
            let lines = problems
                .iter()
                .map(|problem| format!("portcullis: {problem}\n"));
            lines.collect::<String>().into_bytes()
        }
        LogFormat::Json => {
            let mut line = Line::new(format, Level::ERROR, "fatal");
            line.str("reason", &problems.join("\n"));
            line.number("exit_code", exit_code);
            line.into_bytes()
        }
    };
    match queue() {
        Some(queue) => {
            queue.push(&last(queue.format()), Worth::Kept);
            flush();
        }
        None => {
            use std::io::Write as _;
            // With standard error gone there is nobody left to tell; the exit code still says it.
            drop(std::io::stderr().write_all(&last(early)));
        }
    }
}

/// The metric of what was lost.
#[derive(Debug)]
pub(super) struct Lost;

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        counter(
            &mut encoder,
            "log_lines_dropped",
            "Lines of the log that were lost because nobody read it in time",
            queue().map_or(0, Queue::lost) as f64,
        )
    }
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Turns `tracing` events into lines. A field `event` names the event.
struct Layer {
    format: LogFormat,
    level: LevelFilter,
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut name = Name(None);
        event.record(&mut name);
        let mut fields = Fields(Line::new(
            self.format,
            *event.metadata().level(),
            name.0.as_deref().unwrap_or("message"),
        ));
        event.record(&mut fields);
        emit(fields.0, Worth::Kept);
    }
}

struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "event" {
            self.0.str(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.number(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.str(field.name(), &format!("{value:?}"));
    }
}
