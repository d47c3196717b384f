//! Tables of files, and what is said of them.

use std::path::PathBuf;

use rcgen::ExtendedKeyUsagePurpose;
use zeroize::Zeroizing;

use super::*;
use crate::config::Place;
use crate::trust::tests::{Ca, DAY, Issued, ca_params, config, leaf_params};

fn content(name: &str, text: &str) -> Content {
    let bytes = Zeroizing::new(text.as_bytes().to_vec());
    Content::new(Place::Flag("--file"), PathBuf::from(name), bytes)
}

fn files(cert: &str, key: &str, ca: &str, lists: &[&str]) -> Files {
    Files {
        cert: content("crt", cert),
        key: content("key", key),
        client_ca: vec![content("ca", ca)],
        client_crl: lists.iter().map(|list| content("crl", list)).collect(),
        atomic: true,
    }
}

fn judge(files: &Files) -> Result<Validated, Vec<String>> {
    validate(&config(&[]), files, None, SystemTime::now())
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

fn good() -> (Ca, Issued, String) {
    let ca = Ca::new("clients");
    let pem = ca.pem();
    (ca, Ca::new("servers").server(), pem)
}

fn server_between(from: SystemTime, to: SystemTime) -> Issued {
    let mut params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
    (params.not_before, params.not_after) = (from.into(), to.into());
    Ca::new("servers").issue(&params)
}

#[test]
fn a_good_set_is_generation_one_without_a_warning() {
    let (_, server, ca) = good();
    let validated = judge(&files(&server.cert, &server.key, &ca, &[])).unwrap();
    assert_eq!(validated.generation.number, 1);
    assert!(validated.warnings.is_empty(), "{:?}", validated.warnings);
    assert_eq!(validated.generation.client_cas.len(), 1);
    assert!(validated.generation.crls.is_empty());
}

#[test]
fn each_bad_certificate_or_key_is_told_with_its_remedy() {
    let (_, server, ca) = good();
    let other = Ca::new("servers").server();
    let now = SystemTime::now();
    let expired = server_between(now - 3 * DAY, now - DAY);
    let future = server_between(now + DAY, now + 3 * DAY);
    let half = &server.cert[..server.cert.len() / 2];
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAIwAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let unrelated = [&*server.cert, &*other.cert].concat();
    let cases = [
        (
            "# nothing",
            &*server.key,
            "no PEM block CERTIFICATE",
            "leaf first",
        ),
        (
            half,
            &*server.key,
            "cut short",
            "put the whole block there again",
        ),
        (
            &*server.key,
            &*server.key,
            "no PEM block CERTIFICATE",
            "leaf first",
        ),
        (
            &*server.cert,
            "# nothing",
            "no PEM block PRIVATE KEY",
            "it must hold the private key",
        ),
        (
            &*server.cert,
            encrypted,
            "the key is encrypted",
            "store it decrypted",
        ),
        (
            &*server.cert,
            &*other.key,
            "does not belong",
            "from the same issue",
        ),
        (&*expired.cert, &*expired.key, "expired at", "renew it"),
        (&*future.cert, &*future.key, "not valid before", "clock"),
        (
            &*unrelated,
            &*server.key,
            "none of the other certificates is that CA's",
            "behind the first",
        ),
    ];
    for (cert, key, what, remedy) in cases {
        let problems = judge(&files(cert, key, &ca, &[])).err().unwrap_or_default();
        let told = |part: &str| problems.iter().any(|problem| problem.contains(part));
        assert!(
            told(what) && told(remedy),
            "{what:?}, {remedy:?} in {problems:?}"
        );
    }
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    let problems = judge(&files("# a", "# b", "# c", &[]))
        .err()
        .unwrap_or_default();
    for file in ["\"crt\"", "\"key\"", "\"ca\""] {
        assert!(
            problems.iter().any(|problem| problem.contains(file)),
            "{file}: {problems:?}"
        );
    }
}

#[test]
fn a_ca_that_cannot_vouch_is_left_out_and_none_left_is_unusable() {
    let (_, server, good) = good();
    let now = SystemTime::now();
    let mut expired = ca_params("expired");
    (expired.not_before, expired.not_after) = ((now - 3 * DAY).into(), (now - DAY).into());
    let mut signs_nothing = ca_params("signs nothing");
    signs_nothing.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let cases = [
        (Ca::from(expired).pem(), "expired at"),
        (Ca::from(signs_nothing).pem(), "keyCertSign"),
        (Ca::new("issuer").client("no CA").cert, "is not a CA"),
    ];
    for (bad, why) in cases {
        let both = [&*bad, &*good].concat();
        let validated = judge(&files(&server.cert, &server.key, &both, &[])).unwrap();
        let now = UnixTime::now();
        assert_eq!(validated.generation.vouching_cas(now).count(), 1, "{why}");
        let left_out = validated.generation.left_out(now);
        assert!(left_out[0].contains(why), "{left_out:?}");
        let warnings: Vec<_> = validated.warnings.iter().map(ToString::to_string).collect();
        assert!(
            warnings.iter().any(|warning| warning.contains(why)),
            "{why:?} in {warnings:?}"
        );
        let problems = judge(&files(&server.cert, &server.key, &bad, &[])).err();
        let problems = problems.unwrap_or_default();
        let told = |part: &str| problems.iter().any(|problem| problem.contains(part));
        assert!(
            told(why) && told("no CA in the bundle can vouch"),
            "{problems:?}"
        );
    }
}

#[test]
fn a_ca_of_the_future_does_not_make_a_bundle_usable() {
    let (_, server, good) = good();
    let now = SystemTime::now();
    let mut params = ca_params("future");
    (params.not_before, params.not_after) = ((now + DAY).into(), (now + 3 * DAY).into());
    let future = Ca::from(params).pem();
    assert!(judge(&files(&server.cert, &server.key, &future, &[])).is_err());
    let both = [&*future, &*good].concat();
    let validated = judge(&files(&server.cert, &server.key, &both, &[])).unwrap();
    assert_eq!(validated.generation.client_cas.len(), 2);
}

#[test]
fn what_lists_say_of_themselves_is_told_in_the_order_of_the_files() {
    let (ca, server, pem) = good();
    let now = SystemTime::now();
    let (late, early) = (ca.list(&[1], now + 2 * DAY), ca.list(&[2, 3], now + DAY));
    let generation = judge(&files(&server.cert, &server.key, &pem, &[&late, &early]));
    let generation = generation.unwrap().generation;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ends: Vec<u64> = generation
        .crls
        .iter()
        .map(|facts| facts.life.not_after.as_secs())
        .collect();
    assert_eq!(ends, [seconds(now + 2 * DAY), seconds(now + DAY)]);
    let entries: Vec<usize> = generation.crls.iter().map(|facts| facts.entries).collect();
    assert_eq!(entries, [1, 2]);
}

#[test]
fn a_stale_list_is_usable_and_warned_of() {
    let (ca, server, pem) = good();
    let list = ca.list(&[], SystemTime::now() - Duration::from_secs(60));
    let validated = judge(&files(&server.cert, &server.key, &pem, &[&list])).unwrap();
    let warning = validated
        .warnings
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(
        warning.contains("stale since") && warning.contains("refused"),
        "{warning}"
    );
}

#[test]
fn a_list_that_is_a_namesakes_or_nothing_is_bad() {
    let (_, server, pem) = good();
    let tomorrow = SystemTime::now() + DAY;
    let namesake = Ca::new("clients");
    let cases = [
        (namesake.list(&[], tomorrow), "did not sign it"),
        ("hello".to_owned(), "no PEM block X509 CRL"),
        (pem.clone(), "no PEM block X509 CRL"),
        ("0".to_owned(), "no PEM block X509 CRL"),
        (
            "0\u{3}\u{1}\u{2}\u{3}".to_owned(),
            "no revocation list in DER",
        ),
    ];
    for (list, why) in cases {
        let problems = judge(&files(&server.cert, &server.key, &pem, &[&list])).err();
        let problems = problems.unwrap_or_default();
        assert!(
            problems.iter().any(|p| p.contains(why)),
            "{why:?} in {problems:?}"
        );
    }
}

#[test]
fn what_vouches_is_shared_by_generations_for_as_long_as_it_is_the_same() {
    let (ca, server, pem) = good();
    let other = Ca::new("servers").server();
    let now = SystemTime::now();
    let list = ca.list(&[], now + DAY);
    let plain = config(&[]);
    let next = |config: &Config, files: &Files, previous: &Generation| {
        validate(config, files, Some(previous), now)
            .unwrap()
            .generation
    };
    let first = judge(&files(&server.cert, &server.key, &pem, &[&list]))
        .unwrap()
        .generation;
    let renewed = next(
        &plain,
        &files(&other.cert, &other.key, &pem, &[&list]),
        &first,
    );
    assert_eq!(renewed.number, 2);
    assert!(
        Arc::ptr_eq(&renewed.trust, &first.trust),
        "the certificate vouches for nobody"
    );
    let same = files(&other.cert, &other.key, &pem, &[&list]);
    for settings in [&["--stale-crl", "accept"][..], &["--allow-missing-eku"]] {
        let governed = next(&config(settings), &same, &first);
        assert!(!Arc::ptr_eq(&governed.trust, &first.trust), "{settings:?}");
    }
    let bundle = [&*pem, &Ca::new("more").pem()].concat();
    for changed in [
        files(&server.cert, &server.key, &bundle, &[&list]),
        files(
            &server.cert,
            &server.key,
            &pem,
            &[&ca.list(&[1], now + DAY)],
        ),
        files(&server.cert, &server.key, &pem, &[]),
    ] {
        assert!(!Arc::ptr_eq(
            &next(&plain, &changed, &first).trust,
            &first.trust
        ));
    }
}

#[test]
fn no_cut_of_any_file_does_worse_than_be_refused() {
    let (ca, server, pem) = good();
    let list = ca.list(&[1], SystemTime::now() + DAY);
    let whole = [&server.cert, &server.key, &pem, &list];
    for cut in 0..whole.len() {
        for len in (0..whole[cut].len()).step_by(7) {
            let mut parts = whole.map(String::as_str);
            parts[cut] = &whole[cut][..len];
            let [cert, key, ca, list] = parts;
            // A panic would be worse.
            let judged = judge(&files(cert, key, ca, &[list]));
            let only_the_line_end = len + 2 >= whole[cut].len();
            assert!(
                judged.is_err() || only_the_line_end,
                "{len} bytes of file {cut}"
            );
        }
    }
}
