//! One open connection's account: begun at accept, closed exactly once.
//!
//! A [`Record`] is consumed by [`Record::close`]; if its task is cancelled or panics instead, `Drop` closes it. Either
//! way the counters move and the line is written once, together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use crate::event::{Ended, Outcome};
use crate::identity::{Client, printable};
use crate::judge::{Presented, Refused};
use crate::policy::Admission;
use crate::telemetry::RouteMetrics;
use crate::telemetry::log::{self, Kind, Line, Worth};

/// The account of one accepted connection.
#[derive(Debug)]
pub struct Record {
    route: Arc<RouteMetrics>,
    started: Instant,
    source: SocketAddr,
    generation: u64,
    /// Who proved a key and is verified.
    client: Option<Arc<Client>>,
    /// Who proved a key, and is not.
    presented: Option<Presented>,
    session: Option<Arc<Session>>,
    closed: bool,
}

/// An admitted connection, as records and `/sessions` show it.
#[derive(Debug)]
pub struct Session {
    /// The route's name.
    pub route: Arc<str>,
    /// Where the client connects from.
    pub source: SocketAddr,
    /// When it was accepted.
    pub since: SystemTime,
    /// Who it is.
    pub client: Arc<Client>,
    /// What let it in.
    pub admission: Admission,
    /// `TLSv1.3` or `TLSv1.2`.
    pub tls_version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The key exchange group by its IANA name.
    pub group: &'static str,
    /// What it has moved so far.
    pub traffic: Traffic,
}

const NOT_WAITING: u64 = 0;
const NEVER: u64 = u64::MAX;

/// What sessions count their waiting from.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn milliseconds() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(NEVER)
}

/// Plaintext bytes handed to either side, counted as they go so that a cancelled session has counted all.
#[derive(Debug)]
pub struct Traffic {
    metrics: Arc<RouteMetrics>,
    to_target: AtomicU64,
    from_target: AtomicU64,
    /// Since when the client waits for the target, in milliseconds after [`BEGAN`] and one more; [`NOT_WAITING`], or
    /// [`NEVER`] once the target has finished.
    waits_since: AtomicU64,
}

impl Traffic {
    /// Nothing has been moved yet.
    pub fn new(metrics: Arc<RouteMetrics>) -> Self {
        Self {
            metrics,
            to_target: AtomicU64::new(0),
            from_target: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
        }
    }

    /// Counts bytes of the client that the target's socket took.
    pub fn add_to_target(&self, bytes: usize) {
        self.to_target.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.to_target.inc_by(bytes as u64);
        if bytes > 0 && self.waits_since.load(Ordering::Relaxed) == NOT_WAITING {
            self.waits_since
                .store(milliseconds().saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Counts bytes of the target that were taken for the client.
    pub fn add_from_target(&self, bytes: usize) {
        self.from_target.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.from_target.inc_by(bytes as u64);
        if bytes > 0 && self.waits_since.load(Ordering::Relaxed) != NOT_WAITING {
            self.waits_since.store(NOT_WAITING, Ordering::Relaxed);
        }
    }

    /// Notes that the target finished before the client did: nobody can wait for it any more.
    pub fn target_finished_first(&self) {
        self.waits_since.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the target has said nothing since the client spoke to it, as in [`unanswered`](Self::unanswered).
    pub fn owes_an_answer(&self) -> bool {
        !matches!(
            self.waits_since.load(Ordering::Relaxed),
            NOT_WAITING | NEVER
        )
    }

    /// For how long the target has said nothing since the client spoke to it; `None` if it spoke last, was never spoken
    /// to, or finished before.
    pub fn unanswered(&self) -> Option<Duration> {
        match self.waits_since.load(Ordering::Relaxed) {
            NOT_WAITING | NEVER => None,
            since => {
                let waits = milliseconds().saturating_sub(since - 1);
                Some(Duration::from_millis(waits))
            }
        }
    }

    /// Bytes to the target, bytes from the target.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.to_target.load(Ordering::Relaxed),
            self.from_target.load(Ordering::Relaxed),
        )
    }
}

impl Record {
    /// Begins the account of a connection that was just accepted.
    pub fn begin(route: Arc<RouteMetrics>, source: SocketAddr) -> Self {
        route.accepted.inc();
        route.open.inc();
        Self {
            route,
            started: Instant::now(),
            source,
            generation: 0,
            client: None,
            presented: None,
            session: None,
            closed: false,
        }
    }

    /// When the connection was accepted.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Notes the generation that judges the connection.
    pub fn judged_by(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Notes who was refused in the handshake, as far as that is known.
    pub fn refused(&mut self, refused: Refused) {
        if let Some(client) = refused.refusal.client() {
            self.verified(Arc::clone(client));
        }
        self.presented = refused.presented;
    }

    /// Notes whose certificate was verified, admitted or not.
    pub fn verified(&mut self, client: Arc<Client>) {
        self.client = Some(client);
    }

    /// Notes that the client was admitted.
    pub fn admitted(&mut self, session: Arc<Session>) {
        self.session = Some(session);
    }

    /// Writes the record and moves the counters.
    pub fn close(mut self, ended: &Ended) {
        self.finish(ended);
    }

    fn finish(&mut self, ended: &Ended) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let duration = self.started.elapsed();
        self.route.open.dec();
        self.route.duration.observe(duration.as_secs_f64());
        if let Some(counter) = self.route.closed.get(ended.outcome as usize) {
            counter.inc();
        }
        if ended.outcome == Outcome::TargetUnreachable {
            self.route.target.failed(&ended.reason);
        }
        if let Some(kind) = ended.refusal
            && let Some(counter) = self.route.refused.get(kind as usize)
        {
            counter.inc();
        }
        if enabled(ended.outcome) && self.is_written(ended.outcome) {
            let worth = match self.session {
                Some(_) => Worth::Kept,
                None => Worth::Refused,
            };
            log::emit(self.line(ended, duration.as_millis()), worth);
        }
    }

    /// To have a key proved costs a stranger as much as the gate, and an expired client must not be lost among those who
    /// knock only.
    fn is_written(&self, outcome: Outcome) -> bool {
        self.client.is_some()
            || self.presented.is_some()
            || log::lets(&Kind {
                route: &self.route.name,
                outcome,
            })
    }

    fn line(&self, ended: &Ended, duration_ms: u128) -> Line {
        let mut line = Line::new(self.route.format, ended.outcome.level(), "connection");
        line.str("route", &self.route.name);
        line.str("source", &self.source.to_string());
        line.str("outcome", ended.outcome.as_str());
        if let Some(kind) = ended.refusal {
            line.str("refusal", kind.as_str());
        }
        line.str("reason", &ended.reason);
        if let Some(client) = &self.client {
            line.list("names", &client.display_names());
            line.str("serial", client.serial());
        } else if let Some(presented) = &self.presented {
            line.list("presented", presented.claims());
        }
        let (mut to_target, mut from_target) = (0, 0);
        if let Some(session) = &self.session {
            line.str("rule", &printable(&session.admission.to_string()));
            line.str("tls_version", session.tls_version);
            line.str("cipher", session.cipher);
            line.str("group", session.group);
            // A resumed session is never admitted: the handshake refuses it.
            line.number("resumed", false);
            (to_target, from_target) = session.traffic.totals();
        }
        line.number("bytes_to_target", to_target);
        line.number("bytes_from_target", from_target);
        line.number("duration_ms", duration_ms);
        line.number("generation", self.generation);
        line
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.finish(&Ended::new(
                Outcome::IoError,
                "a bug ended the session; please report it",
            ));
        } else {
            self.finish(&Ended::new(Outcome::Drained, "the gate stopped"));
        }
    }
}

/// Whether records of this outcome are written at the configured log level.
fn enabled(outcome: Outcome) -> bool {
    match outcome.level() {
        tracing::Level::WARN => tracing::enabled!(tracing::Level::WARN),
        _ => tracing::enabled!(tracing::Level::INFO),
    }
}
