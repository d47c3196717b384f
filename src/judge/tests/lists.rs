//! What lists say, of whom, and until when.

use super::*;
use crate::craft::{CRL_SIGN, DAY, KEY_CERT_SIGN, full_name};

fn unknown(trust: &Trust, certificates: &[&[u8]], why: &str) {
    let words = refused(trust, certificates);
    assert!(
        words.contains("is revoked is unknown") && words.contains(why),
        "{why}: {words}"
    );
}

#[test]
fn a_list_speaks_for_what_its_issuer_signed_and_for_nothing_else() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let client = sub.client_made(|it| it.number(7));
    let chain: [&[u8]; 2] = [&client, &sub.der];
    let holds = |lists: &[&[u8]]| verify(&trust(&[&root.der], lists), &chain);
    assert!(holds(&[]).is_ok(), "without lists nobody is asked");
    assert!(holds(&[&root.list(&[]), &sub.list(&[])]).is_ok());
    unknown(
        &trust(&[&root.der], &[&root.list(&[])]),
        &chain,
        "no revocation list",
    );
    unknown(
        &trust(&[&root.der], &[&sub.list(&[])]),
        &chain,
        "no revocation list",
    );
    // Serial 7 of the root is somebody else.
    assert!(holds(&[&root.list(&[7]), &sub.list(&[8])]).is_ok());
    let by_sub = holds(&[&root.list(&[]), &sub.list(&[7])]).unwrap_err();
    assert_eq!(by_sub.to_string(), "the certificate is revoked");
    let by_root = holds(&[&root.list(&[1]), &sub.list(&[])]).unwrap_err();
    assert_eq!(
        by_root.to_string(),
        "the intermediate CA \"CN=sub\" is revoked"
    );
    // A list of a namesake, or one that somebody else signed, is none.
    let namesake = root.below("sub");
    unknown(
        &trust(&[&root.der], &[&root.list(&[]), &namesake.list(&[])]),
        &chain,
        "no revocation list",
    );
    let forged = craft::List::of("sub", &[]).signed_by(&root.key);
    unknown(
        &trust(&[&root.der], &[&root.list(&[]), &forged]),
        &chain,
        "no revocation list",
    );
}

#[test]
fn two_keys_of_one_name_have_a_list_each() {
    let (old, new) = (Ca::root("CA"), Ca::root("CA"));
    let (of_old, of_new) = (
        old.client_made(|it| it.number(5)),
        new.client_made(|it| it.number(6)),
    );
    let early = craft::List::of("CA", &[6])
        .between(-2 * DAY, DAY)
        .signed_by(&old.key);
    let late = craft::List::of("CA", &[5]).signed_by(&new.key);
    for lists in [[&*early, &*late], [&*late, &*early]] {
        let trust = trust(&[&old.der, &new.der], &lists);
        assert!(verify(&trust, &[&of_old]).is_ok() && verify(&trust, &[&of_new]).is_ok());
    }
    let lists = [
        craft::List::of("CA", &[5])
            .between(-2 * DAY, DAY)
            .signed_by(&old.key),
        late,
    ];
    let trust = trust(&[&old.der, &new.der], &[&lists[0], &lists[1]]);
    assert_eq!(refused(&trust, &[&of_old]), "the certificate is revoked");
    assert!(verify(&trust, &[&of_new]).is_ok());
}

#[test]
fn an_entry_that_another_entry_revokes_vouches_for_nobody() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let client = sub.client();
    for bundle in [[&*root.der, &*sub.der], [&*sub.der, &*root.der]] {
        let lists = [root.list(&[1]), sub.list(&[])];
        let revoked = trust(&bundle, &[&lists[0], &lists[1]]);
        let why = refused(&revoked, &[&client]);
        assert_eq!(why, "the CA \"CN=sub\" of the client-CA bundle is revoked");
        assert_eq!(revoked.left_out(at(0)).len(), 1);
        // The operator's word stands as long as nobody takes it back, whatever else lists do not know.
        let stale = craft::List::of("root", &[9])
            .between(-2 * DAY, -1)
            .signed_by(&root.key);
        for other in [&root.list(&[9]), &stale] {
            assert!(verify(&trust(&bundle, &[other, &lists[1]]), &[&client]).is_ok());
        }
        let stale = craft::List::of("root", &[1])
            .between(-2 * DAY, -1)
            .signed_by(&root.key);
        assert!(verify(&trust(&bundle, &[&stale, &lists[1]]), &[&client]).is_err());
        // Tomorrow's list revokes it tomorrow.
        let tomorrow = craft::List::of("root", &[1])
            .between(DAY, 2 * DAY)
            .signed_by(&root.key);
        let trust = trust(&bundle, &[&tomorrow, &lists[1]]);
        assert_eq!(
            verify(&trust, &[&client]).unwrap().validity.not_after,
            at(DAY - 1)
        );
        assert!(verify_at(&trust, &[&client], DAY).is_err());
    }
}

#[test]
fn each_client_is_bound_by_the_end_of_its_own_lists() {
    let (a, b) = (Ca::root("A"), Ca::root("B"));
    let soon = craft::List::of("A", &[])
        .between(-DAY, 100)
        .signed_by(&a.key);
    let old = craft::List::of("A", &[])
        .between(-3 * DAY, -DAY)
        .signed_by(&a.key);
    let stale = craft::List::of("B", &[])
        .between(-2 * DAY, -50)
        .signed_by(&b.key);
    let bundle = [&*a.der, &*b.der];
    let lists = [&*stale, &*soon, &*old];
    let (of_a, of_b) = (a.client(), b.client());
    let refuse = trust(&bundle, &lists);
    assert_eq!(
        verify(&refuse, &[&of_a]).unwrap().validity.not_after,
        at(99)
    );
    let later = verify_at(&refuse, &[&of_a], 100).unwrap_err().to_string();
    assert!(
        later.contains("stale since") && later.contains("--stale-crl is refuse"),
        "{later}"
    );
    assert!(refused(&refuse, &[&of_b]).contains("stale since"));
    let accept = trust_as(&bundle, &lists, StaleCrl::Accept);
    for client in [&of_a, &of_b] {
        let verified = verify_at(&accept, &[client], 100).unwrap();
        assert!(
            verified.validity.not_after > at(20 * DAY),
            "no list ends it"
        );
    }
}

#[test]
fn of_lists_for_the_same_certificates_the_newest_that_has_begun_counts() {
    let ca = Ca::root("CA");
    let client = ca.client_made(|it| it.number(7));
    let list = |revoked: &[u8], from, number| {
        let list = craft::List::of("CA", revoked)
            .between(from, 7 * DAY)
            .number(number);
        list.signed_by(&ca.key)
    };
    let cases = [
        (
            "newer by date",
            list(&[7], -100, 1),
            list(&[], -200, 9),
            false,
        ),
        (
            "older by date",
            list(&[7], -200, 9),
            list(&[], -100, 1),
            true,
        ),
        (
            "newer by number",
            list(&[7], -100, 200),
            list(&[], -100, 100),
            false,
        ),
        (
            "older by number",
            list(&[7], -100, 1),
            list(&[], -100, 2),
            true,
        ),
        (
            "not begun, forgives",
            list(&[7], -100, 1),
            list(&[], 50, 2),
            false,
        ),
        (
            "not begun, revokes",
            list(&[7], 50, 2),
            list(&[], -100, 1),
            true,
        ),
        ("no order", list(&[7], -100, 1), list(&[8], -100, 1), false),
    ];
    for (what, one, other, good) in cases {
        for lists in [[&*one, &*other], [&*other, &*one]] {
            let verdict = verify(&trust(&[&ca.der], &lists), &[&client]);
            assert_eq!(verdict.is_ok(), good, "{what}: {verdict:?}");
            if what == "not begun, revokes" {
                assert_eq!(verdict.unwrap().validity.not_after, at(49));
            }
        }
    }
    unknown(
        &trust(&[&ca.der], &[&list(&[], 50, 1)]),
        &[&client],
        "does not count before",
    );
}

#[test]
fn a_list_speaks_for_its_distribution_point_and_kind_only() {
    let root = Ca::root("root");
    let sub = root.below_made("sub", |it| it.number(3));
    let here = sub.client_made(|it| {
        it.number(7)
            .and(Extension::lists_at(&["http://x/1", "http://x/0"]))
    });
    let nowhere = sub.client_made(|it| it.number(7));
    let list = |revoked: &[u8], scope: &[&[u8]], from: i64| {
        let list = craft::List::of("sub", revoked).between(from, 7 * DAY);
        list.and(Extension::scope(scope)).signed_by(&sub.key)
    };
    let whole = |revoked: &[u8], from: i64| {
        craft::List::of("sub", revoked)
            .between(from, 7 * DAY)
            .signed_by(&sub.key)
    };
    let users: &[u8] = &[0x81, 1, 0xff];
    let cas: &[u8] = &[0x82, 1, 0xff];
    let one: &[u8] = &full_name("http://x/1");
    let two: &[u8] = &full_name("http://x/2");
    let some: &[u8] = &[0x83, 2, 6, 0b0100_0000];
    let rest: &[u8] = &[0x83, 3, 7, 0b0011_1111, 0b1000_0000];
    let of_root = root.list(&[]);
    let verdict = |client: &[u8], lists: &[&[u8]]| {
        let lists: Vec<&[u8]> = lists.iter().copied().chain([&*of_root]).collect();
        let verdict = verify(&trust(&[&root.der], &lists), &[client, &sub.der]);
        verdict
            .map(|_| "good".to_owned())
            .unwrap_or_else(|why| why.to_string())
    };
    const REVOKED: &str = "the certificate is revoked";
    let unknown = |said: String| said.contains("speak for other certificates");
    assert_eq!(
        verdict(
            &here,
            &[&list(&[7], &[one], -200), &list(&[], &[two], -100)]
        ),
        REVOKED
    );
    assert_eq!(
        verdict(
            &here,
            &[&list(&[], &[one], -200), &list(&[7], &[two], -100)]
        ),
        "good"
    );
    assert_eq!(
        verdict(&nowhere, &[&whole(&[7], -200), &list(&[], &[two], -100)]),
        REVOKED
    );
    assert!(unknown(verdict(&nowhere, &[&list(&[7], &[one], -200)])));
    assert!(unknown(verdict(&here, &[&list(&[7], &[two], -200)])));
    assert_eq!(verdict(&here, &[&whole(&[7], -200)]), REVOKED);
    assert_eq!(
        verdict(
            &here,
            &[&list(&[7], &[users], -200), &list(&[], &[cas], -100)]
        ),
        REVOKED
    );
    assert!(unknown(verdict(&here, &[&list(&[7], &[cas], -100)])));
    // All reasons, or the status is not known; one reason is enough to be revoked.
    assert!(unknown(verdict(&here, &[&list(&[], &[some], -100)])));
    assert_eq!(
        verdict(
            &here,
            &[&list(&[], &[some], -100), &list(&[], &[rest], -200)]
        ),
        "good"
    );
    assert_eq!(
        verdict(
            &here,
            &[&list(&[], &[some], -100), &list(&[7], &[rest], -200)]
        ),
        REVOKED
    );
    // The root's list is for everything, and the issuing CA is a CA.
    let for_users = craft::List::of("root", &[])
        .and(Extension::scope(&[users]))
        .signed_by(&root.key);
    let for_cas = craft::List::of("root", &[3])
        .and(Extension::scope(&[cas]))
        .signed_by(&root.key);
    let chain: [&[u8]; 2] = [&here, &sub.der];
    let of_sub = whole(&[], -100);
    let why = refused(&trust(&[&root.der], &[&for_users, &of_sub]), &chain);
    assert!(why.starts_with("whether the intermediate CA"), "{why}");
    let why = refused(&trust(&[&root.der], &[&for_cas, &of_sub]), &chain);
    assert_eq!(why, "the intermediate CA \"CN=sub\" is revoked");
}

#[test]
fn whoever_may_not_sign_lists_signs_none() {
    let root = Ca::root("root");
    let mute = root.below_made("mute", |it| it.with(Extension::key_usage(KEY_CERT_SIGN)));
    let trust_of = |ca: &Ca| trust(&[&root.der], &[&root.list(&[]), &ca.list(&[])]);
    unknown(&trust_of(&mute), &[&mute.client(), &mute.der], "cRLSign");
    let able = root.below_made("able", |it| {
        it.with(Extension::key_usage(KEY_CERT_SIGN | CRL_SIGN))
    });
    assert!(verify(&trust_of(&able), &[&able.client(), &able.der]).is_ok());
}

#[test]
fn a_serial_number_is_found_however_the_certificate_writes_it() {
    let ca = Ca::root("CA");
    let list = {
        let mut list = craft::List::of("CA", &[]);
        list.entries = [&[0x80][..], &[0, 0x80], &[0], &[0x7f; 20]]
            .map(|serial| (serial.to_vec(), Vec::new()))
            .to_vec();
        list.signed_by(&ca.key)
    };
    let trust = trust(&[&ca.der], &[&list]);
    let serial = |content: &[u8]| {
        let client = ca.client_made(|mut it| {
            it.serial = content.to_vec();
            it
        });
        verify(&trust, &[&client])
    };
    for revoked in [
        &[0x80][..],
        &[0, 0x80],
        &[0],
        &[0x7f; 20],
        &[0xff, 0x80],
        &[0, 0, 0x80],
        &[0, 0],
    ] {
        assert_eq!(
            serial(revoked).unwrap_err().to_string(),
            "the certificate is revoked",
            "{revoked:?}"
        );
    }
    for good in [&[0x81][..], &[0, 0x81], &[1], &[0x7f; 19], &[0x7f; 21]] {
        assert!(serial(good).is_ok(), "{good:?}");
    }
}

#[test]
fn ten_thousand_entries_are_all_found_and_no_other() {
    let ca = Ca::root("CA");
    let mut list = craft::List::of("CA", &[]);
    let serial = |number: u32| [&[1][..], &number.wrapping_mul(0x9e37_79b9).to_be_bytes()].concat();
    list.entries = (0..10_000)
        .map(|number| (serial(number), Vec::new()))
        .collect();
    let list = List::read(list.signed_by(&ca.key)).unwrap();
    assert_eq!(list.entries(), 10_000);
    assert!((0..10_000).all(|number| list.revokes(&serial(number))));
    assert!(!(10_000..20_000).any(|number| list.revokes(&serial(number))));
}
