//! Certificates and revocation lists that no CA's software would write: any field, any extension, any encoding, signed with
//! a real key. The unit tests of the judge use it as well.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};

/// The content of object identifiers.
pub(crate) mod oid {
    pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub(crate) const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];
    pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(crate) const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
    pub(crate) const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
    pub(crate) const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
    pub(crate) const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
    pub(crate) const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
    pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
    pub(crate) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
    pub(crate) const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1d, 32];
    pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
    pub(crate) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
    pub(crate) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
    pub(crate) const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];
    /// Nobody's.
    pub(crate) const UNKNOWN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xb2, 0x2f, 1];
}

/// Bits of the key usage, as the first byte of its BIT STRING has them.
pub(crate) const DIGITAL_SIGNATURE: u8 = 0b1000_0000;
pub(crate) const KEY_ENCIPHERMENT: u8 = 0b0010_0000;
pub(crate) const KEY_CERT_SIGN: u8 = 0b0000_0100;
pub(crate) const CRL_SIGN: u8 = 0b0000_0010;

/// One DER element.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut whole = vec![tag];
    let digits: Vec<u8> = content
        .len()
        .to_be_bytes()
        .into_iter()
        .skip_while(|it| *it == 0)
        .collect();
    match content.len() {
        0..=0x7f => whole.push(content.len() as u8),
        _ => {
            whole.push(0x80 | digits.len() as u8);
            whole.extend(digits);
        }
    }
    whole.extend(content);
    whole
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, parts)
}

pub(crate) fn integer(content: &[u8]) -> Vec<u8> {
    element(2, &[content])
}

/// A Name of one attribute per RDN: type, tag of the value, value.
pub(crate) fn name(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, tag, value)| {
            let attribute = sequence(&[&element(6, &[kind]), &element(*tag, &[value])]);
            element(0x31, &[&attribute])
        })
        .collect();
    sequence(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A Name that is a common name in UTF-8.
pub(crate) fn cn(text: &str) -> Vec<u8> {
    name(&[(oid::COMMON_NAME, 0x0c, text.as_bytes())])
}

/// Seconds since 1970 in the form that RFC 5280 section 4.1.2.5 wants for this year.
pub(crate) fn time(seconds: i64) -> Vec<u8> {
    let since = Duration::from_secs(u64::try_from(seconds).expect("after 1970"));
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    match &digits[..2] {
        "19" | "20" if &digits[..4] < "2050" => element(0x17, &[&digits.as_bytes()[2..], b"Z"]),
        _ => element(0x18, &[digits.as_bytes(), b"Z"]),
    }
}

/// A key that signs.
pub(crate) enum Key {
    Ecdsa(EcdsaKeyPair, &'static [u8], &'static [u8]),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const ED25519: &[u8] = &[0x2b, 0x65, 112];

impl Key {
    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static [u8], hash: u8) -> Self {
        const WITH: [&[u8]; 3] = [
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
        ];
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
        Self::Ecdsa(pair, curve, WITH[usize::from(hash)])
    }

    pub(crate) fn p256() -> Self {
        let curve = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        Self::ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, curve, 0)
    }

    pub(crate) fn p384() -> Self {
        let curve = &[0x2b, 0x81, 4, 0, 34];
        Self::ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, curve, 1)
    }

    pub(crate) fn p521() -> Self {
        let curve = &[0x2b, 0x81, 4, 0, 35];
        Self::ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING, curve, 2)
    }

    pub(crate) fn rsa(size: KeySize) -> Self {
        Self::Rsa(RsaKeyPair::generate(size).expect("a key"))
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("a key"))
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> Vec<u8> {
        let (algorithm, bits) = match self {
            Self::Ecdsa(pair, curve, _) => (
                sequence(&[&element(6, &[EC]), &element(6, &[curve])]),
                pair.public_key().as_ref().to_vec(),
            ),
            Self::Rsa(pair) => (
                sequence(&[&element(6, &[RSA]), &[5, 0]]),
                pair.public_key().as_ref().to_vec(),
            ),
            Self::Ed25519(pair) => (
                sequence(&[&element(6, &[ED25519])]),
                pair.public_key().as_ref().to_vec(),
            ),
        };
        sequence(&[&algorithm, &element(3, &[&[0], &bits])])
    }

    /// The AlgorithmIdentifier of its signatures.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(_, _, with) => sequence(&[&element(6, &[with])]),
            Self::Rsa(_) => sequence(&[&element(6, &[SHA256_WITH_RSA]), &[5, 0]]),
            Self::Ed25519(_) => sequence(&[&element(6, &[ED25519])]),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(pair, ..) => pair
                .sign(&random, message)
                .expect("it signs")
                .as_ref()
                .to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    message,
                    &mut signature,
                )
                .expect("it signs");
                signature
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The private key in PKCS#8.
    pub(crate) fn private(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair, ..) => pair.to_pkcs8v1().expect("a key").as_ref().to_vec(),
            Self::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair)
                .expect("a key")
                .as_ref()
                .to_vec(),
            Self::Ed25519(pair) => pair.to_pkcs8v1().expect("a key").as_ref().to_vec(),
        }
    }
}

/// What a signature is put under.
pub(crate) fn signed(content: &[u8], key: &Key) -> Vec<u8> {
    let signature = key.sign(content);
    sequence(&[content, &key.algorithm(), &element(3, &[&[0], &signature])])
}

/// One extension: identifier, critical, value.
#[derive(Debug, Clone)]
pub(crate) struct Extension(Vec<u8>, bool, Vec<u8>);

impl Extension {
    pub(crate) fn new(oid: &[u8], critical: bool, value: Vec<u8>) -> Self {
        Self(oid.to_vec(), critical, value)
    }

    pub(crate) fn key_usage(bits: u8) -> Self {
        let unused = if bits == 0 {
            0
        } else {
            bits.trailing_zeros() as u8
        };
        let content: &[u8] = if bits == 0 { &[0] } else { &[unused, bits] };
        Self::new(oid::KEY_USAGE, true, element(3, &[content]))
    }

    pub(crate) fn ca(path_len: Option<u8>) -> Self {
        let path_len = path_len.map_or(Vec::new(), |most| integer(&[most]));
        let value = sequence(&[&element(1, &[&[0xff]]), &path_len]);
        Self::new(oid::BASIC_CONSTRAINTS, true, value)
    }

    pub(crate) fn purposes(purposes: &[&[u8]]) -> Self {
        let purposes: Vec<Vec<u8>> = purposes.iter().map(|oid| element(6, &[oid])).collect();
        let purposes: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
        Self::new(oid::EXTENDED_KEY_USAGE, false, sequence(&purposes))
    }

    /// SANs: the number of the kind (1 email, 2 DNS, 6 URI, 7 IP), and the value.
    pub(crate) fn names(names: &[(u8, &[u8])]) -> Self {
        let names: Vec<Vec<u8>> = names
            .iter()
            .map(|(kind, name)| element(0x80 | kind, &[name]))
            .collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        Self::new(oid::SUBJECT_ALT_NAME, false, sequence(&names))
    }

    pub(crate) fn dns(name: &str) -> Self {
        Self::names(&[(2, name.as_bytes())])
    }

    /// Only DNS names in this domain.
    pub(crate) fn permitted_dns(domain: &str) -> Self {
        let base = sequence(&[&element(0x82, &[domain.as_bytes()])]);
        let value = sequence(&[&element(0xa0, &[&base])]);
        Self::new(oid::NAME_CONSTRAINTS, true, value)
    }

    pub(crate) fn own_key_id(id: &[u8]) -> Self {
        Self::new(oid::SUBJECT_KEY_IDENTIFIER, false, element(4, &[id]))
    }

    pub(crate) fn issuer_key_id(id: &[u8]) -> Self {
        let value = sequence(&[&element(0x80, &[id])]);
        Self::new(oid::AUTHORITY_KEY_IDENTIFIER, false, value)
    }

    /// One distribution point for each URL.
    pub(crate) fn lists_at(urls: &[&str]) -> Self {
        let points: Vec<Vec<u8>> = urls
            .iter()
            .map(|url| sequence(&[&full_name(url)]))
            .collect();
        let points: Vec<&[u8]> = points.iter().map(Vec::as_slice).collect();
        Self::new(oid::CRL_DISTRIBUTION_POINTS, false, sequence(&points))
    }

    pub(crate) fn number(number: u8) -> Self {
        Self::new(oid::CRL_NUMBER, false, integer(&[number]))
    }

    /// An issuing distribution point of these parts.
    pub(crate) fn scope(parts: &[&[u8]]) -> Self {
        Self::new(oid::ISSUING_DISTRIBUTION_POINT, true, sequence(parts))
    }

    fn der(&self) -> Vec<u8> {
        let Self(oid, critical, value) = self;
        let critical: &[u8] = if *critical { &[1, 1, 0xff] } else { &[] };
        sequence(&[&element(6, &[oid]), critical, &element(4, &[value])])
    }
}

/// A distribution point's name that is one URL.
pub(crate) fn full_name(url: &str) -> Vec<u8> {
    let names = element(0xa0, &[&element(0x86, &[url.as_bytes()])]);
    element(0xa0, &[&names])
}

fn extensions(all: &[Extension]) -> Vec<u8> {
    let all: Vec<Vec<u8>> = all.iter().map(Extension::der).collect();
    sequence(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A certificate to be signed.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// 2 is version 3; 0 is left out, as DER wants it.
    pub(crate) version: u8,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) subject: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
}

/// Seconds since 1970 at which every certificate made here is good, unless it says otherwise.
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 86_400;

impl Certificate {
    fn new(subject: Vec<u8>, issuer: Vec<u8>, key: Vec<u8>, extensions: Vec<Extension>) -> Self {
        Self {
            version: 2,
            serial: vec![1],
            issuer,
            not_before: NOW - DAY,
            not_after: NOW + 30 * DAY,
            subject,
            key,
            extensions,
        }
    }

    /// A CA's own, or that of a CA below another one.
    pub(crate) fn ca(subject: &str, issuer: &str, key: &Key) -> Self {
        let extensions = vec![
            Extension::ca(None),
            Extension::key_usage(KEY_CERT_SIGN | CRL_SIGN),
        ];
        Self::new(cn(subject), cn(issuer), key.public(), extensions)
    }

    /// A client's, named `client.test`.
    pub(crate) fn client(issuer: &str, key: &Key) -> Self {
        let extensions = vec![
            Extension::key_usage(DIGITAL_SIGNATURE),
            Extension::purposes(&[oid::CLIENT_AUTH]),
            Extension::dns("client.test"),
        ];
        Self::new(cn("client"), cn(issuer), key.public(), extensions)
    }

    /// With an extension more.
    pub(crate) fn and(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// With this extension in place of the one with the same identifier.
    pub(crate) fn with(self, extension: Extension) -> Self {
        self.without(&extension.0.clone()).and(extension)
    }

    /// Without any extension with this identifier.
    pub(crate) fn without(mut self, oid: &[u8]) -> Self {
        self.extensions.retain(|extension| extension.0 != oid);
        self
    }

    /// With this serial number.
    pub(crate) fn number(mut self, serial: u8) -> Self {
        self.serial = vec![serial];
        self
    }

    /// Good today.
    pub(crate) fn current(mut self) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let now = i64::try_from(now).expect("before the sun is gone");
        (self.not_before, self.not_after) = (now - DAY, now + DAY);
        self
    }

    /// Good between these times, in seconds from [`NOW`].
    pub(crate) fn between(mut self, from: i64, to: i64) -> Self {
        (self.not_before, self.not_after) = (NOW + from, NOW + to);
        self
    }

    /// The certificate in DER.
    pub(crate) fn signed_by(&self, key: &Key) -> Vec<u8> {
        let version = match self.version {
            0 => Vec::new(),
            version => element(0xa0, &[&integer(&[version])]),
        };
        let extensions = match &*self.extensions {
            [] => Vec::new(),
            all => element(0xa3, &[&extensions(all)]),
        };
        let content = sequence(&[
            &version,
            &integer(&self.serial),
            &key.algorithm(),
            &self.issuer,
            &sequence(&[&time(self.not_before), &time(self.not_after)]),
            &self.subject,
            &self.key,
            &extensions,
        ]);
        signed(&content, key)
    }
}

/// A revocation list to be signed.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) version: Option<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: i64,
    pub(crate) next_update: Option<i64>,
    /// Serial number and extensions of each entry.
    pub(crate) entries: Vec<(Vec<u8>, Vec<Extension>)>,
    pub(crate) extensions: Vec<Extension>,
}

impl List {
    /// A list that revokes these, good for a week, number 1.
    pub(crate) fn of(issuer: &str, serials: &[u8]) -> Self {
        Self {
            version: Some(1),
            issuer: cn(issuer),
            this_update: NOW - DAY,
            next_update: Some(NOW + 7 * DAY),
            entries: serials
                .iter()
                .map(|serial| (vec![*serial], Vec::new()))
                .collect(),
            extensions: vec![Extension::number(1)],
        }
    }

    /// Made and stale at these times, in seconds from [`NOW`].
    pub(crate) fn between(mut self, from: i64, to: i64) -> Self {
        (self.this_update, self.next_update) = (NOW + from, Some(NOW + to));
        self
    }

    /// With this number.
    pub(crate) fn number(mut self, number: u8) -> Self {
        self.extensions
            .retain(|extension| extension.0 != oid::CRL_NUMBER);
        self.extensions.push(Extension::number(number));
        self
    }

    /// With an extension more.
    pub(crate) fn and(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The list in DER.
    pub(crate) fn signed_by(&self, key: &Key) -> Vec<u8> {
        let entries: Vec<Vec<u8>> = self
            .entries
            .iter()
            .map(|(serial, all)| {
                let all = match &**all {
                    [] => Vec::new(),
                    all => extensions(all),
                };
                sequence(&[&integer(serial), &time(self.this_update), &all])
            })
            .collect();
        let entries = match &*entries {
            [] => Vec::new(),
            all => sequence(&all.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        };
        let extensions = match &*self.extensions {
            [] => Vec::new(),
            all => element(0xa0, &[&extensions(all)]),
        };
        let content = sequence(&[
            &self
                .version
                .map_or(Vec::new(), |version| integer(&[version])),
            &key.algorithm(),
            &self.issuer,
            &time(self.this_update),
            &self.next_update.map_or(Vec::new(), time),
            &entries,
            &extensions,
        ]);
        signed(&content, key)
    }
}

/// PEM of DER.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
