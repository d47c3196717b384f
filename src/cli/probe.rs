//! `portcullis probe`: one question to the admin listener, answered by the exit code.
//!
//! For exec probes in an image without a shell. Speaks plain HTTP over loopback or a Unix socket, trusts nothing in the
//! answer but its status, and never takes longer than [`PATIENCE`].

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Failure;
use crate::config::{Admin, AdminFlag, Problem, Problems};

/// For everything: connecting, asking, reading the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a running gate whether it is live or ready
///
/// Sends one GET to the admin listener, /livez or /readyz, and waits 2s at most. If the answer is no, or there is none,
/// the reason goes to standard error. Made for exec probes in an image that has no shell.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  livenessProbe:
    exec:
      command: [portcullis, probe, --live]

Exit codes:
  0  yes
  1  no, or no answer
  2  the command line is unusable, or the admin listener is off")]
pub struct Probe {
    /// Asks whether the process serves (the default)
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Asks whether new connections should come here
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    admin: AdminFlag,
}

impl Probe {
    /// Asks; an error says why the answer is not yes.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let written = self.admin.0;
        let admin = Admin::parse(written.clone()).map_err(|problem| Problems(vec![problem]))?;
        let question = if self.ready {
            Question::Ready
        } else {
            Question::Live
        };
        let reach = async {
            match &admin {
                Admin::Tcp(address) => {
                    let stream = TcpStream::connect(address.value).await;
                    ask(stream.map_err(Error::Unreachable)?, question).await
                }
                Admin::Unix(path) => {
                    let stream = UnixStream::connect(&path.value).await;
                    ask(stream.map_err(Error::Unreachable)?, question).await
                }
                Admin::Off => Err(Error::Off),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no event loop")
            .map_err(Failure::Running)?;
        let answer = runtime.block_on(async { timeout(PATIENCE, reach).await });
        match answer.unwrap_or(Err(Error::Silent)) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(Error::Off) => Err(Failure::Problems(Problems(vec![Problem {
                place: written.place,
                value: Some(written.value),
                what: Error::Off.to_string(),
            }]))),
            Err(error) => {
                let asked = format!("probe of {} at {}", question.path(), written.value);
                Err(Failure::Running(anyhow::Error::new(error).context(asked)))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Question {
    Live,
    Ready,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        }
    }
}

/// Why the answer is not yes.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no admin listener to ask; give the address of one to gate and probe alike")]
    Off,
    #[error("nobody listens there")]
    Unreachable(#[source] std::io::Error),
    #[error("no answer within {}", humantime::format_duration(PATIENCE))]
    Silent,
    #[error("no HTTP answer")]
    NotHttp(#[source] hyper::Error),
    #[error("no, with status {0}: {1}")]
    No(StatusCode, String),
}

async fn ask<S>(stream: S, question: Question) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::NotHttp)?;
    let exchange = async move {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = hyper::Uri::from_static(question.path());
        let headers = request.headers_mut();
        headers.insert(header::HOST, header::HeaderValue::from_static("localhost"));
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("close"),
        );
        let answer = sender.send_request(request).await.map_err(Error::NotHttp)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(answer.into_body(), LONGEST_BODY).collect();
        let body = body.await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(Error::No(status, reasons(&body)))
    };
    tokio::pin!(connection, exchange);
    // The connection moves the bytes of the exchange; it may end first, with the answer already handed over.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

const LONGEST_BODY: usize = 16 << 10;

/// A JSON list as one line, anything else as it is, without control characters.
fn reasons(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let reasons = serde_json::from_str::<Vec<String>>(&text).map(|list| list.join("; "));
    let reasons = reasons.unwrap_or_else(|_| text.trim().to_owned());
    if reasons.is_empty() {
        return "no reason given".to_owned();
    }
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    reasons.chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Instant;

    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    /// Answers one request with these bytes; returns the address and the request it got.
    fn admin(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("the probe connects");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("the probe asks");
            stream
                .write_all(answer.as_bytes())
                .expect("the probe reads");
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        (address, thread::spawn(serve))
    }

    fn probe(arguments: &[&str]) -> Result<ExitCode, Failure> {
        let command = ["portcullis", "probe"];
        let cli = Cli::try_parse_from(command.iter().chain(arguments)).expect("it is well formed");
        crate::cli::run(cli)
    }

    fn refusal(arguments: &[&str], code: u8) -> String {
        let failure = probe(arguments).expect_err("the answer is no");
        assert_eq!(failure.exit_code(), code);
        failure.problems().join("\n")
    }

    #[test]
    fn yes_is_exit_code_zero_and_live_is_what_is_asked_by_default() {
        for (flags, path) in [
            (&[][..], "GET /livez HTTP/1.1\r\n"),
            (&["--live"], "GET /livez HTTP/1.1\r\n"),
            (&["--ready"], "GET /readyz HTTP/1.1\r\n"),
        ] {
            let (address, served) = admin("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            let arguments: Vec<_> = flags.iter().copied().chain(["--admin", &address]).collect();
            let code = probe(&arguments).expect("the answer is yes");
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
            let request = served.join().expect("the listener ends");
            assert!(request.starts_with(path), "{request}");
        }
    }

    #[test]
    fn the_reasons_are_told() {
        let (address, _served) = admin(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n[\"draining\",\"certificate \\u001bexpired\"]",
        );
        assert_eq!(
            refusal(&["--ready", "--admin", &address], 1),
            format!(
                "probe of /readyz at {address}: no, with status 503 Service Unavailable: draining; \
                 certificate  expired"
            )
        );
    }

    #[test]
    fn an_answer_that_is_not_http_is_a_no() {
        let (address, _served) = admin("SSH-2.0-x\r\n\r\n");
        let report = refusal(&["--admin", &address], 1);
        assert!(report.contains("no HTTP answer"), "{report}");
    }

    #[test]
    fn a_port_nobody_listens_on_is_a_no() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let report = refusal(&["--admin", &address], 1);
        assert!(report.contains("nobody listens there: "), "{report}");
    }

    #[test]
    fn silence_is_a_no_after_two_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let asked = Instant::now();
        let report = refusal(&["--admin", &address], 1);
        assert!(report.contains("no answer within 2s"), "{report}");
        assert!(asked.elapsed() >= PATIENCE);
    }

    #[test]
    fn a_unix_socket_is_asked_as_well() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("admin.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("the path is free");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the probe connects");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("the probe asks");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .expect("the probe reads");
            read
        });
        let address = format!("unix:{}", path.display());
        probe(&["--admin", &address]).expect("the answer is yes");
        assert!(served.join().expect("the listener ends") > 0);
    }

    #[test]
    fn an_admin_that_cannot_be_asked_is_a_usage_problem() {
        assert_eq!(
            refusal(&["--admin", "off"], 2),
            "--admin: \"off\": there is no admin listener to ask; give the address of one to gate and \
             probe alike"
        );
        let report = refusal(&["--admin", "10.0.0.1:1"], 2);
        assert!(
            report.starts_with("--admin: \"10.0.0.1:1\": not a loopback address"),
            "{report}"
        );
    }
}
