//! Rules against names, as tables and as properties.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

const SVID: &str = "spiffe://td/ns/monitoring/sa/prometheus";

fn client(cns: &[&str], sans: &[SanType]) -> Client {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for cn in cns {
        params.distinguished_name.push(DnType::CommonName, *cn);
    }
    params
        .distinguished_name
        .push(DnType::OrganizationalUnitName, "sre");
    params.subject_alt_names = sans.to_vec();
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Client::from_der(certificate.der()).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn admits(rule: Rule, client: &Client) -> bool {
    let text = rule.to_string();
    match judge(&Allow::rules([rule]).unwrap(), client) {
        Ok(admission) => {
            assert_eq!(
                admission.to_string(),
                text,
                "the rule that admitted is named"
            );
            true
        }
        Err(NotAdmitted) => false,
    }
}

#[test]
fn the_rules_are_told_as_they_were_given_in_order() {
    let uris = ["https://a.test/x", "spiffe://td/ns/*/sa/a"];
    let rules = uris.map(|text| Rule::uri(text).unwrap());
    let more = [Rule::dns("a.test").unwrap(), Rule::cn("a").unwrap()];
    let allow = Allow::rules(rules.into_iter().chain(more)).unwrap();
    assert_eq!(
        allow.to_strings(),
        [
            "cn:a",
            "dns:a.test",
            "uri:https://a.test/x",
            "uri:spiffe://td/ns/*/sa/a"
        ]
    );
    assert_eq!(Allow::AnyClient.to_strings().len(), 1);
}

#[test]
fn a_rule_looks_at_its_own_kind_of_name_only() {
    let name = "prometheus.monitoring.svc";
    let by_dns = client(&[], &[dns(name)]);
    let by_cn = client(&[name], &[]);
    let by_mail = client(&[], &[SanType::Rfc822Name(name.try_into().unwrap())]);
    let by_uri = client(&[], &[uri(&format!("https:{name}"))]);
    assert!(admits(Rule::dns(name).unwrap(), &by_dns));
    assert!(admits(Rule::cn(name).unwrap(), &by_cn));
    for other in [&by_cn, &by_mail, &by_uri] {
        assert!(!admits(Rule::dns(name).unwrap(), other), "{other:?}");
    }
    for other in [&by_dns, &by_mail, &by_uri] {
        assert!(!admits(Rule::cn(name).unwrap(), other), "{other:?}");
    }
}

#[test]
fn dns_names_are_compared_without_case_and_else_exactly() {
    let client = client(&[], &[dns("Prometheus.Monitoring.SVC")]);
    assert!(admits(
        Rule::dns("prometheus.monitoring.svc").unwrap(),
        &client
    ));
    assert!(!admits(Rule::dns("monitoring.svc").unwrap(), &client));
    assert!(!admits(
        Rule::dns("prometheus.monitoring.svc.").unwrap(),
        &client
    ));
}

#[test]
fn a_wildcard_in_a_certificate_is_a_name_like_any_other() {
    assert!(!admits(
        Rule::dns("a.monitoring.svc").unwrap(),
        &client(&[], &[dns("*.monitoring.svc")])
    ));
    assert!(Rule::dns("*.monitoring.svc").is_err());
}

#[test]
fn a_spiffe_rule_meets_a_certificate_with_one_uri_only() {
    let rule = || Rule::uri("spiffe://td/ns/monitoring/sa/*").unwrap();
    assert!(admits(rule(), &client(&[], &[uri(SVID)])));
    assert!(!admits(
        rule(),
        &client(&[], &[uri(SVID), uri("https://x/y")])
    ));
    assert!(!admits(
        Rule::uri(SVID).unwrap(),
        &client(&[], &[uri(SVID), uri("https://x/y")])
    ));
    assert!(admits(
        Rule::uri("https://x/y").unwrap(),
        &client(&[], &[uri("https://x/y"), uri("https://z/")])
    ));
}

#[test]
fn a_pin_names_a_key() {
    let client = client(&[], &[]);
    let pin = SpkiPin::new(client.spki_sha256()).to_string();
    assert!(admits(Rule::spki(&pin).unwrap(), &client));
    assert!(!admits(
        Rule::spki(&SpkiPin::new([0; 32]).to_string()).unwrap(),
        &client
    ));
    for bad in ["", "sha256:", "sha256:AAAA", "sha1:AAAA", &pin[7..]] {
        assert!(Rule::spki(bad).is_err(), "{bad}");
    }
}

#[test]
fn any_match_admits_and_none_does_not() {
    let client = client(&["x"], &[dns("a")]);
    let rules = |rules: [Rule; 2]| Allow::rules(rules).unwrap();
    assert!(
        judge(
            &rules([Rule::dns("b").unwrap(), Rule::ou("sre").unwrap()]),
            &client
        )
        .is_ok()
    );
    assert!(
        judge(
            &rules([Rule::dns("b").unwrap(), Rule::ou("dev").unwrap()]),
            &client
        )
        .is_err()
    );
    assert!(judge(&Allow::AnyClient, &client).is_ok());
    assert!(Allow::rules([]).is_none(), "no rule is not everyone");
}

proptest! {
    #[test]
    fn nobody_is_admitted_by_a_name_they_do_not_have(rule in "[a-z]{1,6}", name in "[a-z]{1,6}") {
        let admitted = admits(Rule::dns(&rule).unwrap(), &client(&[], &[dns(&name)]));
        prop_assert_eq!(admitted, rule == name);
    }

    #[test]
    fn any_text_is_a_rule_or_refused_without_a_panic(text in any::<String>()) {
        for parse in [Rule::dns, Rule::uri, Rule::cn, Rule::ou, Rule::spki] {
            if let Ok(rule) = parse(&text) {
                prop_assert!(!rule.to_string().is_empty());
            }
        }
    }
}
