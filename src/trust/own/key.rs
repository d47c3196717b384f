//! A private key file's text in, a key that signs or the reason why not out.
//!
//! Its own file because a key comes in many wrappings, and each wrong one has its own remedy. Never shows a byte of a
//! key, and wipes what it decoded.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid};
use x509_parser::x509::AlgorithmIdentifier;
use zeroize::Zeroizing;

use super::SEQUENCE;
use super::public_key::{Kind, PublicKey, USABLE, bits, number};
use crate::identity::printable;
use crate::trust::pem::pem_reason;

/// Why a file is no private key to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    /// There is none.
    #[error(
        "no PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY in it{}; put the PEM key there",
        .0.as_ref().map_or(String::new(), |label| format!(", only {label}"))
    )]
    None(Option<String>),
    /// Something else is there: what, and how a key is made of it.
    #[error("{0}")]
    OtherForm(&'static str),
    /// A password is needed.
    #[error(
        "the key is encrypted, and nobody is there to type a password; store it decrypted (`openssl pkey` does it), \
         readable by its user only"
    )]
    Encrypted,
    /// Which of them is not said.
    #[error("{0} private keys in it; leave only the one of the certificate")]
    Several(usize),
    /// The text is broken.
    #[error("{0}; put the PEM key there")]
    Broken(String),
    /// TLS has no use for it.
    #[error(
        "the key is {0}, which TLS has no use for here; make one that is {USABLE}, and a certificate for it"
    )]
    Unusable(Kind),
    /// It says what it is, and is not.
    #[error(
        "the key ({0}) is damaged: its parts do not fit together; restore it, or make a new one and a certificate for it"
    )]
    Damaged(Kind),
}

/// A private key that signs.
pub(super) struct OwnKey {
    pub(super) signing: Arc<dyn SigningKey>,
    pub(super) public: PublicKey,
}

impl OwnKey {
    pub(super) fn read(pem: &[u8]) -> Result<Self, KeyFault> {
        let der = decode(pem)?;
        // The signing key has a copy of its own, which aws-lc wipes.
        let signing = any_supported_type(&der).ok();
        let public = signing
            .as_ref()
            .and_then(|signing| PublicKey::from_der(&signing.public_key()?));
        match (signing, public) {
            (Some(signing), Some(public)) => Ok(Self { signing, public }),
            (_, _) => Err(match kind_of(&der) {
                kind if kind.is_usable() => KeyFault::Damaged(kind),
                kind => KeyFault::Unusable(kind),
            }),
        }
    }
}

fn decode(pem: &[u8]) -> Result<Zeroizing<PrivateKeyDer<'static>>, KeyFault> {
    let mut keys = Vec::new();
    for key in PrivateKeyDer::pem_slice_iter(pem) {
        match key {
            Ok(key) => keys.push(Zeroizing::new(key)),
            Err(_) if is_encrypted(pem) => return Err(KeyFault::Encrypted),
            Err(error) => return Err(KeyFault::Broken(pem_reason(&error))),
        }
    }
    let number = keys.len();
    match keys.pop() {
        Some(key) if number == 1 => Ok(key),
        Some(_) => Err(KeyFault::Several(number)),
        None => Err(other_form(pem)),
    }
}

/// PKCS#8 has a label for it (RFC 7468 section 11), the older forms a header (RFC 1421 section 4.6.1.1).
pub(super) fn is_encrypted(pem: &[u8]) -> bool {
    let contains = |needle: &[u8]| pem.windows(needle.len()).any(|window| window == needle);
    contains(b"-----BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}

/// What there is in place of a key.
fn other_form(text: &[u8]) -> KeyFault {
    if is_encrypted(text) {
        return KeyFault::Encrypted;
    }
    if text.first() == Some(&SEQUENCE) {
        return KeyFault::OtherForm(
            "binary (DER or PKCS#12), not PEM; convert it with `openssl pkey -inform DER` or `openssl pkcs12 -nodes`",
        );
    }
    let text = String::from_utf8_lossy(text);
    let label = text.split("-----BEGIN ").nth(1);
    let label = label.and_then(|rest| rest.split("-----").next());
    match label {
        Some("OPENSSH PRIVATE KEY") => KeyFault::OtherForm(
            "the key is in OpenSSH's own form; write it as PEM with `ssh-keygen -p -m PKCS8 -f FILE`",
        ),
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => {
            KeyFault::OtherForm("it holds a public key; put the private key there")
        }
        Some("DSA PRIVATE KEY") => KeyFault::Unusable(Kind::dsa()),
        other => KeyFault::None(other.map(printable)),
    }
}

/// What a key that does not sign says it is.
fn kind_of(der: &PrivateKeyDer<'_>) -> Kind {
    let kind = match der {
        PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => sec1(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8(key.secret_pkcs8_der()),
        _ => None,
    };
    kind.unwrap_or_else(Kind::unreadable)
}

/// RFC 8017 appendix A.1.2: version, modulus, …
fn rsa(der: &[u8]) -> Option<Kind> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(sequence.data).ok()?;
    let (_, modulus) = Any::from_der(rest).ok()?;
    Some(Kind::rsa(bits(number(modulus.data))))
}

/// RFC 5915: version, key, curve, …
fn sec1(der: &[u8]) -> Option<Kind> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(sequence.data).ok()?;
    let (rest, _key) = Any::from_der(rest).ok()?;
    let (_, curve) = Any::from_der(rest).ok()?;
    let curve = Oid::from_der(curve.data).map(|(_, curve)| curve.to_id_string());
    Some(Kind::curve(&curve.unwrap_or_default()))
}

/// RFC 5958: version, algorithm, key, …
fn pkcs8(der: &[u8]) -> Option<Kind> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(sequence.data).ok()?;
    let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
    let (_, key) = Any::from_der(rest).ok()?;
    match Kind::of_algorithm(&algorithm) {
        kind if kind.is_rsa() => rsa(key.data),
        kind => Some(kind),
    }
}
