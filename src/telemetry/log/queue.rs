//! The lines that wait for the writer: bounded in bytes, those that are worth more kept first, floods summed up.
//!
//! Pure but for the lock: hands out what is to be written next, and says until when there is nothing. Nobody who brings
//! a line ever waits for one that is being written. What does not fit is counted, and said once lines flow again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use super::flood::{Flood, Kind};
use super::line::Line;
use crate::config::LogFormat;

/// What waits, and what is being written, takes this much: some two thousand records, or a pause of the reader of ten
/// seconds at two hundred connections a second.
const MOST: usize = 1024 * 1024;
/// How often it is said that lines were lost, at most.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// What a line is worth when there is not room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Of a connection that was refused: strangers can make as many as they like, so half of the room is enough.
    Refused,
    /// What was admitted, warnings, changes of state.
    Kept,
}

/// The lines of one process.
#[derive(Debug)]
pub(super) struct Queue {
    format: LogFormat,
    most: usize,
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    /// What was written, to be filled again. Both are as large as they can get from the start: the kernel gives memory
    /// to what is used of them only, and a buffer that is made in a burst of connections would keep the allocator from
    /// giving back what lies below it.
    spare: Vec<u8>,
    flood: Flood,
    lost: Option<Lost>,
    lost_ever: u64,
    said: Option<Instant>,
    /// The newest write failed: there is nobody to tell of it.
    gone: bool,
    /// Nothing is held back any more.
    closing: bool,
    waiting: bool,
    writing: usize,
}

/// Lines that nobody has been told of yet.
#[derive(Debug, Clone, Copy)]
struct Lost {
    lines: u64,
    first: SystemTime,
    last: SystemTime,
}

impl Queue {
    pub(super) fn new(format: LogFormat) -> Self {
        Self::of(format, MOST)
    }

    fn of(format: LogFormat, most: usize) -> Self {
        Self {
            format,
            most,
            state: Mutex::new(State {
                lines: Vec::with_capacity(most),
                spare: Vec::with_capacity(most),
                ..State::default()
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// How its lines look.
    pub(super) fn format(&self) -> LogFormat {
        self.format
    }

    /// Takes a line if there is room for it.
    pub(super) fn push(&self, line: &[u8], worth: Worth) {
        let room = match worth {
            Worth::Refused => self.most / 2,
            Worth::Kept => self.most,
        };
        let mut state = self.lock();
        if state.bytes() + line.len() > room {
            return state.lose(1);
        }
        state.lines.extend_from_slice(line);
        self.wake(state);
    }

    /// Whether a refusal of this kind is written; if not, it is counted, and told with the others of its second.
    pub(super) fn lets(&self, kind: &Kind<'_>, now: Instant) -> bool {
        let mut state = self.lock();
        let (lets, first_summed) = state.flood.lets(kind, now);
        if first_summed {
            self.wake(state);
        }
        lets
    }

    /// How many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost_ever
    }

    /// Waits for something to write. For one writer, which calls [`Queue::written`] after each.
    pub(super) fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            let until = match state.take(self.format, Instant::now()) {
                Ok(lines) => return lines,
                Err(until) => until,
            };
            self.emptied.notify_all();
            state.waiting = true;
            state = match until {
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let waited = self.filled.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting = false;
        }
    }

    /// Says what became of the lines that [`Queue::next`] gave: how many bytes were written before that failed.
    pub(super) fn written(&self, mut given: Vec<u8>, bytes: usize) {
        let failed = given.get(bytes..).unwrap_or_default();
        let mut state = self.lock();
        state.writing = 0;
        state.gone = !failed.is_empty();
        let lines = failed.iter().filter(|byte| **byte == b'\n').count();
        if lines > 0 {
            state.lose(lines as u64);
        }
        given.clear();
        state.spare = given;
    }

    /// Waits until everything is written, no longer than this. Lines that come later are written as well.
    pub(super) fn flush(&self, within: Duration) {
        let mut state = self.lock();
        state.closing = true;
        self.filled.notify_all();
        let waited = self
            .emptied
            .wait_timeout_while(state, within, |state| state.bytes() > 0 || state.owes());
        waited.unwrap_or_else(PoisonError::into_inner).0.closing = false;
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        let waiting = state.waiting;
        drop(state);
        if waiting {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What waits and what is being written.
    fn bytes(&self) -> usize {
        self.lines.len() + self.writing
    }

    fn lose(&mut self, lines: u64) {
        let now = SystemTime::now();
        self.lost_ever += lines;
        let lost = self.lost.get_or_insert(Lost {
            lines: 0,
            first: now,
            last: now,
        });
        lost.lines += lines;
        lost.last = now;
    }

    /// Whether there is something to tell that is no line yet.
    fn owes(&self) -> bool {
        self.flood.owes() || (self.lost.is_some() && !self.gone)
    }

    /// What to write next, or until when there is nothing.
    fn take(&mut self, format: LogFormat, now: Instant) -> Result<Vec<u8>, Option<Instant>> {
        if self.closing || self.flood.over(now) {
            for sum in self.flood.take() {
                self.lines.extend_from_slice(&sum.line(format));
            }
        }
        // With nobody there, it would be told for ever; whoever comes back is told with the next line.
        let may_tell = !self.gone || !self.lines.is_empty();
        let due = self.said.map(|said| said + SAID_EVERY);
        if may_tell
            && (self.closing || due.is_none_or(|due| due <= now))
            && let Some(lost) = self.lost.take()
        {
            self.said = Some(now);
            self.lines.extend_from_slice(&lost.line(format));
        }
        if !self.lines.is_empty() {
            self.writing = self.lines.len();
            let spare = std::mem::take(&mut self.spare);
            return Ok(std::mem::replace(&mut self.lines, spare));
        }
        let told = due.filter(|_| self.lost.is_some() && may_tell);
        Err([told, self.flood.ends()].into_iter().flatten().min())
    }
}

impl Lost {
    fn line(&self, format: LogFormat) -> Vec<u8> {
        let time = |time| humantime::format_rfc3339_millis(time).to_string();
        let mut line = Line::new(format, Level::WARN, "log_lines_dropped");
        line.number("lines", self.lines);
        line.str("first", &time(self.first));
        line.str("last", &time(self.last));
        line.str(
            "message",
            "the log was not read as fast as it was written; portcullis_connections_closed_total has counted all",
        );
        line.into_bytes()
    }
}

#[cfg(test)]
mod tests;
