//! The composition root: files judged, listeners bound, everything started, and stopped in order.

mod workers;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use self::workers::{Workers, runtime, worker};
use crate::admin::{self, Listener};
use crate::config::{Admin, Config, Flags, Problems};
use crate::file::reader::{NoAnswer, Reader};
use crate::follow::reload::Reloader;
use crate::follow::watch::Hints;
use crate::gate::{Gate, Limits, Sessions};
use crate::lifecycle::{Lifecycle, Phase};
use crate::listen::{self, BindError};
use crate::telemetry::Metrics;
use crate::trust::load::load;
use crate::trust::validate::{Validated, validate};
use crate::{harden, telemetry};

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
    /// The admin socket could not be bound.
    #[error("--admin: \"unix:{}\": {source}", path.display())]
    AdminSocket {
        /// The socket's path.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
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
    first
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    telemetry::log::start(config.log);
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
    let descriptors = harden::raise_descriptor_limit();
    let (limits, lowered) = harden::fit(config.limits, descriptors, config.routes.len());
    if lowered {
        let (connections, handshakes) = (limits.connections.get(), limits.handshakes.get());
        tracing::warn!(
            event = "limits_lowered",
            connections,
            handshakes,
            "--max-connections and --max-handshakes were lowered to what the limit of {} descriptors allows",
            descriptors.unwrap_or_default()
        );
    }

    let mut listeners = Vec::new();
    for route in &config.routes {
        listeners.push(listen::bind(&route.listen, config.timeouts.bind).await?);
    }
    let admin_listener = admin_listener(&config).await?;
    let listening = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()?;
    let hints = Hints::new(config.reload_interval, hangup);

    let lifecycle = Lifecycle::new();
    let metrics = Arc::new(Metrics::new(
        config.routes.iter().map(|route| &route.name),
        config.log.format,
    ));
    let sessions = Sessions::default();
    let reloader = Reloader::new(
        reader,
        flags,
        config.clone(),
        generation,
        Arc::clone(&metrics),
    );
    let generations = reloader.generations();
    let limits = Limits::new(&limits);
    let routes = config.routes.iter().zip(metrics.routes()).enumerate();
    let gates = routes
        .map(|(index, (route, metrics))| {
            Arc::new(Gate {
                route: route.clone(),
                index,
                generations: generations.clone(),
                timeouts: config.timeouts,
                limits: limits.clone(),
                sessions: sessions.clone(),
                metrics: Arc::clone(metrics),
                lifecycle: lifecycle.clone(),
            })
        })
        .zip(listeners)
        .collect::<Vec<_>>();

    say_started(&config, &listening);
    let admin = match admin_listener {
        Some((listener, address)) => {
            let admin = admin::Admin {
                config: Arc::new(config.clone()),
                generations,
                last_reload: reloader.last(),
                sessions,
                metrics,
                lifecycle: lifecycle.clone(),
                listening: listening.clone(),
            };
            run_admin(admin, listener)?;
            address
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
            () = reloader.run(hints) => {}
        }
    });
    // Last: from here on strangers take descriptors, and nothing else needs any.
    let connections = TaskTracker::new();
    let workers = Workers::start(config.threads, &gates, &connections, &lifecycle)?;
    lifecycle.advance(Phase::Serving);
    Ok(Running {
        listening,
        admin,
        lifecycle,
        connections,
        workers,
        drain: config.timeouts.drain,
    })
}

fn say_started(config: &Config, listening: &[SocketAddr]) {
    for setting in config.unsafe_settings() {
        tracing::warn!(event = "unsafe_setting", setting, "this weakens the gate");
    }
    for (route, address) in config.routes.iter().zip(listening) {
        tracing::info!(event = "listening", route = &*route.name, %address, target = %route.target);
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
        tracing::info!(event = "stopped", all_ended);
    }
}

async fn admin_listener(config: &Config) -> Result<Option<(Listener, Option<SocketAddr>)>, Error> {
    match &config.admin {
        Admin::Off => Ok(None),
        Admin::Tcp(listen) => {
            let listener = listen::bind(listen, config.timeouts.bind).await?;
            let address = listener.local_addr()?;
            tracing::info!(event = "admin_listening", %address);
            Ok(Some((Listener::Tcp(listener), Some(address))))
        }
        Admin::Unix(path) => {
            let listener = admin_socket(&path.value).map_err(|source| Error::AdminSocket {
                path: path.value.clone(),
                source,
            })?;
            tracing::info!(
                event = "admin_listening",
                address = format!("unix:{}", path.value.display())
            );
            Ok(Some((Listener::Unix(listener), None)))
        }
    }
}

/// Binds a Unix socket. One that a killed predecessor left behind is replaced; one that answers is not.
fn admin_socket(path: &Path) -> std::io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                Err(dead) if dead.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                Ok(_) | Err(_) => Err(error),
            }
        }
        bound => bound,
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The admin listener has a thread and a runtime of its own: it answers when the data path has its hands full.
fn run_admin(admin: admin::Admin, listener: Listener) -> std::io::Result<()> {
    let runtime = runtime()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(admin::serve(Arc::new(admin), listener)) {
            tracing::error!(event = "admin_failed", %error, "the admin listener does not answer");
        }
    })?;
    Ok(())
}
