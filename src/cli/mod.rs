//! The command line: what was typed in, the command's end as an exit code out.
//!
//! Holds the commands and their help. Each command is one file; nothing in the daemon imports them.

pub mod check;
pub mod demo;
pub mod explain;
pub mod pki;
pub mod probe;
pub mod scrape;
mod sheet;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::check::Check;
use self::demo::Demo;
use self::explain::Explain;
use self::pki::Pki;
use self::probe::Probe;
use self::scrape::Scrape;
use crate::config::{Flags, LogFormat, Problems};
use crate::file::reader::NoAnswer;
use crate::serve;

/// An mTLS gate for ports that listen on loopback only
///
/// Terminates TLS with a required, verified client certificate and relays the plaintext bytes to a loopback port or a
/// Unix socket. No byte passes, and the target is not even dialled, before the client is admitted.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    max_term_width = 80,
    arg_required_else_help = true,
    subcommand_required = true,
    after_long_help = "\
Example:
  portcullis serve --allow-dns prometheus.monitoring.svc

Exit codes:
  0  done, or stopped as asked
  1  failed while running
  2  the command line, the configuration or a file it names is unusable
  3  explain: the client would be refused"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Demo(Demo),
    Check(Check),
    Explain(Explain),
    Pki(Pki),
    Scrape(Scrape),
    Probe(Probe),
}

/// Runs the gate
///
/// Listens with TLS, asks every client for a certificate, and relays those to the target whose certificate is good and
/// named by an --allow-... rule. Without such a rule it refuses to start.
///
/// Every flag has an environment variable. A flag wins over its variable, the variable over the file, the file over
/// the default. Stops on SIGTERM or SIGINT after open sessions have had --drain-timeout to finish; a second signal
/// ends at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  Open 127.0.0.1:54898 to Prometheus, with the files of a mounted Secret:
    portcullis serve --allow-dns prometheus.monitoring.svc

  Another target, and only from the pod network:
    portcullis serve --listen 0.0.0.0:9443 --target 127.0.0.1:10249 \\
      --allow-uri 'spiffe://cluster.local/ns/monitoring/sa/*' \\
      --allow-from 10.0.0.0/8

  Several routes, in a file:
    [tls]
    cert = \"/etc/portcullis/tls/tls.crt\"
    client_ca = [\"/etc/portcullis/tls/ca.crt\"]

    [[route]]
    name = \"kube-proxy\"
    listen = \"0.0.0.0:54902\"
    target = \"127.0.0.1:10249\"
    allow = { dns = [\"prometheus.monitoring.svc\"] }

Exit codes:
  0  asked to stop and did
  1  failed while running
  2  the command line, the configuration or a file it names is unusable;
     nothing was served")]
struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
}

impl Cli {
    /// How the last error looks if the log has not started by then: as its log for the daemon, else for people.
    pub fn log_format(&self) -> LogFormat {
        match &self.command {
            Command::Serve(ServeArgs { flags }) => flags.log_format(),
            Command::Demo(_)
            | Command::Check(_)
            | Command::Explain(_)
            | Command::Pki(_)
            | Command::Scrape(_)
            | Command::Probe(_) => LogFormat::Text,
        }
    }
}

/// Runs the command; what went wrong is left to the caller to [report](crate::telemetry::log::report).
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Serve(ServeArgs { flags }) => serve::run(flags)?,
        Command::Demo(demo) => return demo.run().map_err(Failure::Running),
        Command::Check(check) => check.run()?,
        Command::Explain(explain) => return explain.run(),
        Command::Pki(pki) => return pki.run().map_err(Failure::Unusable),
        Command::Scrape(scrape) => return scrape.run(),
        Command::Probe(probe) => return probe.run(),
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a command did not do its job.
#[derive(Debug)]
pub enum Failure {
    /// What was written is unusable.
    Problems(Problems),
    /// Something that was named there is unusable.
    Unusable(anyhow::Error),
    /// It was usable, and yet.
    Running(anyhow::Error),
}

impl Failure {
    /// What to say: each problem, or one with the chain of causes.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Problems(Problems(problems)) => {
                problems.iter().map(ToString::to_string).collect()
            }
            Self::Unusable(error) | Self::Running(error) => vec![format!("{error:#}")],
        }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Problems(_) | Self::Unusable(_) => 2,
            Self::Running(_) => 1,
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        Self::Unusable(error.into())
    }
}

impl From<serve::Error> for Failure {
    fn from(error: serve::Error) -> Self {
        match error {
            serve::Error::Unusable(problems) => Self::Problems(problems),
            serve::Error::Unread(error) => error.into(),
            serve::Error::Bind(_) | serve::Error::Descriptors { .. } | serve::Error::System(_) => {
                Self::Running(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
