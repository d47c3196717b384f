//! Whether a client can be good at all now. No verdict about one depends on it: a gate that refuses everybody looks well
//! from within, and an operator must hear of it.

use std::fmt;

use rustls::pki_types::UnixTime;

use super::revocation::{Lists, StaleCrl};
use super::signature::Check;
use super::trust::Trust;
use crate::identity::rfc3339;

/// How many CAs are named; a bundle may have any number.
const MOST_NAMED: usize = 3;

/// Why every client is refused, whoever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nobody {
    /// No certificate of the bundle vouches for anybody.
    NoCa,
    /// Nobody's certificate is known not to be revoked.
    NoList(Vec<NoList>),
}

/// A CA that vouches, and has no list that says whom it did not revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoList {
    /// The CA, escaped and bounded.
    ca: String,
    /// Since when its list is stale; `None` if there is none that counts.
    stale_since: Option<UnixTime>,
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCa => f.write_str("no certificate of --client-ca vouches for anybody now"),
            Self::NoList(cas) => {
                for (index, NoList { ca, stale_since }) in cas.iter().take(MOST_NAMED).enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    match stale_since {
                        Some(since) => {
                            write!(f, "the list of {ca} is stale since {}", rfc3339(*since))?;
                        }
                        None => write!(f, "no list of --client-crl counts for {ca}")?,
                    }
                }
                match cas.len().saturating_sub(MOST_NAMED) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

impl Trust {
    /// Why every client is refused at this time, whoever it is; `None` if somebody may be good.
    pub fn refuses_everybody(&self, now: UnixTime) -> Option<Nobody> {
        let entries = self.bundle().entries().iter();
        let mut vouching = entries.filter(|entry| self.vouches(entry, now)).peekable();
        if vouching.peek().is_none() {
            return Some(Nobody::NoCa);
        }
        if self.lists().all().is_empty() {
            return None;
        }
        // Every chain hangs on a CA of the bundle, and the certificate below that one must be known to its list.
        let mut without = Vec::new();
        for entry in vouching {
            let certificate = entry.certificate();
            let until = entry
                .signs_lists()
                .then(|| speak_until(self.lists(), certificate.subject, certificate.key, now))
                .flatten();
            match until {
                Some(end) if end > now || self.lists().stale() == StaleCrl::Accept => return None,
                stale_since => without.push(NoList {
                    ca: entry.name().to_owned(),
                    stale_since,
                }),
            }
        }
        Some(Nobody::NoList(without))
    }
}

/// When the last of the newest lists of this CA ends, be that past or to come; `None` if it has none that has begun.
fn speak_until(lists: &Lists, name: &[u8], key: &[u8], now: UnixTime) -> Option<UnixTime> {
    let begun: Vec<_> = lists
        .of(name)
        .filter(|list| list.life().not_before <= now && list.is_by(key) == Check::Good)
        .collect();
    let newest = begun
        .iter()
        .filter(|list| !begun.iter().any(|other| other.supersedes(list)));
    newest.map(|list| list.life().not_after).max()
}
