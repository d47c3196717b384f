//! Bytes on their way to a side that does not take them yet. Holds no memory while there are none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

use super::in_flight;

/// One of the two ends of a session: bytes come from it and go to it.
pub(in crate::gate) trait Side: AsyncRead + AsyncWrite + Unpin {
    /// As [`AsyncWrite::poll_write`], of bytes that the end follows at once: the two may leave in one packet.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// How many of the bytes that were written the other end's kernel has not acknowledged, where that can be known.
    fn unacknowledged(&self) -> Option<u32> {
        None
    }
}

impl Side for TcpStream {
    fn unacknowledged(&self) -> Option<u32> {
        in_flight::unacknowledged(self)
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let send = || Ok(send(&*self, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?);
            match self.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl<S: Side> Side for &mut S {
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write_last(cx, bytes)
    }

    fn unacknowledged(&self) -> Option<u32> {
        (**self).unacknowledged()
    }
}

/// Bytes that the receiving side has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    taken: usize,
}

impl Backlog {
    /// Where to put more.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes what is left, and frees the memory then.
    pub(super) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        mut count: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.taken..).filter(|rest| !rest.is_empty()) {
            let written = some(ready!(Pin::new(&mut *to).poll_write(cx, rest))?)?;
            self.taken += written;
            count(written);
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Writes new bytes, after the older ones, and keeps those that are not taken now. `last` if the end follows.
    pub(super) fn send<S: Side>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut S,
        mut bytes: &[u8],
        last: bool,
        mut count: impl FnMut(usize),
    ) -> io::Result<()> {
        if !self.is_empty() {
            self.push(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let written = if last {
                to.poll_write_last(cx, bytes)
            } else {
                Pin::new(&mut *to).poll_write(cx, bytes)
            };
            let Poll::Ready(written) = written else {
                self.push(bytes);
                break;
            };
            let written = some(written?)?;
            count(written);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Nothing written is no progress, and never will be.
fn some(written: usize) -> io::Result<usize> {
    match written {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read as _};

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_last_bytes_wait_for_the_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        for socket in [&near, &far] {
            socket.set_nonblocking(true).unwrap();
        }
        near.set_nodelay(true).unwrap();
        let mut near = TcpStream::from_std(near).unwrap();
        near.writable().await.unwrap();
        let mut backlog = Backlog::default();
        let mut sent = 0;
        poll_fn(|cx| {
            Poll::Ready(backlog.send(cx, &mut near, b"last", true, |bytes| sent += bytes))
        })
        .await
        .unwrap();
        assert_eq!(sent, 4, "the kernel has them");
        let mut received = [0; 8];
        let early = far.read(&mut received).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock, "and holds them back");
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut received).unwrap(), 4);
        assert_eq!(far.read(&mut received).unwrap(), 0);
    }
}
