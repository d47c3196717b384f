//! A public key as a certificate or a private key has it: of what kind, with which value, in which form.
//!
//! Its own file because two keys are the same if their values are, however they are written. Judges no certificate.

use std::fmt;

use x509_parser::asn1_rs::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// What keys TLS uses here: the remedy of every message about another one.
pub(super) const USABLE: &str = "RSA (2048 to 8192 bits), ECDSA P-256, P-384 or P-521, or Ed25519";

/// What kind of key it is, by the name that people know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    name: String,
    usable: bool,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Algorithm, curve if it has some, name, and whether TLS has a use for it here.
const KINDS: [(&str, &str, &str, bool); 17] = [
    (EC, "1.2.840.10045.3.1.7", "ECDSA P-256", true),
    (EC, "1.3.132.0.34", "ECDSA P-384", true),
    (EC, "1.3.132.0.35", "ECDSA P-521", true),
    (EC, "1.3.132.0.33", "ECDSA P-224", false),
    (EC, "1.3.132.0.10", "ECDSA secp256k1", false),
    (EC, "1.3.36.3.3.2.8.1.1.7", "ECDSA brainpoolP256r1", false),
    (EC, "1.3.36.3.3.2.8.1.1.11", "ECDSA brainpoolP384r1", false),
    (EC, "1.3.36.3.3.2.8.1.1.13", "ECDSA brainpoolP512r1", false),
    ("1.3.101.112", "", "Ed25519", true),
    ("1.3.101.113", "", "Ed448", false),
    ("1.3.101.110", "", "X25519", false),
    ("1.3.101.111", "", "X448", false),
    ("1.2.840.10040.4.1", "", "DSA", false),
    ("1.2.840.113549.1.1.10", "", "RSA-PSS", false),
    ("2.16.840.1.101.3.4.3.17", "", "ML-DSA-44", true),
    ("2.16.840.1.101.3.4.3.18", "", "ML-DSA-65", true),
    ("2.16.840.1.101.3.4.3.19", "", "ML-DSA-87", true),
];
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";

impl Kind {
    /// True if a TLS client and this gate can use it.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable
    }

    /// RSA with a modulus of this length.
    pub(super) fn rsa(bits: usize) -> Self {
        Self {
            name: format!("RSA, {bits} bits"),
            usable: (2048..=8192).contains(&bits),
        }
    }

    /// What does not even say what it is: taken for usable, so that it is the damage that is told.
    pub(super) fn unreadable() -> Self {
        Self {
            name: "of an unknown kind".to_owned(),
            usable: true,
        }
    }

    /// True for RSA whose length is not known yet.
    pub(super) fn is_rsa(&self) -> bool {
        self.name == "RSA"
    }

    /// An elliptic curve by its object identifier.
    pub(super) fn curve(curve: &str) -> Self {
        Self::of(EC, curve)
    }

    /// What an algorithm identifier says; of RSA it does not say the length.
    pub(super) fn of_algorithm(algorithm: &AlgorithmIdentifier<'_>) -> Self {
        let oid = algorithm.algorithm.to_id_string();
        let parameters = algorithm.parameters.as_ref();
        let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
        let curve = curve.map_or(String::new(), |curve| curve.to_id_string());
        Self::of(&oid, if oid == EC { &curve } else { "" })
    }

    fn of(algorithm: &str, curve: &str) -> Self {
        let known = KINDS
            .iter()
            .find(|known| (known.0, known.1) == (algorithm, curve));
        let (name, usable) = match known {
            Some((.., name, usable)) => ((*name).to_owned(), *usable),
            None if algorithm == RSA => ("RSA".to_owned(), true),
            None if algorithm != EC => (format!("of the kind {algorithm}"), false),
            None if curve.is_empty() => ("ECDSA with a curve that has no name".to_owned(), false),
            None => (format!("ECDSA with the curve {curve}"), false),
        };
        Self { name, usable }
    }
}

/// A way to write a key that some clients do not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OddForm {
    /// An elliptic-curve point without its second half (RFC 5480 section 2.2 leaves it to the reader).
    CompressedPoint,
    /// Compressed and uncompressed at once, which RFC 5480 forbids.
    HybridPoint,
    /// RSA without the NULL that RFC 3279 section 2.3.1 asks for.
    RsaWithoutNull,
}

/// A public key.
#[derive(Debug)]
pub(super) struct PublicKey {
    pub(super) kind: Kind,
    pub(super) odd: Option<OddForm>,
    value: Vec<u8>,
}

impl PublicKey {
    /// `None` if it is no key of the kind that it says.
    pub(super) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = spki.algorithm.algorithm.to_id_string();
        let bytes: &[u8] = &spki.subject_public_key.data;
        if algorithm == RSA {
            let (_, key) = RSAPublicKey::from_der(bytes).ok()?;
            let (modulus, exponent) = (number(key.modulus), number(key.exponent));
            let parameters = spki.algorithm.parameters.as_ref();
            return Some(Self {
                kind: Kind::rsa(bits(modulus)),
                odd: parameters.is_none().then_some(OddForm::RsaWithoutNull),
                value: [modulus, b"^", exponent].concat(),
            });
        }
        let (odd, value) = match algorithm == EC {
            true => point(bytes)?,
            false => (None, bytes.to_vec()),
        };
        let kind = Kind::of_algorithm(&spki.algorithm);
        Some(Self { kind, odd, value })
    }

    /// The same, from the bytes of a SubjectPublicKeyInfo.
    pub(super) fn from_der(spki: &[u8]) -> Option<Self> {
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki).ok()?;
        Self::of(&spki)
    }

    /// True if both are one key, however each is written.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.value == other.value
    }
}

/// A point of a curve in its shortest form (SEC 1 section 2.3.3), and how it was written.
fn point(bytes: &[u8]) -> Option<(Option<OddForm>, Vec<u8>)> {
    let (form, coordinates) = bytes.split_first()?;
    let both = |odd| {
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let parity = y.last()? & 1;
        (x.len() == y.len()).then(|| (odd, [&[2 + parity], x].concat()))
    };
    match form {
        2 | 3 => Some((Some(OddForm::CompressedPoint), bytes.to_vec())),
        4 => both(None),
        6 | 7 => both(Some(OddForm::HybridPoint)),
        _ => None,
    }
}

/// A DER integer without the zero that keeps it positive.
pub(super) fn number(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(start..).unwrap_or_default()
}

/// How long a number without leading zeros is.
pub(super) fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(unused as usize)
}
