//! What RFC 5280 asks of one certificate in a chain, by the place that it has there: the client's own or an issuer's.
//!
//! webpki verifies the chain as well, and knows names, times and signatures better than anybody. It does not look at key
//! usages, lets some extensions be there twice, and takes the word of whoever put a certificate into the bundle. That
//! is done here, for the bundle too.

use std::collections::HashSet;
use std::fmt;

use super::certificate::{Certificate, Extension, oid};
use super::der::{self, Reader};
use super::key::{UnusableKey, usable_key};
use super::words;
use crate::identity::ClientAuthUsage;

/// Bits of the key usage (RFC 5280 section 4.2.1.3).
const DIGITAL_SIGNATURE: u16 = 1;
const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

/// What makes a certificate useless in its place, whatever the time and the rest of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read; the part that is not as RFC 5280 has it.
    Malformed(&'static str),
    /// Not version 3, without which there are no extensions.
    Version,
    /// An extension that is there twice, by name.
    Twice(String),
    /// An extension that must be understood and is not, by name.
    Critical(String),
    /// A key that no signature can be verified with.
    Key(UnusableKey),
    /// An issuer without `cA` in its basic constraints.
    NotCa,
    /// An issuer that may not sign certificates.
    KeyCertSign,
    /// An issuer for other purposes than TLS clients.
    NotForClients,
    /// A CA's certificate presented as a client's.
    CaAsClient,
    /// A client's key that may not sign handshakes.
    DigitalSignature,
    /// A client's certificate that is not one.
    ClientAuth(ClientAuthUsage),
}

impl fmt::Display for Fault {
    /// What is said behind the certificate's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "cannot be read: its {what} is malformed"),
            Self::Version => {
                f.write_str("is of an X.509 version before 3, which has no extensions")
            }
            Self::Twice(extension) => write!(f, "has the extension {extension} twice"),
            Self::Critical(extension) => {
                write!(
                    f,
                    "has the critical extension {extension}, which the gate does not know"
                )
            }
            Self::Key(key) => write!(f, "has {key}"),
            Self::NotCa => f.write_str("is not a CA (no basicConstraints cA)"),
            Self::KeyCertSign => {
                f.write_str("may not sign certificates (keyUsage without keyCertSign)")
            }
            Self::NotForClients => {
                f.write_str("is not for TLS clients (extendedKeyUsage without clientAuth)")
            }
            Self::CaAsClient => f.write_str("is a CA's, and a CA is no client"),
            Self::DigitalSignature => {
                f.write_str("may not sign handshakes (keyUsage without digitalSignature)")
            }
            Self::ClientAuth(ClientAuthUsage::Absent) => {
                f.write_str("has no extended key usage and --allow-missing-eku is off")
            }
            Self::ClientAuth(ClientAuthUsage::NotListed | ClientAuthUsage::Listed) => {
                f.write_str("does not list clientAuth in its extended key usage")
            }
        }
    }
}

/// What a certificate says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    key_usage: Option<u16>,
    is_ca: bool,
    path_len: Option<usize>,
    usage: ClientAuthUsage,
}

impl Said {
    /// Reads the extensions that chains are judged by.
    ///
    /// # Errors
    /// What is wrong with the certificate in any place.
    pub(super) fn of(certificate: &Certificate<'_>) -> Result<Self, Fault> {
        if certificate.version != Some(&[2]) {
            return Err(Fault::Version);
        }
        let mut said = Self {
            key_usage: None,
            is_ca: false,
            path_len: None,
            usage: ClientAuthUsage::Absent,
        };
        let mut seen = HashSet::new();
        for extension in certificate.extensions() {
            let extension = extension.ok_or(Fault::Malformed("list of extensions"))?;
            if !seen.insert(extension.oid) {
                return Err(Fault::Twice(words::extension(extension.oid)));
            }
            said.take(&extension)?;
        }
        usable_key(certificate.key).map_err(Fault::Key)?;
        Ok(said)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), Fault> {
        let Extension {
            oid,
            critical,
            value,
        } = *extension;
        match oid {
            oid::KEY_USAGE => {
                let mut bits = Reader::new(value);
                let flags = bits
                    .take(der::BIT_STRING)
                    .and_then(|bits| der::flags(bits.content));
                let flags = flags.filter(|_| bits.is_empty());
                self.key_usage = Some(flags.ok_or(Fault::Malformed("keyUsage"))?);
            }
            oid::BASIC_CONSTRAINTS => {
                let read = basic_constraints(value).ok_or(Fault::Malformed("basicConstraints"))?;
                (self.is_ca, self.path_len) = read;
            }
            oid::EXTENDED_KEY_USAGE => {
                let read = purposes(value).ok_or(Fault::Malformed("extendedKeyUsage"))?;
                self.usage = read;
            }
            // Judged by webpki, by the identity of a client, and where lists are asked.
            oid::SUBJECT_ALT_NAME | oid::NAME_CONSTRAINTS | oid::CRL_DISTRIBUTION_POINTS => {}
            _ if critical => return Err(Fault::Critical(words::extension(oid))),
            _ => {}
        }
        Ok(())
    }

    /// Whether it may issue certificates of clients (RFC 5280 section 6.1.4 (k) and (n)).
    pub(super) fn as_issuer(&self) -> Result<(), Fault> {
        if !self.is_ca {
            return Err(Fault::NotCa);
        }
        if !self.may(KEY_CERT_SIGN) {
            return Err(Fault::KeyCertSign);
        }
        match self.usage {
            ClientAuthUsage::NotListed => Err(Fault::NotForClients),
            ClientAuthUsage::Listed | ClientAuthUsage::Absent => Ok(()),
        }
    }

    /// Whether it may be a client's own.
    pub(super) fn as_client(&self, allow_missing_eku: bool) -> Result<(), Fault> {
        if self.is_ca {
            return Err(Fault::CaAsClient);
        }
        if !self.may(DIGITAL_SIGNATURE) {
            return Err(Fault::DigitalSignature);
        }
        match self.usage {
            ClientAuthUsage::Listed => Ok(()),
            ClientAuthUsage::Absent if allow_missing_eku => Ok(()),
            usage @ (ClientAuthUsage::Absent | ClientAuthUsage::NotListed) => {
                Err(Fault::ClientAuth(usage))
            }
        }
    }

    /// Whether it may sign revocation lists.
    pub(super) fn signs_lists(&self) -> bool {
        self.may(CRL_SIGN)
    }

    /// How many issuers that are not self-issued may come below it, if it says so.
    pub(super) fn path_len(&self) -> Option<usize> {
        self.path_len
    }

    pub(super) fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Without a key usage, everything is allowed.
    fn may(&self, usage: u16) -> bool {
        self.key_usage.is_none_or(|allowed| allowed & usage != 0)
    }
}

/// RFC 5280 section 4.2.1.9.
fn basic_constraints(value: &[u8]) -> Option<(bool, Option<usize>)> {
    let mut parts = der::only(value, der::SEQUENCE)?;
    let is_ca = match parts.optional(der::BOOLEAN) {
        None => false,
        // FALSE is the default, which DER does not write, and which is written all the same.
        Some(flag) => match flag.content {
            [0] => false,
            [0xff] => true,
            _ => return None,
        },
    };
    let path_len = match parts.is_empty() {
        true => None,
        false => Some(natural(parts.integer()?)?),
    };
    parts.end()?;
    Some((is_ca, path_len))
}

/// The number of an INTEGER that is not below zero; one that is too large is as large as they get.
fn natural(content: &[u8]) -> Option<usize> {
    let is_negative = content.first().is_some_and(|first| first & 0x80 != 0);
    let number = content.iter().fold(0, |number: usize, byte| {
        number.saturating_mul(256).saturating_add((*byte).into())
    });
    (!is_negative).then_some(number)
}

/// RFC 5280 section 4.2.1.12: at least one.
fn purposes(value: &[u8]) -> Option<ClientAuthUsage> {
    let mut purposes = der::only(value, der::SEQUENCE).filter(|purposes| !purposes.is_empty())?;
    let mut usage = ClientAuthUsage::NotListed;
    while !purposes.is_empty() {
        if purposes.take(der::OID)?.content == oid::CLIENT_AUTH {
            usage = ClientAuthUsage::Listed;
        }
    }
    Some(usage)
}
