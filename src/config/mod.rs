//! What the gate was told to do: types whose existence is the check.
//!
//! A [`Config`] can only be made by [`Config::parse`] from what was written (flags, environment, file); a function
//! that takes one of these types checks nothing again. This file never opens a file that the configuration names.

mod address;
mod change;
mod file;
mod flags;
mod machine;
mod parse;
mod route;
mod setting;
mod settings;
pub mod surface;
mod table;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::change::Waiting;
pub use self::flags::{AdminFlag, Flags};
pub use self::machine::Chosen;
pub use crate::judge::StaleCrl;
use crate::policy::Allow;

/// Everything `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The files trust comes from and the TLS settings all routes share.
    pub tls: Tls,
    /// The routes in the order they were written; never empty.
    pub routes: Vec<Route>,
    /// Where the admin listener is.
    pub admin: Admin,
    /// How much may be going on at once.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How often the files are read again, whatever the kernel reports.
    pub reload_interval: Duration,
    /// Where the log goes and how much of it.
    pub log: Log,
    /// Worker threads of the data path.
    pub threads: Chosen<NonZeroUsize>,
}

impl Config {
    /// The settings in force that weaken the gate, for the first log line and `/status`; empty if there is none.
    pub fn unsafe_settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        if self.tls.allow_missing_eku {
            settings.push("allow_missing_eku".to_owned());
        }
        if self.tls.stale_crl == StaleCrl::Accept && !self.tls.client_crl.is_empty() {
            settings.push("stale_crl = accept".to_owned());
        }
        for Route {
            name,
            target,
            allow,
            ..
        } in &self.routes
        {
            if target.is_unsafe() {
                settings.push(format!("unsafe_target of route {name}: {target}"));
            }
            match **allow {
                Allow::AnyClient => settings.push(format!("allow_any_client of route {name}")),
                Allow::Rules(_) => {}
            }
        }
        settings
    }
}

/// TLS settings and the files they name.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM certificate chain, leaf first.
    pub cert: Located<PathBuf>,
    /// PEM private key of the leaf.
    pub key: Located<PathBuf>,
    /// PEM bundles of the CAs that vouch for clients; never empty.
    pub client_ca: Vec<Located<PathBuf>>,
    /// PEM or DER revocation lists; empty means that revocation is not checked.
    pub client_crl: Vec<Located<PathBuf>>,
    /// What becomes of clients whose revocation list is past its `nextUpdate`.
    pub stale_crl: StaleCrl,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
    /// Admits client certificates without any extended key usage.
    pub allow_missing_eku: bool,
}

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 with extended master secret (RFC 7627).
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A value and where it was written, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub place: Place,
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A command-line flag, shown as `--listen`.
    Flag(&'static str),
    /// An environment variable, shown as `PORTCULLIS_LISTEN`.
    Variable(String),
    /// A key of the configuration file, shown as `route[1].listen at gate.toml:14`.
    File {
        /// The key with the tables it stands in; empty if it is about the line.
        key: String,
        /// The file as it was named.
        file: Arc<PathBuf>,
        /// Counted from one.
        line: usize,
    },
    /// Nobody wrote it; shown as the flag that would change it, `--listen (default)`.
    Default(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => f.write_str(variable),
            Self::File { key, file, line } if key.is_empty() => {
                write!(f, "{}:{line}", file.display())
            }
            Self::File { key, file, line } => write!(f, "{key} at {}:{line}", file.display()),
            Self::Default(flag) => write!(f, "{flag} (default)"),
        }
    }
}

/// One listener, the clients it admits and the target it lends them.
#[derive(Debug, Clone)]
pub struct Route {
    /// Unique; the value of the `route` label and field.
    pub name: Arc<str>,
    /// Where clients connect.
    pub listen: Located<SocketAddr>,
    /// The environment variable that the address of `listen` comes from, if it was written as one.
    pub listen_variable: Option<Arc<str>>,
    /// Where admitted bytes go.
    pub target: Target,
    /// Which verified clients may pass.
    pub allow: Arc<Allow>,
    /// Source networks, judged before TLS; empty means every network.
    pub allow_from: Vec<IpNet>,
    /// What the target is told about the client.
    pub proxy_protocol: ProxyProtocol,
}

/// An address that only this host can reach, unless it was made by [`Target::unsafe_any`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(TargetAddress);

/// The address of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket, absolute path.
    Unix(PathBuf),
}

impl Target {
    /// A loopback target, or `None` if the address is not loopback (IPv4-mapped IPv6 is judged as IPv4).
    pub fn loopback(address: TargetAddress) -> Option<Self> {
        address.is_local().then_some(Self(address))
    }

    /// Any target at all (`--unsafe-target`): plaintext may leave the node.
    pub fn unsafe_any(address: TargetAddress) -> Self {
        Self(address)
    }

    /// Where to connect.
    pub fn address(&self) -> &TargetAddress {
        &self.0
    }

    /// True if plaintext may leave this host.
    pub fn is_unsafe(&self) -> bool {
        !self.0.is_local()
    }
}

impl TargetAddress {
    fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether the target gets a PROXY header before the client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Nothing but the client's bytes.
    Off,
    /// Version 2 with TLS facts as TLVs.
    V2,
}

/// Where the admin listener is; never an address that other hosts can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// There is none.
    Off,
    /// Plain HTTP on loopback.
    Tcp(Located<SocketAddr>),
    /// Plain HTTP on a Unix socket.
    Unix(Located<PathBuf>),
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => address.value.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.value.display()),
        }
    }
}

/// Bounds on what goes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Admitted connections, all routes.
    pub connections: NonZeroU32,
    /// Connections of one source address, admitted or not.
    pub connections_per_source: Option<NonZeroU32>,
    /// Connections not yet admitted.
    pub handshakes: NonZeroU32,
}

/// Bounds on how long things take; none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a taken port is retried at start.
    pub bind: Duration,
    /// From accept to admission.
    pub handshake: Duration,
    /// For the target to accept.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// A whole session, if bounded.
    pub session: Option<Duration>,
    /// For sessions to finish after the signal to stop.
    pub drain: Duration,
}

/// The log.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// How a line looks.
    pub format: Chosen<LogFormat>,
    /// The least important level that is written.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One flat JSON object a line.
    Json,
}

/// Levels, from least to most that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Bugs of ours.
    Error,
    /// The operator or the target should act.
    Warn,
    /// What happened.
    Info,
    /// Why.
    Debug,
    /// Everything.
    Trace,
}

/// Something wrong with what was written: where, which value, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The flag, the variable or the line of the file.
    pub place: Place,
    /// The value or the path that was found there, if there is one to show.
    pub value: Option<String>,
    /// What is wrong with it; what to do, after a semicolon.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}: {value:?}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

/// Every problem that was found, so that all can be mended at once; shown one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests;
