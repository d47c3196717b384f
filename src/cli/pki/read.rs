//! PEM that the commands wrote before in, the one thing in it out.
//!
//! Its own file for one rule: what is written again as one must have been one, or the rest of it would be lost.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::authority::{AuthorityError, malformed};
use crate::pem::{Block, Der, Pem};

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
    let found = decode(CERTIFICATE, pem)?.certificates("the CA's certificate");
    let found = found.map_err(|fault| malformed(CERTIFICATE, fault))?;
    Ok(only(CERTIFICATE, &found)?.certificate())
}

/// The first certificate of a chain.
pub(super) fn leaf(pem: &[u8]) -> Result<CertificateDer<'static>, AuthorityError> {
    let found = decode(CERTIFICATE, pem)?.certificates("a certificate that this CA issued");
    let found = found.map_err(|fault| malformed(CERTIFICATE, fault))?;
    Ok(only(CERTIFICATE, found.get(..1).unwrap_or_default())?.certificate())
}

/// A revocation list.
pub(super) fn revocation_list(pem: &[u8]) -> Result<Der, AuthorityError> {
    let found = decode(LIST, pem)?.lists("the list of this CA");
    let found = found.map_err(|fault| malformed(LIST, fault))?;
    Ok(only(LIST, &found)?.der.clone())
}

fn decode(what: &'static str, pem: &[u8]) -> Result<Pem, AuthorityError> {
    Pem::decode(Zeroizing::new(pem.to_vec())).map_err(|fault| malformed(what, fault))
}

fn only<'a>(what: &'static str, blocks: &'a [Block]) -> Result<&'a Block, AuthorityError> {
    match blocks {
        [one] => Ok(one),
        [_, second, ..] => Err(malformed(
            what,
            format_args!(
                "line {}: a second one; leave the one that is meant",
                second.line
            ),
        )),
        [] => Err(malformed(what, "nothing is in it")),
    }
}
