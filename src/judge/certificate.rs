//! A certificate's parts as they stand, borrowed (RFC 5280 section 4.1).
//!
//! Its own file because this much is read of certificates that nobody vouches for yet: it is cheap, and it says nothing
//! about whether any of it is true. What the extensions mean for a chain is `rules`' to say.

use rustls::pki_types::UnixTime;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{self, Element, Reader};
use super::signature::Signed;
use crate::identity::{Validity, unix_time};

/// The content octets of the object identifiers of extensions (RFC 5280 section 4.2.1 and 5.2).
pub(super) mod oid {
    pub(in crate::judge) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
    pub(in crate::judge) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub(in crate::judge) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub(in crate::judge) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(in crate::judge) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
    pub(in crate::judge) const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
    pub(in crate::judge) const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
    pub(in crate::judge) const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
    pub(in crate::judge) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
    pub(in crate::judge) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
    pub(in crate::judge) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
    pub(in crate::judge) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    /// id-kp-clientAuth.
    pub(in crate::judge) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
}

/// A skimmed certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate<'a> {
    pub(super) der: &'a [u8],
    /// The content of the version's INTEGER, 2 for version 3; `None` is version 1.
    pub(super) version: Option<&'a [u8]>,
    /// The content of the serial number.
    pub(super) serial: &'a [u8],
    /// The whole Name.
    pub(super) issuer: &'a [u8],
    /// The whole Name.
    pub(super) subject: &'a [u8],
    /// The whole SubjectPublicKeyInfo.
    pub(super) key: &'a [u8],
    pub(super) signed: Signed<'a>,
    validity: Reader<'a>,
    extensions: Reader<'a>,
}

/// One extension (RFC 5280 section 4.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// `None` if it is no certificate in DER. Of its version, names, times and extensions only the frame is looked at.
    pub(super) fn skim(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let mut parts = der::only(signed.content, der::SEQUENCE)?;
        let version = match parts.optional(der::holding(0)) {
            Some(version) => Some(Reader::new(version.content).take(der::INTEGER)?.content),
            None => None,
        };
        let serial = parts.take(der::INTEGER)?.content;
        let _algorithm = parts.take(der::SEQUENCE)?;
        let issuer = parts.take(der::SEQUENCE)?.whole;
        let validity = parts.enter(der::SEQUENCE)?;
        let subject = parts.take(der::SEQUENCE)?.whole;
        let key = parts.take(der::SEQUENCE)?.whole;
        let _unique_identifiers = [parts.optional(der::bare(1)), parts.optional(der::bare(2))];
        let extensions = match parts.optional(der::holding(3)) {
            Some(extensions) => der::only(extensions.content, der::SEQUENCE)?,
            None => Reader::new(&[]),
        };
        parts.end()?;
        Some(Self {
            der,
            version,
            serial,
            issuer,
            subject,
            key,
            signed,
            validity,
            extensions,
        })
    }

    /// When it is good (RFC 5280 section 4.1.2.5).
    pub(super) fn validity(&self) -> Option<Validity> {
        let mut times = self.validity;
        let (not_before, not_after) = (time(times.any()?)?, time(times.any()?)?);
        times.end()?;
        Some(Validity {
            not_before,
            not_after,
        })
    }

    /// The extensions in their order; `None` is one that is malformed, and ends them.
    pub(super) fn extensions(&self) -> impl Iterator<Item = Option<Extension<'a>>> + use<'a> {
        extensions(self.extensions)
    }

    /// The value of an extension, if there is one that can be read up to there.
    pub(super) fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        self.extensions()
            .map_while(|extension| extension)
            .find(|extension| extension.oid == oid)
            .map(|extension| extension.value)
    }

    /// The identifier that it gives its own key (RFC 5280 section 4.2.1.2).
    pub(super) fn key_id(&self) -> Option<&'a [u8]> {
        let value = self.extension(oid::SUBJECT_KEY_IDENTIFIER)?;
        Some(Reader::new(value).take(der::OCTET_STRING)?.content)
    }

    /// The identifier of the key that it says it was signed with (RFC 5280 section 4.2.1.1).
    pub(super) fn issuer_key_id(&self) -> Option<&'a [u8]> {
        let value = self.extension(oid::AUTHORITY_KEY_IDENTIFIER)?;
        let id = der::only(value, der::SEQUENCE)?.optional(der::bare(0))?;
        Some(id.content)
    }

    /// True if it names itself as its issuer (RFC 5280 section 6.1).
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }
}

/// The extensions of a certificate, a list or an entry of one.
pub(super) fn extensions(mut all: Reader<'_>) -> impl Iterator<Item = Option<Extension<'_>>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || all.is_empty() {
            return None;
        }
        let next = extension(&mut all);
        broken = next.is_none();
        Some(next)
    })
}

fn extension<'a>(all: &mut Reader<'a>) -> Option<Extension<'a>> {
    let mut parts = all.enter(der::SEQUENCE)?;
    let oid = parts.take(der::OID)?.content;
    let critical = match parts.optional(der::BOOLEAN) {
        None => false,
        Some(Element {
            content: [0xff], ..
        }) => true,
        // FALSE is the default, which DER does not write; webpki lets it pass, and so do others.
        Some(Element { content: [0], .. }) => false,
        Some(_) => return None,
    };
    let value = parts.take(der::OCTET_STRING)?.content;
    parts.end()?;
    Some(Extension {
        oid,
        critical,
        value,
    })
}

/// A time in one of the two forms of RFC 5280 section 4.1.2.5: to the second, in Greenwich.
pub(super) fn time(element: Element<'_>) -> Option<UnixTime> {
    let length = match element.tag {
        der::UTC_TIME => 13,
        der::GENERALIZED_TIME => 15,
        _ => return None,
    };
    let in_form = element.content.len() == length && element.content.ends_with(b"Z");
    let time = ASN1Time::from_der(element.whole).ok().map(|(_, time)| time);
    time.filter(|_| in_form).map(unix_time)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
    use x509_parser::certificate::X509Certificate;

    use super::*;
    use crate::trust::tests::{Ca, leaf_params};

    #[test]
    fn the_parts_are_those_that_another_parser_sees() {
        let ca = Ca::new("clients");
        let leaf = ca.issue(&leaf_params("client", ExtendedKeyUsagePurpose::ClientAuth));
        for der in [ca.0.der(), &leaf.der] {
            let skimmed = Certificate::skim(der).unwrap();
            let (_, parsed) = X509Certificate::from_der(der).unwrap();
            assert_eq!(skimmed.serial, parsed.raw_serial());
            assert_eq!(skimmed.issuer, parsed.issuer().as_raw());
            assert_eq!(skimmed.subject, parsed.subject().as_raw());
            assert_eq!(skimmed.key, parsed.public_key().raw);
            assert_eq!(skimmed.validity(), Some(Validity::of(&parsed)));
            let theirs = parsed.extensions().iter();
            let theirs = theirs.map(|it| (it.oid.as_bytes(), it.critical, it.value));
            let ours = skimmed.extensions().map(Option::unwrap);
            assert!(ours.map(|it| (it.oid, it.critical, it.value)).eq(theirs));
        }
        let skimmed = Certificate::skim(ca.0.der()).unwrap();
        assert!(skimmed.is_self_issued() && skimmed.key_id().is_some());
        assert!(!Certificate::skim(&leaf.der).unwrap().is_self_issued());
    }

    #[test]
    fn whatever_is_cut_or_has_a_tail_is_no_certificate() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let der = certificate.der();
        for length in 0..der.len() {
            assert!(Certificate::skim(&der[..length]).is_none(), "{length}");
        }
        assert!(Certificate::skim(&[der, &b"\0"[..]].concat()).is_none());
    }

    #[test]
    fn a_time_has_one_form() {
        let read = |tag, text: &str| {
            let whole = [&[tag, text.len() as u8], text.as_bytes()].concat();
            time(Reader::new(&whole).any().unwrap()).map(|time| time.as_secs())
        };
        assert_eq!(read(der::UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(read(der::GENERALIZED_TIME, "19700101000001Z"), Some(1));
        assert_eq!(read(der::UTC_TIME, "490101000000Z"), Some(2_493_072_000));
        // Before 1970 is long ago.
        assert_eq!(read(der::UTC_TIME, "500101000000Z"), Some(0));
        for (tag, text) in [
            (der::UTC_TIME, "7001010000Z"),
            (der::UTC_TIME, "700101000001+0100"),
            (der::GENERALIZED_TIME, "19700101000001.5Z"),
            (der::GENERALIZED_TIME, "1970010100000Z"),
            (der::GENERALIZED_TIME, "19701301000001Z"),
            (der::INTEGER, "700101000001Z"),
        ] {
            assert_eq!(read(tag, text), None, "{text}");
        }
    }
}
