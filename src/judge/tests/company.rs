//! What a client sends beside its line: it hides no good line, and costs no more than a bounded number of signatures.

use proptest::prelude::*;

use super::*;
use crate::craft::{DAY, oid};
use crate::judge::search::{Search, Seen, cost};

/// The key identifier that a CA of this name gives its key.
fn id(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[1]].concat()
}

/// A search that has asked all that it may, and had seen nothing before.
fn exhausted<'a>(chain: &'a Chain, trust: &'a Trust) -> Search<'a> {
    let mut search = Search::new(chain, trust.bundle()).unwrap();
    let nothing = Seen {
        own: &[],
        issuers: &[],
    };
    while search.learn(nothing) {}
    search
}

/// A certificate of a CA that names its key and its issuer's.
fn identified(certificate: Certificate, name: &str, issuer: &str) -> Certificate {
    certificate
        .and(Extension::own_key_id(&id(name)))
        .and(Extension::issuer_key_id(&id(issuer)))
}

#[test]
fn a_worse_certificate_of_the_same_ca_does_not_stand_in_the_way() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let worse: Vec<Vec<u8>> = (2..=10)
        .map(|number| {
            let twin = Certificate::ca("sub", "root", &sub.key).number(number);
            twin.between(-DAY, -1).signed_by(&root.key)
        })
        .collect();
    let client = sub.client();
    let mut chain: Vec<&[u8]> = vec![&client];
    chain.extend(worse.iter().map(Vec::as_slice));
    chain.push(&sub.der);
    assert!(verify(&trust(&[&root.der], &[]), &chain).is_ok());
    // The bundle may hold as many that have run out.
    let expired: Vec<Vec<u8>> = (2..=12)
        .map(|number| root.again(|it| it.number(number).between(-DAY, -1)))
        .collect();
    let bundle: Vec<&[u8]> = expired
        .iter()
        .map(Vec::as_slice)
        .chain([&*root.der])
        .collect();
    assert!(verify(&trust(&bundle, &[]), &[&client, &sub.der]).is_ok());
}

#[test]
fn namesakes_whose_identifiers_tell_them_apart_cost_nothing() {
    let root = Ca::root("root");
    let key = Key::p256();
    let sub = identified(Certificate::ca("sub", "root", &key), "sub", "root").signed_by(&root.key);
    let client = Certificate::client("sub", &Key::p256())
        .and(Extension::issuer_key_id(&id("sub")))
        .signed_by(&key);
    let others: Vec<Vec<u8>> = (0..40)
        .map(|number| {
            let key = Key::p256();
            let other = identified(Certificate::ca("sub", "root", &key), "other", "stranger");
            other.number(number).signed_by(&key)
        })
        .collect();
    let mut chain: Vec<&[u8]> = vec![&client];
    chain.extend(others.iter().map(Vec::as_slice));
    chain.push(&sub);
    let with_id = root.again(|it| it.and(Extension::own_key_id(&id("root"))));
    assert!(verify(&trust(&[&with_id], &[]), &chain).is_ok());
}

#[test]
fn a_costly_key_is_found_beside_as_much_as_a_cheap_one() {
    let root = Ca::root("root");
    for key in [Key::p256(), Key::p384(), Key::p521()] {
        let sub = Certificate::ca("sub", "root", &key).signed_by(&root.key);
        let client = Certificate::client("sub", &Key::p256()).signed_by(&key);
        let others = [1, 2, 3].map(|_| root.below("sub").der);
        let chain: [&[u8]; 5] = [&client, &others[0], &others[1], &others[2], &sub];
        assert!(verify(&trust(&[&root.der], &[]), &chain).is_ok());
    }
}

#[test]
fn a_new_key_that_the_old_one_vouches_for_is_found_whatever_the_old_one_costs() {
    for key in [Key::p256(), Key::p384(), Key::p521()] {
        let old = Ca::made("root", key, |it| it);
        let new = old.below("root");
        assert!(verify(&trust(&[&old.der], &[]), &[&new.client(), &new.der]).is_ok());
    }
}

#[test]
fn a_new_key_below_the_old_one_is_no_ca_more() {
    let root = Ca::root("root");
    let limit = |it: Certificate| it.with(Extension::ca(Some(0)));
    let old = root.below_made("sub", limit);
    let new = old.below("sub");
    let trust = trust(&[&root.der], &[]);
    assert!(verify(&trust, &[&new.client(), &new.der, &old.der]).is_ok());
    let more = new.below("more");
    let words = refused(&trust, &[&more.client(), &more.der, &new.der, &old.der]);
    assert!(words.contains("\"CN=sub\" allows 0"), "{words}");
}

#[test]
fn the_name_constraints_that_refuse_a_line_are_told_whatever_else_was_tried() {
    // The root has a new key, and the old one vouches for it: the name alone leads to two keys.
    let old = Ca::root("root");
    let new = old.below("root");
    let sub = new.below_made("sub", |it| it.and(Extension::permitted_dns("elsewhere")));
    let words = refused(
        &trust(&[&old.der], &[]),
        &[&sub.client(), &sub.der, &new.der],
    );
    assert!(words.contains("name constraints"), "{words}");
}

#[test]
fn a_lattice_of_cas_has_no_more_lines_than_are_looked_at() {
    // Three certificates of each of four CAs make 81 lines, as many as the certificates that are kept can make.
    let root = Ca::root("root");
    let bundle = trust(&[&root.der], &[]);
    let mut all = Vec::new();
    let mut above = root;
    for name in ["one", "two", "three", "four"] {
        let below = above.below(name);
        let twin = |number| {
            let twin = Certificate::ca(name, above.name, &below.key).number(number);
            twin.signed_by(&above.key)
        };
        all.extend([1, 2, 3].map(twin));
        above = below;
    }
    all.insert(0, above.client());
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let chain = shown(&all);
    assert_eq!(exhausted(&chain, &bundle).lines().len(), 64);
    assert!(admit(&bundle, &all).is_ok());
}

#[test]
fn the_costlier_a_key_the_fewer_wrong_signatures_it_is_asked_about() {
    for (key, wrong) in [(Key::p256(), 4), (Key::p384(), 2), (Key::p521(), 2)] {
        let root = Ca::made("root", key, |it| it);
        let bundle = trust(&[&root.der], &[]);
        let others = [(); 10].map(|()| Ca::root("root").below("sub").der);
        let client = Certificate::client("sub", &Key::p256()).signed_by(&Key::p256());
        let all: Vec<&[u8]> = [&client]
            .into_iter()
            .chain(&others)
            .map(Vec::as_slice)
            .collect();
        let chain = shown(&all);
        assert_eq!(exhausted(&chain, &bundle).wrong_answers(), wrong);
    }
    let length = |key: Key| cost(&key.public());
    assert_eq!(
        [Key::p256(), Key::ed25519(), Key::p384(), Key::p521()].map(length),
        [1, 1, 3, 6]
    );
    // The lengths of RSA keys of 2048, 4096 and 8192 bits, which take seconds to make.
    let rsa = [294, 550, 1062].map(|length| cost(&vec![0; length]));
    assert_eq!(rsa, [1, 1, 3]);
}

/// One certificate of a hostile company: whose name, whose key, who is named as its issuer, who signs.
type Part = (usize, usize, usize, usize, bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 600 }))]

    /// A good signature ends the questions about a certificate, so there is one for each that is kept at most; wrong ones
    /// are counted.
    #[test]
    fn no_company_costs_more_signatures_than_are_allowed(
        parts in prop::collection::vec((0..4_usize, 0..6_usize, 0..4_usize, 0..6_usize, any::<bool>()), 0..63),
        own in (0..4_usize, 0..6_usize),
        namesakes in 1..4_usize,
    ) {
        thread_local! {
            static KEYS: Vec<Key> = (0..6).map(|number| match number {
                4 => Key::p384(),
                5 => Key::p521(),
                _ => Key::p256(),
            }).collect();
        }
        KEYS.with(|keys| {
            const NAMES: [&str; 4] = ["root", "one", "two", "three"];
            let company = parts.iter().enumerate().map(|(number, part)| {
                let (name, key, issuer, signer, is_identified): Part = *part;
                let certificate = Certificate::ca(NAMES[name], NAMES[issuer], &keys[key]);
                let certificate = certificate.number(number as u8);
                match is_identified {
                    true => identified(certificate, NAMES[name], NAMES[issuer]),
                    false => certificate,
                }.signed_by(&keys[signer])
            });
            let client = Certificate::client(NAMES[own.0], &keys[0]).signed_by(&keys[own.1]);
            let all: Vec<Vec<u8>> = [client].into_iter().chain(company).collect();
            let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
            let roots: Vec<_> = (0..namesakes).map(|key| {
                Certificate::ca("root", "root", &keys[key]).without(oid::KEY_USAGE).signed_by(&keys[key])
            }).collect();
            let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
            let trust = trust(&roots, &[]);
            let chain = shown(&all);
            let search = exhausted(&chain, &trust);
            let good = search.own_edges.len() + search.issuer_edges.len();
            prop_assert!(search.wrong_answers() <= 4);
            prop_assert!(good <= 13);
            prop_assert!(search.checks() <= 4 + 13);
            Ok(())
        })?;
    }
}
