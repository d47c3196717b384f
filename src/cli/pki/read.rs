//! PEM that the commands wrote before in, the one thing in it out.
//!
//! Its own file for one rule: what is written again as one must have been one, or the rest of it would be lost.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::authority::{AuthorityError, malformed};
use crate::pem::{Block, Pem};

const CERTIFICATE: &str = "certificate";
const KEY: &str = "P-256 private key";
const LIST: &str = "revocation list";

/// The key of a CA.
pub(super) fn key(pem: &[u8]) -> Result<KeyPair, AuthorityError> {
    let pem = decode(KEY, pem)?;
    let der = pem.private_key("the CA's key");
    let der = der.map_err(|fault| malformed(KEY, fault))?;
    KeyPair::from_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
        .map_err(|error| malformed(KEY, error))
}

/// The certificate of a CA.
pub(super) fn certificate(pem: &[u8]) -> Result<CertificateDer<'static>, AuthorityError> {
    let pem = decode(CERTIFICATE, pem)?;
    let found = pem.certificates("the CA's certificate");
    let der = only(
        CERTIFICATE,
        &found.map_err(|fault| malformed(CERTIFICATE, fault))?,
    )?;
    Ok(CertificateDer::from(der))
}

/// The first certificate of a chain.
pub(super) fn leaf(pem: &[u8]) -> Result<CertificateDer<'static>, AuthorityError> {
    let pem = decode(CERTIFICATE, pem)?;
    let found = pem.certificates("a certificate that this CA issued");
    let found = found.map_err(|fault| malformed(CERTIFICATE, fault))?;
    let der = only(CERTIFICATE, found.get(..1).unwrap_or_default())?;
    Ok(CertificateDer::from(der))
}

/// A revocation list.
pub(super) fn revocation_list(pem: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    let pem = decode(LIST, pem)?;
    let found = pem.lists("the list of this CA");
    only(LIST, &found.map_err(|fault| malformed(LIST, fault))?)
}

fn decode(what: &'static str, pem: &[u8]) -> Result<Pem, AuthorityError> {
    Pem::decode(Zeroizing::new(pem.to_vec())).map_err(|fault| malformed(what, fault))
}

fn only(what: &'static str, blocks: &[Block<'_>]) -> Result<Vec<u8>, AuthorityError> {
    match blocks {
        [Block { der, .. }] => Ok(der.to_vec()),
        [_, Block { line, .. }, ..] => Err(malformed(
            what,
            format_args!("line {line}: a second one; leave the one that is meant"),
        )),
        [] => Err(malformed(what, "nothing is in it")),
    }
}
