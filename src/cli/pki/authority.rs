//! Names and a validity in, signed certificates and revocation lists out: a throwaway certificate authority.
//!
//! Its own file so that `demo` and the tests can have certificates without a folder to put them in. It does no IO and
//! reads no clock (times are arguments); [`super`] does both. Keys are P-256 and never shown.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::lifetime::{system_time, unix_time};
use super::serial::{Serial, hex, random};
use super::{read, subject};
use crate::identity::Validity;

/// A CA with its key, in memory. Has no `Debug`: it holds a private key.
pub struct Authority {
    /// The certificate as it was made or read.
    certificate: CertificateDer<'static>,
    /// The same as PEM text.
    pem: String,
    /// The CA's own.
    serial: Serial,
    /// When the certificate is good; nothing that it issues is good for longer.
    validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

/// What an issued certificate is for: its only extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// The certificate of a gate (serverAuth)
    Server,
    /// The certificate of a client of the gate (clientAuth)
    Client,
}

/// What an issued certificate speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The subject's common name; no check of the gate falls back to it.
    pub common_name: Option<String>,
    /// The subject's organizational units.
    pub organizational_units: Vec<String>,
    /// DNS SANs.
    pub dns: Vec<String>,
    /// URI SANs.
    pub uris: Vec<String>,
    /// IP address SANs.
    pub ips: Vec<IpAddr>,
}

/// A certificate and its key. Has no `Debug`: it holds a private key.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM: the leaf alone, since a root signed it.
    pub cert_pem: String,
    /// The private key as PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
    /// What [`Authority::revocation_list`] revokes it by.
    pub serial: Serial,
    /// When it is good; ends no later than the CA does.
    pub validity: Validity,
}

/// What a revocation list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// Goes up with every list of a CA (RFC 5280 section 5.2.3).
    pub number: u64,
    /// When it was made and when it goes stale.
    pub validity: Validity,
    /// The serial numbers, each with the time of its revocation.
    pub revoked: Vec<(Serial, UnixTime)>,
}

/// Why the authority could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system has no random bytes to give.
    #[error("the system's random number generator does not answer")]
    Random,
    /// rcgen would not make or sign it.
    #[error("cannot be signed")]
    Sign(#[from] rcgen::Error),
    /// The bytes are not what they should be.
    #[error("not a {what} in PEM: {why}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// The parser's words.
        why: String,
    },
    /// The certificate and the key are not the two halves of a CA made by [`Authority::new`].
    #[error("{0}; make a new CA with `portcullis pki init --force`")]
    Unsuitable(&'static str),
    /// The CA's time and the asked time have nothing in common.
    #[error(
        "the CA is not good for any of that time; make a new CA with `portcullis pki init --force`"
    )]
    Expired,
    /// Somebody else signed it.
    #[error("was not issued by this CA (issuer: {0})")]
    OtherIssuer(String),
}

/// A name for a new CA that no other has. Two CAs of one name would be told apart by their signatures only, and a
/// client of the other one would be refused with `decrypt_error` where `unknown_ca` is the truth.
pub fn unused_name() -> Result<String, AuthorityError> {
    let suffix = random::<4>()?;
    Ok(format!("portcullis development CA {}", hex(&suffix)))
}

impl Authority {
    /// Makes a CA.
    pub fn new(common_name: &str, validity: Validity) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let serial = Serial::random()?;
        let mut params = params(&serial, validity);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.into(),
            serial,
            validity,
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up a CA that [`Authority::new`] made earlier.
    ///
    /// # Errors
    /// If either text is not what it should be, if the key is not the certificate's, or if it is not a CA's.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let key = read::key(key)?;
        let der = read::certificate(certificate)?;
        let parsed = parse_certificate(&der)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Unsuitable(
                "the key is not the certificate's",
            ));
        }
        if !parsed.is_ca() {
            return Err(AuthorityError::Unsuitable("not a CA certificate"));
        }
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            serial: Serial::from_bytes(parsed.raw_serial()),
            validity: Validity::of(&parsed),
            pem: subject::pem(&der),
            certificate: der,
        })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate as PEM.
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    /// The CA's private key as PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// The serial number of the CA's certificate.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// When the CA is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Makes a key and a certificate for it, good for as much of `validity` as the CA is.
    ///
    /// # Errors
    /// If a DNS name or URI is not ASCII, or the CA is not good for any of that time.
    pub fn issue(
        &self,
        purpose: Purpose,
        names: &Names,
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        // Only the end is cut: a certificate made for a time before its CA is for tests to refuse.
        let not_after = validity.not_after.min(self.validity.not_after);
        let validity = Validity {
            not_after,
            ..validity
        };
        if validity.not_after <= validity.not_before {
            return Err(AuthorityError::Expired);
        }
        let serial = Serial::random()?;
        let mut params = params(&serial, validity);
        for unit in names.organizational_units.iter().take(1) {
            let unit = unit.as_str();
            params
                .distinguished_name
                .push(DnType::OrganizationalUnitName, unit);
        }
        if let Some(name) = names.common_name.as_deref() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = alternative_names(names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        self.agrees(&certificate)?;
        let certificate = match names.organizational_units.len() {
            0 | 1 => CertificateDer::from(certificate),
            _ => subject::rewrite(certificate.der(), names, self.issuer.key())?,
        };
        Ok(Issued {
            cert_pem: subject::pem(&certificate),
            certificate,
            key_pem: Zeroizing::new(key.serialize_pem()),
            serial,
            validity,
        })
    }

    /// Signs a revocation list and returns it as PEM.
    pub fn revocation_list(&self, list: &Revocations) -> Result<String, AuthorityError> {
        let revoked = list
            .revoked
            .iter()
            .map(|(serial, since)| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial.as_bytes()),
                revocation_time: system_time(*since).into(),
                reason_code: None,
                invalidity_date: None,
            });
        let params = CertificateRevocationListParams {
            this_update: system_time(list.validity.not_before).into(),
            next_update: system_time(list.validity.not_after).into(),
            crl_number: SerialNumber::from(list.number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    /// Reads a list that this CA signed. Reason codes are not kept: [`Authority::revocation_list`] writes none.
    ///
    /// # Errors
    /// If it is not a revocation list, or not this CA's.
    pub fn read_revocation_list(&self, pem: &[u8]) -> Result<Revocations, AuthorityError> {
        const WHAT: &str = "revocation list";
        let der = read::revocation_list(pem)?;
        let (_, list) =
            CertificateRevocationList::from_der(&der).map_err(|error| malformed(WHAT, error))?;
        let tbs = &list.tbs_cert_list;
        if !self.signed(tbs.as_ref(), &list.signature_value.data) {
            return Err(AuthorityError::OtherIssuer(list.issuer().to_string()));
        }
        let number = match list.crl_number().map(|number| number.to_u64_digits()) {
            None => 0,
            Some(digits) => match digits.as_slice() {
                [] => 0,
                [number] => *number,
                _ => return Err(malformed(WHAT, "its number does not fit 64 bits")),
            },
        };
        let revoked = list.iter_revoked_certificates().map(|entry| {
            let serial = Serial::from_bytes(entry.raw_serial());
            (serial, unix_time(entry.revocation_date))
        });
        let not_before = unix_time(list.last_update());
        Ok(Revocations {
            number,
            validity: Validity {
                not_before,
                not_after: list.next_update().map_or(not_before, unix_time),
            },
            revoked: revoked.collect(),
        })
    }

    /// The serial number of a certificate that this CA issued.
    ///
    /// # Errors
    /// If it is not a certificate, not issued by this CA, or the CA itself, which cannot revoke itself.
    pub fn serial_of(&self, pem: &[u8]) -> Result<Serial, AuthorityError> {
        let der = read::leaf(pem)?;
        if der == self.certificate {
            return Err(AuthorityError::Unsuitable(
                "a CA cannot revoke itself: no list of its own would be believed",
            ));
        }
        let certificate = parse_certificate(&der)?;
        let tbs = &certificate.tbs_certificate;
        if !self.signed(tbs.as_ref(), &certificate.signature_value.data) {
            return Err(AuthorityError::OtherIssuer(
                certificate.issuer().to_string(),
            ));
        }
        Ok(Serial::from_bytes(certificate.raw_serial()))
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.issuer.key().public_key_raw())
            .verify(message, signature)
            .is_ok()
    }

    /// rcgen keeps one value of each kind in a name. If this CA's name has more, what it issues would not chain to it.
    fn agrees(&self, certificate: &Certificate) -> Result<(), AuthorityError> {
        let issued = parse_certificate(certificate.der())?;
        let authority = parse_certificate(&self.certificate)?;
        if issued.issuer().as_raw() == authority.subject().as_raw() {
            return Ok(());
        }
        Err(AuthorityError::Unsuitable(
            "the CA's name cannot be written again",
        ))
    }
}

fn params(serial: &Serial, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.not_before = system_time(validity.not_before).into();
    params.not_after = system_time(validity.not_after).into();
    params
}

fn alternative_names(names: &Names) -> Result<Vec<SanType>, AuthorityError> {
    let mut sans = Vec::new();
    for name in &names.dns {
        sans.push(SanType::DnsName(name.as_str().try_into()?));
    }
    for uri in &names.uris {
        sans.push(SanType::URI(uri.as_str().try_into()?));
    }
    sans.extend(names.ips.iter().copied().map(SanType::IpAddress));
    Ok(sans)
}

fn parse_certificate<'a>(
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, AuthorityError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| malformed("certificate", error))
}

pub(super) fn malformed(what: &'static str, why: impl fmt::Display) -> AuthorityError {
    AuthorityError::Malformed {
        what,
        why: why.to_string(),
    }
}
