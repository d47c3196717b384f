//! What operators ask: alive, ready, metrics, status, sessions. Read-only, plain HTTP, on loopback.

mod host;
mod unix;
mod verdict;

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::gate::{Gate, Setup};
use crate::support::http::{self, Metrics};
use crate::support::peers::{Input, run};
use crate::support::pki::{Pki, server_params, temporary_folder};
use crate::support::{eventually, raise_descriptor_limit, target};

fn started() -> (target::Target<target::Ended>, Gate) {
    let target = target::echo();
    let gate = Setup::open_to(&Pki::shared(), &target).start();
    (target, gate)
}

#[test]
fn a_serving_gate_is_alive_and_ready() {
    let (_target, gate) = started();
    assert_eq!(gate.get("/livez").status, 200);
    eventually("ready", || {
        (gate.get("/readyz").status == 200).then_some(())
    });
}

#[test]
fn a_gate_that_is_not_ready_says_why_in_json() {
    let (_target, gate) = started();
    let mut client = Pki::shared().client("last").connect(gate.address());
    client.prove_admitted();
    gate.signal(Signal::TERM);
    let answer = eventually("not ready", || {
        Some(gate.get("/readyz")).filter(|answer| answer.status == 503)
    });
    let reasons: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(reasons.to_string().contains("draining"), "{reasons}");
    assert!(reasons.to_string().contains('['), "a list: {reasons}");
    assert_eq!(gate.get("/livez").status, 200);
}

#[test]
fn only_get_and_head_are_answered_and_only_known_paths() {
    let (_target, gate) = started();
    for path in ["/livez", "/readyz", "/metrics", "/status", "/sessions"] {
        let got = http::request(gate.admin(), "GET", path, &[]);
        assert_eq!(got.status, 200, "{path}");
        let headers = http::request(gate.admin(), "HEAD", path, &[]);
        assert_eq!((headers.status, headers.body.as_str()), (200, ""), "{path}");
        assert_eq!(
            headers.header("content-type"),
            got.header("content-type"),
            "{path}"
        );
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let refused = http::request(gate.admin(), method, path, &["Content-Length: 0"]);
            assert_eq!(refused.status, 405, "{method} {path}");
            assert_eq!(
                refused.header("allow"),
                Some("GET, HEAD"),
                "{method} {path}"
            );
        }
    }
    for path in [
        "/",
        "/metrics/",
        "/quitquitquit",
        "/livez/..",
        "/debug/pprof",
    ] {
        assert_eq!(gate.get(path).status, 404, "{path}");
    }
    assert_eq!(
        gate.get("/livez?verbose").status,
        200,
        "a query changes nothing"
    );
}

#[test]
fn the_admin_listener_survives_nonsense() {
    let (_target, gate) = started();
    for nonsense in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01",
    ] {
        http::babble(gate.admin(), nonsense);
    }
    let huge = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    http::babble(gate.admin(), huge.as_bytes());
    assert_eq!(gate.get("/livez").status, 200);
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (_target, gate) = started();
    let pki = Pki::shared();
    pki.client("one").connect(gate.address()).prove_admitted();
    gate.records(1);
    let metrics = gate.get("/metrics");
    assert!(
        metrics
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{metrics:?}"
    );
    let mut promtool = Command::new("promtool");
    let done = run(
        promtool.args(["check", "metrics"]),
        &Input::All(metrics.body.as_bytes()),
    );
    assert_eq!(
        (done.code, done.text().trim()),
        (0, ""),
        "{done:?}\n{}",
        metrics.body
    );
}

#[test]
fn metrics_come_as_openmetrics_to_who_accepts_it() {
    let (_target, gate) = started();
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let open = http::request(gate.admin(), "GET", "/metrics", &[accept]);
    let kind = open.header("content-type").expect("a type");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    for accept in [
        "Accept: text/plain",
        "Accept: application/openmetrics-text;q=0",
        "Accept: application/openmetrics-text;q=0.1\r\nAccept: text/plain",
        "Accept: \"",
    ] {
        let text = http::request(gate.admin(), "GET", "/metrics", &[accept]);
        let kind = text.header("content-type").expect("a type");
        assert!(kind.starts_with("text/plain"), "{accept}: {kind}");
        assert!(!text.body.contains("# EOF"), "{}", text.body);
    }
}

#[test]
fn every_metric_of_the_documentation_is_there() {
    let (_target, gate) = started();
    let mut client = Pki::shared().client("metrics").connect(gate.address());
    client.send(b"four");
    client.receive(4);
    client.finish();
    client.ending();
    gate.records(1);
    let metrics =
        gate.wait_for_metrics("the connection is counted", |m| m.closed("relayed") == 1.0);
    let route = &[("route", "default")];
    assert!(metrics.has("portcullis_build_info", &[]));
    assert_eq!(
        metrics.value("portcullis_connections_accepted_total", route),
        1.0
    );
    assert!(metrics.has("portcullis_connections_open", route));
    let outcome = &[("route", "default"), ("outcome", "relayed")];
    assert_eq!(
        metrics.value("portcullis_connections_closed_total", outcome),
        1.0
    );
    for histogram in [
        "portcullis_handshake_duration_seconds",
        "portcullis_target_connect_duration_seconds",
        "portcullis_connection_duration_seconds",
    ] {
        assert_eq!(
            metrics.value(&format!("{histogram}_count"), route),
            1.0,
            "{histogram}"
        );
        assert!(metrics.has(
            &format!("{histogram}_bucket"),
            &[("route", "default"), ("le", "+Inf")]
        ));
    }
    for direction in ["to_target", "from_target"] {
        let labels = &[("route", "default"), ("direction", direction)];
        assert_eq!(
            metrics.value("portcullis_bytes_total", labels),
            4.0,
            "{direction}"
        );
    }
    assert_eq!(metrics.value("portcullis_generation", &[]), 1.0);
    let year = 365.0 * 86_400.0;
    for role in ["server", "client_ca"] {
        let expiry = metrics.value(
            "portcullis_certificate_not_after_timestamp_seconds",
            &[("role", role)],
        );
        assert!(
            expiry > 50.0 * year && expiry < 200.0 * year,
            "{role}: {expiry}"
        );
    }
    for name in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(
            metrics.value(name, &[]) > 0.0 || name == "process_cpu_seconds_total",
            "{name}"
        );
        assert!(metrics.has(name, &[]), "{name}");
    }
}

#[test]
fn every_outcome_is_a_series_from_the_start() {
    let (_target, gate) = started();
    let metrics = gate.metrics();
    for outcome in [
        "relayed",
        "source_denied",
        "over_limit",
        "handshake_failed",
        "handshake_timeout",
        "not_admitted",
        "target_unreachable",
        "idle_timeout",
        "session_limit",
        "evicted",
        "drained",
        "io_error",
    ] {
        let labels = &[("route", "default"), ("outcome", outcome)];
        assert!(
            metrics.has("portcullis_connections_closed_total", labels),
            "{outcome}"
        );
    }
}

#[test]
fn no_label_takes_a_value_from_a_client() {
    let (_target, gate) = started();
    let pki = Pki::shared();
    let source = {
        let mut client = pki.client("labelled").connect(gate.address());
        client.prove_admitted();
        client.source().to_string()
    };
    gate.records(1);
    let text = gate.get("/metrics").body;
    assert!(
        !text.contains("labelled") && !text.contains(&source),
        "{text}"
    );
    let metrics = Metrics::parse(&text);
    assert!(
        metrics
            .label_values("route")
            .iter()
            .all(|route| *route == "default")
    );
}

#[test]
fn status_says_what_the_gate_is_doing() {
    let (target, gate) = started();
    let status: Value = serde_json::from_str(&gate.get("/status").body).expect("JSON");
    let text = status.to_string();
    for fact in [
        env!("CARGO_PKG_VERSION"),
        "generation",
        "default",
        &gate.address().to_string(),
        &target.flag(),
        "portcullis.internal",
        "not_after",
    ] {
        assert!(text.contains(fact), "{fact} in {status:#}");
    }
    assert!(text.contains("any"), "a weakened gate says so: {status:#}");
    assert!(!text.contains("PRIVATE"), "{status:#}");
}

#[test]
fn sessions_shows_who_is_connected_now() {
    let (_target, gate) = started();
    let pki = Pki::shared();
    let mut client = pki.client("present").connect(gate.address());
    client.prove_admitted();
    let sessions = eventually("a session", || {
        let sessions: Value = serde_json::from_str(&gate.get("/sessions").body).expect("JSON");
        let text = sessions.to_string();
        text.contains("present.test").then_some(text)
    });
    for fact in ["default", &client.source().to_string(), "since", "bytes"] {
        assert!(sessions.contains(fact), "{fact} in {sessions}");
    }
    client.finish();
    client.ending();
    eventually("nobody is left", || {
        let sessions = gate.get("/sessions").body;
        (!sessions.contains("present.test")).then_some(())
    });
}

#[test]
fn the_admin_listener_can_be_off() {
    let target = target::echo();
    let pki = Pki::shared();
    let gate = Setup::open_to(&pki, &target)
        .flag("--admin", "off")
        .without_admin()
        .start();
    pki.client("one").connect(gate.address()).prove_admitted();
    gate.records(1);
    assert!(!gate.log.text().contains("admin_listening"));
}

#[test]
fn the_gate_can_be_the_way_to_its_own_metrics() {
    let pki = Pki::shared();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = admin.local_addr().expect("it is bound").to_string();
    drop(admin);
    let gate = Setup::to(&pki, &address)
        .flag("--admin", &address)
        .switch("--allow-any-client")
        .flag("--bind-timeout", "60s")
        .start();
    let client = pki.client("curl");
    let mut curl = crate::support::peers::curl(gate.address(), "/metrics", &client);
    let done = run(&mut curl, &Input::All(b""));
    assert!(done.stdout.contains("portcullis_build_info"), "{done:?}");
}

#[test]
fn a_server_certificate_that_expires_while_serving_makes_the_gate_not_ready_and_no_more() {
    let pki = Pki::shared();
    let target = target::echo();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut params = server_params();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1)
        + now.expect("it is past 1970")
        + std::time::Duration::from_secs(4);
    let server = pki.forge(&params);
    let gate = Setup::open_to(&pki, &target)
        .flag("--cert", server.cert())
        .flag("--key", server.key())
        .start();
    let mut client = pki.client("early").connect(gate.address());
    client.prove_admitted();
    let answer = eventually("not ready", || {
        Some(gate.get("/readyz"))
            .filter(|answer| answer.status == 503 && answer.body.contains("expired"))
    });
    assert!(answer.body.contains('['), "{answer:?}");
    assert_eq!(gate.get("/livez").status, 200);
    let status = gate.get("/status").body;
    assert!(status.contains("\"phase\": \"not_ready\""), "{status}");
    assert!(!status.contains("\"serving\""), "{status}");
    assert!(
        status.contains("\"verdict\": \"not ready: the certificate expired at "),
        "{status}"
    );
    client.prove_admitted();
}

#[test]
fn silent_connections_to_the_admin_listener_lock_no_probe_out_for_long() {
    raise_descriptor_limit();
    let (_target, gate) = started();
    let silent: Vec<_> = (0..300)
        .map(|_| std::net::TcpStream::connect(gate.admin()).expect("it accepts"))
        .collect();
    assert_eq!(gate.get("/livez").status, 200);
    Pki::shared()
        .client("unhindered")
        .connect(gate.address())
        .prove_admitted();
    drop(silent);
}
