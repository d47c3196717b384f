//! What the outside learns: metrics, connection records and the log. Nothing else writes a record or moves a metric.
//!
//! Comes in: what happened, from the gate. Goes out: lines on standard error ([`log`]), the text of `/metrics`
//! ([`metrics`]) and one [`Record`] per accepted connection, which moves counters and writes its line in one step, so
//! that the two can never disagree.

pub mod log;
pub mod metrics;
mod process;
mod record;
mod states;
mod target;

pub use self::metrics::{Metrics, RouteMetrics, Summary};
pub use self::record::{Record, Session, Traffic};
pub use self::target::LastSeen;
