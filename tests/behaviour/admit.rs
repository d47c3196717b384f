//! Nobody unnamed gets in, and whoever is refused learns why: each refusal has its alert, the alert is not overtaken by
//! a reset, the record names the reason, and the target has accepted nothing at all.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::AlertDescription;

use crate::support::client::{Ending, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::peers::{Input, gnutls_cli, run, s_client};
use crate::support::pki::{
    Authority, Credentials, Pki, authority_params, client_params, dns, email, temporary_folder,
    uri, write,
};
use crate::support::target::{self, Ended, Target};

const CERTIFICATE_EXPIRED: u8 = 45;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
const UNKNOWN_CA: u8 = 48;
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;

/// A gate to an echoing target that admits what these flags say.
struct Door {
    pki: std::sync::Arc<Pki>,
    target: Target<Ended>,
    gate: Gate,
}

impl Door {
    fn with(rules: &[(&str, &str)]) -> Self {
        Self::built(|setup| {
            rules
                .iter()
                .fold(setup, |setup, (flag, value)| setup.flag(flag, *value))
        })
    }

    fn open() -> Self {
        Self::built(|setup| setup.switch("--allow-any-client"))
    }

    fn built(build: impl FnOnce(Setup) -> Setup) -> Self {
        let pki = Pki::shared();
        let target = target::echo();
        let gate = build(Setup::to(&pki, &target.flag()).flag("--tls-min", "1.2")).start();
        Self { pki, target, gate }
    }

    fn address(&self) -> SocketAddr {
        self.gate.address()
    }

    /// True if a client with this certificate is let in; false if it hears `access_denied`.
    fn admits(&self, credentials: &Credentials) -> bool {
        let ca = self.pki.ca();
        let mut connection = Offer::of(credentials, &ca)
            .connect(self.address())
            .expect("TLS 1.3");
        let refusal = connection.refusal();
        if let Some(ending) = refusal {
            assert_eq!(ending, Ending::Alert(AlertDescription::AccessDenied));
        }
        refusal.is_none()
    }

    fn admits_names(&self, sans: impl IntoIterator<Item = rcgen::SanType>) -> bool {
        self.admits(&self.pki.forge(&client_params(sans)))
    }

    /// OpenSSL with this certificate hears this alert, in both versions, and the target hears nothing.
    fn refuses(&self, credentials: Option<&Credentials>, alert: u8, outcome: &str) {
        for version in ["-tls1_3", "-tls1_2"] {
            let before = self.gate.log.records().len();
            let ca = self.pki.ca();
            let mut command = s_client(self.address(), &ca, credentials);
            let done = run(command.arg(version), &Input::Open(b"are you there?"));
            let no_certificate_1_2 = version == "-tls1_2" && alert == CERTIFICATE_REQUIRED;
            // TLS 1.2 has no certificate_required; RFC 5246 says handshake_failure.
            if !no_certificate_1_2 || done.alert() != Some(40) {
                assert_eq!(done.alert(), Some(alert), "{version}: {done:?}");
            }
            let record = self.gate.log.wait_for(outcome, |records| {
                let new = records.get(before..)?;
                new.iter().find(|r| r["event"] == "connection").cloned()
            });
            assert_eq!(record["outcome"], outcome, "{version}: {record}");
            assert_ne!(
                record["reason"].as_str().unwrap_or_default(),
                "",
                "{version}: {record}"
            );
        }
        assert_eq!(
            self.target.accepts(),
            0,
            "the target was dialled for a refused client"
        );
    }
}

#[test]
fn a_client_without_a_certificate_hears_certificate_required() {
    Door::open().refuses(None, CERTIFICATE_REQUIRED, "handshake_failed");
}

#[test]
fn a_client_of_an_unknown_issuer_hears_unknown_ca() {
    let door = Door::open();
    let key = KeyPair::generate().expect("a key");
    let stranger = Authority::root("somebody else's CA");
    let leaf = stranger.sign(&client_params([dns("prometheus.test")]), &key);
    let credentials = door.pki.store(&[&leaf], &key);
    door.refuses(Some(&credentials), UNKNOWN_CA, "handshake_failed");
}

#[test]
fn a_client_of_an_impostor_with_the_same_name_as_the_ca_is_refused() {
    let door = Door::open();
    let key = KeyPair::generate().expect("a key");
    let mut params = authority_params("x");
    params.distinguished_name = door.pki.authority().name();
    let leaf = Authority::root_from(params).sign(&client_params([dns("prometheus.test")]), &key);
    let credentials = door.pki.store(&[&leaf], &key);
    let mut connection = credentials.connect(door.address());
    assert!(matches!(connection.ending(), Ending::Alert(_)));
    assert_eq!(door.target.accepts(), 0);
    assert_eq!(door.gate.record()["outcome"], "handshake_failed");
}

#[test]
fn an_expired_client_hears_certificate_expired() {
    let door = Door::open();
    let mut params = client_params([dns("prometheus.test")]);
    params.not_after = date_time_ymd(2020, 1, 1);
    door.refuses(
        Some(&door.pki.forge(&params)),
        CERTIFICATE_EXPIRED,
        "handshake_failed",
    );
}

#[test]
fn a_client_from_the_future_hears_certificate_expired() {
    let door = Door::open();
    let mut params = client_params([dns("prometheus.test")]);
    params.not_before = date_time_ymd(4000, 1, 1);
    door.refuses(
        Some(&door.pki.forge(&params)),
        CERTIFICATE_EXPIRED,
        "handshake_failed",
    );
}

fn with_usages(usages: &[ExtendedKeyUsagePurpose]) -> CertificateParams {
    let mut params = client_params([dns("prometheus.test")]);
    params.extended_key_usages = usages.to_vec();
    params
}

#[test]
fn a_server_certificate_hears_unsupported_certificate() {
    let door = Door::open();
    let credentials = door
        .pki
        .forge(&with_usages(&[ExtendedKeyUsagePurpose::ServerAuth]));
    door.refuses(
        Some(&credentials),
        UNSUPPORTED_CERTIFICATE,
        "handshake_failed",
    );
}

#[test]
fn a_client_without_key_usage_hears_unsupported_certificate_unless_that_is_allowed() {
    let door = Door::open();
    let credentials = door.pki.forge(&with_usages(&[]));
    door.refuses(
        Some(&credentials),
        UNSUPPORTED_CERTIFICATE,
        "handshake_failed",
    );
    let lenient = Door::built(|setup| {
        setup
            .switch("--allow-any-client")
            .switch("--allow-missing-eku")
    });
    assert!(lenient.admits(&credentials));
}

#[test]
fn any_extended_key_usage_is_not_client_auth_even_if_a_missing_one_is_allowed() {
    let door = Door::built(|setup| {
        setup
            .switch("--allow-any-client")
            .switch("--allow-missing-eku")
    });
    let credentials = door
        .pki
        .forge(&with_usages(&[ExtendedKeyUsagePurpose::Any]));
    door.refuses(
        Some(&credentials),
        UNSUPPORTED_CERTIFICATE,
        "handshake_failed",
    );
}

#[test]
fn client_auth_beside_other_usages_is_enough() {
    let door = Door::open();
    let usages = [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    assert!(door.admits(&door.pki.forge(&with_usages(&usages))));
}

#[test]
fn a_verified_client_that_no_rule_names_hears_access_denied() {
    let door = Door::with(&[("--allow-dns", "somebody.else")]);
    let client = door.pki.client("prometheus");
    door.refuses(Some(&client), ACCESS_DENIED, "not_admitted");
    let record = door.gate.records(1).remove(0);
    assert!(
        record["names"].to_string().contains("prometheus.test"),
        "{record}"
    );
    assert_eq!(record["rule"].as_str().unwrap_or_default(), "", "{record}");
}

#[test]
fn gnutls_hears_access_denied_too() {
    let door = Door::with(&[("--allow-dns", "somebody.else")]);
    let client = door.pki.client("prometheus");
    let mut command = gnutls_cli(door.address(), &door.pki.ca(), Some(&client));
    let done = run(&mut command, &Input::Open(b"are you there?"));
    assert!(done.text().contains("Access was denied"), "{done:?}");
    assert_eq!(door.target.accepts(), 0);
}

#[test]
fn the_alert_is_not_overtaken_by_a_reset_even_when_the_client_has_said_much() {
    let door = Door::with(&[("--allow-dns", "somebody.else")]);
    let client = door.pki.client("prometheus");
    for round in 0..50 {
        let mut connection = client.connect(door.address());
        // Unread bytes in the gate's socket when it closes would turn its end into a reset.
        let ending = match connection.try_send(&[b'x'; 16 * 1024]) {
            Err(ending) => ending,
            Ok(()) => connection.ending(),
        };
        assert_eq!(
            ending,
            Ending::Alert(AlertDescription::AccessDenied),
            "round {round}"
        );
    }
    assert_eq!(door.target.accepts(), 0);
}

#[test]
fn a_refused_client_that_goes_on_talking_is_not_listened_to_for_ever() {
    let door = Door::with(&[("--allow-dns", "somebody.else")]);
    let connection = door.pki.client("prometheus").connect(door.address());
    let mut socket = connection.into_socket();
    let block = vec![0; 1 << 16];
    let mut written = 0_usize;
    while let Ok(len) = std::io::Write::write(&mut socket, &block) {
        written += len;
        assert!(
            written < 1 << 30,
            "the gate reads a refused client without a bound"
        );
    }
    assert_eq!(door.gate.record()["outcome"], "not_admitted");
}

#[test]
fn a_verdict_stands_whatever_the_refused_client_does_next() {
    let timed_out = Door::built(|setup| {
        setup
            .flag("--allow-dns", "somebody.else")
            .flag("--handshake-timeout", "700ms")
    });
    let crowded = Door::built(|setup| {
        setup
            .flag("--allow-dns", "somebody.else")
            .flag("--max-handshakes", "1")
    });
    for door in [timed_out, crowded] {
        let mut stays = door.pki.client("prometheus").connect(door.address());
        assert_eq!(
            stays.ending(),
            Ending::Alert(AlertDescription::AccessDenied)
        );
        let pushes = std::net::TcpStream::connect(door.address()).expect("the gate accepts");
        let source = stays.source().to_string();
        let record = door.gate.log.wait_for_record("a verdict", |record| {
            record["event"] == "connection" && record["source"] == source
        });
        assert_eq!(record["outcome"], "not_admitted", "{record}");
        assert!(
            record["names"].to_string().contains("prometheus.test"),
            "{record}"
        );
        drop(pushes);
    }
}

#[test]
fn a_dns_rule_is_exact_but_for_case_and_looks_at_dns_names_only() {
    let door = Door::with(&[("--allow-dns", "prometheus.monitoring.svc")]);
    assert!(door.admits_names([dns("prometheus.monitoring.svc")]));
    assert!(door.admits_names([dns("PROMETHEUS.Monitoring.svc")]));
    assert!(door.admits_names([dns("other"), dns("prometheus.monitoring.svc")]));
    assert!(!door.admits_names([dns("x.prometheus.monitoring.svc")]));
    assert!(!door.admits_names([dns("prometheus.monitoring.svc.evil")]));
    assert!(!door.admits_names([dns("*.monitoring.svc")]));
    assert!(!door.admits_names([uri("prometheus.monitoring.svc")]));
    assert!(!door.admits_names([uri("dns:prometheus.monitoring.svc")]));
    assert!(!door.admits_names([email("prometheus.monitoring.svc")]));
    let mut common_name = client_params([]);
    common_name
        .distinguished_name
        .push(DnType::CommonName, "prometheus.monitoring.svc");
    assert!(
        !door.admits(&door.pki.forge(&common_name)),
        "the CN is never a fallback"
    );
    assert_eq!(
        door.gate.records(1)[0]["rule"],
        "dns:prometheus.monitoring.svc"
    );
}

#[test]
fn a_uri_rule_matches_whole_segments_of_plain_uris() {
    let door = Door::with(&[
        ("--allow-uri", "spiffe://cluster.local/ns/monitoring/sa/*"),
        ("--allow-uri", "spiffe://cluster.local/team/**"),
        ("--allow-uri", "https://exact.test/a%20b?c"),
    ]);
    let admitted = [
        "spiffe://cluster.local/ns/monitoring/sa/prometheus",
        "spiffe://cluster.local/team/a",
        "spiffe://cluster.local/team/a/b/c",
        "https://exact.test/a%20b?c",
    ];
    for name in admitted {
        assert!(door.admits_names([uri(name)]), "{name}");
    }
    let refused = [
        "spiffe://cluster.local/ns/monitoring/sa/",
        "spiffe://cluster.local/ns/monitoring/sa/a/b",
        "spiffe://cluster.local/ns/monitoring/sa/%61",
        "spiffe://cluster.local/ns/monitoring/sa/..",
        "spiffe://cluster.local/ns/monitoring/sa/.",
        "spiffe://cluster.local/ns/monitoring/sa/a?b",
        "spiffe://cluster.local/ns/monitoring/sa/a#b",
        "spiffe://cluster.local/ns/monitoring//sa/a",
        "spiffe://user@cluster.local/ns/monitoring/sa/a",
        "spiffe://cluster.local:443/ns/monitoring/sa/a",
        "spiffe://cluster.local/team",
        "spiffe://cluster.local/team/",
        "spiffe://Cluster.local/team/a",
        "SPIFFE://cluster.local/team/a",
        "https://exact.test/a b?c",
        "https://exact.test/a%20b",
    ];
    for name in refused {
        assert!(!door.admits_names([uri(name)]), "{name}");
    }
}

#[test]
fn a_certificate_with_a_name_that_is_none_is_refused_whole() {
    let door = Door::with(&[
        ("--allow-uri", "spiffe://cluster.local/team/**"),
        ("--allow-dns", "prometheus.test"),
    ]);
    let not_a_dns_name = dns("spiffe://cluster.local/team/a");
    let params = client_params([not_a_dns_name, dns("prometheus.test")]);
    let mut connection = door.pki.forge(&params).connect(door.address());
    assert_eq!(
        connection.ending(),
        Ending::Alert(AlertDescription::BadCertificate)
    );
    assert_eq!(door.target.accepts(), 0);
    assert_eq!(door.gate.record()["outcome"], "handshake_failed");
}

#[test]
fn a_spiffe_rule_meets_only_a_certificate_with_exactly_one_uri() {
    let door = Door::with(&[
        (
            "--allow-uri",
            "spiffe://cluster.local/ns/monitoring/sa/prometheus",
        ),
        ("--allow-uri", "https://plain.test/a"),
    ]);
    let spiffe = || uri("spiffe://cluster.local/ns/monitoring/sa/prometheus");
    assert!(door.admits_names([spiffe()]));
    assert!(door.admits_names([dns("prometheus.test"), spiffe()]));
    assert!(!door.admits_names([spiffe(), uri("spiffe://cluster.local/ns/default/sa/other")]));
    assert!(!door.admits_names([spiffe(), uri("https://else.test/a")]));
    assert!(door.admits_names([uri("https://plain.test/a"), uri("https://else.test/a")]));
}

fn with_subject(cn: &str, ou: Option<&str>) -> CertificateParams {
    let mut params = client_params([dns("prometheus.test")]);
    params.distinguished_name.push(DnType::CommonName, cn);
    if let Some(ou) = ou {
        params
            .distinguished_name
            .push(DnType::OrganizationalUnitName, ou);
    }
    params
}

#[test]
fn cn_and_ou_rules_are_exact_and_each_looks_at_its_own_field() {
    let door = Door::with(&[("--allow-cn", "Prometheus"), ("--allow-ou", "Monitoring")]);
    let admits = |cn: &str, ou| door.admits(&door.pki.forge(&with_subject(cn, ou)));
    assert!(admits("Prometheus", None));
    assert!(admits("x", Some("Monitoring")));
    assert!(!admits("prometheus", None));
    assert!(!admits("x", Some("monitoring")));
    assert!(!admits("Monitoring", Some("Prometheus")));
    assert!(!admits("Prometheus ", None));
    assert!(!door.admits_names([dns("Prometheus")]));
}

#[test]
fn an_spki_rule_admits_the_key_and_still_wants_the_chain() {
    let pki = Pki::shared();
    let key = KeyPair::generate().expect("a key");
    let pin = crate::support::pki::spki_pin(&key);
    let door = Door::with(&[("--allow-spki", pin.as_str())]);
    let leaf = pki
        .authority()
        .sign(&client_params([dns("anything.test")]), &key);
    assert!(door.admits(&pki.store(&[&leaf], &key)));
    assert!(!door.admits(&pki.client("prometheus")));
    let self_signed = client_params([])
        .self_signed(&key)
        .expect("well-formed parameters");
    let mut connection = pki.store(&[&self_signed], &key).connect(door.address());
    assert_eq!(
        connection.ending(),
        Ending::Alert(AlertDescription::UnknownCA)
    );
}

#[test]
fn any_rule_of_any_kind_admits_and_the_record_names_it() {
    let door = Door::with(&[("--allow-cn", "nobody"), ("--allow-dns", "prometheus.test")]);
    assert!(door.admits(&door.pki.client("prometheus")));
    let record = door.gate.record();
    assert_eq!(record["rule"], "dns:prometheus.test", "{record}");
    let open = Door::open();
    assert!(open.admits(&open.pki.client("prometheus")));
    assert_eq!(open.gate.record()["rule"], "any-client");
}

#[test]
fn a_client_is_verified_through_intermediates_that_it_sends() {
    let door = Door::open();
    let (below, certificate) = door
        .pki
        .authority()
        .intermediate(authority_params("issuing CA"));
    let key = KeyPair::generate().expect("a key");
    let leaf = below.sign(&client_params([dns("deep.test")]), &key);
    assert!(door.admits(&door.pki.store(&[&leaf, &certificate], &key)));
    let mut alone = door.pki.store(&[&leaf], &key).connect(door.address());
    assert_eq!(alone.ending(), Ending::Alert(AlertDescription::UnknownCA));
}

#[test]
fn a_client_certificate_cannot_vouch_for_another() {
    let door = Door::open();
    let (below, certificate) = door
        .pki
        .authority()
        .intermediate(client_params([dns("a.test")]));
    let key = KeyPair::generate().expect("a key");
    let leaf = below.sign(&client_params([dns("prometheus.test")]), &key);
    let mut connection = door
        .pki
        .store(&[&leaf, &certificate], &key)
        .connect(door.address());
    assert!(matches!(connection.ending(), Ending::Alert(_)));
    assert_eq!(door.target.accepts(), 0);
}

#[test]
fn an_intermediate_that_expired_refuses_its_clients() {
    let door = Door::open();
    let mut params = authority_params("expired issuing CA");
    params.not_after = date_time_ymd(2020, 1, 1);
    let (below, certificate) = door.pki.authority().intermediate(params);
    let key = KeyPair::generate().expect("a key");
    let leaf = below.sign(&client_params([dns("deep.test")]), &key);
    let credentials = door.pki.store(&[&leaf, &certificate], &key);
    door.refuses(Some(&credentials), CERTIFICATE_EXPIRED, "handshake_failed");
}

#[test]
fn clients_of_every_ca_in_the_bundle_and_of_every_bundle_are_admitted() {
    let pki = Pki::shared();
    let (one, two) = (Authority::root("CA one"), Authority::root("CA two"));
    let folder = temporary_folder();
    let bundle = folder.path().join("bundle.crt");
    write(&bundle, &format!("{}{}", one.pem, two.pem));
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--client-ca", &bundle)
        .start();
    for authority in [pki.authority(), &one, &two] {
        let key = KeyPair::generate().expect("a key");
        let leaf = authority.sign(&client_params([dns("many.test")]), &key);
        let credentials = pki.store(&[&leaf], &key);
        let ca = pki.ca();
        let mut connection = Offer::of(&credentials, &ca)
            .connect(gate.address())
            .expect("TLS 1.3");
        connection.prove_admitted();
    }
}

#[test]
fn a_ca_that_cannot_vouch_is_left_out_with_a_warning_that_names_it() {
    let pki = Pki::shared();
    let mut expired = authority_params("the expired CA");
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut no_cert_sign = authority_params("the CA without keyCertSign");
    no_cert_sign.key_usages = vec![KeyUsagePurpose::CrlSign];
    let not_a_ca = client_params([dns("not-a-ca.test")]);
    let mut not_a_ca_named = not_a_ca;
    not_a_ca_named
        .distinguished_name
        .push(DnType::CommonName, "the leaf among CAs");
    let folder = temporary_folder();
    let bundle = folder.path().join("bundle.crt");
    let odd = [expired, no_cert_sign, not_a_ca_named].map(Authority::root_from);
    let pem: String = odd.iter().map(|authority| authority.pem.as_str()).collect();
    write(&bundle, &pem);
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--client-ca", &bundle)
        .start();
    for name in [
        "the expired CA",
        "the CA without keyCertSign",
        "the leaf among CAs",
    ] {
        gate.log.wait_for_record(name, |record| {
            record["level"]
                .as_str()
                .is_some_and(|level| level.eq_ignore_ascii_case("warn"))
                && record.to_string().contains(name)
        });
    }
    for authority in &odd {
        let key = KeyPair::generate().expect("a key");
        let leaf = authority.sign(&client_params([dns("prometheus.test")]), &key);
        let credentials = pki.store(&[&leaf], &key);
        let mut connection = credentials.connect(gate.address());
        assert!(matches!(connection.ending(), Ending::Alert(_)));
    }
    assert_eq!(target.accepts(), 0);
}

#[test]
fn a_source_outside_allow_from_hears_no_tls_at_all() {
    let door = Door::built(|setup| {
        setup
            .switch("--allow-any-client")
            .flag("--allow-from", "127.0.0.2/32")
            .flag("--allow-from", "10.0.0.0/8")
    });
    let ca = door.pki.ca();
    let client = door.pki.client("prometheus");
    let ending = Offer::of(&client, &ca).connect(door.address()).err();
    assert!(
        matches!(ending, Some(Ending::Reset | Ending::Truncated)),
        "{ending:?}"
    );
    assert_eq!(door.target.accepts(), 0);
    let record = door.gate.record();
    assert_eq!(record["outcome"], "source_denied");
    assert!(
        record["source"]
            .as_str()
            .expect("a source")
            .starts_with("127.0.0.1:"),
        "{record}"
    );
}

#[test]
fn a_source_inside_allow_from_is_heard() {
    let door = Door::built(|setup| {
        setup
            .switch("--allow-any-client")
            .flag("--allow-from", "10.0.0.0/8")
            .flag("--allow-from", "127.0.0.0/8")
    });
    assert!(door.admits(&door.pki.client("prometheus")));
}

#[test]
fn no_byte_reaches_the_target_before_admission() {
    let door = Door::open();
    let ca = door.pki.ca();
    let silent = std::net::TcpStream::connect(door.address()).expect("the gate accepts");
    let mut without = Offer {
        credentials: None,
        ..Offer::of(&door.pki.client("x"), &ca)
    }
    .connect(door.address())
    .expect("TLS 1.3 judges after the client's side is done");
    let ending = match without.try_send(b"GET / HTTP/1.1\r\n\r\n") {
        Err(ending) => ending,
        Ok(()) => without.ending(),
    };
    assert_eq!(ending, Ending::Alert(AlertDescription::CertificateRequired));
    assert_eq!(door.target.accepts(), 0);
    drop(silent);
}

#[test]
fn a_session_ends_within_a_second_of_its_certificate() {
    let door = Door::open();
    // Long enough to get in. The second that notAfter names still belongs to the certificate.
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is past 1970");
    let last_second = Duration::from_secs(since_1970.as_secs() + 3);
    let mut params = client_params([dns("short-lived.test")]);
    params.not_after = date_time_ymd(1970, 1, 1) + last_second;
    let credentials = door.pki.forge(&params);
    let mut short = credentials.connect(door.address());
    short.prove_admitted();
    let mut long = door.pki.client("long-lived").connect(door.address());
    long.prove_admitted();

    let ending = short.ending();
    let expired = UNIX_EPOCH + last_second + Duration::from_secs(1);
    let late = SystemTime::now()
        .duration_since(expired)
        .expect("not before it expired");
    assert!(ending.is_a_cut(), "{ending:?}");
    // A second is promised; another is for a machine that has other work.
    assert!(late < Duration::from_secs(2), "{late:?}");
    assert_eq!(door.target.result(), Ended::Reset);
    drop(short);
    assert_eq!(door.gate.record()["outcome"], "evicted");
    long.prove_admitted();
    let refused = credentials.connect(door.address()).ending();
    assert_eq!(refused, Ending::Alert(AlertDescription::CertificateExpired));
}
