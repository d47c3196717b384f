//! Verdicts about certificates that a throwaway CA made, with the exit code that a script would see.

use std::fs;
use std::time::Duration;

use clap::Parser as _;

use super::*;
use crate::cli::Cli;
use crate::cli::pki::authority::{Authority, Issued, Names, Purpose};
use crate::cli::pki::lifetime::lifetime;

/// A gate's files, and an authority to issue clients with.
struct Bench {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Bench {
    fn new() -> Self {
        let valid = lifetime(UnixTime::now(), 1);
        let bench = Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            authority: Authority::new("explain CA", valid).expect("it can be made"),
        };
        let server = bench.issue(Purpose::Server, "localhost");
        bench.write("ca.crt", bench.authority.cert_pem());
        bench.write("tls.crt", &server.cert_pem);
        bench.write("tls.key", &server.key_pem);
        bench.write(
            "gate.toml",
            r#"
                [[route]]
                name = "one"
                listen = "127.0.0.1:1"
                target = "127.0.0.1:2"
                allow = { dns = ["prometheus.test"] }
                [[route]]
                name = "two"
                listen = "127.0.0.1:3"
                target = "127.0.0.1:4"
                allow = { dns = ["grafana.test"], ou = ["platform"] }
            "#,
        );
        bench
    }

    fn issue(&self, purpose: Purpose, dns: &str) -> Issued {
        let names = Names {
            dns: vec![dns.to_owned()],
            ..Names::default()
        };
        let valid = lifetime(UnixTime::now(), 1);
        let issued = self.authority.issue(purpose, &names, valid);
        issued.expect("it can be issued")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).expect("it can be written");
    }

    fn explain(&self, more: &[&str]) -> Explain {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            explain: Explain,
        }
        let path = |name| self.path(name);
        let arguments = [
            "explain".to_owned(),
            format!("--cert={}", path("tls.crt")),
            format!("--key={}", path("tls.key")),
            format!("--client-ca={}", path("ca.crt")),
            format!("--config={}", path("gate.toml")),
            format!("--client-cert={}", path("client.crt")),
        ];
        let more = more.iter().map(|text| (*text).to_owned());
        Alone::try_parse_from(arguments.into_iter().chain(more))
            .expect("it is well formed")
            .explain
    }

    /// What is said of the client in `client.crt`, route by route.
    fn verdicts(&self) -> Vec<(bool, String)> {
        let explain = self.explain(&[]);
        let found = Found::new(&explain.flags).expect("it is usable");
        let chain = read(&explain.client_cert).expect("it is a chain");
        let routes = explain.routes(&found).expect("there are two");
        let said = routes.iter().map(|(route, trust)| {
            let mut sheet = Sheet::default();
            let admitted = verdict(&mut sheet, route, trust, &chain, UnixTime::now());
            (admitted, sheet.text().to_owned())
        });
        said.collect()
    }

    fn ends_with(&self, more: &[&str], code: u8) {
        let (_, ended) = self.explain(more).explain().expect("it is usable");
        assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::from(code)));
    }

    fn refused(&self, more: &[&str]) -> String {
        let failure = self.explain(more).run().expect_err("it is unusable");
        assert_eq!(failure.exit_code(), 2);
        failure.problems().join("\n")
    }
}

#[test]
fn a_client_is_let_in_where_a_rule_names_it() {
    let bench = Bench::new();
    let client = bench.issue(Purpose::Client, "prometheus.test");
    bench.write("client.crt", &client.cert_pem);
    let verdicts = bench.verdicts();
    let [(true, one), (false, two)] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert!(one.contains("  rule      dns:prometheus.test\n"), "{one}");
    assert!(one.contains("  until     20"), "{one}");
    assert!(two.contains("no allow rule names this client: it is dns:prometheus.test\n"));
    assert!(two.contains("  alert     access_denied\n"), "{two}");
    assert!(two.contains("  admits    dns:grafana.test\n            ou:platform\n"));
    for (more, code) in [
        (&[][..], 0),
        (&["--route", "one"], 0),
        (&["--route", "two"], REFUSED),
    ] {
        bench.ends_with(more, code);
    }
}

#[test]
fn the_alert_is_the_one_that_the_client_would_hear() {
    let bench = Bench::new();
    let stranger = Bench::new().issue(Purpose::Client, "prometheus.test");
    let server = bench.issue(Purpose::Server, "prometheus.test");
    let last_week = Duration::from_secs(UnixTime::now().as_secs() - 7 * 24 * 60 * 60);
    let names = Names {
        dns: vec!["prometheus.test".to_owned()],
        ..Names::default()
    };
    let past = lifetime(UnixTime::since_unix_epoch(last_week), 1);
    let expired = bench.authority.issue(Purpose::Client, &names, past);
    let expired = expired.expect("it can be issued");
    let ca = bench.authority.cert_pem();
    for (pem, alert) in [
        (&*stranger.cert_pem, "unknown_ca"),
        (&server.cert_pem, "unsupported_certificate"),
        (&expired.cert_pem, "certificate_expired"),
        (ca, "unsupported_certificate"),
    ] {
        bench.write("client.crt", pem);
        for (admitted, said) in bench.verdicts() {
            assert!(!admitted);
            assert!(said.contains(&format!("  alert     {alert}\n")), "{said}");
        }
        bench.ends_with(&[], REFUSED);
    }
}

#[test]
fn the_certificate_is_told_as_rules_would_name_it() {
    let bench = Bench::new();
    let names = Names {
        common_name: Some("Prometheus".to_owned()),
        organizational_units: vec!["platform".to_owned(), "evil\nunit".to_owned()],
        dns: vec!["prometheus.test".to_owned()],
        uris: vec!["spiffe://test/sa/prometheus".to_owned()],
        ips: vec!["192.0.2.1".parse().expect("an address")],
    };
    let valid = lifetime(UnixTime::now(), 1);
    let issued = bench.authority.issue(Purpose::Client, &names, valid);
    let issued = issued.expect("it can be issued");
    let mut sheet = Sheet::default();
    let chain = [issued.certificate.clone()];
    certificate(&mut sheet, Path::new("client.crt"), &chain, UnixTime::now());
    let pin = SpkiPin::new(
        Client::from_der(&issued.certificate)
            .expect("readable")
            .spki_sha256(),
    );
    let said = sheet.text();
    for fact in [
        "  names     dns:prometheus.test\n            uri:spiffe://test/sa/prometheus\n            ip:192.0.2.1\n",
        "  CN        Prometheus\n  OU        platform\n            evil\\nunit\n",
        &format!("  serial    {}\n", issued.serial),
        &format!("  spki      {pin}\n"),
        "  issuer    CN=explain CA\n  usage     clientAuth\n  chain     1 certificate\n",
    ] {
        assert!(said.contains(fact), "{fact:?} is missing in:\n{said}");
    }
    // What is printed is what the rule takes.
    let spki = format!("--allow-spki={pin}");
    let command = ["portcullis", "check", &spki];
    assert!(Cli::try_parse_from(command).is_ok());
}

#[test]
fn what_is_no_chain_of_a_client_is_refused_with_a_remedy() {
    let bench = Bench::new();
    let client = bench.issue(Purpose::Client, "prometheus.test");
    assert!(bench.refused(&[]).contains("client.crt\": no such file"));
    let ca_first = bench.authority.cert_pem().to_owned() + &client.cert_pem;
    for (content, why) in [
        (
            client.key_pem.as_str(),
            "no PEM block CERTIFICATE in it, but PRIVATE KEY at line 1; it must hold the client's",
        ),
        ("", "in it: the file is empty; it must hold the client's"),
        (
            &ca_first,
            "certificate 2 is issued by certificate 1; put the client's",
        ),
    ] {
        bench.write("client.crt", content);
        let report = bench.refused(&[]);
        assert!(report.contains(why), "{report}");
    }
    bench.write(
        "client.crt",
        &(client.cert_pem + bench.authority.cert_pem()),
    );
    assert!(bench.verdicts()[0].0, "an intermediate may follow");
    assert_eq!(
        bench.refused(&["--route=three"]),
        "--route: \"three\": no route has this name; there is one, two"
    );
}
