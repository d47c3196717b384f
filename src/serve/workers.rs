//! The threads of the data path: the routes and their listeners in, everything accepted on as many threads as asked out.
//!
//! Its own file because it alone knows how many threads there are. Decides nothing about a connection.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::gate::{self, Gate};
use crate::lifecycle::{Lifecycle, Phase};

/// The threads of the data path beside the caller's, which is the first of them. Each has a runtime of its own and
/// accepts for itself, so a connection stays with one thread from its first byte to its last: nothing is handed over,
/// and no thread is woken to look for work.
#[derive(Debug)]
pub(super) struct Workers {
    /// Closed once the last of them has dropped its connections.
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Starts accepting. `connections` counts what all do; the threads end when the gate has stopped.
    pub(super) fn start(
        number: NonZeroUsize,
        gates: &[(Arc<Gate>, TcpListener)],
        connections: &TaskTracker,
        lifecycle: &Lifecycle,
    ) -> std::io::Result<Self> {
        let (running, ended) = mpsc::channel(1);
        let own = share(gates)?;
        let mut others = Vec::new();
        for _ in 1..number.get() {
            let runtime = runtime()?;
            let entered = runtime.enter();
            let share = share(gates)?;
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
        accept(own, connections);
        Ok(Self { ended })
    }

    pub(super) async fn ended(mut self) {
        // Nothing is ever sent; what is waited for is the last sender's end.
        while self.ended.recv().await.is_some() {}
    }
}

/// The routes, and their listeners as one thread has them.
type Share = Vec<(Arc<Gate>, gate::Listener)>;

/// One thread's share of the listeners, registered with the runtime of the moment.
fn share(gates: &[(Arc<Gate>, TcpListener)]) -> std::io::Result<Share> {
    let listen = |listener: &TcpListener| gate::Listener::new(listener.try_clone()?);
    gates
        .iter()
        .map(|(gate, listener)| Ok((Arc::clone(gate), listen(listener)?)))
        .collect()
}

fn accept(share: Share, connections: &TaskTracker) {
    for (gate, listener) in share {
        connections.spawn(gate::accept(gate, listener, connections.clone()));
    }
}

/// A thread of the data path.
pub(super) fn worker() -> std::thread::Builder {
    std::thread::Builder::new().name("gate".to_owned())
}

/// A runtime for one thread. It puts nothing that stays above what a burst of connections took, for glibc gives back
/// nothing below it: it hears of fewer sockets at once than it then runs tasks (61), so that its queue does not grow when
/// thousands of clients vanish.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(32)
        .build()
}
