//! Sums up refusals that come faster than anybody could read: so many a second of each kind are written, the others
//! are counted and told in one line for each kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::Line;
use crate::config::LogFormat;
use crate::event::Outcome;

/// So many of a kind are written each second.
pub(super) const WRITTEN: u64 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// What is counted together. Routes and outcomes are few, and no stranger makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind<'a> {
    pub(crate) route: &'a Arc<str>,
    pub(crate) outcome: Outcome,
}

/// The refusals of one second, or of longer while the log is not read.
#[derive(Debug, Default)]
pub(super) struct Flood {
    began: Option<Instant>,
    kinds: Vec<Sum>,
}

/// The refusals of one kind.
#[derive(Debug)]
pub(super) struct Sum {
    route: Arc<str>,
    outcome: Outcome,
    seen: u64,
}

impl Flood {
    /// Counts one; whether it is written, and whether it is the first one that is not.
    pub(super) fn lets(&mut self, kind: &Kind<'_>, now: Instant) -> (bool, bool) {
        if self.over(now) && !self.owes() {
            self.restart();
        }
        self.began.get_or_insert(now);
        let owed = self.owes();
        let same = |sum: &&mut Sum| sum.outcome == kind.outcome && sum.route == *kind.route;
        let seen = match self.kinds.iter_mut().find(same) {
            Some(sum) => {
                sum.seen += 1;
                sum.seen
            }
            None => {
                self.kinds.push(Sum {
                    route: Arc::clone(kind.route),
                    outcome: kind.outcome,
                    seen: 1,
                });
                1
            }
        };
        let lets = seen <= WRITTEN;
        (lets, !lets && !owed)
    }

    /// Whether some were not written.
    pub(super) fn owes(&self) -> bool {
        self.kinds.iter().any(|sum| sum.seen > WRITTEN)
    }

    /// When those that were not written are to be told.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.began
            .filter(|_| self.owes())
            .map(|began| began + WINDOW)
    }

    /// Whether the second is over.
    pub(super) fn over(&self, now: Instant) -> bool {
        self.began.is_some_and(|began| began + WINDOW <= now)
    }

    /// Begins anew, and hands out what is to be told.
    pub(super) fn take(&mut self) -> Vec<Sum> {
        let kinds = self.restart();
        let owed = kinds.into_iter().filter(|sum| sum.seen > WRITTEN);
        owed.collect()
    }

    fn restart(&mut self) -> Vec<Sum> {
        self.began = None;
        std::mem::take(&mut self.kinds)
    }
}

impl Sum {
    /// How many were not written.
    pub(super) fn more(&self) -> u64 {
        self.seen.saturating_sub(WRITTEN)
    }

    pub(super) fn line(&self, format: LogFormat) -> Vec<u8> {
        let mut line = Line::new(format, self.outcome.level(), "connections_summed");
        line.str("route", &self.route);
        line.str("outcome", self.outcome.as_str());
        line.number("more", self.more());
        line.str("message", "more than are written one by one each second");
        line.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each_kind_are_written_and_the_others_told_once() {
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let mut flood = Flood::default();
        let now = Instant::now();
        let mut written = 0;
        for _ in 0..250 {
            for (route, outcome) in [
                (&one, Outcome::HandshakeFailed),
                (&one, Outcome::OverLimit),
                (&other, Outcome::OverLimit),
            ] {
                written += u64::from(flood.lets(&Kind { route, outcome }, now).0);
            }
        }
        assert_eq!(written, 3 * WRITTEN);
        assert!(!flood.over(now));
        assert_eq!(flood.ends(), Some(now + WINDOW));
        assert!(flood.over(now + WINDOW));
        let sums = flood.take();
        assert_eq!(sums.len(), 3);
        assert!(sums.iter().all(|sum| sum.more() == 150), "{sums:?}");
        assert!(!flood.owes());
    }

    #[test]
    fn the_next_second_begins_by_itself_only_if_nothing_is_owed() {
        let route = Arc::from("one");
        let outcome = Outcome::HandshakeFailed;
        let kind = Kind {
            route: &route,
            outcome,
        };
        let mut flood = Flood::default();
        let now = Instant::now();
        let mut count = |number: u64, now| {
            let lets = (0..number).filter(|_| flood.lets(&kind, now).0);
            (lets.count() as u64, flood.owes())
        };
        assert_eq!(count(WRITTEN, now), (WRITTEN, false));
        assert_eq!(count(WRITTEN, now + WINDOW), (WRITTEN, false));
        assert_eq!(count(1, now + WINDOW), (0, true));
        assert_eq!(
            count(1, now + 9 * WINDOW),
            (0, true),
            "the writer has not told"
        );
    }

    #[test]
    fn only_the_first_that_is_not_written_wakes_the_writer() {
        let route = Arc::from("one");
        let outcome = Outcome::HandshakeFailed;
        let mut flood = Flood::default();
        let now = Instant::now();
        let kind = Kind {
            route: &route,
            outcome,
        };
        let woken = (0..500).filter(|_| flood.lets(&kind, now).1);
        assert_eq!(woken.count(), 1);
    }
}
