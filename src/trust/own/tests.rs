//! Files as other people's tools write them, and what is said of each.

mod certificates;
mod keys;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P384_SHA384,
};
use x509_parser::asn1_rs::{Any, FromDer as _, ToDer as _};
use zeroize::Zeroizing;

use super::*;
use crate::config::Place;
use crate::trust::tests::{Ca, Issued, ca_params, leaf_params};

fn file(flag: &'static str, text: &[u8]) -> Content {
    let bytes = Zeroizing::new(text.to_vec());
    Content::new(Place::Flag(flag), PathBuf::from("file"), bytes)
}

fn read(cert: &str, key: &str) -> Result<Own, Vec<String>> {
    let (cert, key) = (
        file("--cert", cert.as_bytes()),
        file("--key", key.as_bytes()),
    );
    Own::read(&cert, &key).map_err(|it| it.iter().map(ToString::to_string).collect())
}

/// All that is said, and of each part that it is said.
fn said(cert: &str, key: &str, parts: &[&str]) -> Vec<String> {
    let problems = read(cert, key).expect_err("it is refused");
    for part in parts {
        assert!(
            problems.iter().any(|problem| problem.contains(part)),
            "{part:?} in {problems:#?}"
        );
    }
    problems
}

fn server() -> Issued {
    Ca::new("servers").server()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// One DER element.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match content.len() {
        short @ 0..128 => vec![tag, u8::try_from(short).unwrap()],
        long @ 128..256 => vec![tag, 0x81, u8::try_from(long).unwrap()],
        _ => vec![tag, 0x82, len[0], len[1]],
    };
    [head, content].concat()
}

fn oid(text: &str) -> Vec<u8> {
    let oid: x509_parser::asn1_rs::Oid<'_> = text.parse().unwrap();
    oid.to_der_vec().unwrap()
}

fn elements(content: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = content;
    let mut elements = Vec::new();
    while let Ok((after, _)) = Any::from_der(rest) {
        elements.push(rest[..rest.len() - after.len()].to_vec());
        rest = after;
    }
    elements
}

/// The certificate with the fields of its content (RFC 5280 section 4.1) changed; nobody signs that anew.
fn changed(der: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> String {
    let (_, outer) = Any::from_der(der).unwrap();
    let mut parts = elements(outer.data);
    let (_, content) = Any::from_der(&parts[0]).unwrap();
    let mut fields = elements(content.data);
    change(&mut fields);
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    parts[0] = tlv(0x30, &fields);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    pem("CERTIFICATE", &tlv(0x30, &parts))
}

const KEY: usize = 6;
const EXTENSIONS: usize = 7;

/// A SubjectPublicKeyInfo.
fn spki(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x30, algorithm), &tlv(0x03, &[&[0], key])])
}

/// The point of a P-256 or P-384 key in a certificate, uncompressed.
fn point(der: &[u8]) -> Vec<u8> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
    parsed.public_key().subject_public_key.data.to_vec()
}

const P256: &str = "1.2.840.10045.3.1.7";
const EC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";

#[test]
fn what_belongs_together_is_taken_in_every_usual_form() {
    let issued = server();
    let own = read(&issued.cert, &issued.key).unwrap();
    assert_eq!(
        (own.chain.len(), own.kind.to_string().as_str()),
        (1, "ECDSA P-256")
    );
    let text = format!("a comment\n{}another\n", issued.cert);
    let beside = format!("{}{}", issued.key, issued.cert);
    for (cert, key) in [
        (&*text, &*beside),
        (&*beside, &*issued.key),
        (
            &issued.cert.replace('\n', "\r\n"),
            &issued.key.replace('\n', "\r\n"),
        ),
    ] {
        assert!(read(cert, key).is_ok(), "{cert}{key}");
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let cert = CertificateParams::default().self_signed(&key).unwrap();
    let own = read(&cert.pem(), &key.serialize_pem()).unwrap();
    assert_eq!(own.kind.to_string(), "ECDSA P-384");
}

#[test]
fn a_key_is_blamed_only_if_it_was_compared_with_the_certificate() {
    let issued = server();
    let other = server();
    let remedy = "first certificate of file; put both from the same issue";
    let problems = said(&issued.cert, &other.key, &[remedy, "--key: \"file\": "]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let chain = format!("{}{}", other.cert, issued.cert);
    let problems = said(
        &chain,
        &issued.key,
        &["the key belongs to certificate 2", "--cert", "leaf first"],
    );
    assert_eq!(problems.len(), 1, "{problems:?}");
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
        .unwrap()
        .serialize_pem();
    let kinds = "(the key is ECDSA P-384, the certificate's ECDSA P-256)";
    said(&issued.cert, &p384, &[kinds]);
    // None of these says anything about the pair.
    for (cert, key) in [("", &*other.key), (&*issued.cert, ""), ("", "")] {
        let problems = read(cert, key).expect_err("it is refused");
        assert!(
            problems.iter().all(|problem| !problem.contains("belong")),
            "{problems:?}"
        );
    }
}

#[test]
fn a_file_of_certificates_that_is_no_chain_is_told_as_what_it_is() {
    let issued = server();
    for (text, what) in [
        ("# nothing".to_owned(), "no PEM block CERTIFICATE in it"),
        (issued.key.clone(), "no PEM block CERTIFICATE in it"),
        ("0\u{1}\u{1}".to_owned(), "DER, not PEM; convert it"),
        (issued.cert.repeat(33), "33 certificates in it"),
    ] {
        let problems = said(&text, &issued.key, &[what, "; "]);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
    assert!(read(&issued.cert.repeat(32), &issued.key).is_ok());
}

proptest! {
    #[test]
    fn no_text_does_worse_than_be_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let issued = server();
        for (mut cert, mut key, of_key) in [
            (issued.der.to_vec(), issued.key.clone(), false),
            (issued.der.to_vec(), issued.key.clone(), true),
        ] {
            if of_key {
                let at = at.index(key.len());
                let kept: String = key.chars().take(at).collect();
                key = kept + &char::from(byte).to_string() + &key.chars().skip(at + 1).collect::<String>();
            } else {
                let at = at.index(cert.len());
                cert[at] = byte;
                cert.truncate(cert.len() - cut.index(2));
            }
            // A panic would be worse.
            if let Err(problems) = read(&pem("CERTIFICATE", &cert), &key) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
