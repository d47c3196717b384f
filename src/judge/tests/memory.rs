//! What is remembered, for how long, and of whom: nothing of strangers.

use super::*;
use crate::craft::DAY;

#[test]
fn a_remembered_verdict_is_the_same_client_and_counts_only_while_it_holds() {
    let ca = Ca::made("CA", Key::p256(), |it| it.between(-DAY, 500));
    let client = ca.client_made(|it| it.between(-50, 200));
    let trust = trust(&[&ca.der], &[]);
    let recall = |seconds| trust.recall(&client, &[], at(seconds));
    assert!(recall(0).is_none());
    let (first, _) = admit(&trust, &[&client]).unwrap();
    assert_eq!(
        (first.validity.not_before, first.validity.not_after),
        (at(0), at(200))
    );
    let again = recall(200).unwrap();
    assert!(Arc::ptr_eq(&first.client, &again.client));
    assert!(recall(201).is_none(), "past its end");
    assert!(recall(-1).is_none(), "the clock was set back");
}

#[test]
fn a_verdict_lasts_no_longer_than_anything_that_made_it() {
    let until = |root: i64, sub: i64, client: i64, list: i64| {
        let root = Ca::made("root", Key::p256(), |it| it.between(-DAY, root));
        let sub = root.below_made("sub", |it| it.between(-DAY, sub));
        let client = sub.client_made(|it| it.between(-DAY, client));
        let of_root = craft::List::of("root", &[])
            .between(-DAY, list)
            .signed_by(&root.key);
        let of_sub = sub.list(&[]);
        let trust = trust(&[&root.der], &[&of_root, &of_sub]);
        verify(&trust, &[&client, &sub.der])
            .unwrap()
            .validity
            .not_after
    };
    assert_eq!(until(100, 900, 900, 900), at(100), "the CA");
    assert_eq!(until(900, 100, 900, 900), at(100), "the intermediate");
    assert_eq!(until(900, 900, 100, 900), at(100), "the client");
    assert_eq!(
        until(900, 900, 900, 100),
        at(99),
        "the list of the intermediate"
    );
}

#[test]
fn a_verdict_ends_when_the_next_list_begins_even_if_the_last_is_stale() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let tomorrow = craft::List::of("root", &[1])
        .between(100, 2 * DAY)
        .signed_by(&root.key);
    let stale = craft::List::of("root", &[9])
        .between(-2 * DAY, -1)
        .signed_by(&root.key);
    let client = sub.client();
    // The entry below the root needs no list, and may be revoked by one all the same.
    for stale_crl in [StaleCrl::Refuse, StaleCrl::Accept] {
        let lists: [&[u8]; 3] = [&stale, &tomorrow, &sub.list(&[])];
        let trust = trust_as(&[&root.der, &sub.der], &lists, stale_crl);
        assert_eq!(
            verify(&trust, &[&client]).unwrap().validity.not_after,
            at(99)
        );
        assert!(verify_at(&trust, &[&client], 100).is_err());
    }
}

#[test]
fn nothing_is_remembered_of_whoever_no_rule_names() {
    let ca = Ca::root("CA");
    let trust = trust(&[&ca.der], &[]);
    let unnamed = ca.client_made(|it| it.with(Extension::dns("other.test")));
    assert!(matches!(
        admit(&trust, &[&unnamed]),
        Err(Refusal::NotAdmitted { .. })
    ));
    let strangers = [
        Ca::root("CA").client(),
        Ca::root("others").client(),
        ca.client_made(|it| it.between(-2, -1)),
    ];
    for stranger in &strangers {
        assert!(admit(&trust, &[stranger]).is_err());
    }
    assert_eq!(trust.remembered(), (0, 0, 0));
}

#[test]
fn what_was_sent_beside_a_chain_is_not_kept() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let client = sub.client();
    let trust = trust(&[&root.der], &[]);
    let junk: Vec<Vec<u8>> = (0..50)
        .map(|number| {
            Certificate::ca("sub", "nobody", &Key::p256())
                .number(number)
                .and(Extension::own_key_id(&[7; 900]))
                .signed_by(&root.key)
        })
        .collect();
    let chain: Vec<&[u8]> = [&*client, &*sub.der]
        .into_iter()
        .chain(junk.iter().map(Vec::as_slice))
        .collect();
    let (verified, _) = admit(&trust, &chain).unwrap();
    assert_eq!(verified.chain.size(), client.len() + sub.der.len());
    assert_eq!(trust.remembered(), (1, client.len() + sub.der.len(), 1));
    // The same client with other company is the same client.
    let company: Vec<CertificateDer<'_>> = chain[1..]
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    assert!(trust.recall(&client, &company, at(0)).is_some());
    assert!(
        trust.recall(&client, &company[1..], at(0)).is_none(),
        "without its issuer it is nobody"
    );
}

#[test]
fn clients_and_issuers_are_remembered_side_by_side() {
    let root = Ca::root("root");
    let trust = trust(&[&root.der], &[]);
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let sub = root.below(name);
        let long = Extension::new(craft::oid::UNKNOWN, false, vec![0; 8_000]);
        let client = sub.client_made(|it| it.and(long));
        assert!(admit(&trust, &[&client, &sub.der]).is_ok());
        let (verdicts, bytes, issuers) = trust.remembered();
        assert_eq!((verdicts, issuers), (number + 1, number + 1));
        assert!(bytes > 8_000 * (number + 1), "{bytes}");
    }
}

#[test]
fn a_new_verdict_about_a_client_takes_the_place_of_the_old_one() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let client = sub.client();
    let long = Extension::new(craft::oid::UNKNOWN, false, vec![0; 1_000]);
    let twin = Certificate::ca("sub", "root", &sub.key)
        .and(long)
        .signed_by(&root.key);
    let (twice, once) = (trust(&[&root.der], &[]), trust(&[&root.der], &[]));
    assert!(admit(&twice, &[&client, &twin]).is_ok());
    for trust in [&twice, &once] {
        assert!(admit(trust, &[&client, &sub.der]).is_ok());
    }
    assert_eq!(
        (twice.remembered().0, twice.remembered().1),
        (1, once.remembered().1)
    );
}

#[test]
fn what_is_kept_of_what_was_sent_is_bounded_in_bytes() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let twins: Vec<_> = (1..=10)
        .map(|number| {
            let long = Extension::new(craft::oid::UNKNOWN, false, vec![number; 5_000]);
            let twin = Certificate::ca("sub", "root", &sub.key).number(number);
            twin.and(long).signed_by(&root.key)
        })
        .collect();
    let client = sub.client();
    let all: Vec<&[u8]> = [&client]
        .into_iter()
        .chain(&twins)
        .map(Vec::as_slice)
        .collect();
    assert_eq!(shown(&all).all().len(), 1 + 6, "of 32 KiB");
}

#[test]
fn what_is_remembered_is_bounded() {
    let ca = Ca::root("CA");
    let trust = trust(&[&ca.der], &[]);
    let big = |number: u8| {
        let name = Extension::new(craft::oid::UNKNOWN, false, vec![number; 12_000]);
        ca.client_made(|it| it.number(number).and(name))
    };
    for number in 1..=200 {
        assert!(admit(&trust, &[&big(number)]).is_ok());
        let (_, bytes, _) = trust.remembered();
        assert!(bytes <= trust::MOST_BYTES, "{number}: {bytes}");
    }
    let huge =
        ca.client_made(|it| it.and(Extension::new(craft::oid::UNKNOWN, false, vec![0; 40_000])));
    let before = trust.remembered();
    assert!(admit(&trust, &[&huge]).is_ok());
    assert_eq!(
        trust.remembered(),
        before,
        "one that large is judged each time"
    );
}

#[test]
fn more_certificates_than_any_chain_needs_are_refused_as_they_come() {
    let ca = Ca::root("CA");
    let client = CertificateDer::from(ca.client());
    let junk = vec![CertificateDer::from(&[0][..]); 63];
    assert!(Chain::shown(&client, &junk).is_ok());
    let junk = vec![CertificateDer::from(&[0][..]); 64];
    let refusal = Chain::shown(&client, &junk).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the client sent 65 certificates, and no chain needs so many"
    );
}

#[test]
fn a_session_is_judged_again_without_its_signatures() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let sub = root.below("sub");
    let client = sub.client();
    let (verified, _) = admit(&trust(&[&root.der], &[]), &[&client, &sub.der]).unwrap();
    let allow = rules("client.test");
    // The same CA in another generation: the edges are known, so nothing is asked.
    let next = trust(&[&other.der, &root.der], &[]);
    assert!(next.admit_again(&allow, &verified, at(1)).is_ok());
    // A namesake is another key, and no edge leads there.
    let namesake = trust(&[&Ca::root("root").der], &[]);
    assert!(namesake.admit_again(&allow, &verified, at(1)).is_err());
    let revoking = [root.list(&[]), sub.list(&[1])];
    let revoked = trust(&[&root.der], &[&revoking[0], &revoking[1]]);
    let why = revoked.admit_again(&allow, &verified, at(1)).unwrap_err();
    assert_eq!(why.to_string(), "the certificate is revoked");
    let withdrawn = trust(&[&root.der], &[]).admit_again(&rules("other.test"), &verified, at(1));
    assert!(matches!(withdrawn, Err(Refusal::NotAdmitted { .. })));
}

#[test]
fn a_signature_that_was_not_seen_is_none() {
    let (ca, namesake) = (Ca::root("CA"), Ca::root("CA"));
    let (verified, _) = admit(&trust(&[&ca.der], &[]), &[&ca.client()]).unwrap();
    // Its edges say nothing about another certificate, nor about the same one under another key.
    let other = shown(&[&namesake.client()]);
    assert!(
        trust(&[&ca.der], &[])
            .ask(&Allow::AnyClient, &other, verified.edges(), at(0))
            .is_err()
    );
    assert!(
        trust(&[&namesake.der], &[])
            .ask(&Allow::AnyClient, &verified.chain, verified.edges(), at(0))
            .is_err()
    );
}
