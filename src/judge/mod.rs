//! Whether a client's certificate is good: a chain, lists and a time in, a verdict out.
//!
//! Does no IO, reads no clock and knows no flag. The TLS verifier, the step after the handshake, the live session and
//! `explain` ask the same function.

mod refusal;
mod verify;
mod witness;

pub use self::refusal::Refusal;
pub use self::verify::{Revocation, Trust, Verified};
pub use self::witness::{Finding, Verifier, observe};

/// What becomes of clients whose revocation list is past its `nextUpdate` (RFC 5280 section 5.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleCrl {
    /// They are refused: what the list does not know is unknown.
    Refuse,
    /// The list counts as if it were new.
    Accept,
}
