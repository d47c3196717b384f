//! Lists that are not what they seem: unreadable ones, and those of nobody.

use super::*;
use crate::craft::{DAY, KEY_CERT_SIGN, element, full_name, integer, oid, sequence};
use crate::judge::signature::Check;

#[test]
fn a_list_that_is_not_understood_whole_is_not_used() {
    let ca = Ca::root("CA");
    let of = |change: fn(craft::List) -> craft::List| {
        let list = change(craft::List::of("CA", &[7]));
        List::read(list.signed_by(&ca.key)).map_err(|fault| fault.to_string())
    };
    type Change = fn(craft::List) -> craft::List;
    let cases: [(Change, &str); 19] = [
        (
            |mut it| {
                it.version = None;
                it.extensions.clear();
                it
            },
            "version 1",
        ),
        (
            |mut it| {
                it.version = Some(2);
                it
            },
            "RFC 5280 does not know",
        ),
        (
            |mut it| {
                it.next_update = None;
                it
            },
            "nextUpdate",
        ),
        (|it| it.between(5, -5), "ends (nextUpdate) before it begins"),
        (
            |mut it| {
                it.extensions.clear();
                it
            },
            "no number (cRLNumber)",
        ),
        (|it| it.and(Extension::number(2)), "cRLNumber twice"),
        (
            |it| {
                it.and(Extension::new(
                    oid::DELTA_CRL_INDICATOR,
                    true,
                    integer(&[1]),
                ))
            },
            "delta list",
        ),
        (
            |it| it.and(Extension::scope(&[&[0x84, 1, 0xff]])),
            "indirect list",
        ),
        (
            |it| it.and(Extension::scope(&[&[0x85, 1, 0xff]])),
            "attribute certificates",
        ),
        (
            |it| it.and(Extension::scope(&[&[0x81, 1, 0xff], &[0x82, 1, 0xff]])),
            "users only and for CAs only",
        ),
        (
            |it| it.and(Extension::scope(&[&[0x81, 1, 1]])),
            "issuingDistributionPoint is malformed",
        ),
        (
            |it| it.and(Extension::scope(&[&[0x81, 1, 0xff], &[0x86, 1, 0xff]])),
            "issuingDistributionPoint is malformed",
        ),
        (
            |it| it.and(Extension::scope(&[&element(0xa0, &[&element(0xa1, &[])])])),
            "relative to its issuer",
        ),
        (
            |it| it.and(Extension::new(oid::UNKNOWN, true, vec![])),
            "critical extension 1.3.6",
        ),
        (
            |mut it| {
                it.entries[0].1 = vec![Extension::new(oid::UNKNOWN, true, vec![])];
                it
            },
            "entry 1 has the critical extension 1.3.6",
        ),
        (
            |mut it| {
                it.entries.push((
                    vec![8],
                    vec![Extension::new(oid::CERTIFICATE_ISSUER, true, sequence(&[]))],
                ));
                it
            },
            "indirect list",
        ),
        (
            |mut it| {
                it.entries.push((vec![0, 8], Vec::new()));
                it
            },
            "entry 2 writes its serial number with superfluous",
        ),
        (
            |mut it| {
                it.entries.push((vec![], Vec::new()));
                it
            },
            "entry 2 is malformed",
        ),
        (
            |it| it.and(Extension::new(&[0x55, 0x1d, 18], true, vec![])),
            "critical extension issuerAltName",
        ),
    ];
    for (change, why) in cases {
        let words = of(change).err().unwrap_or_default();
        assert!(words.contains(why), "{why}: {words}");
    }
    let fine: [Change; 5] = [
        |it| it,
        |mut it| {
            it.entries.clear();
            it
        },
        |mut it| {
            it.entries[0].1 = vec![Extension::new(
                oid::REASON_CODE,
                false,
                element(10, &[&[1]]),
            )];
            it
        },
        |it| it.and(Extension::new(oid::UNKNOWN, false, vec![])),
        |it| {
            it.and(Extension::scope(&[
                &full_name("http://x/1"),
                &[0x81, 1, 0xff],
            ]))
        },
    ];
    for change in fine {
        assert!(of(change).is_ok());
    }
    let good = ca.list(&[7, 8]);
    for length in 0..good.len() {
        assert_eq!(
            List::read(good[..length].to_vec()).err(),
            Some(ListFault::NoList)
        );
    }
}

#[test]
fn a_list_stands_to_the_bundle_as_its_signature_says() {
    let (ca, namesake) = (Ca::root("CA"), Ca::root("CA"));
    let stranger = Ca::root("stranger");
    let expired = Ca::made("expired", Key::p256(), |it| it.between(-DAY, -1));
    let mute = Ca::made("mute", Key::p256(), |it| {
        it.with(Extension::key_usage(KEY_CERT_SIGN))
    });
    let sha1 = {
        let mut list = ca.list(&[]);
        // ecdsa-with-SHA256 in both places becomes something else.
        let with = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        for at in 0..list.len() - with.len() {
            if list[at..].starts_with(&with) {
                list[at + 7] = 1;
            }
        }
        list
    };
    let printable = {
        let mut list = craft::List::of("CA", &[]);
        list.issuer = craft::name(&[(oid::COMMON_NAME, 0x13, b"CA")]);
        list.signed_by(&ca.key)
    };
    let bundle = [&*ca.der, &*expired.der, &*mute.der];
    let standing = |bundle: &[&[u8]], lists: &[&[u8]]| {
        let trust = trust(bundle, lists);
        trust.standing(&trust.lists().all()[0], at(0))
    };
    let ca_name = || "CN=CA".to_owned();
    assert_eq!(standing(&bundle, &[&ca.list(&[])]), Standing::Counts);
    assert_eq!(standing(&bundle, &[&stranger.list(&[])]), Standing::Waits);
    assert_eq!(
        standing(&bundle, &[&expired.list(&[])]),
        Standing::OfLeftOut {
            ca: "CN=expired".to_owned()
        }
    );
    assert_eq!(
        standing(&bundle, &[&namesake.list(&[])]),
        Standing::Bad(BadStanding::NotSigned { ca: ca_name() })
    );
    assert_eq!(
        standing(&bundle, &[&namesake.list(&[]), &ca.list(&[])]),
        Standing::WaitsBesideNamesake { ca: ca_name() }
    );
    assert_eq!(
        standing(&[&ca.der, &namesake.der], &[&namesake.list(&[])]),
        Standing::Counts
    );
    assert_eq!(
        standing(&bundle, &[&mute.list(&[])]),
        Standing::Bad(BadStanding::MayNotSign {
            ca: "CN=mute".to_owned()
        })
    );
    assert_eq!(
        standing(&bundle, &[&sha1]),
        Standing::Bad(BadStanding::Algorithm {
            ca: ca_name(),
            algorithm: "ecdsa-with-SHA224".to_owned()
        })
    );
    assert_eq!(
        standing(&bundle, &[&printable]),
        Standing::Bad(BadStanding::OtherEncoding { ca: ca_name() })
    );
}

#[test]
fn a_list_counts_once_somebody_needs_it() {
    let root = Ca::root("root");
    let sub = root.below("sub");
    let trust = trust(&[&root.der], &[&root.list(&[]), &sub.list(&[])]);
    let counts = || [0, 1].map(|list| trust.counts(&trust.lists().all()[list], at(0)));
    assert_eq!(counts(), [true, false]);
    assert!(verify(&trust, &[&sub.client(), &sub.der]).is_ok());
    assert_eq!(counts(), [true, true]);

    let list = &trust.lists().all()[1];
    assert_eq!(list.is_by(&Key::p256().public()), Check::Wrong);
    assert_eq!(counts(), [true, true], "whatever else was asked since");
}

#[test]
fn a_list_is_told_by_its_issuer_and_its_bytes() {
    let ca = Ca::root("CA");
    let der = ca.list(&[1, 2]);
    let list = List::read(der.clone()).unwrap();
    assert_eq!(list.issuer_name(), "CN=CA");
    assert_eq!((list.der(), list.entries()), (&*der, 2));
}

#[test]
fn the_name_of_its_issuer_is_a_point_of_every_certificate() {
    let ca = Ca::root("CA");
    let of_ca = |tag| element(tag, &[&element(0xa4, &[&craft::cn("CA")])]);
    let of_other = element(0xa2, &[&element(0xa4, &[&craft::cn("other")])]);
    let client = |points: &[&[u8]]| {
        let points: Vec<Vec<u8>> = points.iter().map(|point| sequence(&[point])).collect();
        let points: Vec<&[u8]> = points.iter().map(Vec::as_slice).collect();
        ca.client_made(|it| match &*points {
            [] => it,
            all => it.and(Extension::new(
                oid::CRL_DISTRIBUTION_POINTS,
                false,
                sequence(all),
            )),
        })
    };
    let at = |point: &[u8]| {
        let list = craft::List::of("CA", &[1]).and(Extension::scope(&[point]));
        list.signed_by(&ca.key)
    };
    let (own, url) = (element(0xa0, &[&of_ca(0xa0)]), full_name("http://x/1"));
    let (by_ca, by_other) = (of_ca(0xa2), of_other);
    let verdict =
        |list: &[u8], points: &[&[u8]]| refused(&trust(&[&ca.der], &[list]), &[&client(points)]);
    const REVOKED: &str = "the certificate is revoked";
    let one_each: [&[&[u8]]; 4] = [&[], &[&url], &[&by_ca], &[&by_other]];
    for points in one_each {
        assert_eq!(verdict(&at(&own), points), REVOKED);
    }
    // Who names the issuer as the issuer of its lists says what is so without.
    assert_eq!(verdict(&at(&url), &[&[&*url, &by_ca].concat()]), REVOKED);
    let other_ca = element(
        0xa0,
        &[&element(0xa0, &[&element(0xa4, &[&craft::cn("other")])])],
    );
    for (list, point) in [
        (&url, [&*url, &by_other].concat()),
        (&url, by_ca.clone()),
        (&other_ca, by_other.clone()),
        (&other_ca, url.clone()),
    ] {
        let words = verdict(&at(list), &[&point]);
        assert!(words.contains("speak for other certificates"), "{words}");
    }
}
