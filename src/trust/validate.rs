//! Bytes into a [`Generation`], or every reason why they do not make one. Does no IO, so that `check` and `serve`
//! cannot differ.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::digests::{fingerprint, of_rules};
use super::load::{Content, Files};
use super::server::{Server, server};
use super::vouching::{Vouching, vouching};
use super::{Facts, Generation, OneCertificate, RouteTrust};
use crate::config::{Config, Problem, Problems};
use crate::identity::{Validity, general_name, printable};

/// A generation that may be published, and what an operator should know of it.
#[derive(Debug)]
pub struct Validated {
    /// What to serve with.
    pub generation: Generation,
    /// Traps that do not make it unusable.
    pub warnings: Vec<Problem>,
}

/// Judges the files as of `now`. The generation is numbered after `previous`, and shares with it what did not change.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn validate(
    config: &Config,
    files: &Files,
    previous: Option<&Generation>,
    now: SystemTime,
) -> Result<Validated, Problems> {
    let since = now;
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let server = server(files, now)
        .map_err(|found| problems.extend(found))
        .ok();
    let vouching = vouching(&config.tls, files, previous, now, &mut warnings)
        .map_err(|found| problems.extend(found))
        .ok();
    let (Some(server), Some(vouching), true) = (server, vouching, problems.is_empty()) else {
        return Err(Problems(problems));
    };
    let Server {
        certified,
        facts,
        shown,
        warnings: of_the_server,
    } = server;
    warnings.extend(of_the_server);
    let Vouching {
        trust,
        client_cas,
        unreadable_cas,
        idle_lists,
        crls,
    } = vouching;
    let server_key = Arc::new(OneCertificate(Arc::new(certified)));
    let routes = config.routes.iter().map(|route| {
        RouteTrust::new(
            &trust,
            &route.allow,
            &route.allow_from,
            &server_key,
            config.tls.min_version,
        )
    });
    let generation = Generation {
        number: previous.map_or(1, |previous| previous.number + 1),
        since,
        server: facts,
        shown,
        client_cas,
        client_ca_files: files
            .client_ca
            .iter()
            .map(|file| file.path.clone())
            .collect(),
        unreadable_cas,
        idle_lists,
        crls,
        unsafe_settings: config.unsafe_settings(),
        rules: of_rules(config),
        digest: files.digest(),
        trust_digest: files.trust_digest(),
        routes: routes.collect(),
        trust,
        presented: server_key,
    };
    Ok(Validated {
        generation,
        warnings,
    })
}

pub(super) fn facts(der: &CertificateDer<'_>, file: &Content) -> Result<Facts, Problem> {
    let unreadable = |error: String| {
        file.problem(format!(
            "a certificate in it cannot be parsed: {error}; reissue it"
        ))
    };
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| unreadable(error.to_string()))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(Facts {
        subject: printable(&parsed.subject().to_string()),
        names: names.take(16).map(general_name).collect(),
        serial: parsed
            .raw_serial()
            .iter()
            .take(32)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        fingerprint: fingerprint(der),
        validity: Validity::of(&parsed),
        path: file.path.clone(),
    })
}

#[cfg(test)]
mod tests;
