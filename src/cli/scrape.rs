//! `portcullis scrape URL`: what Prometheus would get, or why it would not.
//!
//! The command line and the files it names in; the body on standard output and everything else on standard error out.
//! Its parts ([`get`], [`Credentials`]) are for `demo`, too. Reads files here and nowhere below.

mod credentials;
mod exchange;
mod last_words;
mod meanings;
mod refusal;
#[cfg(test)]
mod tests;
mod untrusted;
mod url;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;

pub use self::credentials::{ClientFiles, Credentials, read};
pub use self::exchange::{Request, Response, TlsFacts, get};
pub use self::refusal::{Refusal, Step};
pub use self::url::{InvalidUrl, Url};
use super::Failure;
use crate::config::Problems;
use crate::identity::printable;

/// How wide an explanation is.
const COLUMNS: usize = 80;

/// Asks for one page over mTLS as Prometheus would, and explains a refusal
///
/// The body goes to standard output, byte for byte; all else goes to standard error. A body that is cut short is a
/// failure, as is any HTTP status outside 2xx. Redirects are not followed.
///
/// The server's certificate must chain to --ca and be for the URL's host (an IP address must be in it as one), or for
/// --server-name. TLS 1.3 and 1.2 are spoken, with a post-quantum key exchange where the server has it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  portcullis scrape https://localhost:54899/metricz
  portcullis scrape --server-name portcullis.internal \\
    https://10.0.0.7:54899/metricz
  portcullis scrape --no-cert https://[::1]:54899/     # shows the refusal

The default files are those of `portcullis pki issue client client`.

Exit status: 0 a complete answer with status 2xx; 1 anything else, explained;
2 the command line or a file is unusable.")]
pub struct Scrape {
    /// What to ask for: `https://HOST[:PORT][/PATH]`
    #[arg(value_name = "URL")]
    url: Url,
    /// The client's certificate (PEM, leaf first)
    #[arg(long, value_name = "FILE", default_value = "certs/client/tls.crt")]
    cert: PathBuf,
    /// The private key of --cert (PEM)
    #[arg(long, value_name = "FILE", default_value = "certs/client/tls.key")]
    key: PathBuf,
    /// The CAs that server certificates must chain to (PEM)
    #[arg(long, value_name = "FILE", default_value = "certs/client/ca.crt")]
    ca: PathBuf,
    /// The name to expect in the server's certificate, DNS or IP [default: the URL's host]
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server_name: Option<ServerName<'static>>,
    /// Presents no client certificate: a gate must refuse that
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    no_cert: bool,
    /// How long all of it may take, as 500ms, 10s or 5m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    /// Says on standard error what TLS agreed on and what the answer is
    #[arg(short, long)]
    verbose: bool,
}

impl Scrape {
    /// Scrapes, with 0 for a complete answer of status 2xx and 1 for a refusal, which is explained here.
    ///
    /// # Errors
    /// If a file is unusable; nothing was connected to then.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let request = Request {
            credentials: self.credentials()?,
            server_name: self.server_name,
            timeout: self.timeout,
            url: self.url,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")
            .map_err(Failure::Running)?;
        let scraped = runtime.block_on(print(&request, self.verbose));
        // A resolver that hangs has a thread of its own; the exit does not wait for it.
        runtime.shutdown_background();
        match scraped {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(Unprinted::Refused(refusal)) => {
                if let Some(tls) = refusal.tls.as_deref().filter(|_| self.verbose) {
                    eprint!("{}", facts(tls));
                }
                eprint!("{}", explanation(&request.url, &refusal));
                Ok(ExitCode::FAILURE)
            }
            Err(Unprinted::Output(error)) => {
                eprintln!("portcullis: cannot write to standard output: {error}");
                Ok(ExitCode::FAILURE)
            }
        }
    }

    fn credentials(&self) -> Result<Credentials, Problems> {
        let mut problems = Vec::new();
        let mut file = |flag, path| read(flag, path).map_err(|found| problems.extend(found.0));
        let ca = file("--ca", &self.ca);
        let client = match self.no_cert {
            true => Ok(None),
            false => match (file("--cert", &self.cert), file("--key", &self.key)) {
                (Ok(cert), Ok(key)) => Ok(Some(ClientFiles { cert, key })),
                (Ok(_) | Err(()), _) => Err(()),
            },
        };
        match (ca, client) {
            (Ok(ca), Ok(client)) => Credentials::new(&ca, client.as_ref()),
            (Ok(_) | Err(()), _) => Err(Problems(problems)),
        }
    }
}

/// Why the body is not on standard output.
enum Unprinted {
    Refused(Refusal),
    Output(io::Error),
}

async fn print(request: &Request, verbose: bool) -> Result<(), Unprinted> {
    let mut response = get(request).await.map_err(Unprinted::Refused)?;
    if verbose {
        eprint!("{}", facts(&response.tls));
        let kind = response
            .content_type
            .as_ref()
            .map_or(&b"none"[..], |kind| kind.as_bytes());
        let kind = printable(&String::from_utf8_lossy(kind));
        eprintln!("* HTTP status {}, content type {kind}", response.status);
    }
    let refusal = response.refusal();
    copy(&mut response, &mut io::stdout().lock()).await?;
    refusal.map_or(Ok(()), |refusal| Err(Unprinted::Refused(refusal)))
}

/// Writes the body as it comes. A reader that has seen enough (`| head`) is no failure.
async fn copy(response: &mut Response, to: &mut impl Write) -> Result<(), Unprinted> {
    while let Some(bytes) = response.chunk().await.map_err(Unprinted::Refused)? {
        match to.write_all(&bytes).and_then(|()| to.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Unprinted::Output)?,
        }
    }
    Ok(())
}

fn server_name(text: &str) -> Result<ServerName<'static>, &'static str> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| "neither a DNS name nor an IP address; write one that is in the certificate")
}

fn timeout(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time above zero; write it like 500ms, 10s or 5m"),
    }
}

fn facts(tls: &TlsFacts) -> String {
    format!(
        "* {}, cipher {}, group {}\n* server names: {}\n",
        tls.version,
        tls.cipher,
        tls.group,
        tls.server_names.join(", ")
    )
}

/// What happened, and below it what it usually means, for people.
fn explanation(url: &Url, refusal: &Refusal) -> String {
    let ended = match (refusal.alert, refusal.step) {
        (Some(_), _) | (None, Step::Status) => "refused",
        (None, _) => "failed",
    };
    let mut lines = vec![
        format!("portcullis: {url}: {ended} {refusal}"),
        " ".to_owned(),
    ];
    for word in refusal.meaning.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n") + "\n"
}
