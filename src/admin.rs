//! The admin listener: plain HTTP on loopback or a Unix socket, GET and HEAD only. Reads, and never changes anything.

mod accept;
mod host;
mod listener;
mod status;
mod verdict;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use self::listener::Connection;
pub(crate) use self::listener::Listener;
use crate::config::{Config, Limits};
use crate::follow::exposed::Exposed;
use crate::follow::reload::LastReload;
use crate::gate::Sessions;
use crate::identity::{printable, rfc3339};
use crate::lifecycle::{Lifecycle, Phase};
use crate::places::Places;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{OPENMETRICS, PROMETHEUS_TEXT};
use crate::trust::Generation;

/// How long a client may take for a request, or stay between two: longer than the usual scrape interval.
const REQUEST: Duration = Duration::from_secs(75);

const JSON: &str = "application/json";

/// Where callers come from. All are of this host, whatever loopback address they like to use.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the admin listener shows.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) config: Arc<Config>,
    pub(crate) generations: watch::Receiver<Arc<Generation>>,
    pub(crate) last_reload: LastReload,
    pub(crate) exposed: Exposed,
    /// As low as the descriptors want them.
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) listening: Vec<std::net::SocketAddr>,
    /// Connections at once; over it the oldest is closed, so that silent ones keep no probe out.
    pub(crate) connections: NonZeroU32,
}

/// Answers until the gate has stopped: also while it drains, so that a probe can see that it does.
pub(crate) async fn serve(admin: Arc<Admin>, listener: Listener) -> std::io::Result<()> {
    let listener = listener.start()?;
    let places = Places::new(admin.connections);
    let connections = TaskTracker::new();
    let can_be_rebound = listener.is_tcp();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok(socket) => {
                    let admin = Arc::clone(&admin);
                    places.settled().await;
                    let mut place = places.take(HERE);
                    connections.spawn(async move {
                        tokio::select! {
                            () = place.gives_way() => {}
                            () = connection(admin, can_be_rebound, socket) => {}
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

async fn connection(admin: Arc<Admin>, can_be_rebound: bool, socket: Box<dyn Connection>) {
    let answer = service_fn(move |request| {
        let misdirected = can_be_rebound
            .then(|| admin.misdirected(&request))
            .flatten();
        let response = misdirected.unwrap_or_else(|| admin.answer(&request));
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
    /// The refusal of a request that was meant for somebody else, or does not say for whom (RFC 9112 section 3.2).
    fn misdirected(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let fields: Vec<&str> = texts(request, HOST).collect();
        if fields.len() > 1 || (fields.is_empty() && request.version() >= Version::HTTP_11) {
            let why = "a request has one Host field\n".to_owned();
            return Some(text(StatusCode::BAD_REQUEST, why));
        }
        // Whoever writes the whole URL names a host there, too.
        let target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let generation = Arc::clone(&self.generations.borrow());
        let is_name = |name: &str| generation.is_named(name);
        let mut named = fields.into_iter().chain(target);
        let strange = named.find(|host| !host::is_ours(host, is_name))?;
        let why = format!(
            "421: the request is for {:?}, and this gate is asked for by IP address, as localhost, or by a name that is \
             in its certificate as a DNS SAN\n",
            printable(strange)
        );
        Some(text(StatusCode::MISDIRECTED_REQUEST, why))
    }

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
            "/readyz" => readiness(&self.not_ready()),
            "/metrics" => self.metrics(request),
            "/status" => body(StatusCode::OK, JSON, self.status()),
            _ => json_body(StatusCode::OK, &self.session_list()),
        }
    }

    /// Why new connections should not come here; empty if they should.
    fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.lifecycle.phase() {
            Phase::Starting => reasons.push("starting: not listening yet".to_owned()),
            Phase::Serving => {}
            Phase::Draining | Phase::Forced | Phase::Stopped => reasons.push("draining".to_owned()),
        }
        let not_after = self.generations.borrow().server.validity.not_after;
        if not_after < UnixTime::now() {
            reasons.push(format!(
                "the certificate expired at {}; clients now refuse this gate",
                rfc3339(not_after)
            ));
        }
        reasons
    }

    fn metrics(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accepted: Vec<&str> = texts(request, ACCEPT).collect();
        if accept::prefers_openmetrics(accepted.iter().copied()) {
            body(StatusCode::OK, OPENMETRICS, self.metrics.open_metrics())
        } else {
            body(
                StatusCode::OK,
                PROMETHEUS_TEXT,
                self.metrics.prometheus_text(),
            )
        }
    }
}

/// The values of a field that are text. What is none names nobody and asks for nothing that is to be had.
fn texts(request: &Request<Incoming>, field: HeaderName) -> impl Iterator<Item = &str> {
    let values = request.headers().get_all(field).into_iter();
    values.map(|value| value.to_str().unwrap_or_default())
}

fn readiness(not_ready: &[String]) -> Response<Full<Bytes>> {
    let status = match not_ready {
        [] => StatusCode::OK,
        [..] => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_body(status, &json!(not_ready))
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    body(status, "text/plain; charset=utf-8", text)
}

fn json_body(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    body(status, JSON, format!("{value:#}\n"))
}

fn body(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
