//! A TLS stream in, the same with its last words still to be heard out.
//!
//! Its own file because it is the one thing between hyper and TLS, and why it is there takes a paragraph. Reports every
//! error of a read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::refusal::{EndWithoutNotice, is_reset};

/// Lets the other side finish speaking after it stopped listening.
///
/// A server that refuses the client sends an alert and closes, and the request that is under way meets a reset. An
/// error of a write is therefore not reported: the next read has the alert, or else the reset.
pub(super) struct LastWords<S> {
    inner: S,
    /// The other side reads no more, so nothing is written to it.
    deaf: bool,
}

impl<S> LastWords<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, deaf: false }
    }

    fn hear<T>(&mut self, written: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_reset(error.kind()) => {
                self.deaf = true;
                Poll::Ready(Ok(instead))
            }
            written @ (Poll::Ready(_) | Poll::Pending) => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            // rustls' word for an end of the stream without close_notify.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(io::Error::new(error.kind(), EndWithoutNotice)))
            }
            read @ (Poll::Ready(_) | Poll::Pending) => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.hear(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.hear(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.hear(shut, ())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A peer that said something and then stopped listening.
    struct Hangup(&'static [u8]);

    impl AsyncRead for Hangup {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buf.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Hangup {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
        }
    }

    #[tokio::test]
    async fn what_was_said_before_the_reset_of_a_write_is_still_read() {
        let mut stream = LastWords::new(Hangup(b"why"));
        stream.write_all(b"GET").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "why");
    }

    #[tokio::test]
    async fn other_errors_of_a_write_are_reported() {
        let mut stream = LastWords::new(Hangup(b""));
        assert!(stream.shutdown().await.is_err());
    }
}
