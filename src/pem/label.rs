//! The labels of PEM blocks: which are known, and what is to be done about the others.

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// What a block is labelled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Certificate,
    /// A revocation list.
    List,
    Pkcs8,
    Pkcs1,
    Sec1,
    /// PKCS#8 under a password.
    EncryptedKey,
    /// Often beside one of the others, and of no use here.
    Beside(&'static str),
    /// The file is DER, which has none.
    None,
}

/// What is said of every key that needs a password.
pub(super) const ENCRYPTED: &str = "the key is encrypted, and nobody is there to type a password; store it decrypted, \
     readable by the gate only (openssl pkey -in OLD -out NEW)";

const KNOWN: [(&str, Label); 6] = [
    ("CERTIFICATE", Label::Certificate),
    ("X509 CRL", Label::List),
    ("PRIVATE KEY", Label::Pkcs8),
    ("RSA PRIVATE KEY", Label::Pkcs1),
    ("EC PRIVATE KEY", Label::Sec1),
    ("ENCRYPTED PRIVATE KEY", Label::EncryptedKey),
];

/// `openssl ecparam`, HAProxy's files and old scripts leave these beside a key or a certificate.
const BESIDE: [&str; 8] = [
    "EC PARAMETERS",
    "DH PARAMETERS",
    "X9.42 DH PARAMETERS",
    "DSA PARAMETERS",
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
];

/// Labels that make a file bad, since what they hold would be missed, and what to do about each.
const REFUSED: [(&str, &str); 10] = [
    (
        "TRUSTED CERTIFICATE",
        "is OpenSSL's own form; write it as CERTIFICATE (openssl x509 -in OLD -out NEW)",
    ),
    ("X509 CERTIFICATE", OLD_NAME),
    ("X.509 CERTIFICATE", OLD_NAME),
    ("CRL", "is no name of a revocation list; write X509 CRL"),
    (
        "X.509 CRL",
        "is no name of a revocation list; write X509 CRL",
    ),
    ("PKCS7", PKCS7),
    ("PKCS #7 SIGNED DATA", PKCS7),
    ("CMS", PKCS7),
    (
        "OPENSSH PRIVATE KEY",
        "is ssh's own form; write the key as PKCS#8 (ssh-keygen -p -m PKCS8 -N '' -f KEY)",
    ),
    (
        "DSA PRIVATE KEY",
        "is of no use in TLS; make an ECDSA, Ed25519 or RSA key, and a certificate for it",
    ),
];

const OLD_NAME: &str =
    "is an old name; write CERTIFICATE in its BEGIN and END lines (openssl x509 -in OLD -out NEW)";
const PKCS7: &str = "is a container of certificates; take them out of it (openssl pkcs7 -print_certs -in OLD -out NEW)";

impl Label {
    /// Finds the label of this name.
    ///
    /// # Errors
    /// Why a block of this name makes a file bad, and what to do.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        if let Some((_, label)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return Ok(*label);
        }
        if let Some(known) = BESIDE.iter().find(|known| **known == name) {
            return Ok(Self::Beside(known));
        }
        Err(match REFUSED.iter().find(|(known, _)| *known == name) {
            Some((_, what)) => format!("{name} {what}"),
            None => format!(
                "{name:?} is no label of a certificate, a key or a revocation list; correct it, or take the block out"
            ),
        })
    }

    /// Every name that a block may have had before its border broke.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let known = KNOWN.iter().map(|(name, _)| *name);
        let refused = REFUSED.iter().map(|(name, _)| *name);
        known.chain(BESIDE).chain(refused)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Beside(name) => name,
            Self::None => "DER",
            Self::Certificate
            | Self::List
            | Self::Pkcs8
            | Self::Pkcs1
            | Self::Sec1
            | Self::EncryptedKey => {
                let of_this = |(_, label): &&(&str, Self)| *label == self;
                KNOWN.iter().find(of_this).map_or("", |(name, _)| name)
            }
        }
    }

    /// True if no copy of the block is to be left.
    pub(super) fn is_secret(self) -> bool {
        match self {
            Self::Pkcs8 | Self::Pkcs1 | Self::Sec1 | Self::EncryptedKey => true,
            // In DER, it may be a key.
            Self::None => true,
            Self::Certificate | Self::List | Self::Beside(_) => false,
        }
    }

    /// The key in a block of this label, if it is one of a key.
    pub(super) fn private_key(self, der: &[u8]) -> Option<PrivateKeyDer<'_>> {
        match self {
            Self::Pkcs8 => Some(PrivatePkcs8KeyDer::from(der).into()),
            Self::Pkcs1 => Some(PrivatePkcs1KeyDer::from(der).into()),
            Self::Sec1 => Some(PrivateSec1KeyDer::from(der).into()),
            Self::Certificate | Self::List | Self::EncryptedKey | Self::Beside(_) | Self::None => {
                None
            }
        }
    }
}

/// What is wrong with a line of a block that is a header, if it is one: RFC 7468 section 2 has none.
pub(super) fn header(line: &[u8], label: Label) -> Option<String> {
    let name = line.split(|byte| *byte == b':').next()?;
    if name.len() == line.len() {
        return None;
    }
    let encryption = ["Proc-Type", "DEK-Info"];
    if encryption
        .iter()
        .any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
    {
        return Some(format!(
            "the {} has an encryption header: {ENCRYPTED}, or take it out if this is not the file of the key",
            label.name()
        ));
    }
    Some(format!(
        "the {} has a header, where only base64 belongs; take that out, or put the block there again",
        label.name()
    ))
}
