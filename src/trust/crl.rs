//! Revocation lists: PEM or DER in, lists that webpki can ask out. A list that no CA of the bundle signed is bad.

use rustls::pki_types::UnixTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::asn1_rs::{Any, BitString, FromDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::revocation_list::CertificateRevocationList;

use super::load::Content;
use crate::config::Problem;
use crate::crypto::provider;
use crate::identity::{Validity, printable, unix_time};

/// What people want to know of a revocation list.
#[derive(Debug, Clone)]
pub struct CrlFacts {
    /// The CA that signed it, escaped and bounded.
    pub issuer: String,
    /// How many certificates it revokes.
    pub entries: usize,
    /// When it was made.
    pub this_update: UnixTime,
    /// When there should be a newer one.
    pub next_update: UnixTime,
    /// The file it was read from.
    pub path: std::path::PathBuf,
}

impl CrlFacts {
    /// From when it was made until there should be a newer one.
    pub fn life(&self) -> Validity {
        Validity {
            not_before: self.this_update,
            not_after: self.next_update,
        }
    }
}

/// One usable list.
pub(super) struct Crl {
    pub(super) list: CertRevocationList<'static>,
    pub(super) facts: CrlFacts,
}

/// Reads every list of the files; `cas` are the certificates of the bundle.
pub(super) fn revocation_lists(
    files: &[Content],
    cas: &[X509Certificate<'_>],
) -> Result<Vec<Crl>, Vec<Problem>> {
    let mut lists = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match file.lists() {
            Ok(found) => {
                for found in found {
                    match revocation_list(&found.der, file, cas) {
                        Ok(list) => lists.push(list),
                        Err(why) => problems.push(file.problem(why)),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    // webpki asks the first list of an issuer, and an older one may not know the newest revocations.
    lists.sort_by_key(|list| std::cmp::Reverse(list.facts.this_update));
    if problems.is_empty() {
        Ok(lists)
    } else {
        Err(problems)
    }
}

fn revocation_list(der: &[u8], file: &Content, cas: &[X509Certificate<'_>]) -> Result<Crl, String> {
    let unreadable = |error: String| {
        format!("the revocation list cannot be parsed: {error}; fetch or issue it again")
    };
    let signed = Signed::parse(der).ok_or_else(|| unreadable("not a signed list".to_owned()))?;
    let (_, parsed) =
        CertificateRevocationList::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let issuer = printable(&parsed.issuer().to_string());
    let mut by_name = cas
        .iter()
        .filter(|ca| ca.subject().as_raw() == parsed.issuer().as_raw())
        .peekable();
    if by_name.peek().is_none() {
        return Err(format!(
            "the revocation list is issued by {issuer:?}, which is no CA of the bundle; add that CA or take the list out"
        ));
    }
    if !by_name.any(|ca| signed.is_by(ca)) {
        return Err(format!(
            "the revocation list names {issuer:?} as its issuer, but that CA did not sign it; fetch or issue it again"
        ));
    }
    let next_update = parsed
        .next_update()
        .ok_or_else(|| unreadable("it has no nextUpdate".to_owned()))?;
    let list =
        OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let facts = CrlFacts {
        issuer,
        entries: parsed.iter_revoked_certificates().count(),
        this_update: unix_time(parsed.last_update()),
        next_update: unix_time(next_update),
        path: file.path.clone(),
    };
    Ok(Crl {
        list: list.into(),
        facts,
    })
}

/// The three parts of everything that a CA signs (RFC 5280 section 5.1).
struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: BitString<'a>,
}

impl<'a> Signed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let (_, outer) = Any::from_der(der).ok()?;
        let parts = outer.data;
        let (after_content, _) = Any::from_der(parts).ok()?;
        let (after_algorithm, algorithm) = Any::from_der(after_content).ok()?;
        let (_, signature) = BitString::from_der(after_algorithm).ok()?;
        let content = parts.get(..parts.len() - after_content.len())?;
        Some(Self {
            content,
            algorithm: algorithm.data,
            signature,
        })
    }

    /// The algorithms are those that chains are verified with, and no others.
    fn is_by(&self, ca: &X509Certificate<'_>) -> bool {
        let key = ca.public_key();
        let Some(key_algorithm) = Any::from_der(key.raw)
            .ok()
            .and_then(|(_, key)| Any::from_der(key.data).ok())
            .map(|(_, algorithm)| algorithm.data)
        else {
            return false;
        };
        let algorithms = provider().signature_verification_algorithms.all;
        algorithms.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm
                    .verify_signature(
                        &key.subject_public_key.data,
                        self.content,
                        &self.signature.data,
                    )
                    .is_ok()
        })
    }
}
