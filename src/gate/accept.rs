//! The accept loop of one route: source networks, the caps that count before TLS, and one task per connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::{Gate, canonical};
use crate::event::{Ended, Outcome};
use crate::lifecycle::Phase;
use crate::telemetry::Record;

/// The pauses after failed accepts: descriptors come back when sessions end, and asking sooner only burns CPU.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until the gate drains; then the listener is closed and no new connection gets in. `tracker` owns the
/// connections.
pub(crate) async fn accept(gate: Arc<Gate>, listener: TcpListener, tracker: TaskTracker) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.lifecycle.reached(Phase::Draining) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, source)) => {
                pause = SHORTEST_PAUSE;
                gate.admit_socket(socket, canonical(source), &tracker);
            }
            Err(error) => {
                gate.metrics.accept_error();
                // One line for a run of failures; the counter has them all.
                if pause == SHORTEST_PAUSE {
                    let route = &*gate.route.name;
                    tracing::warn!(event = "accept_failed", route, %error, "accepting slows down until it works again");
                }
                tokio::select! {
                    biased;
                    () = gate.lifecycle.reached(Phase::Draining) => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

impl Gate {
    fn admit_socket(
        self: &Arc<Self>,
        socket: TcpStream,
        source: SocketAddr,
        tracker: &TaskTracker,
    ) {
        let record = Record::begin(Arc::clone(&self.metrics), source);
        let generation = Arc::clone(&self.generations.borrow());
        if !generation
            .route(self.index)
            .is_some_and(|trust| trust.admits_source(source.ip()))
        {
            return record.close(&Ended::new(
                Outcome::SourceDenied,
                "the source lies in no network of --allow-from",
            ));
        }
        let source_slot = match self.limits.source(source.ip()) {
            Ok(slot) => slot,
            Err(over) => return record.close(&Ended::new(Outcome::OverLimit, over.0)),
        };
        if let Err(error) = socket.set_nodelay(true) {
            // The client is gone already.
            return record.close(&Ended::new(
                Outcome::HandshakeFailed,
                format!("the socket broke: {error}"),
            ));
        }
        let slot = self.limits.handshake();
        let gate = Arc::clone(self);
        tracker.spawn(async move {
            let _counted = source_slot;
            gate.connection(socket, source, slot, record).await;
        });
    }
}
