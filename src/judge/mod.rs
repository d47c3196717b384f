//! Whether a client's certificate is good: a chain, lists and a time in, a verdict out.
//!
//! Does no IO, reads no clock and knows no flag. The TLS verifier, the step after the handshake, the live session and
//! `explain` ask the same function, [`Trust::admit`]. From the bytes up: `der` and `certificate` read, `key` and
//! `signature` know what keys can say, `rules` what RFC 5280 wants of one certificate; [`bundle`] has the CAs, [`list`],
//! [`revocation`], [`standing`] and [`nobody`] the lists; `chain` keeps what a client sent, `search` finds the ways from the bundle to
//! it, `path` judges one of them, [`trust`] the client; [`refusal`] has the words, `presented`
//! what a refused client claims to be, and [`handshake`] carries it all into
//! TLS.

pub mod bundle;
mod certificate;
mod chain;
mod der;
pub mod handshake;
mod key;
pub mod list;
pub mod nobody;
mod path;
mod presented;
pub mod refusal;
pub mod revocation;
mod rules;
mod search;
mod signature;
pub mod standing;
pub mod trust;
mod words;

#[cfg(test)]
mod tests;

pub use self::bundle::{Bundle, Entry};
pub use self::chain::Chain;
pub use self::handshake::{Asked, Refused, Verifier};
pub use self::key::{USABLE, UnusableKey, usable_key};
pub use self::list::{List, ListFault};
pub use self::nobody::Nobody;
pub use self::presented::Presented;
pub use self::refusal::{Refusal, Unvouched, Whose, Why};
pub use self::revocation::{Lists, StaleCrl, Unknown};
pub use self::rules::Fault;
pub use self::standing::{BadStanding, Standing};
pub use self::trust::{Trust, Verified};
