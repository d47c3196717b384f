//! The target behind every relay: a small request in, as many bytes as it asks for out, in this very process.
//!
//! Its own file because it is the one thing all relays share, and its CPU time is nobody's but ours. A `GET /N` is
//! answered with N bytes; a `PUT /N` is followed by N bytes and answered with none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const CHUNK: usize = 256 << 10;

/// What one listener has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// Bytes that came in.
    pub(crate) bytes: AtomicU64,
}

/// A runtime that serves any number of listeners, each with counters of its own.
pub(crate) struct Target {
    runtime: Runtime,
}

/// One listener of the target.
pub(crate) struct Door {
    /// Where a relay reaches it.
    pub(crate) address: SocketAddr,
    /// What came.
    pub(crate) seen: Arc<Seen>,
}

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("target")
            .enable_all()
            .build()?;
        Ok(Self { runtime })
    }

    /// Calls this once somebody wants the run to end.
    pub(crate) fn on_interrupt(&self, stop: fn()) -> Result<()> {
        let _in_runtime = self.runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        self.runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop();
        });
        Ok(())
    }

    /// Opens one more listener.
    pub(crate) fn listen(&self) -> Result<Door> {
        let listener = self
            .runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .context("the target's listener")?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let counters = Arc::clone(&seen);
        let runtime = self.runtime.handle().clone();
        self.runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = Arc::clone(&counters);
                seen.open.fetch_add(1, Ordering::Relaxed);
                runtime.spawn(async move {
                    // A relay may end its connection in any way it likes; the client notices what is missing.
                    drop(serve(socket, &seen).await);
                    seen.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Ok(Door { address, seen })
    }
}

/// What stands before the body of an answer.
pub(crate) fn head(body: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {body}\r\n\r\n"
    )
}

/// A request as long as Prometheus' own.
pub(crate) fn request(method: &str, bytes: usize) -> Vec<u8> {
    format!(
        "{method} /{bytes} HTTP/1.1\r\nHost: portcullis.internal:54899\r\nUser-Agent: Prometheus/3.0.0\r\n\
         Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\nAccept-Encoding: identity\r\n\
         X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    )
    .into_bytes()
}

async fn serve(mut socket: TcpStream, seen: &Seen) -> Result<()> {
    socket.set_nodelay(true)?;
    let body = vec![b'm'; CHUNK];
    // Small until something is uploaded: thousands of idle connections share this process' memory.
    let mut buffer = vec![0; 1024];
    let mut held = 0;
    loop {
        let end = loop {
            if let Some(end) = buffer.get(..held).and_then(find_end) {
                break end;
            }
            let room = buffer.get_mut(held..).unwrap_or_default();
            let read = socket.read(room).await?;
            if read == 0 {
                return Ok(());
            }
            seen.bytes.fetch_add(read as u64, Ordering::Relaxed);
            held += read;
        };
        let text = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
        let mut words = text.split_whitespace();
        let put = words.next() == Some("PUT");
        let bytes: usize = words
            .next()
            .and_then(|path| path.strip_prefix('/'))
            .context("a request without a path")?
            .parse()?;
        if put {
            let mut missing = bytes.saturating_sub(held - end);
            buffer.resize(CHUNK, 0);
            while missing > 0 {
                let read = socket.read(&mut buffer).await?;
                anyhow::ensure!(read > 0, "the upload ended early");
                missing = missing.saturating_sub(read);
            }
            held = 0;
            socket.write_all(head(0).as_bytes()).await?;
        } else {
            buffer.copy_within(end..held, 0);
            held -= end;
            answer(&mut socket, &body, bytes).await?;
        }
    }
}

async fn answer(socket: &mut TcpStream, chunk: &[u8], bytes: usize) -> Result<()> {
    let mut first = head(bytes).into_bytes();
    let mut missing = bytes;
    let beside = missing.min(chunk.len() - first.len());
    first.extend(chunk.iter().take(beside));
    missing -= beside;
    socket.write_all(&first).await?;
    while missing > 0 {
        let part = missing.min(chunk.len());
        socket
            .write_all(chunk.get(..part).unwrap_or_default())
            .await?;
        missing -= part;
    }
    Ok(())
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}
