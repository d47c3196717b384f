//! The only place that dials, and it takes an [`Admitted`] to do so.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::admit::Admitted;
use super::pump::Side;
use crate::config::{Target, TargetAddress};

/// How long a reset waits for bytes that the target has not taken in.
const DELIVERY: Duration = Duration::from_secs(1);
/// The pauses while the queue of a Unix target is full, of which the kernel does not tell the end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to the target. Dropped without [`finish`](Self::finish) it is reset, so that a target never takes a
/// cut, a cancellation or a bug for a clean end. (A Unix socket knows no reset; there the end is a close.)
#[derive(Debug)]
pub(super) enum TargetStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Why the target could not be reached. The target's fault, or the operator's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the target {target} cannot be reached: {source}")]
    Io { target: Target, source: io::Error },
    #[error("the target {target} did not accept within {limit:?}")]
    Timeout { target: Target, limit: Duration },
    #[error(
        "the target {target} did not accept within {limit:?}: its queue of waiting connections stayed full; it accepts \
         too slowly, or not at all"
    )]
    Full { target: Target, limit: Duration },
    #[error(
        "nothing listens on the target {target}: the kernel connected the gate's socket to itself"
    )]
    SelfConnect { target: Target },
}

/// Connects to the target on behalf of an admitted client.
pub(super) async fn dial(
    _proof: &Admitted,
    target: &Target,
    limit: Duration,
) -> Result<TargetStream, Error> {
    let mut full = false;
    let connecting = async {
        match target.address() {
            TargetAddress::Tcp(address) => connect_tcp(*address).await,
            TargetAddress::Unix(path) => connect_unix(path, &mut full)
                .await
                .map(|stream| Some(TargetStream::Unix(stream))),
        }
    };
    let connected = timeout(limit, connecting).await;
    match connected {
        Ok(Ok(Some(stream))) => Ok(stream),
        Ok(Ok(None)) => Err(Error::SelfConnect {
            target: target.clone(),
        }),
        Ok(Err(source)) => Err(Error::Io {
            target: target.clone(),
            source,
        }),
        Err(_) if full => Err(Error::Full {
            target: target.clone(),
            limit,
        }),
        Err(_) => Err(Error::Timeout {
            target: target.clone(),
            limit,
        }),
    }
}

/// `None` if the socket is connected to itself: with nobody listening, the kernel can pick the target's own port as the
/// source port and complete a simultaneous open (RFC 9293 section 3.5) with itself.
async fn connect_tcp(address: SocketAddr) -> io::Result<Option<TargetStream>> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    if let Err(error) = socket.connect(&address.into())
        && error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error())
    {
        return Err(error);
    }
    let stream = TcpStream::from_std(socket.into())?;
    let connected = || connected(&stream);
    // On loopback "in progress" is over by now; whoever waits for the kernel to say so waits a turn for nothing.
    let peer = match connected() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            stream.async_io(Interest::WRITABLE, connected).await
        }
        at_once => at_once,
    }?;
    Ok((stream.local_addr()? != peer).then_some(TargetStream::Tcp(stream)))
}

/// Tries again for as long as the target's queue is `full`: where TCP would wait for it, a Unix socket is refused at
/// once. Cancel safe.
async fn connect_unix(path: &Path, full: &mut bool) -> io::Result<UnixStream> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *full = true,
            connected => return connected,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The peer of a socket that is being connected; [`io::ErrorKind::WouldBlock`] as long as it has none.
fn connected(stream: &TcpStream) -> io::Result<SocketAddr> {
    match stream.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(stream
            .take_error()?
            .unwrap_or_else(|| io::ErrorKind::WouldBlock.into())),
        found => found,
    }
}

impl TargetStream {
    /// Closes it as finished: both ends have been passed on.
    pub(super) fn finish(self) {
        if let Self::Tcp(stream) = self {
            // Setting an option of a socket that is there cannot fail; if it did, the target would see a reset.
            let _set = SockRef::from(&stream).set_linger(None);
        }
    }

    /// Resets it, once what was written before is sent: a reset discards what is not.
    pub(super) async fn reset(self) {
        // What was written to a Unix socket has arrived.
        let Self::Tcp(stream) = self else { return };
        // Whether there was time or not, dropping it is what resets it.
        let _sent = timeout(DELIVERY, sent(&stream)).await;
    }
}

/// Returns once the kernel has sent all that was written. Cancel safe.
async fn sent(stream: &TcpStream) -> io::Result<()> {
    // With this mark the kernel calls a socket writable only when nothing is left unsent.
    SockRef::from(stream).set_tcp_notsent_lowat(1)?;
    let sent = || {
        let now = Some(&Timespec::default());
        match poll(&mut [PollFd::new(stream, PollFlags::OUT)], now)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    };
    stream.async_io(Interest::WRITABLE, sent).await
}

impl Side for TargetStream {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_last(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn unacknowledged(&self) -> Option<u32> {
        match self {
            Self::Tcp(stream) => stream.unacknowledged(),
            // It takes more as soon as the target has read something.
            Self::Unix(_) => None,
        }
    }
}

impl AsyncRead for TargetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TargetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
