//! Bytes into a [`Generation`], or every reason why they do not make one. Does no IO, so that `check` and `serve`
//! cannot differ.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroize as _;

use super::load::{Content, Files};
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

fn certified_key(files: &Files, now: UnixTime) -> Result<(CertifiedKey, Facts), Vec<Problem>> {
    let chain = certificates(&files.cert).and_then(|chain| match chain.first() {
        Some(leaf) => Ok((facts(leaf, &files.cert)?, chain)),
        None => Err(files
            .cert
            .problem("no PEM block CERTIFICATE in it; it must hold the chain, leaf first")),
    });
    let key = private_key(&files.key);
    let ((facts, chain), mut key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let mut problems = Vec::new();
    if facts.validity.not_after < now {
        problems.push(files.cert.problem(format!(
            "expired at {}; renew it",
            rfc3339(facts.validity.not_after)
        )));
    } else if now < facts.validity.not_before {
        let from = rfc3339(facts.validity.not_before);
        problems.push(files.cert.problem(format!(
            "not valid before {from}; check this machine's clock or reissue it"
        )));
    }
    problems.extend(broken_link(&files.cert, &chain));
    let signing_key = any_supported_type(&key);
    // The signing key has a copy of its own, which aws-lc wipes.
    key.zeroize();
    match signing_key.map(|signing_key| CertifiedKey::new(chain, signing_key)) {
        Ok(certified) => match certified.keys_match() {
            Ok(()) if problems.is_empty() => return Ok((certified, facts)),
            Ok(()) => {}
            Err(_) => problems.push(files.key.problem(format!(
                "the key does not belong to the first certificate of {}; put both from the same issue, leaf first",
                files.cert.path.display()
            ))),
        },
        Err(error) => problems.push(files.key.problem(format!(
            "{error}; use an RSA, ECDSA P-256/P-384/P-521 or Ed25519 key"
        ))),
    }
    Err(problems)
}

/// Clients follow the chain from the leaf: each certificate must be issued by the next.
fn broken_link(file: &Content, chain: &[CertificateDer<'_>]) -> Option<Problem> {
    let parsed: Vec<_> = chain
        .iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, c)| c)
        .collect();
    let broken = parsed
        .iter()
        .zip(parsed.iter().skip(1))
        .position(|(one, next)| one.issuer() != next.subject())?;
    Some(file.problem(format!(
        "certificate {} is not issued by certificate {}; put the chain in order, leaf first",
        broken + 1,
        broken + 2
    )))
}

fn private_key(file: &Content) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_slice(&file.bytes).map_err(|error| {
        if !matches!(error, pem::Error::NoItemsFound) {
            return file.problem(format!("{}; put the PEM key there", pem_reason(&error)));
        }
        if contains(&file.bytes, b"ENCRYPTED PRIVATE KEY") {
            return file.problem(
                "the key is encrypted, and nobody is there to type a password; store it decrypted, readable by the gate only",
            );
        }
        file.problem("no PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY in it; put the PEM key there")
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn certificates(file: &Content) -> Result<Vec<CertificateDer<'static>>, Problem> {
    CertificateDer::pem_slice_iter(&file.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            file.problem(format!(
                "{}; it must hold PEM certificates",
                pem_reason(&error)
            ))
        })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the error is open-ended; the rest keeps its own words"
)]
fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a PEM block has no end; the file may be cut short".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => "a PEM block begins in a broken way".to_owned(),
        pem::Error::Base64Decode(_) => "a PEM block holds bad base64".to_owned(),
        other => other.to_string(),
    }
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
        let found = match certificates(file) {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if found.is_empty() {
            problems.push(file.problem(
                "no PEM block CERTIFICATE in it; it must hold the CAs that vouch for clients",
            ));
        }
        for (index, der) in found.iter().enumerate() {
            match client_ca(der, file, now) {
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

fn facts(der: &CertificateDer<'_>, file: &Content) -> Result<Facts, Problem> {
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
