//! Bytes both ways between an admitted client and its target, until both have finished or one was cut off.
//!
//! One task serves both directions. Bytes are read into buffers that belong to the worker thread and are lent for the
//! time of one poll; a connection keeps bytes of its own only while the other side does not take them, so an idle one
//! keeps none. Many TLS records make one write. Never decides who may stay: the caller drops the pump for that.

mod backlog;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use self::backlog::Backlog;
pub(super) use self::backlog::Receiver;
use super::records::{Incoming, RECORD, Records};
use crate::telemetry::Traffic;

/// What is read from either socket at once.
const READ: usize = 256 * 1024;
/// Once one direction has ended, the other may be silent for at most this long, or the idle timeout if that is shorter.
const HALF_CLOSED: Duration = Duration::from_secs(60);
/// How long the last bytes of a clean end may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often both directions are served before other tasks of the worker get their turn.
const ROUNDS: usize = 8;

thread_local! {
    static LENT: RefCell<Buffers> = RefCell::new(Buffers {
        input: vec![0; READ + RECORD].into(),
        output: vec![0; READ + RECORD].into(),
    });
}

/// What a worker thread lends to the connection it polls. Either holds what one read makes, decrypted or encrypted.
struct Buffers {
    input: Box<[u8]>,
    output: Box<[u8]>,
}

/// How the relaying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both directions ended cleanly, or the target answered in full and left.
    Clean(&'static str),
    /// No byte for too long; both sides have seen a clean end.
    Idle,
    /// One side takes no bytes and the other's are waiting: for too long, and no clean end is left to show.
    Stalled,
    /// One side was cut off; the other must not see a clean end.
    Cut(&'static str),
}

/// Where one direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The source may send more.
    Open,
    /// The source has ended cleanly; what is left is written and the end passed on.
    Ending,
    /// The source was cut off; what it had sent before is written.
    Cutting(&'static str),
    /// All was written and the end was passed on.
    Ended,
    /// All was written that came before the cut.
    Cut(&'static str),
    /// The receiving side takes no more.
    Broken(&'static str),
}

/// An admitted client, its target, and what is between them.
pub(super) struct Pump<'a, C, T> {
    client: C,
    target: T,
    records: Records,
    traffic: &'a Traffic,
    to_target: Backlog,
    to_client: Backlog,
    upward: Flow,
    downward: Flow,
    /// What came in behind the handshake has not been looked at.
    unopened: bool,
    moved: bool,
}

impl<'a, C, T> Pump<'a, C, T>
where
    C: AsyncRead + Receiver,
    T: AsyncRead + Receiver,
{
    /// Puts the two together.
    pub(super) fn new(client: C, target: T, records: Records, traffic: &'a Traffic) -> Self {
        Self {
            client,
            target,
            unopened: !records.incomplete().is_empty(),
            records,
            traffic,
            to_target: Backlog::default(),
            to_client: Backlog::default(),
            upward: Flow::Open,
            downward: Flow::Open,
            moved: false,
        }
    }

    /// Relays until it is over. Cancel safe: bytes are counted as they are handed over, and a cancelled pump can be
    /// taken apart by [`into_target`](Self::into_target) like one that returned.
    pub(super) async fn run(&mut self, idle: Duration) -> Ending {
        let mut limit = idle;
        let mut last = Instant::now();
        let timer = sleep_until(last + limit);
        tokio::pin!(timer);
        let ending = poll_fn(|cx| {
            self.moved = false;
            if let Some(ending) = self.poll_both(cx) {
                return Poll::Ready(Some(ending));
            }
            if self.moved {
                last = Instant::now();
            }
            if limit > HALF_CLOSED && (self.upward != Flow::Open || self.downward != Flow::Open) {
                limit = HALF_CLOSED;
                timer.as_mut().reset(last + limit);
            }
            // Moving the timer is dearer than looking once more when it fires.
            while timer.as_mut().poll(cx).is_ready() {
                if last.elapsed() >= limit {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(last + limit);
            }
            Poll::Pending
        })
        .await;
        match ending {
            Some(ending) => ending,
            None => self.say_goodbye().await,
        }
    }

    /// The target, to be closed in the way that fits the end.
    pub(super) fn into_target(self) -> T {
        self.target
    }

    /// Serves both directions until both are blocked. A direction that is has left its waker with the socket.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Option<Ending> {
        for _ in 0..ROUNDS {
            let blocked = self.poll_upward(cx).is_pending() & self.poll_downward(cx).is_pending();
            match (self.upward, self.downward) {
                (Flow::Cut(why), _) | (_, Flow::Cut(why)) => return Some(Ending::Cut(why)),
                (Flow::Ended, Flow::Ended) => return Some(Ending::Clean("both sides finished")),
                (Flow::Broken(why), Flow::Ended) => return Some(Ending::Clean(why)),
                (Flow::Ended | Flow::Broken(_), Flow::Broken(why)) => {
                    return Some(Ending::Cut(why));
                }
                (_, _) if blocked => return None,
                (_, _) => {}
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    /// One step from client to target, ciphertext in and plaintext out; pending if none can be taken.
    fn poll_upward(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            to_target,
            target,
            traffic,
            moved,
            ..
        } = self;
        let flushed = to_target.poll_flush(cx, target, |bytes| {
            *moved = true;
            traffic.add_to_target(bytes);
        });
        if ready!(flushed).is_err() {
            return self.target_refuses();
        }
        match self.upward {
            // The target is gone: what the client still says has nowhere to go.
            Flow::Open if matches!(self.downward, Flow::Cutting(_)) => return Poll::Pending,
            Flow::Open => return LENT.with_borrow_mut(|lent| self.poll_receive(cx, lent)),
            Flow::Ending => {
                if ready!(Pin::new(&mut self.target).poll_shutdown(cx)).is_err() {
                    return self.target_refuses();
                }
                self.upward = Flow::Ended;
            }
            Flow::Cutting(why) => self.upward = Flow::Cut(why),
            Flow::Ended | Flow::Cut(_) | Flow::Broken(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn target_refuses(&mut self) -> Poll<()> {
        self.to_target = Backlog::default();
        self.upward = Flow::Broken("the target took no more bytes before the client had finished");
        Poll::Ready(())
    }

    /// Reads from the client, decrypts, and hands the plaintext to the target.
    fn poll_receive(&mut self, cx: &mut Context<'_>, lent: &mut Buffers) -> Poll<()> {
        let kept = self.records.incomplete().len();
        let Some((old, new)) = lent
            .input
            .split_at_mut_checked(kept)
            .filter(|(_, new)| !new.is_empty())
        else {
            self.upward = Flow::Cutting("the client sent a TLS message larger than any may be");
            return Poll::Ready(());
        };
        let mut read = 0;
        if !std::mem::take(&mut self.unopened) {
            let mut space = ReadBuf::new(new);
            if ready!(Pin::new(&mut self.client).poll_read(cx, &mut space)).is_err() {
                self.upward = Flow::Cutting("the client reset the connection");
                return Poll::Ready(());
            }
            read = space.filled().len();
            if read == 0 {
                self.upward = Flow::Cutting("the client ended the connection without close_notify");
                return Poll::Ready(());
            }
        }
        self.moved = true;
        old.copy_from_slice(self.records.incomplete());
        let records = lent.input.get_mut(..kept + read).unwrap_or_default();
        let (decrypted, end) =
            self.records
                .decrypt(records, &mut lent.output, self.to_client.end());
        self.upward = match end {
            Incoming::Open => Flow::Open,
            Incoming::Closed => Flow::Ending,
            Incoming::Broken(why) => Flow::Cutting(why),
        };
        let plaintext = lent.output.get(..decrypted).unwrap_or_default();
        let last = self.upward == Flow::Ending;
        let Self {
            to_target,
            target,
            traffic,
            ..
        } = self;
        let count = |bytes| traffic.add_to_target(bytes);
        if to_target.send(cx, target, plaintext, last, count).is_err() {
            return self.target_refuses();
        }
        Poll::Ready(())
    }

    /// One step from target to client, plaintext in and ciphertext out; pending if none can be taken.
    fn poll_downward(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            to_client,
            client,
            moved,
            ..
        } = self;
        if ready!(to_client.poll_flush(cx, client, |_| *moved = true)).is_err() {
            return self.client_refuses();
        }
        match self.downward {
            // The client is gone: what the target still says has nowhere to go.
            Flow::Open if matches!(self.upward, Flow::Cutting(_)) => return Poll::Pending,
            Flow::Open => return LENT.with_borrow_mut(|lent| self.poll_fetch(cx, lent)),
            Flow::Ending => {
                if ready!(Pin::new(&mut self.client).poll_shutdown(cx)).is_err() {
                    return self.client_refuses();
                }
                self.downward = Flow::Ended;
            }
            Flow::Cutting(why) => self.downward = Flow::Cut(why),
            Flow::Ended | Flow::Cut(_) | Flow::Broken(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn client_refuses(&mut self) -> Poll<()> {
        self.to_client = Backlog::default();
        self.downward =
            Flow::Broken("the client took no more bytes before the target had finished");
        Poll::Ready(())
    }

    /// Reads from the target what there is, encrypts it, and hands the records to the client. An end that is there too
    /// goes along in the same write.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, lent: &mut Buffers) -> Poll<()> {
        let mut space = ReadBuf::new(lent.input.get_mut(..READ).unwrap_or_default());
        let mut next = Flow::Open;
        while next == Flow::Open && space.remaining() > 0 {
            let before = space.filled().len();
            match Pin::new(&mut self.target).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if space.filled().len() > before => {}
                Poll::Ready(Ok(())) => next = Flow::Ending,
                // The kernel tells it once; what came before it is passed on.
                Poll::Ready(Err(_)) => next = Flow::Cutting("the target reset the connection"),
                Poll::Pending if before > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let plaintext = space.filled();
        self.moved |= !plaintext.is_empty();
        let mut farewell = Vec::new();
        let sealed = self
            .records
            .encrypt(plaintext, &mut lent.output, self.to_client.end())
            .filter(|_| next != Flow::Ending || self.records.close_notify(&mut farewell))
            .and_then(|encrypted| {
                let sealed = encrypted + farewell.len();
                let end = lent.output.get_mut(encrypted..sealed)?;
                end.copy_from_slice(&farewell);
                lent.output.get(..sealed)
            });
        let Some(records) = sealed else {
            self.downward = Flow::Cutting("TLS could not encrypt any more");
            return Poll::Ready(());
        };
        self.downward = next;
        self.traffic.add_from_target(plaintext.len());
        let Self {
            to_client, client, ..
        } = self;
        let last = next == Flow::Ending;
        if to_client.send(cx, client, records, last, |_| {}).is_err() {
            return self.client_refuses();
        }
        Poll::Ready(())
    }

    /// Ends both sides cleanly, unless one was cut or has bytes waiting that it would never see.
    async fn say_goodbye(&mut self) -> Ending {
        let over = |flow| matches!(flow, Flow::Cutting(_) | Flow::Cut(_) | Flow::Broken(_));
        if over(self.upward)
            || over(self.downward)
            || !self.to_target.is_empty()
            || !self.to_client.is_empty()
        {
            return Ending::Stalled;
        }
        if self.downward == Flow::Open && !self.records.close_notify(self.to_client.end()) {
            return Ending::Stalled;
        }
        let Self {
            to_client,
            client,
            target,
            ..
        } = self;
        let farewell = async {
            poll_fn(|cx| to_client.poll_flush(cx, client, |_| {})).await?;
            client.shutdown().await?;
            target.shutdown().await
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => Ending::Idle,
            Ok(Err(_)) | Err(_) => Ending::Stalled,
        }
    }
}
