//! A folder in, everything the demo needs out, running: the sample target and the gate in front of it.
//!
//! Its own file so that the story is only a story. The gate is the one that `serve` runs, configured by the flags that
//! anyone could type; the environment has no say in it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args as _, Command, FromArgMatches as _};
use tokio_util::task::TaskTracker;

use super::CLIENT;
use super::folder::Folder;
use super::target::Target;
use crate::config::{Config, Flags};
use crate::serve::{self, Running};

/// The ports that the gate, its target and its admin listener have by default.
const TARGET: u16 = 54898;
const GATE: u16 = 54899;
const ADMIN: u16 = 54900;

/// Everything is up.
pub(super) struct Stage {
    /// The sample endpoint's counters.
    pub(super) target: Arc<Target>,
    /// Where it listens.
    pub(super) target_at: SocketAddr,
    /// Where the gate listens.
    pub(super) gate_at: SocketAddr,
    /// Where its admin listener is.
    pub(super) admin_at: SocketAddr,
    /// The gate.
    pub(super) gate: Running,
    /// What is not where it usually is, one sentence each.
    pub(super) moved: Vec<String>,
    /// How long it took.
    pub(super) took: Duration,
}

impl Stage {
    /// Starts the target and the gate on loopback. A port that is taken is replaced by one that the kernel chooses.
    pub(super) async fn set(folder: &Folder, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut moved = Vec::new();
        let listener = TcpListener::bind(usual(TARGET))
            .or_else(|_| TcpListener::bind(usual(0)))
            .context("no port for the sample target")?;
        listener.set_nonblocking(true)?;
        let target_at = listener.local_addr()?;
        let target = Arc::new(Target::new());
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.spawn(Arc::clone(&target).serve(listener));

        let config = config(folder, free(GATE), target_at, free(ADMIN))?;
        let gate = serve::start(config, None).await?;
        let gate_at = *gate.listening.first().context("the gate has no listener")?;
        let admin_at = gate.admin.context("the gate has no admin listener")?;
        for (what, port, at) in [
            ("target", TARGET, target_at),
            ("gate", GATE, gate_at),
            ("admin listener", ADMIN, admin_at),
        ] {
            if at.port() != port {
                let at = at.port();
                moved.push(format!("Port {port} is taken, so the {what} is on {at}."));
            }
        }
        Ok(Self {
            target,
            target_at,
            gate_at,
            admin_at,
            gate,
            moved,
            took: began.elapsed(),
        })
    }
}

fn usual(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The usual address, or one with any port if that one is taken now.
fn free(port: u16) -> SocketAddr {
    match TcpListener::bind(usual(port)) {
        Ok(_) => usual(port),
        Err(_) => usual(0),
    }
}

fn config(
    folder: &Folder,
    listen: SocketAddr,
    target: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<Config> {
    let flags: [(&str, OsString); 11] = [
        ("--listen", listen.to_string().into()),
        ("--target", target.to_string().into()),
        ("--admin", admin.to_string().into()),
        ("--cert", folder.file("server/tls.crt").into()),
        ("--key", folder.file("server/tls.key").into()),
        ("--client-ca", folder.file("ca.crt").into()),
        ("--allow-dns", CLIENT.into()),
        ("--bind-timeout", "1s".into()),
        ("--drain-timeout", "1s".into()),
        // The records are read from it.
        ("--log-format", "json".into()),
        ("--log-level", "info".into()),
    ];
    let command = Flags::augment_args(Command::new("serve").no_binary_name(true))
        .mut_args(|flag| flag.env(None::<&'static str>));
    let words = flags
        .into_iter()
        .flat_map(|(flag, value)| [flag.into(), value]);
    let matches = command.try_get_matches_from(words)?;
    Ok(Config::parse(&Flags::from_arg_matches(&matches)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_and_a_free_one_kept() {
        let taken = TcpListener::bind(usual(0)).expect("a port is free");
        let port = taken.local_addr().expect("it is bound").port();
        assert_eq!(free(port), usual(0));
        drop(taken);
        assert_eq!(free(port), usual(port));
    }

    #[test]
    fn the_gate_is_configured_by_flags_alone() {
        let folder = Folder::new().expect("it can be made");
        let config = config(&folder, usual(1), usual(2), usual(3)).expect("the flags are good");
        assert_eq!(config.routes.len(), 1);
        assert_eq!(config.routes[0].listen.value, usual(1));
        assert_eq!(config.routes[0].target.to_string(), "127.0.0.1:2");
        assert_eq!(
            config.routes[0].allow.to_strings(),
            [format!("dns:{CLIENT}")]
        );
        assert_eq!(config.unsafe_settings(), Vec::<String>::new());
    }
}
