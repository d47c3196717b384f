//! One certificate in DER in, what TLS clients would see in it or why they would see nothing out.
//!
//! Its own file because every fault here used to hide behind another one's message. What a fault is was tried with Go
//! (Prometheus), OpenSSL (curl), GnuTLS, Java and rustls: what the first of them cannot use is unusable.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::X509Extension;
use x509_parser::nom;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::public_key::{Kind, OddForm, PublicKey, USABLE};
use crate::crypto::provider;
use crate::identity::printable;

/// Why a certificate cannot be shown to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateFault {
    /// It is none, or a broken one.
    #[error(
        "cannot be read as a certificate: {0}; put the file there as its CA made it, or have it issued again"
    )]
    Unreadable(&'static str),
    /// Something follows it in its PEM block.
    #[error(
        "has {} after its end, and Go clients (Prometheus) refuse that; write the file anew, `openssl x509` leaves it \
         out",
        match .0 { 1 => "a byte".to_owned(), many => format!("{many} bytes") }
    )]
    Trailing(usize),
    /// Before extensions were invented.
    #[error(
        "is X.509 version {0}, which has no place for the names and usages that clients look for; have it issued as \
         version 3 (`openssl x509 -req` makes that of it with -extfile)"
    )]
    Version(u32),
    /// RFC 5280 section 4.2: who does not know it must refuse the certificate.
    #[error(
        "has the critical extension {0}, which TLS clients do not know and so refuse; have it issued without it"
    )]
    Critical(String),
    /// RFC 5280 section 4.2 forbids it.
    #[error(
        "has the extension {0} twice, and Go, GnuTLS and Java clients refuse that; have it issued with one"
    )]
    Twice(String),
    /// Go, GnuTLS and Java read no other points than uncompressed ones; Go and rustls no RSA key without its NULL.
    #[error("{}", odd_form(*.0))]
    OddKey(OddForm),
    /// Nobody can use it.
    #[error(
        "has a key ({0}) that TLS has no use for here; have one issued for a key that is {USABLE}"
    )]
    Key(Kind),
}

fn odd_form(form: OddForm) -> &'static str {
    match form {
        OddForm::CompressedPoint => {
            "has its key as a compressed point, which Go (Prometheus), GnuTLS and Java clients do not read; write the \
             key anew (`openssl ec -conv_form uncompressed`) and have the certificate issued for it again"
        }
        OddForm::HybridPoint => {
            "has its key as a hybrid point, which Go (Prometheus), GnuTLS and Java clients do not read; write the key \
             anew (`openssl ec -conv_form uncompressed`) and have the certificate issued for it again"
        }
        OddForm::RsaWithoutNull => {
            "has its RSA key without the NULL of RFC 3279, which Go (Prometheus) and rustls clients do not read; have \
             it issued again by a CA that writes it"
        }
    }
}

/// A certificate that every TLS client can at least parse.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    pub(crate) der: &'a CertificateDer<'static>,
    pub(crate) parsed: X509Certificate<'a>,
    pub(super) key: PublicKey,
}

impl<'a> Certificate<'a> {
    /// Go parses every certificate that it is sent and gives up at the first that it cannot, so all this holds for
    /// each of a chain.
    pub(crate) fn read(der: &'a CertificateDer<'static>) -> Result<Self, CertificateFault> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
        if !rest.is_empty() {
            return Err(CertificateFault::Trailing(rest.len()));
        }
        for (index, extension) in parsed.extensions().iter().enumerate() {
            let mut before = parsed.extensions().iter().take(index);
            if before.any(|before| before.oid == extension.oid) {
                return Err(CertificateFault::Twice(extension_name(extension)));
            }
            if let Some(broken) = broken_extension(extension) {
                return Err(CertificateFault::Unreadable(broken));
            }
        }
        let key = PublicKey::of(parsed.public_key());
        let key = key.ok_or(CertificateFault::Unreadable("its key is malformed"))?;
        Ok(Self { der, parsed, key })
    }

    /// Go cannot parse a key in this form, wherever in a chain; and yet it is the key that it is.
    pub(super) fn odd_key(&self) -> Option<CertificateFault> {
        self.key.odd.map(CertificateFault::OddKey)
    }

    /// Why clients that can parse it refuse it all the same, whoever issued it.
    pub(crate) fn fault(&self) -> Option<CertificateFault> {
        let version = self.parsed.version();
        let mut extensions = self.parsed.extensions().iter();
        let critical = extensions.find(|it| it.critical && !is_known(it));
        if version != X509Version::V3 {
            Some(CertificateFault::Version(version.0 + 1))
        } else if let Some(critical) = critical {
            Some(CertificateFault::Critical(extension_name(critical)))
        } else {
            self.useless_key()
        }
    }

    /// Whether no signature by its key can be verified.
    pub(crate) fn useless_key(&self) -> Option<CertificateFault> {
        let kind = &self.key.kind;
        (!kind.is_usable()).then(|| CertificateFault::Key(kind.clone()))
    }

    /// True if rustls can read it, which knows less than others and refuses what it does not know.
    pub(crate) fn is_read_by_rustls(&self) -> bool {
        EndEntityCert::try_from(self.der).is_ok()
    }

    /// Whether the key of this issuer made the signature; `None` if that cannot be told, as TLS has no use for such a
    /// key or such an algorithm here.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> Option<bool> {
        let signed_with = self.signature_algorithm()?;
        let algorithms = provider().signature_verification_algorithms.all.iter();
        let mut algorithms = algorithms
            .filter(|it| it.signature_alg_id().as_ref() == signed_with)
            .peekable();
        if algorithms.peek().is_none() || !issuer.kind().is_usable() {
            return None;
        }
        let spki = issuer.parsed.public_key();
        let (_, key) = Any::from_der(spki.raw).ok()?;
        let (_, key_algorithm) = Any::from_der(key.data).ok()?;
        let key = &spki.subject_public_key.data;
        let content = self.parsed.tbs_certificate.as_ref();
        let signature = &self.parsed.signature_value.data;
        Some(algorithms.any(|it| {
            it.public_key_alg_id().as_ref() == key_algorithm.data
                && it.verify_signature(key, content, signature).is_ok()
        }))
    }

    /// The bytes by which webpki tells algorithms apart: an AlgorithmIdentifier without its tag and length.
    fn signature_algorithm(&self) -> Option<&'a [u8]> {
        let (_, certificate) = Any::from_der(self.der).ok()?;
        let (rest, _content) = Any::from_der(certificate.data).ok()?;
        let (_, algorithm) = Any::from_der(rest).ok()?;
        Some(algorithm.data)
    }

    /// How it is signed, if clients no longer trust that or never did.
    pub(crate) fn weak_signature(&self) -> Option<String> {
        let signed_with = self.signature_algorithm();
        let algorithms = provider().signature_verification_algorithms.all.iter();
        let mut known = algorithms.map(|it| it.signature_alg_id());
        if known.any(|known| Some(known.as_ref()) == signed_with) {
            return None;
        }
        let oid = self.parsed.signature_algorithm.algorithm.to_id_string();
        Some(match oid.as_str() {
            "1.2.840.113549.1.1.4" => "MD5".to_owned(),
            "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => "SHA-1".to_owned(),
            "1.2.840.113549.1.1.10" => "RSA-PSS with unusual parameters".to_owned(),
            _ => format!("the algorithm {}", printable(&oid)),
        })
    }

    /// The subject for people, bounded and escaped.
    pub(crate) fn name(&self) -> String {
        printable(&self.parsed.subject().to_string())
    }

    /// The issuer's name, likewise.
    pub(crate) fn issuer_name(&self) -> String {
        printable(&self.parsed.issuer().to_string())
    }

    /// Of what kind its key is.
    pub(crate) fn kind(&self) -> &Kind {
        &self.key.kind
    }
}

/// The extensions that Go and OpenSSL both know, so that they may be critical: id-ce of RFC 5280 section 4.2.1.
fn is_known(extension: &X509Extension<'_>) -> bool {
    NAMES
        .iter()
        .any(|(oid, _, known)| *known && extension.oid.to_id_string() == *oid)
}

/// Object identifier, name, and whether Go and OpenSSL both know it.
const NAMES: [(&str, &str, bool); 11] = [
    ("2.5.29.14", "subjectKeyIdentifier", false),
    ("2.5.29.15", "keyUsage", true),
    ("2.5.29.17", "subjectAltName", true),
    ("2.5.29.19", "basicConstraints", true),
    ("2.5.29.30", "nameConstraints", true),
    ("2.5.29.31", "cRLDistributionPoints", true),
    ("2.5.29.32", "certificatePolicies", true),
    ("2.5.29.35", "authorityKeyIdentifier", false),
    ("2.5.29.37", "extendedKeyUsage", true),
    ("1.3.6.1.5.5.7.1.1", "authorityInfoAccess", false),
    (
        "1.3.6.1.4.1.11129.2.4.3",
        "CT poison (a precertificate)",
        false,
    ),
];

fn extension_name(extension: &X509Extension<'_>) -> String {
    let oid = extension.oid.to_id_string();
    let known = NAMES.iter().find(|(known, ..)| *known == oid);
    known.map_or(printable(&oid), |(_, name, _)| (*name).to_owned())
}

/// What is wrong inside an extension that every client looks into.
fn broken_extension(extension: &X509Extension<'_>) -> Option<&'static str> {
    let broken = extension.parsed_extension().error().is_some();
    match extension.oid.to_id_string().as_str() {
        "2.5.29.15" if broken => Some("its extension keyUsage is malformed"),
        "2.5.29.17" if broken => Some("its extension subjectAltName is malformed"),
        "2.5.29.19" if broken => Some("its extension basicConstraints is malformed"),
        "2.5.29.30" if broken => Some("its extension nameConstraints is malformed"),
        "2.5.29.37" if broken => Some("its extension extendedKeyUsage is malformed"),
        _ => None,
    }
}

/// Which part of a certificate the parser stumbled over.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest has no part of its own"
)]
fn unreadable(error: &nom::Err<X509Error>) -> CertificateFault {
    const DAMAGED: &str = "it is damaged or cut short, or something else";
    let (nom::Err::Error(error) | nom::Err::Failure(error)) = error else {
        return CertificateFault::Unreadable(DAMAGED);
    };
    CertificateFault::Unreadable(match error {
        X509Error::InvalidVersion => "its version is malformed",
        X509Error::InvalidSerial => "its serial number is malformed",
        X509Error::InvalidAlgorithmIdentifier => "the name of an algorithm in it is malformed",
        X509Error::InvalidX509Name => "its subject or issuer is malformed",
        X509Error::InvalidDate => "its dates are malformed",
        X509Error::InvalidSPKI => "its key is malformed",
        X509Error::InvalidExtensions => "its extensions are malformed",
        X509Error::InvalidSignatureValue => "its signature is malformed",
        _ => DAMAGED,
    })
}
