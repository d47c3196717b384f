//! What proves to the other side who we are: a chain of certificates and a private key in, both together or every
//! reason why not out.
//!
//! Its own file because the gate and `portcullis scrape` ask the same question of their files, and must hear the same
//! truth. No IO and no clock: who issued what, and what is good now, is not asked here.

mod certificate;
mod key;
mod public_key;

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;

pub(crate) use self::certificate::Certificate;
use self::key::OwnKey;
pub use self::public_key::Kind;
use super::load::Content;
use crate::config::Problem;
use crate::pem::Block;

/// No chain is longer: what is, is a CA bundle in the wrong place.
const MOST_CERTIFICATES: usize = 32;

/// Certificates of which the first is the key's, and that key.
#[derive(Debug)]
pub struct Own {
    /// The certificates as the file has them, the key's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What signs.
    pub key: Arc<dyn SigningKey>,
    /// Of what kind the key is.
    pub kind: Kind,
}

impl Own {
    /// Reads a file of certificates and one of a key, and puts them together.
    ///
    /// # Errors
    /// Everything that is wrong with either. That they do not belong together is said only of what was compared.
    pub fn read(cert: &Content, key: &Content) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |file: &Content, what: String| problems.push(file.problem(what));
        let own_key = match key.private_key() {
            Ok(der) => OwnKey::read(&der).map_err(|fault| wrong(key, fault.to_string())),
            Err(problem) => {
                wrong(key, problem.what);
                Err(())
            }
        };
        let chain = certificates(cert).map_err(|what| wrong(cert, what));
        let chain = chain.unwrap_or_default();
        let mut certificates = Vec::new();
        for (place, der) in (1..).zip(&chain) {
            let certificate = Certificate::read(der);
            let fault = match &certificate {
                Err(fault) => Some(fault.clone()),
                Ok(certificate) if place == 1 => certificate.odd_key().or(certificate.fault()),
                Ok(certificate) => certificate.odd_key(),
            };
            if let Some(fault) = fault {
                wrong(cert, format!("certificate {place} {fault}"));
            }
            certificates.extend(certificate.map(|certificate| (place, certificate)));
        }
        if let (Ok(own_key), Some((1, first))) = (&own_key, certificates.first())
            && !first.key.is(&own_key.public)
        {
            let own = certificates
                .iter()
                .find(|(_, it)| it.key.is(&own_key.public));
            match own {
                Some((place, _)) => wrong(cert, not_first(*place)),
                None => wrong(key, mismatch(cert, first, own_key)),
            }
        }
        drop(certificates);
        match own_key {
            Ok(OwnKey { signing, public }) if problems.is_empty() => Ok(Self {
                chain,
                key: signing,
                kind: public.kind,
            }),
            Ok(_) | Err(()) => Err(problems),
        }
    }
}

fn not_first(place: usize) -> String {
    format!(
        "the key belongs to certificate {place}, not to the first; put the chain in order, leaf first"
    )
}

fn mismatch(file: &Content, first: &Certificate<'_>, key: &OwnKey) -> String {
    let kinds = match (&key.public.kind, first.kind()) {
        (key, certificate) if key == certificate => String::new(),
        (key, certificate) => format!(" (the key is {key}, the certificate's {certificate})"),
    };
    format!(
        "the key does not belong to the first certificate of {}{kinds}; put both from the same issue, leaf first",
        file.path.display()
    )
}

/// At least one and no more than a chain can have.
fn certificates(file: &Content) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = file.certificates("the chain, leaf first");
    let found = found.map_err(|problem| problem.what)?;
    match found.len() {
        ..=MOST_CERTIFICATES => Ok(found.iter().map(Block::certificate).collect()),
        many => Err(format!(
            "{many} certificates in it, and a chain has a handful; leave out those that did not issue the first one or \
             its issuers"
        )),
    }
}

#[cfg(test)]
mod tests;
