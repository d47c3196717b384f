//! What a certificate says of itself binds it, in the bundle too.

use super::*;
use crate::craft::{CRL_SIGN, DAY, DIGITAL_SIGNATURE, KEY_CERT_SIGN, KEY_ENCIPHERMENT, oid};

#[test]
fn each_entry_of_the_bundle_counts_by_its_own_word() {
    let wide = Ca::made("CA", Key::p256(), |it| it.between(-DAY, 10));
    let narrow = wide.again(|it| it.and(Extension::permitted_dns("client.test")));
    let (inside, outside) = (
        wide.client(),
        wide.client_made(|it| it.with(Extension::dns("other.test"))),
    );
    let trust = trust(&[&wide.der, &narrow], &[]);
    let verdict = |der: &[u8], seconds| verify_at(&trust, &[der], seconds);
    assert_eq!(verdict(&outside, 0).unwrap().validity.not_after, at(10));
    assert!(verdict(&inside, 0).unwrap().validity.not_after > at(10));
    let why = verdict(&outside, 11).unwrap_err().to_string();
    assert!(why.contains("name constraints"), "{why}");
    assert!(verdict(&inside, 11).is_ok());
}

#[test]
fn an_entry_that_cannot_vouch_says_why_to_its_clients() {
    type Change = fn(Certificate) -> Certificate;
    let cases: [(Change, &str, &str); 11] = [
        (
            |it| it.between(-DAY, -1),
            "expired at",
            "CertificateExpired",
        ),
        (
            |it| it.between(1, DAY),
            "is not valid before",
            "CertificateExpired",
        ),
        (
            |it| it.without(oid::BASIC_CONSTRAINTS),
            "is not a CA",
            "UnknownCA",
        ),
        (
            |it| it.with(Extension::key_usage(CRL_SIGN)),
            "keyCertSign",
            "UnknownCA",
        ),
        (
            |it| it.and(Extension::purposes(&[oid::SERVER_AUTH])),
            "not for TLS clients",
            "UnsupportedCertificate",
        ),
        (
            |it| it.and(Extension::purposes(&[oid::ANY_PURPOSE])),
            "not for TLS clients",
            "UnsupportedCertificate",
        ),
        (
            |it| it.and(Extension::new(oid::UNKNOWN, true, vec![5, 0])),
            "critical extension 1.3.6.1.4.1.55599.1",
            "BadCertificate",
        ),
        (
            |it| it.and(Extension::key_usage(KEY_CERT_SIGN)),
            "the extension keyUsage twice",
            "BadCertificate",
        ),
        (
            |mut it| {
                it.version = 0;
                it.extensions.clear();
                it
            },
            "before 3",
            "BadCertificate",
        ),
        (
            |it| it.with(Extension::new(oid::BASIC_CONSTRAINTS, true, vec![5, 0])),
            "its basicConstraints is malformed",
            "BadCertificate",
        ),
        (
            // A pathLenConstraint of -1.
            |it| it.with(Extension::ca(Some(0xff))),
            "its basicConstraints is malformed",
            "BadCertificate",
        ),
    ];
    for (change, why, alert) in cases {
        let (good, bad) = (Ca::root("good"), Ca::made("bad", Key::p256(), change));
        let trust = trust(&[&bad.der, &good.der], &[]);
        let refusal = verify(&trust, &[&bad.client()]).unwrap_err();
        let words = refusal.to_string();
        assert!(
            words.contains("the CA \"CN=bad\"") && words.contains(why),
            "{why}: {words}"
        );
        assert_eq!(format!("{:?}", refusal.alert()), alert, "{why}");
        assert!(verify(&trust, &[&good.client()]).is_ok());
        let left_out: Vec<usize> = trust
            .left_out(at(0))
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        assert_eq!(left_out, [0], "{why}");
    }
}

#[test]
fn an_entry_whose_key_cannot_be_used_is_named() {
    // secp256k1, by name; the key is P-256's, so nothing verifies anyway.
    let key = Key::p256();
    let mut odd = Certificate::ca("odd", "odd", &key);
    let curve = craft::element(6, &[&[0x2b, 0x81, 4, 0, 10]]);
    let algorithm = craft::sequence(&[
        &craft::element(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]),
        &curve,
    ]);
    odd.key = craft::sequence(&[&algorithm, &craft::element(3, &[&[0], &[4; 65]])]);
    let ca = Ca {
        name: "odd",
        der: odd.signed_by(&key),
        key,
    };
    let good = Ca::root("good");
    let why = refused(&trust(&[&good.der, &ca.der], &[]), &[&ca.client()]);
    assert!(
        why.contains("\"CN=odd\"") && why.contains("secp256k1"),
        "{why}"
    );
}

#[test]
fn every_issuer_on_the_way_is_bound_by_its_own_word() {
    type Change = fn(Certificate) -> Certificate;
    let cases: [(Change, &str); 8] = [
        (
            |it| it.with(Extension::ca(Some(0x80))),
            "its basicConstraints is malformed",
        ),
        (
            |it| it.between(-DAY, -1),
            "the intermediate CA \"CN=sub\" expired",
        ),
        (
            |it| it.between(1, DAY),
            "the intermediate CA \"CN=sub\" is not valid before",
        ),
        (
            |it| it.without(oid::BASIC_CONSTRAINTS),
            "\"CN=sub\" is not a CA",
        ),
        (
            |it| it.with(Extension::key_usage(CRL_SIGN | DIGITAL_SIGNATURE)),
            "keyCertSign",
        ),
        (
            |it| it.and(Extension::purposes(&[oid::SERVER_AUTH])),
            "not for TLS clients",
        ),
        (
            |it| it.and(Extension::new(oid::UNKNOWN, true, vec![])),
            "critical extension",
        ),
        (
            |it| {
                let unknown = Extension::new(oid::UNKNOWN, false, vec![]);
                it.and(unknown.clone()).and(unknown)
            },
            "twice",
        ),
    ];
    let root = Ca::root("root");
    let trust = trust(&[&root.der], &[]);
    for (change, why) in cases {
        let sub = root.below_made("sub", change);
        let words = refused(&trust, &[&sub.client(), &sub.der]);
        assert!(words.contains(why), "{why}: {words}");
    }
    let usages = [
        Extension::key_usage(KEY_CERT_SIGN),
        Extension::key_usage(KEY_CERT_SIGN | CRL_SIGN),
    ];
    for usage in usages {
        let sub = root.below_made("sub", |it| it.with(usage));
        assert!(verify(&trust, &[&sub.client(), &sub.der]).is_ok());
    }
    let silent = root.below_made("sub", |it| it.without(oid::KEY_USAGE));
    assert!(
        verify(&trust, &[&silent.client(), &silent.der]).is_ok(),
        "no key usage allows all"
    );
    let for_clients = root.below_made("sub", |it| it.and(Extension::purposes(&[oid::CLIENT_AUTH])));
    assert!(verify(&trust, &[&for_clients.client(), &for_clients.der]).is_ok());
}

#[test]
fn a_client_is_bound_by_its_own_word() {
    type Change = fn(Certificate) -> Certificate;
    let cases: [(Change, &str, &str); 13] = [
        (
            |it| it.between(-DAY, -1),
            "the certificate expired",
            "CertificateExpired",
        ),
        (
            |it| it.between(1, DAY),
            "the certificate is not valid before",
            "CertificateExpired",
        ),
        (
            |it| it.and(Extension::ca(None)),
            "a CA is no client",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::key_usage(KEY_ENCIPHERMENT)),
            "without digitalSignature",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::key_usage(KEY_CERT_SIGN)),
            "without digitalSignature",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::key_usage(0)),
            "without digitalSignature",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::purposes(&[oid::SERVER_AUTH])),
            "does not list clientAuth",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::purposes(&[oid::ANY_PURPOSE])),
            "does not list clientAuth",
            "UnsupportedCertificate",
        ),
        (
            |it| it.without(oid::EXTENDED_KEY_USAGE),
            "--allow-missing-eku is off",
            "UnsupportedCertificate",
        ),
        (
            |it| it.with(Extension::purposes(&[])),
            "its extendedKeyUsage is malformed",
            "BadCertificate",
        ),
        (
            |it| it.and(Extension::dns("other.test")),
            "the extension subjectAltName twice",
            "BadCertificate",
        ),
        (
            |it| {
                it.and(Extension::new(
                    oid::CERTIFICATE_POLICIES,
                    true,
                    vec![0x30, 0],
                ))
            },
            "critical extension certificatePolicies",
            "BadCertificate",
        ),
        (
            |it| it.with(Extension::dns("no host name")),
            "the DNS name \"no host name\"",
            "BadCertificate",
        ),
    ];
    let ca = Ca::root("CA");
    let trust = trust(&[&ca.der], &[]);
    for (change, why, alert) in cases {
        let refusal = verify(&trust, &[&ca.client_made(change)]).unwrap_err();
        let words = refusal.to_string();
        assert!(words.contains(why), "{why}: {words}");
        assert_eq!(format!("{:?}", refusal.alert()), alert, "{why}");
    }
    type Fine = fn(Certificate) -> Certificate;
    let fine: [Fine; 5] = [
        |it| it.without(oid::KEY_USAGE),
        |it| it.with(Extension::key_usage(DIGITAL_SIGNATURE | KEY_ENCIPHERMENT)),
        |it| it.with(Extension::purposes(&[oid::SERVER_AUTH, oid::CLIENT_AUTH])),
        |it| it.and(Extension::new(oid::UNKNOWN, false, vec![5, 0])),
        |it| it.without(oid::SUBJECT_ALT_NAME),
    ];
    for change in fine {
        assert!(verify(&trust, &[&ca.client_made(change)]).is_ok());
    }
}

#[test]
fn a_missing_extended_key_usage_is_let_in_only_if_that_is_allowed() {
    let ca = Ca::root("CA");
    let client = ca.client_made(|it| it.without(oid::EXTENDED_KEY_USAGE));
    for allowed in [false, true] {
        let entry = Entry::read(CertificateDer::from(ca.der.clone())).unwrap();
        let lists = Lists::new(Vec::new(), StaleCrl::Refuse);
        let trust = Trust::new(Bundle::new(vec![entry]), lists, allowed);
        assert_eq!(trust.allows_missing_eku(), allowed);
        assert_eq!(verify(&trust, &[&client]).is_ok(), allowed);
    }
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let ca = Ca::root("CA");
    let trust = trust(&[&ca.der], &[]);
    let client = ca.client_made(|it| it.between(10, 20));
    let good = [9, 10, 20, 21].map(|second| verify_at(&trust, &[&client], second).is_ok());
    assert_eq!(good, [false, true, true, false]);
    // Later than 2049 it is written in another form (RFC 5280 section 4.1.2.5).
    let late = 40 * 365 * DAY;
    let ca = Ca::made("CA", Key::p256(), |it| it.between(0, late + 2));
    let trust = trust_as(&[&ca.der], &[], StaleCrl::Refuse);
    let client = ca.client_made(|it| it.between(late, late + 1));
    let good = [late - 1, late, late + 1, late + 2]
        .map(|second| verify_at(&trust, &[&client], second).is_ok());
    assert_eq!(good, [false, true, true, false]);
}

#[test]
fn a_path_is_no_longer_than_each_ca_above_allows() {
    let limited = |most| {
        Ca::made("limited", Key::p256(), move |it| {
            it.with(Extension::ca(most))
        })
    };
    for (most, depth, good) in [
        (Some(0), 0, true),
        (Some(0), 1, false),
        (Some(1), 1, true),
        (Some(1), 2, false),
        (Some(2), 2, true),
        (None, 3, true),
    ] {
        let root = limited(most);
        let mut issuers = vec![];
        let mut last = &root;
        for name in ["one", "two", "three"].into_iter().take(depth) {
            issuers.push(last.below(name));
            last = issuers.last().unwrap();
        }
        let client = last.client();
        let chain: Vec<&[u8]> = [&*client]
            .into_iter()
            .chain(issuers.iter().map(|ca| &*ca.der))
            .collect();
        let verdict = verify(&trust(&[&root.der], &[]), &chain);
        assert_eq!(verdict.is_ok(), good, "{most:?}, {depth}: {verdict:?}");
        if let Err(refusal) = verdict {
            let words = refusal.to_string();
            assert!(
                words.contains("\"CN=limited\" of the client-CA bundle allows"),
                "{words}"
            );
        }
    }
    // The limit of an intermediate, and of the smaller of two.
    let root = limited(Some(5));
    let middle = root.below_made("middle", |it| it.with(Extension::ca(Some(0))));
    let low = middle.below("low");
    let words = refused(
        &trust(&[&root.der], &[]),
        &[&low.client(), &low.der, &middle.der],
    );
    assert!(
        words.contains("the intermediate CA \"CN=middle\" allows 0"),
        "{words}"
    );
    assert!(verify(&trust(&[&root.der], &[]), &[&middle.client(), &middle.der]).is_ok());
}
