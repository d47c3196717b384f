//! Scrapes of a real TLS server that requires client certificates: what succeeds, and every refusal it can be made to
//! show.

mod server;

use std::path::Path;

use rustls::AlertDescription;
use rustls::pki_types::UnixTime;
use rustls::version::{TLS12, TLS13};

use self::server::{Reply, Scene, authority, content, issue, issue_expired};
use super::*;
use crate::cli::pki::authority::{Purpose, Revocations};
use crate::cli::pki::lifetime::lifetime;

const PAGE: Reply = Reply::Whole("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nup 1\r\n");

/// What is not well in a scene.
type Change = fn(&mut Scene);

fn refused<T>(scraped: Result<T, Refusal>) -> Refusal {
    match scraped {
        Ok(_) => panic!("a refusal was expected"),
        Err(refusal) => refusal,
    }
}

/// Asserts who refused where, and that the explanation has a word in it and fits a terminal.
fn assert_refusal(refusal: &Refusal, step: Step, alert: Option<AlertDescription>, word: &str) {
    assert_eq!((refusal.step, refusal.alert), (step, alert), "{refusal}");
    let url = "https://x/".parse().unwrap();
    let text = explanation(&url, refusal);
    assert!(refusal.meaning.contains(word), "{word}: {text}");
    for line in text.lines().skip(1) {
        assert!(line.chars().count() <= COLUMNS, "{line}");
        assert!(line.starts_with("  "), "{line}");
    }
}

#[tokio::test]
async fn a_page_comes_byte_for_byte_over_the_hybrid_key_exchange() {
    let scraped = Scene::new().scrape("/metricz?x=1", PAGE).await.unwrap();
    assert_eq!(scraped.status, 200);
    assert_eq!(scraped.body, b"up 1\r\n");
    assert!(scraped.refusal.is_none());
    assert_eq!(scraped.tls.version, "TLSv1_3");
    assert_eq!(scraped.tls.group, "X25519MLKEM768");
    assert_eq!(scraped.tls.server_names[0], "dns:server.test");
    let request = scraped.request.to_lowercase();
    for line in [
        "get /metricz?x=1 http/1.1\r\n",
        "\r\nhost: 127.0.0.1:",
        concat!(
            "\r\nuser-agent: portcullis/",
            env!("CARGO_PKG_VERSION"),
            "\r\n"
        ),
        "\r\naccept: application/openmetrics-text;version=1.0.0;",
        "text/plain;version=0.0.4",
    ] {
        assert!(request.contains(line), "{line:?} in {request}");
    }
}

#[tokio::test]
async fn tls_1_2_will_do() {
    let mut scene = Scene::new();
    scene.server_versions = vec![&TLS12];
    let scraped = scene.scrape("/", PAGE).await.unwrap();
    assert_eq!(scraped.tls.version, "TLSv1_2");
}

#[tokio::test]
async fn an_ipv6_literal_is_a_host() {
    let mut scene = Scene::new();
    scene.listen = "[::1]:0";
    if std::net::TcpListener::bind(scene.listen).is_err() {
        eprintln!("skipped: no IPv6 loopback here");
        return;
    }
    let scraped = scene.scrape("/", PAGE).await.unwrap();
    let request = scraped.request.to_lowercase();
    assert!(request.contains("\r\nhost: [::1]:"), "{request}");
}

#[tokio::test]
async fn a_body_may_end_in_any_way_that_says_it_is_complete() {
    for reply in [
        Reply::Whole("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nup 1"),
        Reply::Whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n0\r\n\r\n"),
        // All of it is there, so what follows does not matter.
        Reply::Cut("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nup 1"),
    ] {
        let scraped = Scene::new().scrape("/", reply).await.unwrap();
        assert_eq!(scraped.body, b"up 1");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_a_failure() {
    for reply in [
        Reply::Cut("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1"),
        Reply::Cut("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nup 1"),
        Reply::Cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n"),
    ] {
        let refusal = refused(Scene::new().scrape("/", reply).await);
        assert!(refusal.to_string().contains("close_notify"), "{refusal}");
        assert_refusal(&refusal, Step::Body, None, "only its beginning");
    }
    for reply in [
        Reply::Whole("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1"),
        Reply::Whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n"),
    ] {
        let refusal = refused(Scene::new().scrape("/", reply).await);
        assert!(refusal.to_string().contains("closed before"), "{refusal}");
        assert_refusal(&refusal, Step::Body, None, "only its beginning");
    }
}

#[tokio::test]
async fn no_certificate_is_refused_at_the_first_read_and_in_tls_1_2_during_the_handshake() {
    let mut scene = Scene::new();
    scene.client = None;
    let alert = Some(AlertDescription::CertificateRequired);
    let refusal = refused(scene.scrape("/", PAGE).await);
    assert_refusal(&refusal, Step::FirstRead, alert, "got none");
    assert!(refusal.tls.is_some());
    scene.client_versions = vec![&TLS12];
    let refusal = refused(scene.scrape("/", PAGE).await);
    assert_refusal(&refusal, Step::Handshake, alert, "got none");
}

#[tokio::test]
async fn an_unsuitable_client_certificate_is_refused_with_its_alert() {
    use AlertDescription as Alert;
    let cases: [(Change, Alert, &str); 6] = [
        (
            |scene| scene.client = Some(issue(&authority("another CA"), Purpose::Client)),
            Alert::UnknownCA,
            "--client-ca",
        ),
        (
            |scene| scene.client = Some(issue(&authority("test CA"), Purpose::Client)),
            Alert::DecryptError,
            "the same name",
        ),
        (
            |scene| scene.client = Some(issue_expired(&scene.ca, Purpose::Client)),
            Alert::CertificateExpired,
            "compare the clocks",
        ),
        (
            |scene| scene.client = Some(issue(&scene.ca, Purpose::Server)),
            Alert::UnsupportedCertificate,
            "clientAuth",
        ),
        (
            |scene| {
                let serial = scene.client.as_ref().unwrap().serial.clone();
                let now = UnixTime::now();
                let list = Revocations {
                    number: 1,
                    validity: lifetime(now, 1),
                    revoked: vec![(serial, now)],
                };
                scene.revocation_list = Some(scene.ca.revocation_list(&list).unwrap());
            },
            Alert::CertificateRevoked,
            "--client-crl",
        ),
        (
            |scene| scene.allowed = false,
            Alert::AccessDenied,
            "explain --client-cert",
        ),
    ];
    for (change, alert, word) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        let refusal = refused(scene.scrape("/", PAGE).await);
        assert_refusal(&refusal, Step::FirstRead, Some(alert), word);
    }
}

#[tokio::test]
async fn a_server_without_a_version_in_common_says_so() {
    let mut scene = Scene::new();
    scene.server_versions = vec![&TLS13];
    scene.client_versions = vec![&TLS12];
    let refusal = refused(scene.scrape("/", PAGE).await);
    let alert = Some(AlertDescription::ProtocolVersion);
    assert_refusal(&refusal, Step::Handshake, alert, "--tls-min");
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_refused_by_us() {
    let cases: [(Change, &str); 5] = [
        (
            |scene| scene.trusted = authority("another CA").cert_pem().to_owned(),
            "Give the CA that issued it",
        ),
        (
            |scene| scene.trusted = authority("test CA").cert_pem().to_owned(),
            "the same name",
        ),
        (
            |scene| scene.server_name = Some("other.test"),
            "--server-name",
        ),
        (
            |scene| scene.server = issue_expired(&scene.ca, Purpose::Server),
            "Renew it",
        ),
        (
            |scene| scene.server = issue(&scene.ca, Purpose::Client),
            "serverAuth",
        ),
    ];
    for (change, word) in cases {
        let mut scene = Scene::new();
        change(&mut scene);
        let refusal = refused(scene.scrape("/", PAGE).await);
        assert_refusal(&refusal, Step::Handshake, None, word);
    }
}

#[tokio::test]
async fn another_name_can_be_expected() {
    let mut scene = Scene::new();
    scene.server_name = Some("server.test");
    assert_eq!(scene.scrape("/", PAGE).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_status_outside_2xx_is_a_refusal_with_a_body() {
    for (reply, status, word) in [
        (
            Reply::Whole("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
            403,
            "itself refuses",
        ),
        (
            Reply::Whole("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno"),
            302,
            "not followed",
        ),
        (
            Reply::Whole("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"),
            503,
            "Is it running?",
        ),
    ] {
        let scraped = Scene::new().scrape("/", reply).await.unwrap();
        assert_eq!((scraped.status, &scraped.body[..]), (status, &b"no"[..]));
        let refusal = scraped.refusal.unwrap();
        assert_refusal(&refusal, Step::Status, None, word);
    }
}

#[tokio::test]
async fn what_is_not_a_tls_server_is_named_as_such() {
    let scene = Scene::new();
    let reply = Reply::Plain("HTTP/1.1 400 Bad Request\r\n\r\n");
    let refusal = refused(scene.scrape("/", reply).await);
    assert_refusal(&refusal, Step::Handshake, None, "admin listener");
    let refusal = refused(scene.scrape("/", Reply::Plain("")).await);
    assert_refusal(&refusal, Step::Handshake, None, "hung up before TLS");
    let refusal = refused(scene.scrape("/", Reply::PlainReset).await);
    assert_refusal(&refusal, Step::Handshake, None, "--allow-from");
}

#[tokio::test]
async fn an_end_without_an_answer_is_explained() {
    let scene = Scene::new();
    let refusal = refused(scene.scrape("/", Reply::Cut("")).await);
    assert_refusal(&refusal, Step::FirstRead, None, "target_unreachable");
    assert!(refusal.to_string().contains("close_notify"), "{refusal}");
    let refusal = refused(scene.scrape("/", Reply::Whole("")).await);
    assert_refusal(&refusal, Step::FirstRead, None, "target_unreachable");
    assert!(refusal.to_string().contains("closed before"), "{refusal}");
    let refusal = refused(scene.scrape("/", Reply::Reset).await);
    assert_refusal(&refusal, Step::FirstRead, None, "thrown away after TLS");
    let refusal = refused(scene.scrape("/", Reply::Whole("+PONG\r\n\r\n")).await);
    assert_refusal(&refusal, Step::FirstRead, None, "does not speak HTTP/1.1");
}

#[tokio::test]
async fn every_wait_ends() {
    let mut scene = Scene::new();
    scene.timeout = Duration::from_millis(300);
    let refusal = refused(scene.scrape("/", Reply::PlainSilence).await);
    assert_refusal(&refusal, Step::Handshake, None, "says nothing");
    assert!(refusal.to_string().contains("300ms"), "{refusal}");
    let refusal = refused(scene.scrape("/", Reply::Silence).await);
    assert_refusal(&refusal, Step::FirstRead, None, "--timeout");
}

#[tokio::test]
async fn a_body_is_held_up_to_a_limit() {
    for (limit, whole) in [(6, true), (5, false)] {
        let held = Scene::new().hold(PAGE, limit).await;
        assert_eq!(held.is_ok(), whole);
        if let Err(refusal) = held {
            assert_refusal(&refusal, Step::Body, None, "longer than");
        }
    }
}

#[tokio::test]
async fn a_closed_port_is_named_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let request = Request {
        url: format!("https://{address}/").parse().unwrap(),
        credentials: Scene::new().credentials(),
        server_name: None,
        timeout: Duration::from_secs(10),
    };
    let refusal = refused(get(&request).await);
    assert_refusal(&refusal, Step::Connecting, None, "Nothing listens");
}

#[test]
fn unusable_files_are_named_with_their_flag() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (one, two) = (scene.client.unwrap(), other.client.unwrap());
    let (cert, key) = (one.cert_pem.as_str(), one.key_pem.as_str());
    let (ca, other_key) = (scene.ca.cert_pem(), two.key_pem.as_str());
    for (ca, cert, key, said) in [
        ("", cert, key, "--ca: \"file\": no PEM block CERTIFICATE"),
        (
            "hello",
            cert,
            key,
            "--ca: \"file\": no PEM block CERTIFICATE",
        ),
        (ca, "", key, "--cert: \"file\": no PEM block CERTIFICATE"),
        (ca, cert, "", "--key: \"file\": no PEM block PRIVATE KEY"),
        (
            ca,
            cert,
            other_key,
            "--key: \"file\": the key does not belong to the first",
        ),
    ] {
        let client = ClientFiles {
            cert: content("--cert", cert),
            key: content("--key", key),
        };
        let problems = Credentials::new(&content("--ca", ca), Some(&client))
            .err()
            .unwrap();
        assert!(problems.to_string().starts_with(said), "{said}: {problems}");
        assert_eq!(problems.0.len(), 1, "{problems}");
    }
}

#[test]
fn every_flag_is_understood() {
    use clap::{CommandFactory as _, Parser as _};
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        scrape: Scrape,
    }
    Line::command().debug_assert();
    let words = "scrape --no-cert --server-name ::1 --timeout 500ms -v https://localhost:1/";
    let line = Line::try_parse_from(words.split(' ')).unwrap().scrape;
    assert_eq!(line.timeout, Duration::from_millis(500));
    assert_eq!(line.ca, Path::new("certs/client/ca.crt"));
    for words in [
        "scrape http://localhost/",
        "scrape --timeout 0s https://localhost/",
        "scrape --no-cert --cert x https://localhost/",
        "scrape",
    ] {
        assert!(Line::try_parse_from(words.split(' ')).is_err(), "{words}");
    }
}
