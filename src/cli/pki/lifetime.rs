//! Times of certificates: days from the command line, seconds inside, whatever a library wants outside.
//!
//! Its own file because issuing, reading back and telling must agree on them. Reads no clock.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use x509_parser::time::ASN1Time;

use crate::identity::Validity;

/// How far back a certificate starts, so that a clock that is a little behind accepts it at once.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time from (a little before) `now` until so many days later.
pub fn lifetime(now: UnixTime, days: u32) -> Validity {
    let now = Duration::from_secs(now.as_secs());
    Validity {
        not_before: UnixTime::since_unix_epoch(now.saturating_sub(BACKDATED)),
        not_after: UnixTime::since_unix_epoch(now.saturating_add(DAY.saturating_mul(days))),
    }
}

/// A time out of a certificate; before 1970 is long ago for every purpose here.
pub(super) fn unix_time(time: ASN1Time) -> UnixTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// A time into a certificate, or for people.
pub(super) fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
