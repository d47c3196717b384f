//! Chains and clocks in, verdicts out, remembered ones too.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};

use super::*;
use crate::trust::tests::{Ca, ca_params, leaf_params};

/// Seconds since some moment that every certificate here knows.
fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000 + seconds))
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn between(mut params: CertificateParams, from: u64, to: u64) -> CertificateParams {
    (params.not_before, params.not_after) = (time(from).into(), time(to).into());
    params
}

fn client(from: u64, to: u64) -> CertificateParams {
    between(
        leaf_params("client", ExtendedKeyUsagePurpose::ClientAuth),
        from,
        to,
    )
}

fn trust(ca: &Ca, validity: (u64, u64), next_update: Option<u64>) -> Trust {
    let anchor = webpki::anchor_from_trusted_cert(ca.0.der())
        .unwrap()
        .to_owned();
    let validity = Validity {
        not_before: at(validity.0),
        not_after: at(validity.1),
    };
    let revocation = Revocation {
        lists: Vec::new(),
        stale: StaleCrl::Refuse,
        next_update: next_update.map(at),
    };
    Trust::new([(anchor, validity)], revocation, false)
}

fn remembered(trust: &Trust) -> usize {
    lock(&trust.verdicts).len()
}

#[test]
fn a_remembered_verdict_is_the_same_client_and_counts_only_while_it_is_valid() {
    let ca = Ca::new("clients");
    let leaf = ca.issue(&client(100, 200));
    let trust = trust(&ca, (0, 1_000), None);
    let first = trust.verify(&leaf.der, &[], at(150)).unwrap();
    let again = trust.verify(&leaf.der, &[], at(200)).unwrap();
    assert!(
        Arc::ptr_eq(&first.client, &again.client),
        "it was looked up"
    );
    assert_eq!(remembered(&trust), 1);
    for (now, what) in [(201, "expired"), (99, "not yet valid")] {
        let refused = trust.verify(&leaf.der, &[], at(now));
        assert!(
            matches!(refused, Err(Refusal::Chain(_))),
            "{what}: {refused:?}"
        );
    }
}

#[test]
fn a_verdict_lasts_no_longer_than_anything_that_made_it() {
    let root = Ca::new("root");
    let middle = root.below(between(ca_params("middle"), 50, 300));
    let leaf = middle.issue(&client(100, 400));
    let chain = [middle.0.der().clone()];
    let cases = [
        ("the intermediate", (0, 1_000), None, 300),
        ("the CA", (0, 250), None, 250),
        ("the list", (0, 1_000), Some(220), 220),
    ];
    for (what, validity, next_update, until) in cases {
        let trust = trust(&root, validity, next_update);
        let verified = trust.verify(&leaf.der, &chain, at(150)).unwrap();
        assert_eq!(verified.validity.not_after, at(until), "{what}");
        assert_eq!(verified.validity.not_before, at(100), "{what}");
    }
    let trust = trust(&root, (0, 250), None);
    assert!(trust.verify(&leaf.der, &chain, at(250)).is_ok());
    assert!(
        trust.verify(&leaf.der, &chain, at(251)).is_err(),
        "not from memory either"
    );
}

#[test]
fn nothing_is_remembered_of_strangers() {
    let (ca, other) = (Ca::new("clients"), Ca::new("others"));
    let trust = trust(&ca, (0, 1_000), None);
    let server = between(
        leaf_params("client", ExtendedKeyUsagePurpose::ServerAuth),
        100,
        200,
    );
    for refused in [
        other.issue(&client(100, 200)),
        ca.issue(&client(160, 200)),
        ca.issue(&server),
    ] {
        assert!(trust.verify(&refused.der, &[], at(150)).is_err());
    }
    assert_eq!(remembered(&trust), 0);
}

#[test]
fn a_chain_is_remembered_as_it_was_presented() {
    let root = Ca::new("root");
    let middle = root.below(between(ca_params("middle"), 50, 300));
    let leaf = middle.issue(&client(100, 200));
    let trust = trust(&root, (0, 1_000), None);
    assert!(
        trust
            .verify(&leaf.der, &[middle.0.der().clone()], at(150))
            .is_ok()
    );
    let without = trust.verify(&leaf.der, &[], at(150));
    assert!(matches!(
        without,
        Err(Refusal::Chain(webpki::Error::UnknownIssuer))
    ));
}

#[test]
fn what_is_remembered_is_bounded() {
    let ca = Ca::new("clients");
    let trust = trust(&ca, (0, 1_000), None);
    let verified = trust
        .verify(&ca.issue(&client(100, 200)).der, &[], at(150))
        .unwrap();
    for number in 0..VERDICTS {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        lock(&trust.verdicts).insert(digest, verified.clone());
    }
    let one_more = ca.issue(&client(100, 200));
    assert!(trust.verify(&one_more.der, &[], at(150)).is_ok());
    assert!(remembered(&trust) <= VERDICTS);
}
