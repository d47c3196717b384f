//! The lines that wait for the writer: bounded in bytes, those that are worth more kept first, floods summed up.
//!
//! Pure but for the lock: hands out what is to be written next, and says until when there is nothing. Nobody who brings
//! a line ever waits for one that is being written. What does not fit is counted, and said once lines flow again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use super::flood::{Flood, Kind};
use super::line::Line;
use crate::config::LogFormat;

/// What waits, and what is being written, takes this much: some two thousand records, or a pause of the reader of ten
/// seconds at two hundred connections a second.
const MOST: usize = 1024 * 1024;
/// Lines are kept in pieces of this size, each written at once: large enough to make few system calls, small enough
/// that the allocator hands them out again.
const PIECE: usize = 32 * 1024;
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
    pieces: VecDeque<Vec<u8>>,
    /// A piece that was written, to be filled again.
    spare: Vec<u8>,
    /// Bytes in `pieces` and in what is being written.
    bytes: usize,
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
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// Takes a line if there is room for it.
    pub(super) fn push(&self, line: &[u8], worth: Worth) {
        let room = match worth {
            Worth::Refused => self.most / 2,
            Worth::Kept => self.most,
        };
        let mut state = self.lock();
        if state.bytes + line.len() > room {
            return state.lose(1);
        }
        state.append(line);
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
                Ok(piece) => return piece,
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

    /// Says what became of the piece that [`Queue::next`] gave: how much of it was written before that failed.
    pub(super) fn written(&self, piece: Vec<u8>, bytes: usize) {
        let failed = piece.get(bytes..).unwrap_or_default();
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(state.writing);
        state.writing = 0;
        state.gone = !failed.is_empty();
        let lines = failed.iter().filter(|byte| **byte == b'\n').count();
        if lines > 0 {
            state.lose(lines as u64);
        }
        // One long line must not be paid for ever.
        if piece.capacity() <= 2 * PIECE {
            state.spare = piece;
            state.spare.clear();
        }
    }

    /// Waits until everything is written, no longer than this. Lines that come later are written as well.
    pub(super) fn flush(&self, within: Duration) {
        let mut state = self.lock();
        state.closing = true;
        self.filled.notify_all();
        let waited = self.emptied.wait_timeout_while(state, within, |state| {
            state.writing > 0 || !state.pieces.is_empty() || state.owes()
        });
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
    fn append(&mut self, line: &[u8]) {
        self.bytes += line.len();
        match self.pieces.back_mut() {
            Some(piece) if piece.len() + line.len() <= PIECE => piece.extend_from_slice(line),
            _ => {
                let mut piece = std::mem::take(&mut self.spare);
                piece.reserve(PIECE.max(line.len()));
                piece.extend_from_slice(line);
                self.pieces.push_back(piece);
            }
        }
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

    /// The next piece to write, or until when there is none.
    fn take(&mut self, format: LogFormat, now: Instant) -> Result<Vec<u8>, Option<Instant>> {
        if self.closing || self.flood.over(now) {
            for sum in self.flood.take() {
                self.append(&sum.line(format));
            }
        }
        // With nobody there, it would be told for ever; whoever comes back is told by the next line's piece.
        let may_tell = !self.gone || !self.pieces.is_empty();
        let due = self.said.map(|said| said + SAID_EVERY);
        if may_tell
            && (self.closing || due.is_none_or(|due| due <= now))
            && let Some(lost) = self.lost.take()
        {
            self.said = Some(now);
            self.append(&lost.line(format));
        }
        if let Some(piece) = self.pieces.pop_front() {
            self.writing = piece.len();
            return Ok(piece);
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
