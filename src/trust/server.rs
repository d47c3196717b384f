//! The gate's own certificate and key: bytes in, what rustls serves with and what people want to know of it out.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Facts;
use super::load::{Content, Files};
use super::validate::facts;
use crate::config::Problem;
use crate::identity::rfc3339;
use crate::pem::Block;

pub(super) fn certified_key(
    files: &Files,
    now: UnixTime,
) -> Result<(CertifiedKey, Facts), Vec<Problem>> {
    let chain = chain(&files.cert);
    let key = files.key.private_key();
    let ((facts, chain), key) = match (chain, key) {
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

fn chain(file: &Content) -> Result<(Facts, Vec<CertificateDer<'static>>), Problem> {
    const MEANING: &str = "the chain, leaf first";
    let blocks = file.certificates(MEANING)?;
    let chain: Vec<_> = blocks.iter().map(Block::certificate).collect();
    match chain.first() {
        Some(leaf) => Ok((facts(leaf, file)?, chain)),
        None => Err(file.problem(MEANING)),
    }
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
