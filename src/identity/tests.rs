//! Certificates that a CA might be talked into signing, as tables and as properties.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::pki_types::UnixTime;

use super::*;

fn certificate(fill: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    fill(&mut params);
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .clone()
}

fn client(fill: impl FnOnce(&mut CertificateParams)) -> Client {
    Client::from_der(&certificate(fill)).expect("both parsers read it")
}

#[test]
fn serial_number_and_key_are_those_of_the_certificate() {
    use rcgen::PublicKeyData;

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.serial_number = Some(0x2002_u64.into());
    let certificate = params.self_signed(&key).unwrap();
    let client = Client::from_der(certificate.der()).unwrap();
    assert_eq!(client.serial(), "2002");
    let expected = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    assert_eq!(client.spki_sha256(), expected.as_ref());
}

#[test]
fn names_have_as_much_room_as_json_writes_and_use_it() {
    // JSON writes a backslash before each quote.
    let name = format!("x:{}", "\"".repeat(200));
    let client = client(|params| {
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap()); 2 * NAMES];
    });
    let shown = client.display_names();
    let each = "uri:x:".len() + 2 * 200 + 3;
    assert_eq!(shown.len() - 1, ALL_NAME_BYTES / each, "{shown:?}");
    let brief = client.brief_names();
    assert_eq!(brief.matches("uri:x:").count(), 3);
    assert!(brief.ends_with("more"), "{brief}");
}

#[test]
fn whatever_two_readers_read_in_two_ways_is_named() {
    assert!(agree("names", [1, 2], [1, 2]).is_ok());
    for other in [&[1][..], &[2, 1], &[1, 2, 3]] {
        let said = agree("names", &[1, 2], other).unwrap_err();
        assert!(said.to_string().contains("names"), "{said}");
    }
}

#[test]
fn a_subject_of_any_length_is_read_by_both() {
    for length in [1, 100, 200, 1_000, 10_000] {
        let organization = "o".repeat(length);
        client(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::OrganizationName, organization);
        });
    }
}

#[test]
fn a_renewal_is_due_in_the_last_fifth_of_which_thirty_days_or_eight_percent_count() {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let begin = 1_000_000_000;
    let time = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    for (life, last_not_due) in [
        (HOUR, 12 * 60 + 1),
        (90 * DAY, 18 * DAY + 1),
        (365 * DAY, 30 * DAY),
        (3650 * DAY, 292 * DAY),
    ] {
        let validity = Validity {
            not_before: time(begin),
            not_after: time(begin + life),
        };
        let is_due = |left| validity.is_due(time(begin + life - left));
        assert!(!is_due(last_not_due), "{life}");
        assert!(is_due(last_not_due - 1) && is_due(0), "{life}");
        assert!(validity.is_due(time(begin + life + 1)), "{life}");
    }
    assert_eq!(rfc3339(time(begin)), "2001-09-09T01:46:40Z");
    assert_eq!(rfc3339(time(u64::MAX)), "never");
}

#[test]
fn names_are_told_apart_by_kind() {
    let client = client(|params| {
        params.distinguished_name.push(DnType::CommonName, "the-cn");
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, "the-ou");
        params.subject_alt_names = vec![
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::URI("spiffe://td/x".try_into().unwrap()),
            SanType::Rfc822Name("b@example".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
    });
    assert_eq!(client.dns_names(), ["a.example"]);
    assert_eq!(client.uris(), ["spiffe://td/x"]);
    assert_eq!(client.common_names(), ["the-cn"]);
    assert_eq!(client.organizational_units(), ["the-ou"]);
    assert_eq!(
        client.display_names(),
        [
            "dns:a.example",
            "uri:spiffe://td/x",
            "email:b@example",
            "ip:10.0.0.1"
        ]
    );
}

#[test]
fn a_client_without_a_san_is_shown_by_its_cn_and_matches_nothing_by_it() {
    let client = client(|params| {
        params
            .distinguished_name
            .push(DnType::CommonName, "prometheus")
    });
    assert_eq!(client.display_names(), ["cn:prometheus"]);
    assert!(client.dns_names().is_empty() && client.uris().is_empty());
}

#[test]
fn only_client_auth_itself_is_client_auth() {
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| {
        client(|params| params.extended_key_usages = usages).client_auth()
    };
    assert_eq!(usage(vec![]), ClientAuthUsage::Absent);
    assert_eq!(
        usage(vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ClientAuthUsage::Listed
    );
    assert_eq!(
        usage(vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ClientAuthUsage::NotListed
    );
    assert_eq!(
        usage(vec![ExtendedKeyUsagePurpose::Any]),
        ClientAuthUsage::NotListed
    );
}

#[test]
fn what_is_shown_is_bounded_in_number_and_length() {
    let client = client(|params| {
        let name = |n: usize| {
            SanType::URI(
                format!("spiffe://td/{n}/{}", "x".repeat(400))
                    .try_into()
                    .unwrap(),
            )
        };
        params.subject_alt_names = (0..40).map(name).collect();
    });
    let names = client.display_names();
    assert_eq!(names.len(), NAMES + 1);
    assert_eq!(names.last().unwrap(), "…and 24 more");
    assert!(
        names
            .iter()
            .all(|name| name.len() <= NAME_BYTES + '…'.len_utf8()),
        "{names:?}"
    );
    assert!(names[0].ends_with('…'), "what was cut is marked");
}

#[test]
fn shown_text_cannot_forge_a_line_or_turn_it_round() {
    let shown = printable("a\nlevel=ERROR\u{1b}[2J\u{202e}txt\u{2066}\u{200b}\u{feff}\\n");
    assert_eq!(
        shown,
        r"a\nlevel=ERROR\u{1b}[2J\u{202e}txt\u{2066}\u{200b}\u{feff}\\n"
    );
}

#[test]
fn bytes_behind_a_certificate_are_refused() {
    let mut der = certificate(|_| {}).to_vec();
    der.push(0);
    assert!(Client::from_der(&CertificateDer::from(der)).is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Client::from_der(&CertificateDer::from(bytes)).is_err());
    }

    #[test]
    fn a_damaged_certificate_never_panics(at in 0usize..400, with in any::<u8>()) {
        static GOOD: std::sync::LazyLock<CertificateDer<'static>> = std::sync::LazyLock::new(|| certificate(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::URI("spiffe://td/x".try_into().unwrap()),
            ];
        }));
        let mut der = GOOD.to_vec();
        let at = at % der.len();
        der[at] = with;
        // What it says is bounded and printable, whatever was damaged.
        if let Ok(client) = Client::from_der(&CertificateDer::from(der)) {
            for name in client.display_names() {
                prop_assert!(!name.chars().any(char::is_control), "{:?}", name);
            }
        }
    }

    #[test]
    fn printable_text_is_bounded_and_holds_no_control(text in any::<String>()) {
        let shown = printable(&text);
        prop_assert!(shown.len() <= NAME_BYTES + '…'.len_utf8());
        prop_assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{:?}", shown);
    }
}
