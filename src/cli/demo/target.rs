//! A sample of what the gate is for: a metrics endpoint on loopback, plain HTTP, open to whoever reaches it.
//!
//! A listener in, answers out, and every number in them is counted here. Its own file because it is the one part of the
//! demo that is no gate and no client. Knows nothing of either.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// The pages there are.
pub(super) const PAGES: [&str; 2] = ["/metricz", "/metrics"];
/// Connections at once; more wait in the kernel's backlog.
const CONNECTIONS: usize = 32;
/// How long a client may take for a request, or stay between two.
const REQUEST: Duration = Duration::from_secs(75);
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// What the endpoint has counted.
#[derive(Debug)]
pub(super) struct Target {
    started: Instant,
    connections: AtomicU64,
    /// Answers by page, in the order of [`PAGES`], and then all that were no page.
    answers: [AtomicU64; PAGES.len() + 1],
}

impl Target {
    /// One that has counted nothing.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            connections: AtomicU64::new(0),
            answers: Default::default(),
        }
    }

    /// Connections accepted so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let open = TaskTracker::new();
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            self.connections.fetch_add(1, Ordering::SeqCst);
            // An answer in two parts would wait for the client's delayed ACK; without it, it is only slower.
            socket.set_nodelay(true).ok();
            let target = Arc::clone(&self);
            open.spawn(async move {
                let answer = service_fn(|request| {
                    let answer = target.answer(&request);
                    async { Ok::<_, Infallible>(answer) }
                });
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST)
                    .serve_connection(TokioIo::new(socket), answer)
                    .await
                    // A client that went away is no matter here.
                    .ok();
                drop(place);
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let page = PAGES.iter().position(|page| *page == path);
        if let Some(counter) = self.answers.get(page.unwrap_or(PAGES.len())) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let (status, text) = match (page, request.method()) {
            (None, _) => {
                let pages = PAGES.join(" and ");
                (StatusCode::NOT_FOUND, format!("there is {pages}\n"))
            }
            (Some(_), &Method::GET | &Method::HEAD) => (StatusCode::OK, self.page()),
            (Some(_), _) => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROMETHEUS_TEXT);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    /// The metrics as Prometheus reads them, this answer included.
    fn page(&self) -> String {
        let mut page = "\
# HELP metadata_server_requests_total Requests answered, by path.
# TYPE metadata_server_requests_total counter
"
        .to_owned();
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(page, "{line}").expect("writing to a String cannot fail");
        };
        for (path, count) in PAGES.iter().chain(&["other"]).zip(&self.answers) {
            let count = count.load(Ordering::SeqCst);
            line(format_args!(
                "metadata_server_requests_total{{path=\"{path}\"}} {count}"
            ));
        }
        let (connections, uptime) = (self.connections(), self.started.elapsed().as_secs_f64());
        line(format_args!(
            "\
# HELP metadata_server_connections_total Connections accepted.
# TYPE metadata_server_connections_total counter
metadata_server_connections_total {connections}
# HELP metadata_server_uptime_seconds Time since the start.
# TYPE metadata_server_uptime_seconds gauge
metadata_server_uptime_seconds {uptime:.3}"
        ));
        page
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(listener: std::net::SocketAddr, request: &str) -> String {
        let mut socket = TcpStream::connect(listener).await.expect("it listens");
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        socket
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        answer
    }

    #[tokio::test]
    async fn what_it_shows_is_what_it_counted() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let target = Arc::new(Target::new());
        let tasks = TaskTracker::new();
        let serving = tasks.spawn(Arc::clone(&target).serve(listener));
        for (request, status) in [
            ("GET /metrics", "200 OK"),
            ("GET /metricz", "200 OK"),
            ("GET /", "404 Not Found"),
            ("POST /metricz", "405 Method Not Allowed"),
        ] {
            let answer = ask(address, request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
        }
        let page = ask(address, "GET /metricz?whatever").await;
        for line in [
            "metadata_server_requests_total{path=\"/metricz\"} 3\n",
            "metadata_server_requests_total{path=\"/metrics\"} 1\n",
            "metadata_server_requests_total{path=\"other\"} 1\n",
            "metadata_server_connections_total 5\n",
        ] {
            assert!(page.contains(line), "{line} is missing in:\n{page}");
        }
        assert_eq!(target.connections(), 5);
        serving.abort();
    }
}
