//! A certificate out of rcgen in, the same with a subject of several organizational units out.
//!
//! rcgen keeps one value of each kind in a name, and a client may well belong to two units. This file writes the
//! subject anew and signs again; it is asked only for such certificates and changes nothing else in them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{
    Any, BitString, FromDer as _, Oid, Sequence, SerializeError, Set, ToDer as _, Utf8String,
};
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATIONAL_UNIT};

use super::authority::{AuthorityError, Names};

/// Where the subject is among the fields of a `TBSCertificate` that names its version (RFC 5280 section 4.1).
const SUBJECT: usize = 5;

/// Signs the certificate again with all the organizational units of `names` in its subject.
pub(super) fn rewrite(
    certificate: &CertificateDer<'_>,
    names: &Names,
    key: &KeyPair,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut fields = Vec::new();
    let [tbs, algorithm, _signature] = parts(certificate)?
        .try_into()
        .map_err(|_| unreadable("not three parts"))?;
    for (index, field) in parts(&tbs)?.into_iter().enumerate() {
        fields.extend(match index {
            SUBJECT => subject(names).map_err(unwritable)?,
            _ => field,
        });
    }
    let tbs = sequence(fields).map_err(unwritable)?;
    let signature = BitString::new(0, &key.sign(&tbs)?)
        .to_der_vec()
        .map_err(unwritable)?;
    let whole = sequence([tbs, algorithm, signature].concat()).map_err(unwritable)?;
    Ok(CertificateDer::from(whole))
}

/// The certificate as PEM text (RFC 7468).
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (index, digit) in BASE64.encode(certificate).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

fn subject(names: &Names) -> Result<Vec<u8>, SerializeError> {
    let units = names.organizational_units.iter().map(String::as_str);
    let mut name = Vec::new();
    for unit in units {
        name.extend(attribute(&OID_X509_ORGANIZATIONAL_UNIT, unit)?);
    }
    if let Some(common_name) = names.common_name.as_deref() {
        name.extend(attribute(&OID_X509_COMMON_NAME, common_name)?);
    }
    sequence(name)
}

fn attribute(kind: &Oid<'_>, value: &str) -> Result<Vec<u8>, SerializeError> {
    let mut pair = kind.to_der_vec()?;
    pair.extend(Utf8String::from(value).to_der_vec()?);
    Set::new(Cow::Owned(sequence(pair)?)).to_der_vec()
}

fn sequence(content: Vec<u8>) -> Result<Vec<u8>, SerializeError> {
    Sequence::new(Cow::Owned(content)).to_der_vec()
}

/// The elements of a DER sequence, each with its header.
fn parts(der: &[u8]) -> Result<Vec<Vec<u8>>, AuthorityError> {
    let (_, sequence) = Sequence::from_der(der).map_err(unreadable)?;
    let mut rest: &[u8] = &sequence.content;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).map_err(unreadable)?;
        let (part, _) = rest
            .split_at_checked(rest.len() - after.len())
            .unwrap_or((rest, after));
        parts.push(part.to_vec());
        rest = after;
    }
    Ok(parts)
}

fn unreadable(why: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Malformed {
        what: "certificate",
        why: why.to_string(),
    }
}

fn unwritable(why: SerializeError) -> AuthorityError {
    unreadable(why)
}
