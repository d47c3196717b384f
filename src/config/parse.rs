//! From what was written to what it means: all sources laid over each other, then everything that must fit together.
//!
//! Returns a [`Config`], or every problem of every source at once. Reads the file that `--config` names, but none of
//! the files that the configuration names.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::Path;

use super::file::{self, File};
use super::flags::Flags;
use super::route;
use super::setting::{Defaults, Kind, Reader, Setting};
use super::settings::{AllowSettings, RouteSettings, SharedSettings, TlsSettings};
use super::{
    Admin, Chosen, Config, Limits, Log, LogFormat, Place, Problem, Problems, Route, Timeouts, Tls,
    value,
};

impl Config {
    /// Parses flags, variables and the file they name; in this order each wins over the next.
    pub fn parse(flags: &Flags) -> Result<Self, Problems> {
        match flags.config() {
            None => assemble(flags, Written::Nothing),
            Some(name) => match file::read(name) {
                Ok(text) => assemble(flags, Written::Text(Path::new(&name.value), &text)),
                Err(problem) => assemble(flags, Written::Unreadable(problem)),
            },
        }
    }
}

impl Flags {
    /// How the log looks, as far as flags, variables and the terminal say. What is wrong with them is left to
    /// [`Config::parse`] to tell.
    pub fn log_format(&self) -> LogFormat {
        let mut flags = self.clone();
        let mut untold = Vec::new();
        let mut from = Reader::of(&mut flags, &mut untold);
        let written = from.one("--log-format", Kind::Text, value::log_format);
        written.value().unwrap_or_else(default_log_format)
    }
}

/// What there is of a configuration file.
pub(super) enum Written<'a> {
    Nothing,
    Text(&'a Path, &'a str),
    Unreadable(Problem),
}

/// Does no IO: the file has been read.
pub(super) fn assemble(flags: &Flags, written: Written<'_>) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let config = lay(flags, written, &mut problems);
    // In the order in which an editor meets them; flags and variables first.
    problems.sort_by_key(|problem| match problem.place {
        Place::Flag(_) | Place::Variable(_) | Place::Default(_) => 0,
        Place::File { line, .. } => line,
    });
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(Problems(problems)),
    }
}

fn lay(flags: &Flags, written: Written<'_>, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut flags = flags.clone();
    let flag_tls = TlsSettings::read(Reader::of(&mut flags, problems));
    let flag_shared = SharedSettings::read(Reader::of(&mut flags, problems));
    let allow = AllowSettings::read(Reader::of(&mut flags, problems));
    let from = Reader::of(&mut flags, problems);
    let flag_route = RouteSettings::read(from, Setting::Unset, allow);

    let (tls, shared, routes) = match written {
        Written::Nothing => (flag_tls, flag_shared, Vec::new()),
        Written::Text(name, text) => {
            let File {
                tls,
                shared,
                routes,
            } = file::parse(name, text, problems)?;
            if !routes.is_empty() {
                route::refuse_beside_file(&flag_route, name, problems);
            }
            (flag_tls.over(tls), flag_shared.over(shared), routes)
        }
        Written::Unreadable(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let tls = tls.over(TlsSettings::read(Reader::of(&mut Defaults, problems)));
    let shared = shared.over(SharedSettings::read(Reader::of(&mut Defaults, problems)));
    let routes = if routes.is_empty() {
        vec![route::from_flags(flag_route, problems)]
    } else {
        let from_file = |route| route::from_file(route, problems);
        routes.into_iter().map(from_file).collect()
    };
    route::check_together(&routes, &shared.admin, problems);
    let build = |route| route::build(route, problems);
    let routes: Vec<_> = routes.into_iter().filter_map(build).collect();
    finish(tls, shared, routes)
}

/// `None` if anything is missing, which has been noted where it was refused.
fn finish(tls: TlsSettings, shared: SharedSettings, routes: Vec<Route>) -> Option<Config> {
    let TlsSettings {
        cert,
        key,
        client_ca,
        client_crl,
        stale_crl,
        tls_min,
        allow_missing_eku,
    } = tls;
    let SharedSettings {
        admin,
        max_connections,
        max_connections_per_source,
        max_handshakes,
        bind_timeout,
        handshake_timeout,
        connect_timeout,
        idle_timeout,
        max_session,
        drain_timeout,
        reload_interval,
        log_format,
        log_level,
        threads,
    } = shared;
    Some(Config {
        tls: Tls {
            cert: cert.located()?,
            key: key.located()?,
            client_ca: client_ca.value()?,
            client_crl: or_else(client_crl, Vec::new)?,
            stale_crl: stale_crl.value()?,
            min_version: tls_min.value()?,
            allow_missing_eku: allow_missing_eku.value()?,
        },
        routes,
        admin: Admin::from(admin.located()?),
        limits: Limits {
            connections: max_connections.value()?,
            connections_per_source: max_connections_per_source.value()?,
            handshakes: max_handshakes.value()?,
        },
        timeouts: Timeouts {
            bind: bind_timeout.value()?,
            handshake: handshake_timeout.value()?,
            connect: connect_timeout.value()?,
            idle: idle_timeout.value()?,
            session: max_session.value()?,
            drain: drain_timeout.value()?,
        },
        reload_interval: reload_interval.value()?,
        log: Log {
            format: or_machine(log_format, default_log_format)?,
            level: log_level.value()?,
        },
        threads: or_machine(threads, default_threads)?,
    })
}

/// For the settings whose default depends on where the gate runs.
fn or_machine<T>(setting: Setting<T>, default: impl FnOnce() -> T) -> Option<Chosen<T>> {
    match setting {
        Setting::Unset => Some(Chosen::by_machine(default())),
        Setting::Set(located) => Some(Chosen::written(located.value)),
        Setting::Refused => None,
    }
}

/// For the settings whose default is not a text, but an empty list.
fn or_else<T>(setting: Setting<T>, default: impl FnOnce() -> T) -> Option<T> {
    match setting {
        Setting::Unset => Some(default()),
        Setting::Set(located) => Some(located.value),
        Setting::Refused => None,
    }
}

fn default_log_format() -> LogFormat {
    if std::io::stderr().is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    }
}

fn default_threads() -> NonZeroUsize {
    // A relay waits more than it works: more threads cost memory on every node and gain nothing.
    const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
    // The standard library looks at the cgroup's quota and at the affinity mask.
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |allowed| allowed.min(MOST))
}
