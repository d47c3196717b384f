//! When every client is refused, and what is said of it.

use super::*;
use crate::craft::DAY;

/// What is said of it; a client of each of these CAs fares as it says.
fn said(trust: &Trust, cas: &[&Ca]) -> Option<String> {
    let nobody = trust
        .refuses_everybody(at(0))
        .map(|nobody| nobody.to_string());
    let admitted = cas
        .iter()
        .filter(|ca| verify(trust, &[&ca.client()]).is_ok());
    assert_eq!(admitted.count() == 0, nobody.is_some(), "{nobody:?}");
    nobody
}

fn stale(ca: &Ca) -> Vec<u8> {
    craft::List::of(ca.name, &[])
        .between(-2 * DAY, -DAY)
        .signed_by(&ca.key)
}

fn since(ca: &str) -> String {
    let since = crate::identity::rfc3339(at(-DAY));
    format!("the list of CN={ca} is stale since {since}")
}

#[test]
fn lists_refuse_everybody_only_if_no_ca_has_one_that_counts_now() {
    let (one, two) = (Ca::root("one"), Ca::root("two"));
    let bundle: [&[u8]; 2] = [&one.der, &two.der];
    let cas = [&one, &two];
    assert_eq!(said(&trust(&bundle, &[]), &cas), None, "nobody is asked");
    let fresh = two.list(&[]);
    assert_eq!(said(&trust(&bundle, &[&stale(&one), &fresh]), &cas), None);
    let both: [&[u8]; 2] = [&stale(&one), &stale(&two)];
    let told = format!("{}; {}", since("one"), since("two"));
    assert_eq!(said(&trust(&bundle, &both), &cas), Some(told));
    let accept = trust_as(&bundle, &both, StaleCrl::Accept);
    assert_eq!(said(&accept, &cas), None);
    let told = format!(
        "{}; no list of --client-crl counts for CN=two",
        since("one")
    );
    assert_eq!(said(&trust(&bundle, &[&stale(&one)]), &cas), Some(told));
}

#[test]
fn a_list_that_lasts_longer_than_a_newer_one_or_has_not_begun_helps_nobody() {
    let ca = Ca::root("CA");
    let old = craft::List::of("CA", &[])
        .between(-3 * DAY, DAY)
        .signed_by(&ca.key);
    let tomorrow = craft::List::of("CA", &[])
        .between(DAY, 2 * DAY)
        .signed_by(&ca.key);
    for lists in [[&old, &stale(&ca)], [&stale(&ca), &tomorrow]] {
        let lists = lists.map(Vec::as_slice);
        let told = said(&trust(&[&ca.der], &lists), &[&ca]);
        assert_eq!(told, Some(since("CA")));
    }
    let early = trust_as(&[&ca.der], &[&tomorrow], StaleCrl::Accept);
    let told = "no list of --client-crl counts for CN=CA";
    assert_eq!(said(&early, &[&ca]).as_deref(), Some(told));
    let foreign = Ca::root("CA");
    let foreign = trust(&[&ca.der], &[&foreign.list(&[])]);
    assert_eq!(said(&foreign, &[&ca]).as_deref(), Some(told));
}

#[test]
fn a_bundle_that_vouches_for_nobody_refuses_everybody() {
    let ca = Ca::made("CA", Key::p256(), |it| it.between(-2 * DAY, -DAY));
    let told = "no certificate of --client-ca vouches for anybody now";
    assert_eq!(said(&trust(&[&ca.der], &[]), &[&ca]).as_deref(), Some(told));
}

#[test]
fn however_many_cas_there_are_few_are_named() {
    let cas: Vec<Ca> = ["a", "b", "c", "d", "e"].map(Ca::root).into();
    let bundle: Vec<&[u8]> = cas.iter().map(|ca| &*ca.der).collect();
    let told = said(&trust(&bundle, &[&stale(&cas[0])]), &[&cas[0]]).unwrap();
    assert_eq!(told.matches("CN=").count(), 3, "{told}");
    assert!(told.ends_with("; and 2 more"), "{told}");
}
