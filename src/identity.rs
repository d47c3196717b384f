//! A verified client certificate in, the facts that rules and records use out.
//!
//! The bytes are hostile even when the chain verifies: a CA signs what it is asked to. Two independent parsers
//! (webpki, which verified the chain, and x509-parser) must agree on every fact that both can read, else the
//! certificate is refused. This file does no IO, reads no clock and makes no decision about who may pass.

mod life;

use std::fmt;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATIONAL_UNIT};
use x509_parser::prelude::FromDer as _;

pub use self::life::{Validity, rfc3339, unix_time};

/// The longest name that a record shows, in bytes (contract, "Connection record").
const NAME_BYTES: usize = 256;
/// The most names that a record shows.
const NAMES: usize = 16;

/// Who a certificate speaks of. Says nothing about whether the certificate was verified: `trust` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    dns_names: Vec<String>,
    uris: Vec<String>,
    /// SANs of kinds that no rule looks at, as `email:…` and `ip:…`, for records.
    other_names: Vec<String>,
    common_names: Vec<String>,
    /// Counts those as well that cannot be read.
    has_one_common_name: bool,
    organizational_units: Vec<String>,
    serial: String,
    spki_sha256: [u8; 32],
    client_auth: ClientAuthUsage,
    validity: Validity,
}

/// Whether a certificate may authenticate a TLS client (RFC 5280 section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthUsage {
    /// `id-kp-clientAuth` itself is listed.
    Listed,
    /// There is an extended key usage without it; `anyExtendedKeyUsage` does not stand in for it.
    NotListed,
    /// The certificate has no extended key usage at all.
    Absent,
}

/// Why a certificate's facts could not be established; such a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableCertificate {
    /// A part that one of the two parsers cannot read.
    #[error("the certificate cannot be read: its {0} is malformed")]
    Malformed(&'static str),
    /// A DNS SAN that is none (RFC 5280 section 4.2.1.6), escaped and bounded.
    #[error(
        "the DNS name {0:?} in the certificate is no host name, and a certificate with such a name is refused whole; \
         issue it without"
    )]
    NoDnsName(String),
    /// Both parsers can read a part, and they see different things.
    #[error("the certificate's {0} can be read in two ways")]
    Disagreement(&'static str),
}

impl Client {
    /// Reads an end-entity certificate.
    ///
    /// # Errors
    /// If either parser cannot read it, if it carries an extension twice, or if the parsers disagree.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, UnreadableCertificate> {
        let malformed = UnreadableCertificate::Malformed;
        let verified = EndEntityCert::try_from(der).map_err(|_| malformed("DER or version"))?;
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| malformed("DER"))?;
        if !rest.is_empty() {
            return Err(malformed("end"));
        }
        let names = Names::of(&parsed)?;
        // webpki leaves out what it does not take for a name.
        let mut valid = verified.valid_dns_names();
        if let Some(name) = names.dns.iter().find(|name| valid.next() != Some(name)) {
            return Err(UnreadableCertificate::NoDnsName(printable(name)));
        }
        agree("DNS names", None, valid.next())?;
        agree(
            "URI names",
            names.uris.iter().map(String::as_str),
            verified.valid_uri_names(),
        )?;
        agree("serial number", [parsed.raw_serial()], [verified.serial()])?;
        agree(
            "subject",
            [value_of(parsed.subject().as_raw())],
            [Some(verified.subject())],
        )?;
        let spki = verified.subject_public_key_info();
        agree("public key", [parsed.public_key().raw], [spki.as_ref()])?;

        let mut spki_sha256 = [0; 32];
        spki_sha256.copy_from_slice(digest::digest(&digest::SHA256, &spki).as_ref());
        Ok(Self {
            dns_names: names.dns,
            uris: names.uris,
            other_names: names.other,
            common_names: subject_values(&parsed, &OID_X509_COMMON_NAME)
                .flatten()
                .collect(),
            has_one_common_name: subject_values(&parsed, &OID_X509_COMMON_NAME).count() == 1,
            organizational_units: subject_values(&parsed, &OID_X509_ORGANIZATIONAL_UNIT)
                .flatten()
                .collect(),
            serial: parsed
                .raw_serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            spki_sha256,
            client_auth: client_auth_usage(&parsed)?,
            validity: Validity::of(&parsed),
        })
    }

    /// The DNS SANs, as they stand in the certificate.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The URI SANs, as they stand in the certificate.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// The subject's common names that can be read; never a fallback for a SAN.
    pub fn common_names(&self) -> &[String] {
        &self.common_names
    }

    /// The subject's common name, if it has one and no second one of whatever kind.
    pub fn only_common_name(&self) -> Option<&String> {
        self.common_names
            .first()
            .filter(|_| self.has_one_common_name)
    }

    /// The subject's organizational units.
    pub fn organizational_units(&self) -> &[String] {
        &self.organizational_units
    }

    /// The serial number in lower-case hexadecimal, at most 20 bytes by RFC 5280 and bounded for records here.
    pub fn serial(&self) -> &str {
        self.serial.get(..64).unwrap_or(&self.serial)
    }

    /// The SHA-256 of the DER SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// What the extended key usage says about TLS clients.
    pub fn client_auth(&self) -> ClientAuthUsage {
        self.client_auth
    }

    /// When the certificate itself is good; its chain may be so for less.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The SANs for people to read, as `dns:…`, `uri:…`, `email:…`, `ip:…`: at most 16, each at most 256 bytes,
    /// cut ones marked, control and bidirectional characters escaped. Without a SAN, the subject's `cn:…`.
    pub fn display_names(&self) -> Vec<String> {
        let sans = kind("dns", &self.dns_names)
            .chain(kind("uri", &self.uris))
            .chain(self.other_names.iter().cloned());
        // `other_names` are printable already, and escaping twice would change them.
        let mut names: Vec<String> = sans.take(NAMES + 1).collect();
        if names.is_empty() {
            names = kind("cn", &self.common_names)
                .take(NAMES + 1)
                .map(|name| printable(&name))
                .collect();
        }
        if names.len() > NAMES {
            let total = self.dns_names.len() + self.uris.len() + self.other_names.len();
            names.truncate(NAMES);
            names.push(format!(
                "…and {} more",
                total.max(self.common_names.len()) - NAMES
            ));
        }
        names
    }
}

fn kind<'a>(kind: &'a str, names: &'a [String]) -> impl Iterator<Item = String> + 'a {
    names
        .iter()
        .map(move |name| printable(&format!("{kind}:{name}")))
}

/// A subject alternative name for people to read, as `dns:…`, `uri:…`, `email:…` or `ip:…`, bounded and escaped.
pub fn general_name(name: &GeneralName<'_>) -> String {
    printable(&match name {
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::URI(name) => format!("uri:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::IPAddress(octets) => format!("ip:{}", Address(octets)),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => "other:(not shown)".to_owned(),
    })
}

/// Bounds text that a stranger chose and escapes what could forge or hide part of a line: control characters and
/// the bidirectional controls of Unicode Standard Annex 9. Longer text is cut and ends in `…`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(NAME_BYTES));
    for c in text.chars() {
        let start = shown.len();
        if c.is_control() || is_invisible(c) || c == '\\' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        if shown.len() > NAME_BYTES {
            shown.truncate(start);
            shown.push('…');
            break;
        }
    }
    shown
}

/// Characters that reorder or hide their neighbours, or end a line for some readers.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
    other: Vec<String>,
}

impl Names {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, UnreadableCertificate> {
        let mut names = Self {
            dns: Vec::new(),
            uris: Vec::new(),
            other: Vec::new(),
        };
        const MALFORMED: UnreadableCertificate =
            UnreadableCertificate::Malformed("subject alternative name");
        let extension = certificate
            .subject_alternative_name()
            .map_err(|_| MALFORMED)?;
        for name in extension
            .iter()
            .flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(name) => names.uris.push((*name).to_owned()),
                // webpki would skip a name that it cannot read; a certificate that hides one is refused instead.
                GeneralName::Invalid(..) => return Err(MALFORMED),
                GeneralName::RFC822Name(_)
                | GeneralName::IPAddress(_)
                | GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => names.other.push(general_name(name)),
            }
        }
        Ok(names)
    }
}

/// The octets of an iPAddress SAN (RFC 5280 section 4.2.1.6: four or sixteen).
struct Address<'a>(&'a [u8]);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(octets) = <[u8; 4]>::try_from(self.0) {
            return std::net::Ipv4Addr::from(octets).fmt(f);
        }
        match <[u8; 16]>::try_from(self.0) {
            Ok(octets) => std::net::Ipv6Addr::from(octets).fmt(f),
            Err(_) => write!(f, "({} octets)", self.0.len()),
        }
    }
}

/// Every value of an attribute of the subject. One in a string type that is not Unicode text is `None`: it cannot equal
/// what an operator wrote, so it names nobody, but it is there.
fn subject_values(
    certificate: &X509Certificate<'_>,
    oid: &x509_parser::der_parser::Oid<'static>,
) -> impl Iterator<Item = Option<String>> {
    let attributes = certificate.subject().iter_by_oid(oid);
    attributes.map(|attribute| attribute.as_str().ok().map(str::to_owned))
}

fn client_auth_usage(
    certificate: &X509Certificate<'_>,
) -> Result<ClientAuthUsage, UnreadableCertificate> {
    let usage = certificate
        .extended_key_usage()
        .map_err(|_| UnreadableCertificate::Malformed("extended key usage"))?;
    Ok(match usage {
        None => ClientAuthUsage::Absent,
        Some(usage) if usage.value.client_auth => ClientAuthUsage::Listed,
        Some(_) => ClientAuthUsage::NotListed,
    })
}

/// The content of a DER element, without its tag and length (RFC 5280 names are below 64 KiB here).
fn value_of(der: &[u8]) -> Option<&[u8]> {
    match *der.get(1)? {
        short @ 0..=0x7f => der
            .get(2..)
            .filter(|value| value.len() == usize::from(short)),
        0x81 => der.get(3..),
        0x82 => der.get(4..),
        _ => None,
    }
}

fn agree<T: PartialEq>(
    what: &'static str,
    one: impl IntoIterator<Item = T>,
    other: impl IntoIterator<Item = T>,
) -> Result<(), UnreadableCertificate> {
    if one.into_iter().eq(other) {
        Ok(())
    } else {
        Err(UnreadableCertificate::Disagreement(what))
    }
}

#[cfg(test)]
mod tests;
