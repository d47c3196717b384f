//! Public keys that TLS can use here, by name; and why others cannot be.
//!
//! Its own file because `explain`, the bundle and the gate's own certificate say the same of a key as the handshake
//! does: a key that no signature can be verified with is told as that, not as a wrong signature.

use std::fmt;

use super::der::{self, Reader};
use super::signature::key_parts;
use super::words;

/// rsaEncryption, id-ecPublicKey and the named curves (RFC 3279 section 2.3, RFC 5480 section 2.1).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
const SECP256K1: &[u8] = &[0x2b, 0x81, 4, 0, 10];
const ED25519: &[u8] = &[0x2b, 0x65, 112];
const ED448: &[u8] = &[0x2b, 0x65, 113];
/// RFC 9881 section 2.
const ML_DSA_44: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17];
const ML_DSA_65: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];
const ML_DSA_87: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 19];

/// The RSA keys that aws-lc-rs verifies with, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What to use in place of a key that cannot be used.
pub const USABLE: &str = "use RSA of 2048 bits or more, ECDSA on P-256, P-384 or P-521, or Ed25519";

/// Why no signature of a key can be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnusableKey {
    /// Another kind of key, by name or number.
    Kind(String),
    /// An RSA key that is too short or too long, in bits.
    Rsa(usize),
    /// Not the key that its own algorithm says.
    Malformed,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a key of a kind that TLS cannot use here ({kind})"),
            Self::Rsa(bits) => write!(f, "an RSA key of {bits} bits, which TLS cannot use here"),
            Self::Malformed => f.write_str("a malformed key"),
        }
    }
}

/// The name of a key (a whole SubjectPublicKeyInfo) whose signatures can be verified, as `ECDSA P-256`.
///
/// # Errors
/// Why none can be.
pub fn usable_key(key: &[u8]) -> Result<String, UnusableKey> {
    let (kind, bits) = key_parts(key).ok_or(UnusableKey::Malformed)?;
    let mut kind = Reader::new(kind);
    let algorithm = kind.take(der::OID).ok_or(UnusableKey::Malformed)?.content;
    let named = |name: &str| Ok(name.to_owned());
    let other = |name: &str| Err(UnusableKey::Kind(name.to_owned()));
    match algorithm {
        RSA => {
            let size = rsa_bits(bits).ok_or(UnusableKey::Malformed)?;
            match RSA_BITS.contains(&size) {
                true => Ok(format!("RSA {size} bits")),
                false => Err(UnusableKey::Rsa(size)),
            }
        }
        EC => {
            let Some(curve) = kind.optional(der::OID) else {
                return other("an elliptic curve without a name");
            };
            let (name, size) = match curve.content {
                P256 => ("ECDSA P-256", 32),
                P384 => ("ECDSA P-384", 48),
                P521 => ("ECDSA P-521", 66),
                P224 => return other("ECDSA P-224"),
                SECP256K1 => return other("ECDSA secp256k1"),
                unknown => return other(&format!("the curve {}", words::dotted(unknown))),
            };
            match bits {
                [4, point @ ..] if point.len() == 2 * size => named(name),
                [2 | 3, point @ ..] if point.len() == size => named(name),
                _ => Err(UnusableKey::Malformed),
            }
        }
        ED25519 if bits.len() == 32 => named("Ed25519"),
        ED25519 => Err(UnusableKey::Malformed),
        ML_DSA_44 => named("ML-DSA-44"),
        ML_DSA_65 => named("ML-DSA-65"),
        ML_DSA_87 => named("ML-DSA-87"),
        RSA_PSS => other("RSA-PSS only"),
        DSA => other("DSA"),
        ED448 => other("Ed448"),
        unknown => other(&words::dotted(unknown)),
    }
}

/// RFC 8017 appendix A.1.1.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut parts = der::only(key, der::SEQUENCE)?;
    let modulus = parts.integer()?;
    let (_exponent, ()) = (parts.integer()?, parts.end()?);
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let digits = modulus.get(first..)?;
    let zeros = digits.first()?.leading_zeros() as usize;
    Some(digits.len() * 8 - zeros)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
        PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _,
    };

    use super::*;

    #[test]
    fn keys_that_can_be_used_have_a_name() {
        for (algorithm, name) in [
            (&PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
            (&PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
            (&PKCS_ECDSA_P521_SHA512, "ECDSA P-521"),
            (&PKCS_ED25519, "Ed25519"),
            (&PKCS_RSA_SHA256, "RSA 2048 bits"),
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let key = key.subject_public_key_info();
            assert_eq!(usable_key(&key).as_deref(), Ok(name));
            for length in 0..key.len() {
                assert_eq!(usable_key(&key[..length]), Err(UnusableKey::Malformed));
            }
        }
    }

    /// A SubjectPublicKeyInfo: the content of its algorithm, and the key.
    fn key(algorithm: &[&[u8]], bits: &[u8]) -> Vec<u8> {
        let element = |tag: u8, parts: &[&[u8]]| {
            let content = parts.concat();
            let length = u16::try_from(content.len()).unwrap();
            let mut element = vec![tag];
            match length {
                0..=0x7f => element.push(length as u8),
                0x80..=0xff => element.extend([0x81, length as u8]),
                _ => element.extend([&[0x82][..], &length.to_be_bytes()].concat()),
            }
            element.extend(content);
            element
        };
        let oids: Vec<Vec<u8>> = algorithm.iter().map(|oid| element(6, &[oid])).collect();
        let oids: Vec<&[u8]> = oids.iter().map(Vec::as_slice).collect();
        let rsa = match algorithm {
            [RSA] => element(0x30, &[&element(2, &[bits]), &element(2, &[&[1, 0, 1]])]),
            _ => bits.to_vec(),
        };
        element(0x30, &[&element(0x30, &oids), &element(3, &[&[0], &rsa])])
    }

    #[test]
    fn others_are_told_by_what_they_are() {
        let modulus = |bits: usize| [&[0, 0x80][..], &vec![1; bits / 8 - 1]].concat();
        let cases = [
            (key(&[EC, P224], &[4; 57]), "ECDSA P-224"),
            (key(&[EC, SECP256K1], &[4; 65]), "secp256k1"),
            (key(&[EC, &[0x2b, 1]], &[4; 65]), "the curve 1.3.1"),
            (key(&[EC], &[4; 65]), "without a name"),
            (key(&[EC, P256], &[4; 64]), "malformed"),
            (key(&[ED448], &[4; 57]), "Ed448"),
            (key(&[DSA], &[4; 57]), "DSA"),
            (key(&[RSA_PSS], &[4; 57]), "RSA-PSS"),
            (key(&[RSA], &modulus(1024)), "RSA key of 1024 bits"),
            (key(&[RSA], &modulus(16384)), "RSA key of 16384 bits"),
            (key(&[&[0x2b; 3000]], &[]), "1.3.43.43.43"),
        ];
        for (key, what) in cases {
            let said = usable_key(&key).unwrap_err().to_string();
            assert!(said.contains(what) && said.len() < 200, "{what}: {said}");
        }
        assert!(usable_key(&key(&[RSA], &modulus(4096))).is_ok());
        assert!(usable_key(&key(&[EC, P256], &[3; 33])).is_ok());
    }
}
