//! What people want to know of certificates and lists, escaped and bounded.
//!
//! Its own file because it is made once and shown in many places: `check`, `/status`, the log, the metrics.

use std::path::PathBuf;

use rustls::pki_types::UnixTime;

use super::digests::fingerprint;
use crate::identity::{Validity, rfc3339};
use crate::judge::{List, Trust, Why};

/// What people want to know of a certificate.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The distinguished name, escaped and bounded.
    pub subject: String,
    /// The subject alternative names, escaped and bounded.
    pub names: Vec<String>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
    /// When it is good.
    pub validity: Validity,
    /// The file it was read from.
    pub path: PathBuf,
}

/// A certificate of the bundle, and where it stands there.
#[derive(Debug, Clone)]
pub struct CaFacts {
    /// What it says.
    pub facts: Facts,
    /// The place of its file among those of --client-ca.
    pub(super) file: usize,
    /// Its number in the file, from one.
    pub(super) number: usize,
}

/// A certificate of the bundle that cannot be read.
#[derive(Debug, Clone)]
pub struct UnreadableCa {
    pub(super) file: usize,
    pub(super) number: usize,
    pub(super) why: String,
}

/// What people want to know of a revocation list.
#[derive(Debug, Clone)]
pub struct CrlFacts {
    /// The CA that it says signed it, escaped and bounded.
    pub issuer: String,
    /// Its cRLNumber.
    pub number: String,
    /// The SHA-256 of the list in hexadecimal.
    pub fingerprint: String,
    /// How many certificates it revokes.
    pub entries: usize,
    /// From when it was made until there should be a newer one.
    pub life: Validity,
    /// The file it was read from.
    pub path: PathBuf,
    /// The place of that file among those of --client-crl.
    pub(super) file: usize,
}

impl CrlFacts {
    pub(super) fn of(list: &List, file: usize) -> Self {
        Self {
            issuer: list.issuer_name(),
            number: list.number(),
            fingerprint: fingerprint(list.der()),
            entries: list.entries(),
            life: list.life(),
            path: PathBuf::new(),
            file,
        }
    }
}

/// The entries that vouch for nobody at this time: the place of the file, and a sentence.
pub(super) fn left_out(
    trust: &Trust,
    cas: &[CaFacts],
    unreadable: &[UnreadableCa],
    now: UnixTime,
) -> Vec<(usize, String)> {
    let unreadable = unreadable.iter().map(|ca| {
        let UnreadableCa { file, number, why } = ca;
        (*file, format!("certificate {number} is left out: it {why}"))
    });
    let told = trust.left_out(now).into_iter().filter_map(|(place, why)| {
        let CaFacts {
            facts,
            file,
            number,
        } = cas.get(place)?;
        let subject = &facts.subject;
        Some((
            *file,
            format!(
                "certificate {number} is left out: {subject:?} {}",
                words(&why)
            ),
        ))
    });
    unreadable.chain(told).collect()
}

/// What is said behind the name of an entry that is left out.
fn words(why: &Why) -> String {
    match why {
        Why::Fault(fault) => fault.to_string(),
        Why::Expired(at) => format!("expired at {}", rfc3339(*at)),
        Why::Early(from) => format!("vouches for nobody before {}", rfc3339(*from)),
        Why::Revoked => "is revoked by a list of the CA that issued it".to_owned(),
        Why::StatusUnknown(_)
        | Why::ListStale(_)
        | Why::PathLen { .. }
        | Why::NameConstraints
        | Why::Other => "cannot vouch".to_owned(),
    }
}
