//! What a CA signed, and whether it did (RFC 5280 sections 4.1.1 and 5.1.1: certificates and lists have one form).
//!
//! Its own file because here is the table of the algorithms that count. A list is hashed once, when it is read: to ask
//! a key about it later costs the same for a short list and for a long one.

use aws_lc_rs::digest::{Algorithm as Hash, Digest, SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{self as plain, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as webpki;

use super::der::{self, Reader};
use crate::crypto::provider;

/// The three parts of what a CA signs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// What the signature is over: the whole element.
    pub(super) content: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// What a key says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The key made it.
    Good,
    /// It did not.
    Wrong,
    /// Nobody can tell: keys of this kind make no signatures by this algorithm, or the algorithm does not count.
    Unsupported,
}

impl<'a> Signed<'a> {
    /// `None` if the bytes are not such a thing, whole and with nothing behind it.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut parts = der::only(der, der::SEQUENCE)?;
        let content = parts.take(der::SEQUENCE)?.whole;
        let algorithm = parts.take(der::SEQUENCE)?.content;
        let signature = parts.whole_bits()?;
        parts.end()?;
        Some(Self {
            content,
            algorithm,
            signature,
        })
    }

    /// Asks a key, given as a whole SubjectPublicKeyInfo.
    pub(super) fn is_by(&self, key: &[u8]) -> Check {
        let Some((kind, bits)) = key_parts(key) else {
            return Check::Unsupported;
        };
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            *algorithm.signature_alg_id() == *self.algorithm
                && *algorithm.public_key_alg_id() == *kind
        };
        let algorithms = provider().signature_verification_algorithms.all;
        match algorithms.iter().find(fits) {
            None => Check::Unsupported,
            Some(algorithm) => {
                Check::of(algorithm.verify_signature(bits, self.content, self.signature))
            }
        }
    }

    /// Hashes what was signed as its algorithm wants it; `None` if that takes the whole message, as with Ed25519.
    pub(super) fn hash(&self) -> Option<Digest> {
        let row = PREHASHED
            .iter()
            .find(|row| *row.webpki.signature_alg_id() == *self.algorithm)?;
        Some(digest(row.hash, self.content))
    }

    /// As [`is_by`](Self::is_by), with the hash of this very thing.
    pub(super) fn hash_is_by(&self, hash: &Digest, key: &[u8]) -> Check {
        let Some((kind, bits)) = key_parts(key) else {
            return Check::Unsupported;
        };
        let fits = |row: &&Prehashed| {
            *row.webpki.signature_alg_id() == *self.algorithm
                && *row.webpki.public_key_alg_id() == *kind
        };
        match PREHASHED.iter().find(fits) {
            None => Check::Unsupported,
            Some(row) => {
                let key = UnparsedPublicKey::new(row.plain, bits);
                Check::of(key.verify_digest(hash, self.signature))
            }
        }
    }
}

impl Check {
    fn of<E>(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::Good,
            Err(_) => Self::Wrong,
        }
    }
}

/// The content of a key's AlgorithmIdentifier, and the key itself.
pub(super) fn key_parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts: Reader<'_> = der::only(key, der::SEQUENCE)?;
    let kind = parts.take(der::SEQUENCE)?.content;
    let bits = parts.whole_bits()?;
    parts.end()?;
    Some((kind, bits))
}

/// An algorithm of [`provider`] that can be asked about a hash.
struct Prehashed {
    /// Its identifiers say for which keys and signatures it is.
    webpki: &'static dyn SignatureVerificationAlgorithm,
    plain: &'static dyn VerificationAlgorithm,
    hash: &'static Hash,
}

const fn row(
    webpki: &'static dyn SignatureVerificationAlgorithm,
    plain: &'static dyn VerificationAlgorithm,
    hash: &'static Hash,
) -> Prehashed {
    Prehashed {
        webpki,
        plain,
        hash,
    }
}

#[rustfmt::skip]
static PREHASHED: [Prehashed; 18] = [
    row(webpki::ECDSA_P256_SHA256, &plain::ECDSA_P256_SHA256_ASN1, &SHA256),
    row(webpki::ECDSA_P256_SHA384, &plain::ECDSA_P256_SHA384_ASN1, &SHA384),
    row(webpki::ECDSA_P256_SHA512, &plain::ECDSA_P256_SHA512_ASN1, &SHA512),
    row(webpki::ECDSA_P384_SHA256, &plain::ECDSA_P384_SHA256_ASN1, &SHA256),
    row(webpki::ECDSA_P384_SHA384, &plain::ECDSA_P384_SHA384_ASN1, &SHA384),
    row(webpki::ECDSA_P384_SHA512, &plain::ECDSA_P384_SHA512_ASN1, &SHA512),
    row(webpki::ECDSA_P521_SHA256, &plain::ECDSA_P521_SHA256_ASN1, &SHA256),
    row(webpki::ECDSA_P521_SHA384, &plain::ECDSA_P521_SHA384_ASN1, &SHA384),
    row(webpki::ECDSA_P521_SHA512, &plain::ECDSA_P521_SHA512_ASN1, &SHA512),
    row(webpki::RSA_PSS_2048_8192_SHA256_LEGACY_KEY, &plain::RSA_PSS_2048_8192_SHA256, &SHA256),
    row(webpki::RSA_PSS_2048_8192_SHA384_LEGACY_KEY, &plain::RSA_PSS_2048_8192_SHA384, &SHA384),
    row(webpki::RSA_PSS_2048_8192_SHA512_LEGACY_KEY, &plain::RSA_PSS_2048_8192_SHA512, &SHA512),
    row(webpki::RSA_PKCS1_2048_8192_SHA256, &plain::RSA_PKCS1_2048_8192_SHA256, &SHA256),
    row(webpki::RSA_PKCS1_2048_8192_SHA384, &plain::RSA_PKCS1_2048_8192_SHA384, &SHA384),
    row(webpki::RSA_PKCS1_2048_8192_SHA512, &plain::RSA_PKCS1_2048_8192_SHA512, &SHA512),
    row(webpki::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS, &plain::RSA_PKCS1_2048_8192_SHA256, &SHA256),
    row(webpki::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS, &plain::RSA_PKCS1_2048_8192_SHA384, &SHA384),
    row(webpki::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS, &plain::RSA_PKCS1_2048_8192_SHA512, &SHA512),
];

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
        PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA512, PublicKeyData as _,
        SignatureAlgorithm,
    };

    use super::*;
    use crate::judge::certificate::Certificate;

    #[test]
    fn a_hash_says_what_the_message_says() {
        let algorithms: [&'static SignatureAlgorithm; 6] = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P521_SHA512,
            &PKCS_RSA_SHA256,
            &PKCS_RSA_SHA512,
            &PKCS_ED25519,
        ];
        let signed = algorithms.map(|algorithm| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let params = CertificateParams::default();
            params.self_signed(&key).unwrap().der().to_vec()
        });
        for (index, one) in signed.iter().enumerate() {
            let one = Certificate::skim(one).unwrap();
            assert_eq!(one.signed.is_by(one.key), Check::Good, "{index}");
            let hash = one.signed.hash();
            assert_eq!(hash.is_none(), index == 5, "{index}");
            for (by, other) in signed.iter().enumerate() {
                let key = Certificate::skim(other).unwrap().key;
                let said = one.signed.is_by(key);
                assert_eq!(said == Check::Good, index == by, "{index} by {by}");
                if let Some(hash) = &hash {
                    assert_eq!(one.signed.hash_is_by(hash, key), said, "{index} by {by}");
                }
            }
        }
    }

    #[test]
    fn what_was_changed_was_not_signed() {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(CertificateParams::default(), key);
        let leaf = CertificateParams::default();
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let key = issuer.key().subject_public_key_info();
        let mut der = leaf.der().to_vec();
        assert_eq!(Signed::parse(&der).unwrap().is_by(&key), Check::Good);
        // Somewhere in the serial number.
        der[20] ^= 1;
        let signed = Signed::parse(&der).unwrap();
        assert_eq!(signed.is_by(&key), Check::Wrong);
        assert_eq!(
            signed.hash_is_by(&signed.hash().unwrap(), &key),
            Check::Wrong
        );
    }

    #[test]
    fn every_algorithm_of_the_provider_but_those_that_hash_twice_has_a_row() {
        for algorithm in provider().signature_verification_algorithms.all {
            let same = |row: &&Prehashed| {
                row.webpki.signature_alg_id() == algorithm.signature_alg_id()
                    && row.webpki.public_key_alg_id() == algorithm.public_key_alg_id()
            };
            let named = format!("{algorithm:?}");
            let hashes_twice = algorithm.signature_alg_id() == algorithm.public_key_alg_id();
            assert_eq!(
                PREHASHED.iter().any(|row| same(&row)),
                !hashes_twice,
                "{named}"
            );
        }
    }
}
