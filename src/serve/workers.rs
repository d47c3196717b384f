//! The threads of the data path: a runtime and a copy of every listener for each. Starts them and waits for their end.

use std::convert::Infallible;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::gate::{self, Gate};
use crate::lifecycle::{Lifecycle, Phase};

/// Closed once a thread, or the last of several, has ended; nothing is ever sent.
pub(super) type Ended = mpsc::Receiver<Infallible>;

/// The threads of the data path beside the caller's, which is the first of them. Each has a runtime of its own and
/// accepts for itself, so a connection stays with one thread from its first byte to its last: nothing is handed over,
/// and no thread is woken to look for work.
#[derive(Debug)]
pub(super) struct Workers {
    /// Once the last of them has dropped its connections.
    ended: Ended,
}

impl Workers {
    /// Starts accepting. `connections` counts what all do; the threads end when the gate has stopped.
    pub(super) fn start(
        number: NonZeroUsize,
        gates: Vec<(Arc<Gate>, TcpListener)>,
        connections: &TaskTracker,
        lifecycle: &Lifecycle,
    ) -> std::io::Result<Self> {
        let (running, ended) = mpsc::channel(1);
        let mut others = Vec::new();
        for _ in 1..number.get() {
            let runtime = runtime()?;
            let entered = runtime.enter();
            let share = gates.iter().map(copy).collect::<Result<_, _>>();
            let share = register(share?)?;
            drop(entered);
            others.push((runtime, share));
        }
        for (runtime, share) in others {
            let (connections, lifecycle) = (connections.clone(), lifecycle.clone());
            let running = running.clone();
            worker().spawn(move || {
                runtime.block_on(async {
                    accept(share, &connections);
                    lifecycle.reached(Phase::Stopped).await;
                });
                // Drops the connections that are left, and only then says so.
                drop(runtime);
                drop(running);
            })?;
        }
        accept(register(gates)?, connections);
        Ok(Self { ended })
    }

    pub(super) async fn ended(mut self) {
        let _closed = self.ended.recv().await;
    }
}

/// The routes, and their listeners as one thread has them.
type Share = Vec<(Arc<Gate>, gate::Listener)>;

fn copy((gate, listener): &(Arc<Gate>, TcpListener)) -> std::io::Result<(Arc<Gate>, TcpListener)> {
    Ok((Arc::clone(gate), listener.try_clone()?))
}

/// One thread's share of the listeners, registered with the runtime of the moment.
fn register(gates: Vec<(Arc<Gate>, TcpListener)>) -> std::io::Result<Share> {
    let register = |(gate, listener)| Ok((gate, gate::Listener::new(listener)?));
    gates.into_iter().map(register).collect()
}

fn accept(share: Share, connections: &TaskTracker) {
    for (gate, listener) in share {
        connections.spawn(gate::accept(gate, listener, connections.clone()));
    }
}

pub(super) fn worker() -> std::thread::Builder {
    std::thread::Builder::new().name("gate".to_owned())
}

/// A runtime for one thread. It puts nothing that stays above what a burst of connections took, for glibc gives back
/// nothing below it: it hears of fewer sockets at once than it then runs tasks (61), so that its queue does not grow when
/// thousands of clients vanish, and the thread that reads files is started once and for all.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(32)
        // A connection that gives way is told by whichever worker took in the newer one, and that one waits for it.
        .global_queue_interval(1)
        .thread_keep_alive(Duration::MAX)
        .build()
}
