//! The admin listener: plain HTTP on loopback or a Unix socket, GET and HEAD only. Reads, and never changes anything.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::follow::reload::LastReload;
use crate::gate::Sessions;
use crate::identity::rfc3339;
use crate::lifecycle::{Lifecycle, Phase};
use crate::places::Places;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{OPENMETRICS, PROMETHEUS_TEXT};
use crate::trust::{CrlFacts, Facts, Generation};

/// Connections at once; over it the oldest is closed, so that silent ones keep no probe out.
const CONNECTIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);
/// How long a client may take for a request, or stay between two: longer than the usual scrape interval.
const REQUEST: Duration = Duration::from_secs(75);

/// What the admin listener shows.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) config: Arc<Config>,
    pub(crate) generations: watch::Receiver<Arc<Generation>>,
    pub(crate) last_reload: LastReload,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) listening: Vec<std::net::SocketAddr>,
}

/// A bound admin listener, not yet with any runtime.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The same within the runtime that serves it.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn start(self) -> std::io::Result<Accepting> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener).map(Accepting::Tcp),
            Self::Unix(listener) => UnixListener::from_std(listener).map(Accepting::Unix),
        }
    }
}

impl Accepting {
    async fn accept(&self) -> std::io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .await
                .map(|(socket, _)| Box::new(socket) as Box<dyn Connection>),
            Self::Unix(listener) => listener
                .accept()
                .await
                .map(|(socket, _)| Box::new(socket) as Box<dyn Connection>),
        }
    }
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Answers until the gate has stopped: also while it drains, so that a probe can see that it does.
pub(crate) async fn serve(admin: Arc<Admin>, listener: Listener) -> std::io::Result<()> {
    let listener = listener.start()?;
    let places = Places::new(CONNECTIONS);
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok(socket) => {
                    let admin = Arc::clone(&admin);
                    let mut place = places.take();
                    connections.spawn(async move {
                        tokio::select! {
                            () = place.gives_way() => {}
                            () = connection(admin, socket) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(event = "accept_failed", %error, "the admin listener pauses");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::select! {
        () = admin.lifecycle.reached(Phase::Stopped) => {}
        () = accepting => {}
    }
    Ok(())
}

async fn connection(admin: Arc<Admin>, socket: Box<dyn Connection>) {
    let answer = service_fn(move |request| {
        let response = admin.answer(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .serve_connection(TokioIo::new(socket), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(event = "admin_connection_failed", %error);
    }
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let known = ["/livez", "/readyz", "/metrics", "/status", "/sessions"];
        let path = request.uri().path();
        if !known.contains(&path) {
            return text(
                StatusCode::NOT_FOUND,
                format!("not found; there is {}\n", known.join(", ")),
            );
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD\n".to_owned(),
            );
            refused
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(request),
            "/status" => json_body(StatusCode::OK, &self.status()),
            _ => json_body(StatusCode::OK, &self.session_list()),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let mut reasons = Vec::new();
        match self.lifecycle.phase() {
            Phase::Starting => reasons.push("starting: not listening yet".to_owned()),
            Phase::Serving => {}
            Phase::Draining | Phase::Forced | Phase::Stopped => reasons.push("draining".to_owned()),
        }
        let not_after = self.generations.borrow().server.validity.not_after;
        if not_after < UnixTime::now() {
            reasons.push(format!(
                "the served certificate expired at {}",
                rfc3339(not_after)
            ));
        }
        let status = if reasons.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        json_body(status, &json!(reasons))
    }

    fn metrics(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accepted = request.headers().get_all(ACCEPT);
        let open_metrics = accepted
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("application/openmetrics-text"));
        if open_metrics {
            body(StatusCode::OK, OPENMETRICS, self.metrics.open_metrics())
        } else {
            body(
                StatusCode::OK,
                PROMETHEUS_TEXT,
                self.metrics.prometheus_text(),
            )
        }
    }

    fn status(&self) -> Value {
        let generation = Arc::clone(&self.generations.borrow());
        let failure = self
            .last_reload
            .failure()
            .map(|failure| json!({ "since": time(failure.since), "reason": failure.reason }));
        let routes = self.config.routes.iter().zip(&self.listening).enumerate().map(|(index, (route, listening))| {
                let trust = generation.route(index);
            json!({
                "name": &*route.name,
                "listen": listening.to_string(),
                "target": route.target.to_string(),
                "allow": trust.map(|trust| trust.allow.to_strings()),
                "allow_from": trust.map(|trust| trust.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>()),
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": format!("{:?}", self.lifecycle.phase()).to_lowercase(),
            "generation": generation.number,
            "since": time(generation.since),
            "last_failure": failure,
            "routes": routes.collect::<Vec<_>>(),
            "certificate": facts(&generation.server),
            "client_ca": generation.client_cas.iter().map(|ca| facts(&ca.facts)).collect::<Vec<_>>(),
            "client_crl": generation.crls.iter().map(crl_facts).collect::<Vec<_>>(),
            "unsafe_settings": self.config.unsafe_settings(),
        })
    }

    fn session_list(&self) -> Value {
        let sessions = self.sessions.snapshot();
        let sessions = sessions.iter().map(|session| {
            let (to_target, from_target) = session.traffic.totals();
            json!({
                "route": &*session.route,
                "source": session.source.to_string(),
                "names": session.client.display_names(),
                "serial": session.client.serial(),
                "rule": session.admission.to_string(),
                "tls_version": session.tls_version,
                "since": time(session.since),
                "bytes_to_target": to_target,
                "bytes_from_target": from_target,
            })
        });
        Value::Array(sessions.collect())
    }
}

fn facts(facts: &Facts) -> Value {
    json!({
        "subject": facts.subject,
        "names": facts.names,
        "serial": facts.serial,
        "not_before": rfc3339(facts.validity.not_before),
        "not_after": rfc3339(facts.validity.not_after),
        "file": facts.path.display().to_string(),
    })
}

fn crl_facts(facts: &CrlFacts) -> Value {
    json!({
        "issuer": facts.issuer,
        "entries": facts.entries,
        "this_update": rfc3339(facts.life.not_before),
        "next_update": rfc3339(facts.life.not_after),
        "file": facts.path.display().to_string(),
    })
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text)
}

fn json_body(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    body(status, "application/json", format!("{value:#}\n"))
}

fn body(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
