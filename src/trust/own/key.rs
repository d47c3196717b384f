//! A private key in, what signs with it or the reason why nothing does out.
//!
//! Its own file because a key says of itself what it is in several ways, and each wrong one has its own remedy. Never
//! shows a byte of a key.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid};
use x509_parser::x509::AlgorithmIdentifier;

use super::public_key::{Kind, PublicKey, USABLE, bits, number};

/// Why a private key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
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
    pub(super) fn read(der: &PrivateKeyDer<'_>) -> Result<Self, KeyFault> {
        // The signing key has a copy of its own, which aws-lc wipes.
        let signing = any_supported_type(der).ok();
        let public = signing
            .as_ref()
            .and_then(|signing| PublicKey::from_der(&signing.public_key()?));
        match (signing, public) {
            (Some(signing), Some(public)) => Ok(Self { signing, public }),
            (_, _) => Err(match kind_of(der) {
                kind if kind.is_usable() => KeyFault::Damaged(kind),
                kind => KeyFault::Unusable(kind),
            }),
        }
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
