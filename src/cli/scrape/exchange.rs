//! One GET over mTLS: a request in, an answer whose body streams or a [`Refusal`] out.
//!
//! Its own file because `demo` and the tests ask here without a command line. Spawns nothing: whoever waits for a part
//! of the answer drives the connection meanwhile.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::last_words::LastWords;
use super::refusal::Cause;
use super::{Credentials, Refusal, Step, Url};
use crate::identity::Client;

/// What Prometheus sends, text formats only.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
/// No scrape takes longer, whatever it is allowed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What to ask whom as whom.
#[derive(Clone)]
pub struct Request {
    /// Where and what.
    pub url: Url,
    /// Whom to trust and who to be.
    pub credentials: Credentials,
    /// The name to expect in the server's certificate, if not the URL's host.
    pub server_name: Option<ServerName<'static>>,
    /// Bounds the whole scrape, its body included.
    pub timeout: Duration,
}

/// What the handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// As `TLSv1_3`.
    pub version: String,
    /// As `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The key exchange, as `X25519MLKEM768`.
    pub group: String,
    /// The names in the server's certificate, bounded and escaped.
    pub server_names: Vec<String>,
}

/// An answer, of whatever status; its body is still to be read. Dropping it early cuts the connection.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// What the body is, if the server says so.
    pub content_type: Option<HeaderValue>,
    /// What the handshake agreed on.
    pub tls: TlsFacts,
    exchange: Exchange,
    /// `None` after its last byte.
    body: Option<Incoming>,
}

type Connection = http1::Connection<TokioIo<LastWords<TlsStream<TcpStream>>>, Empty<Bytes>>;

/// The connection and how long it may take.
struct Exchange {
    /// `None` once it ended.
    connection: Option<Pin<Box<Connection>>>,
    /// What it ended with, if nobody was told.
    error: Option<hyper::Error>,
    deadline: Deadline,
}

/// A moment, and the time to it that was allowed.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    allowed: Duration,
}

/// Connects, shakes hands, asks and reads up to the head of the answer, whatever its status.
///
/// # Errors
/// With the step that failed and why; see [`Response::refusal`] for answers that are none.
pub async fn get(request: &Request) -> Result<Response, Refusal> {
    let deadline = Deadline {
        at: Instant::now() + request.timeout.min(LONGEST),
        allowed: request.timeout,
    };
    let socket = deadline
        .bound(Step::Connecting, connect(&request.url))
        .await?;
    let name = request.server_name.as_ref();
    let name = name.unwrap_or(request.url.server_name()).clone();
    let handshake = TlsConnector::from(request.credentials.config()).connect(name, socket);
    let stream = deadline
        .bound(Step::Handshake, async {
            // What ends here ends without a notice: there is no TLS to give one in.
            handshake.await.map_err(|error| Cause::of(&error))
        })
        .await?;
    let tls = TlsFacts::of(&stream);
    match ask(request, stream, deadline).await {
        Ok((exchange, answer)) => {
            let (head, body) = answer.into_parts();
            Ok(Response {
                status: head.status.as_u16(),
                content_type: head.headers.get(CONTENT_TYPE).cloned(),
                tls,
                exchange,
                body: Some(body),
            })
        }
        Err(refusal) => Err(refusal.after(tls)),
    }
}

async fn connect(url: &Url) -> Result<TcpStream, Cause> {
    let addresses = lookup_host((url.host(), url.port()))
        .await
        .map_err(Cause::Unresolved)?;
    let mut failure = Cause::Unresolved(io::Error::from(io::ErrorKind::NotFound));
    for address in addresses {
        match TcpStream::connect(address).await {
            // A port in the ephemeral range with nobody listening can be given to this very socket, which then talks
            // to itself.
            Ok(socket) if socket.local_addr().ok() == Some(address) => failure = Cause::Refused,
            Ok(socket) => {
                // In TLS 1.3 the request follows the client's last flight at once: with Nagle's algorithm it would wait
                // for the server's delayed ACK, some 40 ms, which Prometheus does not.
                socket.set_nodelay(true).map_err(Cause::Io)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failure = Cause::Refused;
            }
            Err(error) => failure = Cause::Unreachable(error),
        }
    }
    Err(failure)
}

async fn ask(
    request: &Request,
    stream: TlsStream<TcpStream>,
    deadline: Deadline,
) -> Result<(Exchange, hyper::Response<Incoming>), Refusal> {
    let refused = |cause| Refusal::new(Step::FirstRead, &cause);
    let question = hyper::Request::builder()
        .method(Method::GET)
        .uri(request.url.path())
        .header(HOST, request.url.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, ACCEPTED)
        .body(Empty::new())
        .map_err(|error| refused(Cause::NotHttp(error.to_string())))?;
    let io = TokioIo::new(LastWords::new(stream));
    let (mut sender, connection) = http1::handshake(io)
        .await
        .map_err(|error| refused(Cause::of(&error)))?;
    let mut exchange = Exchange {
        connection: Some(Box::pin(connection)),
        error: None,
        deadline,
    };
    let answer = exchange
        .drive(Step::FirstRead, sender.send_request(question))
        .await?;
    // Dropping the sender here says that there is no second request, so the connection closes after the body.
    Ok((exchange, answer))
}

impl Response {
    /// Why this answer is no success, if it is none.
    pub fn refusal(&self) -> Option<Refusal> {
        let success = (200..300).contains(&self.status);
        (!success).then(|| Refusal::new(Step::Status, &Cause::Status(self.status)))
    }

    /// The next bytes of the body, or `None` after the last.
    ///
    /// # Errors
    /// If the connection ends before the body does: what came before is not the whole answer.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        while let Some(body) = &mut self.body {
            let frame = async { body.frame().await.transpose() };
            match self.exchange.drive(Step::Body, frame).await? {
                Some(frame) => {
                    // Trailers say nothing that a scrape wants.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                None => {
                    self.body = None;
                    self.exchange.close().await;
                }
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Response::chunk`], and if it is longer than `limit`.
    pub async fn body(mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if whole.len().saturating_add(bytes.len()) > limit {
                return Err(Refusal::new(Step::Body, &Cause::TooLong(limit)));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

impl Exchange {
    /// Waits for a part of the answer while the connection does its work.
    async fn drive<T>(
        &mut self,
        step: Step,
        wanted: impl Future<Output = Result<T, hyper::Error>>,
    ) -> Result<T, Refusal> {
        let deadline = self.deadline;
        deadline
            .bound(step, async {
                self.drive_unbounded(wanted)
                    .await
                    .map_err(|error| Cause::of(&error))
            })
            .await
    }

    async fn drive_unbounded<T>(
        &mut self,
        wanted: impl Future<Output = Result<T, hyper::Error>>,
    ) -> Result<T, hyper::Error> {
        let mut wanted = pin!(wanted);
        if let Some(connection) = &mut self.connection {
            tokio::select! {
                biased;
                done = &mut wanted => return done,
                ended = connection => self.error = ended.err(),
            }
            self.connection = None;
        }
        let done = wanted.await;
        match (done, self.error.take()) {
            // The waiting side hears that there is no connection; the connection itself knows why.
            (Err(error), Some(cause)) if error.is_canceled() || error.is_closed() => Err(cause),
            (done, _) => done,
        }
    }

    /// Says goodbye (close_notify), so that the other side does not take this for a connection that was cut. The answer
    /// is complete: how that ends changes nothing.
    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            timeout_at(self.deadline.at, connection).await.ok();
        }
    }
}

impl Deadline {
    async fn bound<T>(
        self,
        step: Step,
        work: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, Refusal> {
        match timeout_at(self.at, work).await {
            Ok(done) => done.map_err(|cause| Refusal::new(step, &cause)),
            Err(_) => Err(Refusal::new(step, &Cause::TimedOut(self.allowed))),
        }
    }
}

impl TlsFacts {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, session) = stream.get_ref();
        let unknown = || "unknown".to_owned();
        let server = session.peer_certificates().and_then(<[_]>::first);
        Self {
            version: session
                .protocol_version()
                .map_or_else(unknown, |version| format!("{version:?}")),
            cipher: session
                .negotiated_cipher_suite()
                .map_or_else(unknown, |cipher| format!("{:?}", cipher.suite())),
            group: session
                .negotiated_key_exchange_group()
                .map_or_else(unknown, |group| format!("{:?}", group.name())),
            server_names: server
                .and_then(|certificate| Client::from_der(certificate).ok())
                .map_or_else(Vec::new, |server| server.display_names()),
        }
    }
}
