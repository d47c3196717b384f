//! portcullis: an mTLS gate for ports that listen on loopback only.
//!
//! A client connects with TLS and a certificate. If the certificate chains to a configured CA, is good now, and an
//! allow rule names the client, its bytes are relayed as plaintext to a target on loopback. Everyone else is told why
//! not by a TLS alert, and the target never hears of them.
//!
//! # Layout, in reading order
//!
//! - [`cli`]: the commands. `serve` is the daemon; the others look at the same configuration, files and rules with the
//!   same functions, or are clients.
//! - [`serve`]: the composition root. Files judged, listeners bound, everything started and stopped in order.
//! - `gate`: the path of a connection, `gate/mod.rs` from top to bottom: accept, handshake, admit, connect, pump.
//! - [`follow`]: keeps up with the files: a hint that they changed (`watch`), one look at them and one swap (`reload`).
//! - [`trust`]: the path of credentials: files to bytes (`load`), bytes to a [`trust::Generation`] (`validate`).
//! - [`admin`]: what can be seen over HTTP.
//! - [`telemetry`]: what is told: metrics, one record per connection, the log.
//! - [`config`]: what was written, and what it means.
//! - [`judge`]: whether a client's certificate is good: chain, lists and time in, a verdict out.
//! - [`policy`]: who may pass: the rules and the judge. [`identity`]: what a certificate says.
//! - [`mod@file`]: bytes from disk, whole or not at all, and never waited for in vain. [`pem`]: the blocks in them.
//! - [`event`]: all the ways a connection can end or be refused. [`lifecycle`]: where the process stands. `places`:
//!   who gives way when all places are taken. [`listen`] and [`harden`]:
//!   what is asked of the kernel.
//!
//! # Invariants, many of them absences
//!
//! - The judge is one pure function, [`policy::judge`]. The TLS verifier asks it once the client has proved its key, so
//!   that a refused client hears the right alert; the step after the handshake asks it again, and only that answer
//!   opens the way; a live session asks it at every change for as long as it lives; `explain` asks it too.
//! - All that must change together lives in one immutable generation behind one pointer. A connection is judged by one
//!   generation, and nobody keeps a list of sessions to kill from: each watches for itself.
//! - Each step takes the proof of the one before. Dialling the target takes an `Admitted`, which only admission makes,
//!   from an `Authenticated`, which only a full handshake makes, from what a verifier found for this very connection.
//! - `identity`, `policy` and `judge` do no IO and read no clock. `trust::validate` does no IO. `gate` never reads a file.
//!   `trust` never sees a socket. `admin` never changes anything. Nothing but `telemetry` moves a metric.
//! - Every wait has a deadline and every collection a bound. Every count is held by a value that gives it back when it
//!   is dropped.
//! - A connection that is dropped at any point, by cancellation or by a bug, lets nobody in, resets its target and
//!   writes its one record.
//! - There is no session resumption, no early data, no way to serve without client authentication, and no `unsafe`.

// The blank lines keep the reading order; `tests/tidy.rs` holds the direction in which these may use each other.
pub mod cli;

pub mod serve;

pub mod gate;

pub mod follow;

pub mod trust;

pub mod admin;

pub mod telemetry;

pub mod config;

pub mod judge;

pub mod policy;

pub mod identity;

pub mod crypto;

pub mod file;

pub mod pem;

pub mod event;

pub mod lifecycle;

mod places;

pub mod listen;

pub mod harden;

#[cfg(test)]
#[path = "../tests/behaviour/support/craft.rs"]
mod craft;
