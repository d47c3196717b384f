//! The gate's own certificate and key: files in, what rustls serves with and what people want to know of it out.

mod line;
mod remarks;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;

use self::line::line;
use super::Facts;
use super::load::Files;
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
    let out_of_time = file
        .certificates("")
        .ok()
        .and_then(|chain| out_of_time(&chain.first()?.certificate(), now))
        .map(|what| file.problem(what));
    let Own { chain, key, kind } = match Own::read(file, &files.key) {
        Ok(own) => own,
        Err(problems) => return Err(problems.into_iter().chain(out_of_time).collect()),
    };
    let read: Vec<_> = chain
        .iter()
        .filter_map(|der| Certificate::read(der).ok())
        .collect();
    let line = line(&read).map_err(|what| file.problem(what));
    let line = match (line, out_of_time) {
        (Ok(line), None) => line,
        (line, problem) => return Err(problem.into_iter().chain(line.err()).collect()),
    };
    let facts = match chain.first() {
        Some(leaf) => facts(leaf, file).map_err(|problem| vec![problem])?,
        None => return Err(Vec::new()),
    };
    let remarks = remarks::remarks(&line.sent, now);
    let warnings = line.warnings.into_iter().chain(remarks);
    let sent = line.sent.iter().map(|it| it.certificate.der.clone());
    let sent: Vec<CertificateDer<'static>> = sent.collect();
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

/// Why the certificate is not good now. One that cannot be read is told elsewhere.
fn out_of_time(leaf: &CertificateDer<'static>, now: UnixTime) -> Option<String> {
    let Validity {
        not_before,
        not_after,
    } = Validity::of(&Certificate::read(leaf).ok()?.parsed);
    if not_after < now {
        return Some(format!("expired at {}; renew it", rfc3339(not_after)));
    }
    (now < not_before).then(|| {
        let from = rfc3339(not_before);
        format!("not valid before {from}; check this machine's clock or reissue it")
    })
}

#[cfg(test)]
mod tests;
