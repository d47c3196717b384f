//! What is said: bounded, and never a library's text.

use proptest::prelude::*;

use super::*;
use crate::craft::{Key, name, oid, sequence};

fn no_library_text(words: &str) {
    for text in ["Error", "BadDer", "[6,", "Unsupported", "Context {", "Os {"] {
        assert!(!words.contains(text), "{text} in {words}");
    }
    assert!(words.len() < 1000, "{} bytes: {words}", words.len());
}

#[test]
fn a_signature_that_does_not_count_is_named_by_its_algorithm() {
    let ca = Ca::root("CA");
    let trust = trust(&[&ca.der], &[]);
    let algorithm =
        |oid: &[u8], parameters: &[u8]| sequence(&[&craft::element(6, &[oid]), parameters]);
    let cases = [
        (
            algorithm(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], &[5, 0]),
            "sha1WithRSAEncryption",
        ),
        (
            algorithm(
                &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10],
                &sequence(&[]),
            ),
            "RSASSA-PSS",
        ),
        (
            algorithm(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], &[]),
            "ecdsa-with-SHA1",
        ),
        (
            algorithm(
                &[0x2b, 6, 1, 4, 1, 0x83, 0xb2, 0x2f, 9],
                &craft::element(4, &[&[0xff; 20_000]]),
            ),
            "1.3.6.1.4.1.55599.9",
        ),
        (algorithm(&[0x2b; 5_000], &[]), "…"),
        (algorithm(&[], &[]), "an unreadable algorithm"),
    ];
    for (algorithm, named) in cases {
        let client = ca.client();
        let skimmed = certificate::Certificate::skim(&client).unwrap();
        let der = sequence(&[
            skimmed.signed.content,
            &algorithm,
            &craft::element(3, &[&[0], skimmed.signed.signature]),
        ]);
        let words = refused(&trust, &[&der]);
        assert!(words.contains(named), "{named}: {words}");
        no_library_text(&words);
    }
}

#[test]
fn a_huge_or_odd_name_of_a_ca_is_bounded() {
    let long = "x".repeat(3_000);
    for (subject, shown) in [
        (name(&[(oid::COMMON_NAME, 0x0c, long.as_bytes())]), "xxx"),
        (
            name(&[(oid::COMMON_NAME, 0x0c, "y".repeat(5_000).as_bytes())]),
            "(a name of 50",
        ),
        (name(&[(oid::COMMON_NAME, 0x0c, b"a\nb")]), "a\\\\nb"),
        (sequence(&[&[0xff, 0]]), "(a name that cannot be read)"),
    ] {
        let key = Key::p256();
        let mut ca = Certificate::ca("CA", "CA", &key).between(-2, -1);
        (ca.subject, ca.issuer) = (subject.clone(), subject.clone());
        let mut client = Certificate::client("CA", &Key::p256());
        client.issuer = subject;
        let good = Ca::root("good");
        let trust = trust(&[&ca.signed_by(&key), &good.der], &[]);
        let words = refused(&trust, &[&client.signed_by(&key)]);
        assert!(words.contains(shown), "{shown}: {words}");
        no_library_text(&words);
    }
}

#[test]
fn a_client_that_signed_itself_is_told_so() {
    let trust = trust(&[&Ca::root("CA").der], &[]);
    let key = Key::p256();
    let mut own = Certificate::client("client", &key);
    own.issuer = own.subject.clone();
    let words = refused(&trust, &[&own.signed_by(&key)]);
    assert_eq!(
        words,
        "the certificate is self-signed, by no CA of the client-CA bundle"
    );
}

#[test]
fn what_is_no_certificate_is_said_to_be_none() {
    let trust = trust(&[&Ca::root("CA").der], &[]);
    for der in [
        &b""[..],
        b"0",
        b"hello",
        &[0x30, 0x80],
        &[0x30, 0x03, 0x30, 0x01, 0x00],
    ] {
        let words = refused(&trust, &[der]);
        assert_eq!(
            words,
            "the certificate cannot be read: its DER is malformed"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    /// A certificate that a CA signed and somebody then changed, a byte or a bit: refused, in our own words.
    #[test]
    fn no_change_of_a_signed_certificate_gets_in(place in any::<prop::sample::Index>(), with in 1..=255_u8) {
        thread_local! {
            static CA: Ca = Ca::root("CA");
        }
        CA.with(|ca| {
            let mut client = ca.client();
            let at = place.index(client.len());
            client[at] ^= with;
            let trust = trust(&[&ca.der], &[]);
            let words = refused(&trust, &[&client]);
            no_library_text(&words);
        });
    }

    /// A certificate of a CA of ours with a byte changed *before* it is signed: let in or refused, and never a panic.
    #[test]
    fn nothing_that_a_ca_signs_makes_the_judge_stumble(place in any::<prop::sample::Index>(), with in 1..=255_u8) {
        thread_local! {
            static CA: Ca = Ca::root("CA");
        }
        CA.with(|ca| {
            let client = ca.client();
            let skimmed = certificate::Certificate::skim(&client).unwrap();
            let mut content = skimmed.signed.content.to_vec();
            let at = place.index(content.len());
            content[at] ^= with;
            let der = craft::signed(&content, &ca.key);
            let trust = trust(&[&ca.der], &[]);
            if let Err(refusal) = verify(&trust, &[&der]) {
                no_library_text(&refusal.to_string());
            }
        });
    }
}
