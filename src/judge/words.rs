//! Names for people: object identifiers, algorithms and keys.

use x509_parser::der_parser::Oid;

use super::der::{self, Reader};

/// Longer than any identifier that somebody uses; a stranger's may have thousands of arcs.
const MOST_OID_BYTES: usize = 24;

/// An object identifier as people write it, `1.2.840.113549.1.1.5`, bounded.
pub(super) fn dotted(content: &[u8]) -> String {
    match content.get(..MOST_OID_BYTES) {
        Some(beginning) => Oid::new(beginning.into()).to_id_string() + "…",
        None => Oid::new(content.into()).to_id_string(),
    }
}

/// An extension by the name that RFC 5280 gives it, else by number.
pub(super) fn extension(oid: &[u8]) -> String {
    let name = match *oid {
        [0x55, 0x1d, 14] => "subjectKeyIdentifier",
        [0x55, 0x1d, 15] => "keyUsage",
        [0x55, 0x1d, 17] => "subjectAltName",
        [0x55, 0x1d, 18] => "issuerAltName",
        [0x55, 0x1d, 19] => "basicConstraints",
        [0x55, 0x1d, 20] => "cRLNumber",
        [0x55, 0x1d, 21] => "reasonCode",
        [0x55, 0x1d, 27] => "deltaCRLIndicator",
        [0x55, 0x1d, 28] => "issuingDistributionPoint",
        [0x55, 0x1d, 29] => "certificateIssuer",
        [0x55, 0x1d, 30] => "nameConstraints",
        [0x55, 0x1d, 31] => "cRLDistributionPoints",
        [0x55, 0x1d, 32] => "certificatePolicies",
        [0x55, 0x1d, 33] => "policyMappings",
        [0x55, 0x1d, 35] => "authorityKeyIdentifier",
        [0x55, 0x1d, 36] => "policyConstraints",
        [0x55, 0x1d, 37] => "extendedKeyUsage",
        [0x55, 0x1d, 54] => "inhibitAnyPolicy",
        _ => return dotted(oid),
    };
    name.to_owned()
}

/// A signature algorithm (the content of its AlgorithmIdentifier) by name, else by number.
pub(super) fn signature(algorithm: &[u8]) -> String {
    let oid = Reader::new(algorithm).take(der::OID);
    let Some(oid) = oid.filter(|oid| !oid.content.is_empty()) else {
        return "an unreadable algorithm".to_owned();
    };
    let name = match *oid.content {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, number] => match number {
            2 => "md2WithRSAEncryption",
            4 => "md5WithRSAEncryption",
            5 => "sha1WithRSAEncryption",
            10 => "RSASSA-PSS with other parameters than SHA-2 and a salt as long as the hash",
            11 => "sha256WithRSAEncryption",
            12 => "sha384WithRSAEncryption",
            13 => "sha512WithRSAEncryption",
            14 => "sha224WithRSAEncryption",
            _ => return dotted(oid.content),
        },
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => "ecdsa-with-SHA1",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, number] => match number {
            1 => "ecdsa-with-SHA224",
            2 => "ecdsa-with-SHA256",
            3 => "ecdsa-with-SHA384",
            4 => "ecdsa-with-SHA512",
            _ => return dotted(oid.content),
        },
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3] => "dsa-with-SHA1",
        [0x2b, 0x65, 112] => "Ed25519",
        [0x2b, 0x65, 113] => "Ed448",
        _ => return dotted(oid.content),
    };
    name.to_owned()
}
