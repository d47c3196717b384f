//! For whom a request is: a page in a browser on the node, whose name was made to lead here, reads nothing.

use super::*;

/// The status of the answer to these bytes.
fn status(address: &str, request: &str) -> u16 {
    http::Response::parse(&http::exchange(address, request.as_bytes())).status
}

fn get(address: &str, host: &str) -> http::Response {
    let request = format!("GET /sessions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    http::Response::parse(&http::exchange(address, request.as_bytes()))
}

#[test]
fn a_request_for_somebody_else_is_misdirected() {
    let target = target::echo();
    let pki = Pki::shared();
    let mut params = server_params();
    let names = ["portcullis.internal", "*.gates.test"];
    params.subject_alt_names = names.map(crate::support::pki::dns).to_vec();
    let server = pki.forge(&params);
    let gate = Setup::open_to(&pki, &target)
        .flag("--cert", server.cert())
        .flag("--key", server.key())
        .start();
    let (admin, port) = (
        gate.admin(),
        gate.admin().rsplit_once(':').expect("a port").1,
    );
    for host in [
        admin,
        "127.0.0.1",
        "10.0.0.7:54901",
        "[::1]:54900",
        "localhost",
        &format!("LOCALHOST.:{port}"),
        "portcullis.internal",
        &format!("Portcullis.Internal.:{port}"),
        "node-1.gates.test:54901",
    ] {
        assert_eq!(get(admin, host).status, 200, "{host}");
    }
    for host in [
        "evil.test",
        &format!("evil.test:{port}"),
        "",
        "gates.test",
        "a.b.gates.test",
        "portcullis.internal.evil.test",
        "127.0.0.1.evil.test",
        "localhost@evil.test",
        "\u{e4}.test",
    ] {
        let answer = get(admin, host);
        assert_eq!(answer.status, 421, "{host}: {answer:?}");
        assert!(answer.body.contains("DNS SAN"), "{answer:?}");
        assert!(
            !answer.body.contains('['),
            "nothing of the sessions: {answer:?}"
        );
    }
    for path in ["/livez", "/readyz", "/metrics", "/status", "/unknown"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n");
        assert_eq!(status(admin, &request), 421, "{path}");
    }
    let post = "POST /status HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(status(admin, post), 421);
}

#[test]
fn a_host_in_the_target_counts_too_and_one_that_is_missing_is_told() {
    let (_target, gate) = started();
    let admin = gate.admin();
    for (request, expected) in [
        ("GET /livez HTTP/1.0\r\n\r\n", 200),
        ("GET /livez HTTP/1.0\r\nHost: evil.test\r\n\r\n", 421),
        ("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (
            "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
            400,
        ),
        (
            "GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            200,
        ),
        (
            "GET http://evil.test/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            421,
        ),
        (
            "GET http://127.0.0.1/livez HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
            421,
        ),
    ] {
        assert_eq!(status(admin, request), expected, "{request:?}");
    }
}

#[test]
fn over_a_unix_socket_any_host_will_do() {
    let (folder, target) = (temporary_folder(), target::echo());
    let address = format!("unix:{}", folder.path().join("admin").display());
    let gate = Setup::open_to(&Pki::shared(), &target)
        .flag("--admin", &address)
        .start();
    for host in ["whatever", "evil.test", ""] {
        assert_eq!(get(gate.admin(), host).status, 200, "{host}");
    }
    let nameless = "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(status(gate.admin(), nameless), 200);
}
