//! The accept loop of one route: source networks, the caps that count before TLS, and one task per connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::{Gate, canonical};
use crate::event::{Ended, RefusalKind};
use crate::lifecycle::Phase;
use crate::telemetry::Record;

/// The pauses after failed accepts: descriptors come back when sessions end, and asking sooner only burns CPU.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One worker's listener of a route; the workers share the socket. Tokio's own listener accepts until nobody is there,
/// and an accept in vain is dear: it makes a socket and throws it away. A stream can be told what to do when ready.
#[derive(Debug)]
pub(crate) struct Listener(TcpStream);

impl Listener {
    /// Registers a listener, which does not block, with the runtime of the moment.
    ///
    /// # Errors
    /// If the kernel can watch no more.
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        TcpStream::from_std(OwnedFd::from(listener).into()).map(Self)
    }

    /// The next connection, and where it comes from. Cancel safe.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = || {
            let now = Some(&Timespec::default());
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], now)? == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (socket, source) = acceptfrom_with(&self.0, flags)?;
            let source = source.map(SocketAddr::try_from);
            let Some(Ok(source)) = source else {
                return Err(io::Error::other("a connection from no address"));
            };
            Ok((TcpStream::from_std(socket.into())?, source))
        };
        self.0.async_io(Interest::READABLE, accept).await
    }
}

/// Accepts until the gate drains; then the listener is closed and no new connection gets in. `tracker` owns the
/// connections.
pub(crate) async fn accept(gate: Arc<Gate>, listener: Listener, tracker: TaskTracker) {
    let mut pause = SHORTEST_PAUSE;
    let mut draining = pin!(gate.lifecycle.reached(Phase::Draining));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, source)) => {
                pause = SHORTEST_PAUSE;
                gate.admit_socket(socket, canonical(source), &tracker);
                tokio::select! {
                    biased;
                    () = &mut draining => return,
                    () = gate.limits.settled() => {}
                }
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
                    () = &mut draining => return,
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
            return record.close(&Ended::refused(
                RefusalKind::Source,
                "the source lies in no network of --allow-from",
            ));
        }
        let source_slot = match self.limits.source(source.ip()) {
            Ok(slot) => slot,
            Err(over) => return record.close(&Ended::refused(RefusalKind::OverLimit, over.0)),
        };
        let slot = self.limits.handshake(source.ip());
        let gate = Arc::clone(self);
        // Boxed, since tokio copies what it runs when it starts and twice when it ends.
        tracker.spawn(Box::pin(async move {
            let _counted = source_slot;
            gate.connection(socket, source, slot, record).await;
        }));
    }
}
