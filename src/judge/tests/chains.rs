//! Who vouches for whom, and what a certificate's own limits do to it.

use super::*;
use crate::craft::{DAY, cn, oid};

#[test]
fn the_order_and_the_company_of_a_chain_do_not_matter() {
    let root = Ca::root("root");
    let one = root.below("one");
    let two = one.below("two");
    let client = two.client();
    let stranger = Ca::root("stranger");
    let trust = trust(&[&root.der], &[]);
    let junk = [0; 40];
    let chains: [&[&[u8]]; 5] = [
        &[&client, &two.der, &one.der],
        &[&client, &one.der, &two.der],
        &[&client, &two.der, &one.der, &root.der],
        &[&client, &two.der, &two.der, &one.der, &one.der, &client],
        &[
            &client,
            &stranger.der,
            &junk,
            &two.der,
            &stranger.der,
            &one.der,
        ],
    ];
    for chain in chains {
        let verified = verify(&trust, chain).unwrap();
        assert_eq!(verified.client.dns_names(), ["client.test"]);
        // What nothing goes through is not kept; the root's own certificate is a way from the root to itself.
        assert_eq!(verified.chain.end_entity(), client);
        assert!(
            verified.chain.issuers().len() <= 3,
            "{}",
            verified.chain.issuers().len()
        );
    }
    for chain in [
        &[&client[..], &one.der][..],
        &[&client, &two.der],
        &[&client],
    ] {
        let why = refused(&trust, chain);
        assert!(
            why.starts_with("no CA of the client-CA bundle issued"),
            "{why}"
        );
    }
}

#[test]
fn a_ca_is_a_name_and_a_key() {
    let (ca, namesake) = (Ca::root("CA"), Ca::root("CA"));
    let (client, other) = (ca.client(), namesake.client());
    let why = refused(&trust(&[&ca.der], &[]), &[&other]);
    assert!(
        why.contains("the CA \"CN=CA\"") && why.contains("another key"),
        "{why}"
    );
    // An impostor that sends its own certificate along is no issuer for it.
    assert!(verify(&trust(&[&ca.der], &[]), &[&other, &namesake.der]).is_err());
    let both = trust(&[&ca.der, &namesake.der], &[]);
    for client in [&client, &other] {
        assert!(verify(&both, &[client]).is_ok());
    }
}

#[test]
fn a_better_line_is_found_beside_a_worse_one() {
    let (old, new) = (
        Ca::made("old", Key::p256(), |it| it.between(-DAY, 50)),
        Ca::root("new"),
    );
    let issuing = old.below("issuing");
    let twin = issuing.crossed_by(&new);
    let client = issuing.client();
    let both = trust(&[&old.der, &new.der], &[]);
    let verified = verify(&both, &[&client, &issuing.der, &twin]).unwrap();
    assert!(verified.validity.not_after > at(50), "by the new root");
    assert_eq!(
        verified.chain.issuers().len(),
        2,
        "either may be the last that holds"
    );
    let later = both
        .admit_again(&rules("client.test"), &verified, at(51))
        .unwrap()
        .0;
    assert_eq!(later.validity.not_after, verified.validity.not_after);
    // The cause that is told is that of the line whose CA vouches.
    let expired = Ca::made("expired", Key::p256(), |it| it.between(-DAY, -1));
    let issuing = expired.below("issuing");
    let twin = {
        let twin = Certificate::ca("issuing", "new", &issuing.key).between(-DAY, -2);
        twin.signed_by(&new.key)
    };
    let why = refused(
        &trust(&[&expired.der, &new.der], &[]),
        &[&issuing.client(), &issuing.der, &twin],
    );
    assert!(
        why.starts_with("the intermediate CA \"CN=issuing\" expired"),
        "{why}"
    );
}

#[test]
fn a_bundle_may_hold_any_number_of_keys_of_one_name() {
    let roots = [(); 9].map(|()| Ca::root("CA"));
    let all: Vec<&[u8]> = roots.iter().map(|root| &*root.der).collect();
    let bundle = trust(&all, &[]);
    for root in &roots {
        assert!(verify(&bundle, &[&root.client()]).is_ok());
    }
}

#[test]
fn a_circle_of_cas_ends() {
    let (one, two) = (Ca::root("one"), Ca::root("two"));
    let (one_by_two, two_by_one) = (one.crossed_by(&two), two.crossed_by(&one));
    let client = one.client();
    assert!(
        verify(
            &trust(&[&two.der], &[]),
            &[&client, &one_by_two, &two_by_one]
        )
        .is_ok()
    );
    let stranger = Ca::root("stranger");
    let why = refused(
        &trust(&[&stranger.der], &[]),
        &[&client, &one_by_two, &two_by_one],
    );
    assert!(
        why.contains("nor one of the 2 that the client sent"),
        "{why}"
    );
}

#[test]
fn a_chain_of_six_issuers_holds_and_one_of_seven_does_not() {
    let root = Ca::root("root");
    let names = ["1", "2", "3", "4", "5", "6", "7"];
    let mut issuers: Vec<Ca> = Vec::new();
    for name in names {
        let next = issuers.last().unwrap_or(&root).below(name);
        issuers.push(next);
    }
    for depth in [1, 6, 7] {
        let client = issuers[depth - 1].client();
        let chain: Vec<&[u8]> = [&*client]
            .into_iter()
            .chain(issuers[..depth].iter().map(|ca| &*ca.der))
            .collect();
        assert_eq!(
            verify(&trust(&[&root.der], &[]), &chain).is_ok(),
            depth < 7,
            "{depth}"
        );
    }
}

#[test]
fn what_a_stranger_says_of_its_own_cas_is_never_looked_at() {
    let ca = Ca::root("CA");
    // A whole hierarchy of keys that really sign each other, below a namesake of the CA.
    let namesake = Ca::root("CA");
    let one = namesake.below("one");
    let two = one.below("two");
    let client = two.client();
    let trust = trust(&[&ca.der], &[]);
    let chain = shown(&[&client, &two.der, &one.der, &namesake.der]);
    let seen = search::Seen {
        own: &[],
        issuers: &[],
    };
    let mut search = search::Search::new(&chain, trust.bundle()).unwrap();
    while search.learn(seen) {}
    assert!(search.lines().is_empty());
    assert!(
        search.wrong_answers() <= 2,
        "one for each that names the CA as its issuer"
    );
    assert!(search.own_edges.is_empty() && search.issuer_edges.is_empty());
}

#[test]
fn a_name_in_another_encoding_is_told_as_that() {
    let ca = Ca::root("The CA");
    let trust = trust(&[&ca.der], &[]);
    for name in [
        craft::name(&[(oid::COMMON_NAME, 0x13, b"The CA")]),
        cn("the ca"),
        cn("The  CA"),
    ] {
        let client = ca.client_made(|mut it| {
            it.issuer = name;
            it
        });
        let why = refused(&trust, &[&client]);
        assert!(
            why.contains("like the CA \"CN=The CA\"") && why.contains("encoded"),
            "{why}"
        );
    }
    let other = ca.client_made(|mut it| {
        it.issuer = cn("Another CA");
        it
    });
    assert!(refused(&trust, &[&other]).starts_with("no CA of the client-CA bundle"));
}
