//! Bytes into a [`Generation`], or every reason why they do not make one. Does no IO, so that `check` and `serve`
//! cannot differ.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::load::{Content, Files};
use super::server::certified_key;
use super::{CrlFacts, Facts, Generation, OneCertificate, RouteTrust, crl};
use crate::config::{Config, Problem, Problems, StaleCrl, Tls};
use crate::identity::{Validity, general_name, printable, rfc3339};
use crate::judge::{Revocation, Trust};

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
    let server = certified_key(files, now)
        .map_err(|found| problems.extend(found))
        .ok();
    let vouching = vouching(&config.tls, files, previous, now, &mut warnings)
        .map_err(|found| problems.extend(found))
        .ok();
    let (Some((key, server)), Some(vouching), true) = (server, vouching, problems.is_empty())
    else {
        return Err(Problems(problems));
    };
    let Vouching {
        trust,
        client_cas,
        crls,
    } = vouching;
    let server_key = Arc::new(OneCertificate(Arc::new(key)));
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
        server,
        client_cas,
        crls,
        digest: files.digest(),
        trust_digest: files.trust_digest(),
        routes: routes.collect(),
        trust,
    };
    Ok(Validated {
        generation,
        warnings,
    })
}

/// Who vouches for clients.
struct Vouching {
    trust: Arc<Trust>,
    client_cas: Vec<Facts>,
    crls: Vec<CrlFacts>,
}

fn vouching(
    tls: &Tls,
    files: &Files,
    previous: Option<&Generation>,
    now: UnixTime,
    warnings: &mut Vec<Problem>,
) -> Result<Vouching, Vec<Problem>> {
    let cas = client_cas(&files.client_ca, now, warnings)?;
    // Reading a long revocation list again would cost seconds of CPU for nothing, and the verdicts would be lost.
    let same = previous.filter(|previous| {
        previous.trust_digest == files.trust_digest()
            && previous
                .trust
                .is_governed_by(tls.stale_crl, tls.allow_missing_eku)
            && previous.client_cas.len() == cas.len()
    });
    if let Some(previous) = same {
        return Ok(Vouching {
            trust: Arc::clone(&previous.trust),
            client_cas: previous.client_cas.clone(),
            crls: previous.crls.clone(),
        });
    }
    let parsed: Vec<X509Certificate<'_>> = cas
        .iter()
        .filter_map(|ca| X509Certificate::from_der(&ca.der).ok())
        .map(|(_, parsed)| parsed)
        .collect();
    let lists = crl::revocation_lists(&files.client_crl, &parsed)?;
    drop(parsed);
    let (lists, crls): (Vec<_>, Vec<_>) =
        lists.into_iter().map(|crl| (crl.list, crl.facts)).unzip();
    for stale in crls.iter().filter(|facts| facts.next_update < now) {
        let effect = match tls.stale_crl {
            StaleCrl::Refuse => "clients that it speaks for are refused",
            StaleCrl::Accept => "it counts as if it were new, as --stale-crl says",
        };
        warnings.extend(
            files
                .client_crl
                .iter()
                .find(|file| file.path == stale.path)
                .map(|file| {
                    file.problem(format!(
                        "the revocation list is stale since {}: {effect}; fetch a newer one",
                        rfc3339(stale.next_update)
                    ))
                }),
        );
    }
    let revocation = Revocation {
        lists,
        stale: tls.stale_crl,
        next_update: crls.iter().map(|facts| facts.next_update).min(),
    };
    let (anchors, client_cas): (Vec<_>, Vec<_>) = cas
        .into_iter()
        .map(|ca| ((ca.anchor, ca.facts.validity), ca.facts))
        .unzip();
    Ok(Vouching {
        trust: Arc::new(Trust::new(anchors, revocation, tls.allow_missing_eku)),
        client_cas,
        crls,
    })
}

struct ClientCa {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    facts: Facts,
}

/// The CAs that can vouch. One that cannot is left out with a warning; none left is a problem.
fn client_cas(
    files: &[Content],
    now: UnixTime,
    warnings: &mut Vec<Problem>,
) -> Result<Vec<ClientCa>, Vec<Problem>> {
    let mut cas = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        let found = match file.certificates("the CAs that vouch for clients") {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        for (index, found) in found.iter().enumerate() {
            match client_ca(&found.certificate(), file, now) {
                Ok(ca) => {
                    if now < ca.facts.validity.not_before {
                        let from = rfc3339(ca.facts.validity.not_before);
                        warnings.push(file.problem(format!(
                            "certificate {} vouches for nobody before {from}",
                            index + 1
                        )));
                    }
                    cas.push(ca);
                }
                Err(why) => warnings
                    .push(file.problem(format!("certificate {} is left out: {why}", index + 1))),
            }
        }
    }
    let vouches_now = |ca: &ClientCa| ca.facts.validity.covers(now);
    if !cas.iter().any(vouches_now) && problems.is_empty() {
        let left_out = warnings
            .iter()
            .map(|warning| &*warning.what)
            .collect::<Vec<_>>()
            .join("; ");
        problems.extend(files.iter().take(1).map(|file| {
            file.problem(format!("no CA in the bundle can vouch for clients: {left_out}; put a valid CA certificate there"))
        }));
    }
    if problems.is_empty() {
        Ok(cas)
    } else {
        Err(problems)
    }
}

/// RFC 5280: only a certificate with `cA` (section 4.2.1.9) and `keyCertSign` (4.2.1.3) that is good now can vouch.
fn client_ca(
    der: &CertificateDer<'static>,
    file: &Content,
    now: UnixTime,
) -> Result<ClientCa, String> {
    let facts = facts(der, file).map_err(|problem| problem.what)?;
    let named = |why: String| format!("{:?} {why}", facts.subject);
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|error| named(format!("cannot be parsed: {error}")))?;
    if !parsed.is_ca() {
        return Err(named("is not a CA (no basicConstraints cA)".to_owned()));
    }
    match parsed.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => {
            return Err(named(
                "may not sign certificates (keyUsage without keyCertSign)".to_owned(),
            ));
        }
        Ok(_) => {}
        Err(error) => return Err(named(format!("has a malformed keyUsage: {error}"))),
    }
    if facts.validity.not_after < now {
        return Err(named(format!(
            "expired at {}",
            rfc3339(facts.validity.not_after)
        )));
    }
    let anchor = webpki::anchor_from_trusted_cert(der)
        .map_err(|error| named(format!("cannot be used: {error}")))?;
    Ok(ClientCa {
        der: der.clone(),
        anchor: anchor.to_owned(),
        facts,
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
        validity: Validity::of(&parsed),
        path: file.path.clone(),
    })
}

#[cfg(test)]
mod tests;
