//! The gate's own certificate and key: files in, what rustls serves with and what people want to know of it out.

mod line;
mod remarks;

use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;

use self::line::line;
use super::Facts;
use super::load::{Content, Files};
use super::own::{Certificate, Kind, Own};
use super::validate::facts;
use crate::config::Problem;
use crate::identity::{Validity, rfc3339};

/// What the gate serves with.
pub(super) struct Server {
    pub(super) certified: CertifiedKey,
    pub(super) facts: Facts,
    pub(super) shown: Shown,
    /// What does not make it unusable.
    pub(super) warnings: Vec<Problem>,
}

/// What the gate shows to whoever connects.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Of what kind its key is.
    pub key: Kind,
    /// How many certificates it sends.
    pub sent: usize,
    /// How many its file holds.
    pub held: usize,
}

pub(super) fn server(files: &Files, now: UnixTime) -> Result<Server, Vec<Problem>> {
    let file = &files.cert;
    let Own { chain, key, kind } = Own::read(file, &files.key)?;
    let certificates: Vec<_> = chain
        .iter()
        .filter_map(|der| Certificate::read(der).ok())
        .collect();
    let line = line(&certificates).map_err(|what| file.problem(what));
    let facts = match chain.first() {
        Some(leaf) => facts(leaf, file).and_then(|facts| in_time(facts, file, now)),
        None => return Err(Vec::new()),
    };
    let (line, facts) = match (line, facts) {
        (Ok(line), Ok(facts)) => (line, facts),
        (line, facts) => return Err([facts.err(), line.err()].into_iter().flatten().collect()),
    };
    let remarks = remarks::remarks(&line.sent, now);
    let warnings = line.warnings.into_iter().chain(remarks);
    let sent: Vec<_> = line
        .sent
        .iter()
        .map(|it| it.certificate.der.clone())
        .collect();
    Ok(Server {
        shown: Shown {
            key: kind,
            sent: sent.len(),
            held: chain.len(),
        },
        warnings: warnings.map(|what| file.problem(what)).collect(),
        certified: CertifiedKey::new(sent, key),
        facts,
    })
}

fn in_time(facts: Facts, file: &Content, now: UnixTime) -> Result<Facts, Problem> {
    let Validity {
        not_before,
        not_after,
    } = facts.validity;
    if not_after < now {
        let since = rfc3339(not_after);
        return Err(file.problem(format!("expired at {since}; renew it")));
    }
    if now < not_before {
        let from = rfc3339(not_before);
        return Err(file.problem(format!(
            "not valid before {from}; check this machine's clock or reissue it"
        )));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests;
