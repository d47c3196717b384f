//! Bytes on their way to a side that does not take them yet. Holds no memory while there are none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

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
            let written = ready!(poll_write(cx, to, rest))?;
            self.taken += written;
            count(written);
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Writes new bytes, after the older ones, and keeps those that are not taken now.
    pub(super) fn send<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        mut bytes: &[u8],
        mut count: impl FnMut(usize),
    ) -> io::Result<()> {
        if !self.is_empty() {
            self.push(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let Poll::Ready(written) = poll_write(cx, to, bytes) else {
                self.push(bytes);
                break;
            };
            let written = written?;
            count(written);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

fn poll_write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut W,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}
