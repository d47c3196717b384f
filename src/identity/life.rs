//! When a certificate or a list is good, and how a time is told.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;

/// When a certificate is good, both ends included (RFC 5280 section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixTime,
    /// The last second.
    pub not_after: UnixTime,
}

impl Validity {
    /// Reads the validity of any certificate, a CA's too.
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            not_before: unix_time(validity.not_before),
            not_after: unix_time(validity.not_after),
        }
    }

    /// The time that both cover.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// True if what lives so long should have been renewed by `now`: in the last fifth of the life, of which the last 30
    /// days count, or the last 8 % if that is more. cert-manager renews after two thirds; a year's certificate is
    /// usually renewed a month before its end, a CA of ten years one before. The alerts have the same rule
    /// (deploy/prometheus/alerts.yml).
    pub fn is_due(&self, now: UnixTime) -> bool {
        const MONTH: u64 = 30 * 24 * 60 * 60;
        let (from, to, now) = (
            self.not_before.as_secs(),
            self.not_after.as_secs(),
            now.as_secs(),
        );
        let life = u128::from(to.saturating_sub(from));
        let left = u128::from(to.saturating_sub(now));
        to < now || (left * 5 <= life && left * 100 < (life * 8).max(u128::from(MONTH) * 100))
    }

    /// True if `now` lies inside.
    pub fn covers(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// An ASN.1 time as the clock has it. Before 1970 is long ago for every purpose here.
pub fn unix_time(time: x509_parser::time::ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(time.timestamp()).unwrap_or(0),
    ))
}

/// A certificate's time as operators read it, `2026-11-23T02:33:11Z`.
pub fn rfc3339(time: UnixTime) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    // Later than the year 9999 is how RFC 5280 section 4.1.2.5 writes "never".
    time.map_or("never".to_owned(), |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    })
}
