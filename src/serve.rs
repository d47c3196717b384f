//! The composition root: files judged, listeners bound, everything started, and stopped in order.

mod workers;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::workers::{Ended, Workers, runtime, worker};
use crate::admin::{self, Listener};
use crate::config::{Admin, Config, Flags, Problems};
use crate::file::reader::{NoAnswer, Reader};
use crate::follow::exposed::Lookout;
use crate::follow::reload::Reloader;
use crate::follow::watch::Hints;
use crate::gate::{Gate, Limits, Sessions, Turns};
use crate::harden::{self, Fitted, Fixed};
use crate::lifecycle::{Lifecycle, Phase};
use crate::listen::{self, BindError};
use crate::telemetry;
use crate::telemetry::Metrics;
use crate::trust::load::load;
use crate::trust::validate::{Validated, validate};

/// Sessions that were told to end get this long to write their records.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the gate does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the configuration names is unusable; nothing was served.
    #[error(transparent)]
    Unusable(#[from] Problems),
    /// The files could not be read at all; nothing was served.
    #[error(transparent)]
    Unread(#[from] NoAnswer),
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There are fewer descriptors than it takes to serve anybody.
    #[error(
        "the limit of {limit} file descriptors is too low: {routes} routes on {threads} threads take {least} to serve a \
         single client; raise it (LimitNOFILE=, `ulimit -n`), or give fewer --threads"
    )]
    Descriptors {
        /// How many there may be.
        limit: u64,
        /// How many it takes.
        least: u64,
        /// Routes.
        routes: usize,
        /// Worker threads.
        threads: usize,
    },
    /// The process lacks what it needs to run at all.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Runs the gate until a signal stops it.
///
/// # Errors
/// If it cannot start; once it serves, it ends only when asked to.
pub fn run(flags: Flags) -> Result<(), Error> {
    // Not on the main thread: what a burst leaves in the program's own heap, glibc keeps; a thread's arena it gives back.
    let first = worker().spawn(move || until_stopped(flags))?;
    let ended = first.join();
    telemetry::log::flush();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Serves on this thread, and on others if there are to be more, until a signal stops it.
fn until_stopped(flags: Flags) -> Result<(), Error> {
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        let running = tokio::select! {
            running = start_as_written(flags) => running?,
            () = signals.next() => return Ok(()),
        };
        signals.next().await;
        let lifecycle = running.lifecycle.clone();
        let drained = running.drain();
        tokio::pin!(drained);
        tokio::select! {
            () = &mut drained => {}
            () = signals.next() => {
                lifecycle.advance(Phase::Forced);
                drained.await;
            }
        }
        Ok(())
    })
}

async fn start_as_written(flags: Flags) -> Result<Running, Error> {
    let mut reader = Reader::default();
    let written = flags.clone();
    let config = reader.run(move || Config::parse(&written)).await??;
    telemetry::log::start(config.log)?;
    harden::protect_memory();
    start_with(reader, config, Some(flags)).await
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A gate that serves.
#[derive(Debug)]
pub struct Running {
    /// Where each route listens, in the order of the configuration.
    pub listening: Vec<SocketAddr>,
    /// Where the admin listener is, if it is on TCP.
    pub admin: Option<SocketAddr>,
    lifecycle: Lifecycle,
    connections: TaskTracker,
    workers: Workers,
    admin_ended: Option<Ended>,
    drain: Duration,
}

/// Judges the files, binds the listeners and starts serving. `flags` are what `config` was parsed from, to be parsed
/// again when the file they name changes.
///
/// # Errors
/// If a file is unusable or a listener cannot be bound; then nothing is served.
pub async fn start(config: Config, flags: Option<Flags>) -> Result<Running, Error> {
    start_with(Reader::default(), config, flags).await
}

async fn start_with(
    mut reader: Reader,
    config: Config,
    flags: Option<Flags>,
) -> Result<Running, Error> {
    let fixed = Fixed::of(&config);
    // Asked for first: a SIGHUP that comes early must not end the process.
    let hangup = signal(SignalKind::hangup())?;
    let judged = config.clone();
    let judge = move || validate(&judged, &load(&judged.tls)?, None, SystemTime::now());
    let Validated {
        generation,
        warnings,
    } = reader.run(judge).await??;
    for warning in &warnings {
        tracing::warn!(event = "configuration", "{warning}");
    }
    let Fitted {
        limits,
        admin_callers,
        lowered,
    } = fitted(&config, fixed)?;
    let mut listeners = Vec::new();
    for route in &config.routes {
        listeners.push(listen::bind_route(route, config.timeouts.bind).await?);
    }
    let admin_listener = Listener::bind(&config).await?;
    let admin = admin_listener.as_ref().and_then(Listener::address);
    let listening = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    let hints = Hints::new(config.reload_interval, hangup);
    let lifecycle = Lifecycle::new();
    let metrics = Arc::new(Metrics::new(
        config.routes.iter().map(|route| &route.name),
        *config.log.format,
    ));
    metrics.limits_lowered(lowered);
    let sessions = Sessions::default();
    let lookout = Lookout::new(&config, listening.clone(), Arc::clone(&metrics));
    let reloader = Reloader::new(
        reader,
        flags,
        config.clone(),
        generation,
        Arc::clone(&metrics),
    );
    let generations = reloader.generations();
    let fitted_limits = limits;
    let (limits, turns) = (Limits::new(&limits), Turns::new(*config.threads));
    let routes = config.routes.iter().zip(metrics.routes()).enumerate();
    let gates = routes
        .map(|(index, (route, metrics))| {
            Arc::new(Gate {
                route: route.clone(),
                index,
                generations: generations.clone(),
                timeouts: config.timeouts,
                limits: limits.clone(),
                turns: turns.clone(),
                sessions: sessions.clone(),
                metrics: Arc::clone(metrics),
                lifecycle: lifecycle.clone(),
            })
        })
        .zip(listeners)
        .collect::<Vec<_>>();

    say_started(&config, &listening, admin);
    let admin_ended = match admin_listener {
        Some(listener) => {
            let admin = admin::Admin {
                config: Arc::new(config.clone()),
                generations,
                last_reload: reloader.last(),
                exposed: lookout.seen(),
                limits: fitted_limits,
                sessions,
                metrics,
                lifecycle: lifecycle.clone(),
                listening: listening.clone(),
                connections: admin_callers,
            };
            Some(run_admin(admin, listener)?)
        }
        None => None,
    };
    let stopped = lifecycle.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the composition root; the task ends with the gate"
    )]
    tokio::spawn(async move {
        tokio::select! {
            () = stopped.reached(Phase::Stopped) => {}
            () = async { tokio::join!(reloader.run(hints), lookout.run()); } => {}
        }
    });
    // Last: from here on strangers take descriptors, and nothing else needs any.
    let connections = TaskTracker::new();
    let workers = Workers::start(*config.threads, gates, &connections, &lifecycle)?;
    lifecycle.advance(Phase::Serving);
    Ok(Running {
        listening,
        admin,
        lifecycle,
        connections,
        workers,
        admin_ended,
        drain: config.timeouts.drain,
    })
}

/// The caps that the descriptors allow, told if they are lower than asked for.
fn fitted(config: &Config, fixed: Fixed) -> Result<Fitted, Error> {
    let descriptors = harden::raise_descriptor_limit();
    let limit = descriptors.unwrap_or_default();
    let fitted = harden::fit(config.limits, descriptors, fixed);
    let fitted = fitted.map_err(|least| Error::Descriptors {
        limit,
        least,
        routes: config.routes.len(),
        threads: config.threads.get(),
    })?;
    if fitted.lowered {
        tracing::warn!(
            event = "limits_lowered",
            connections = fitted.limits.connections.get(),
            handshakes = fitted.limits.handshakes.get(),
            "--max-connections and --max-handshakes were lowered to what the limit of {limit} descriptors allows"
        );
    }
    Ok(fitted)
}

fn say_started(config: &Config, listening: &[SocketAddr], admin: Option<SocketAddr>) {
    for setting in config.unsafe_settings() {
        tracing::warn!(event = "unsafe_setting", setting, "this weakens the gate");
    }
    for (route, address) in config.routes.iter().zip(listening) {
        tracing::info!(event = "listening", route = &*route.name, %address, target = %route.target);
    }
    // The kernel may have chosen the port.
    match (&config.admin, admin) {
        (_, Some(address)) => tracing::info!(event = "admin_listening", %address),
        (Admin::Unix(_), None) => {
            tracing::info!(event = "admin_listening", address = %config.admin)
        }
        (Admin::Off | Admin::Tcp(_), None) => {}
    }
}

impl Running {
    /// Lets nobody new in, waits for the sessions for as long as `--drain-timeout` says, ends the rest, and returns
    /// when all records are written.
    pub async fn drain(self) {
        tracing::info!(
            event = "draining",
            "no new connections; sessions may finish for {:?}",
            self.drain
        );
        self.lifecycle.advance(Phase::Draining);
        self.connections.close();
        tokio::select! {
            () = self.connections.wait() => {}
            () = tokio::time::sleep(self.drain) => {}
            () = self.lifecycle.reached(Phase::Forced) => {}
        }
        self.lifecycle.advance(Phase::Forced);
        let all_ended = tokio::time::timeout(LAST_WORDS, self.connections.wait())
            .await
            .is_ok();
        self.lifecycle.advance(Phase::Stopped);
        // A session that did not end in time is dropped with its thread's runtime, and writes its record then.
        self.workers.ended().await;
        // It takes its socket away; a file system that hangs keeps nobody from ending.
        if let Some(mut ended) = self.admin_ended {
            let _in_time = tokio::time::timeout(LAST_WORDS, ended.recv()).await;
        }
        tracing::info!(event = "stopped", all_ended);
    }
}

/// The admin listener has a thread and a runtime of its own: it answers when the data path has its hands full.
fn run_admin(admin: admin::Admin, listener: Listener) -> std::io::Result<Ended> {
    let runtime = runtime()?;
    let (running, ended) = mpsc::channel(1);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(admin::serve(Arc::new(admin), listener)) {
            tracing::error!(event = "admin_failed", %error, "the admin listener does not answer");
        }
        drop(running);
    })?;
    Ok(ended)
}
