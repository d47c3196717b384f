//! Bytes both ways between an admitted client and its target, until both have finished or one was cut off.
//!
//! One task serves both directions. Bytes are read into buffers that belong to the worker thread and are lent for the
//! time of one poll; a connection keeps bytes of its own only while the other side does not take them, so an idle one
//! keeps none. Many TLS records make one write. When it is over, and as what, the tables of [`ending`](super::ending)
//! say. Never decides who may stay: the caller drops the pump for that.

mod backlog;
mod farewell;
mod in_flight;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, sleep_until};

use self::backlog::Backlog;
pub(super) use self::backlog::Side;
use super::ending::{End, Flow, ending, out_of_patience, patience};
use super::records::{Incoming, RECORD, Records};
use crate::telemetry::Traffic;

/// What is read from either socket at once.
const READ: usize = 256 * 1024;
/// What is read from the target before anything else: the client can decrypt that while the rest is read and encrypted.
const FIRST_READ: usize = 64 * 1024;
/// How often a session in which nothing seems to move is looked at before it is given up.
const LOOKS: u32 = 4;

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
    /// Writing to the target has shown that it reset the connection: the kernel tells that once, and shows whoever
    /// reads after that a clean end.
    target_was_reset: bool,
    /// What both sides' kernels had to acknowledge when nothing had moved for a while; `None` if something has since.
    in_flight: Option<u32>,
    /// What came in behind the handshake has not been looked at.
    unopened: bool,
    moved: bool,
}

impl<'a, C, T> Pump<'a, C, T>
where
    C: Side,
    T: Side,
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
            target_was_reset: false,
            in_flight: None,
            moved: false,
        }
    }

    /// Relays until it is over. Cancel safe: bytes are counted as they are handed over, and a cancelled pump can be
    /// taken apart by [`into_target`](Self::into_target) like one that returned.
    pub(super) async fn run(&mut self, idle: Duration) -> End {
        let mut last = Instant::now();
        let timer = sleep_until(last + idle / LOOKS);
        tokio::pin!(timer);
        let end = poll_fn(|cx| {
            self.moved = false;
            if let Some(end) = self.poll_both(cx) {
                return Poll::Ready(Some(end));
            }
            if self.moved {
                last = Instant::now();
                self.in_flight = None;
            }
            let limit = patience(self.upward, self.downward, idle);
            let next_look = |now: Instant, last: Instant| (now + limit / LOOKS).min(last + limit);
            // Moving the timer is dearer than looking once more when it fires, unless that would be too late.
            if timer.deadline() > last + limit {
                timer.as_mut().reset(last + limit);
            }
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if self.bytes_arrive() {
                    last = now;
                }
                if now >= last + limit {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(next_look(now, last));
            }
            Poll::Pending
        })
        .await;
        match end {
            // Closing its socket makes the kernel reset it, and what is on its way would be lost.
            Some(End::Clean(ended)) if self.upward == Flow::Deaf => {
                let limit = patience(self.upward, self.downward, idle);
                if self.deliver(limit).await {
                    End::Clean(ended)
                } else {
                    out_of_patience(self.upward, self.downward, false, true, idle)
                }
            }
            Some(end) => end,
            None => self.give_up(idle).await,
        }
    }

    /// The target, to be closed in the way that fits the end, and whether the client is still sending: closing its
    /// socket makes the kernel reset it then.
    pub(super) fn into_target(self) -> (T, bool) {
        (self.target, self.upward == Flow::Deaf)
    }

    /// Whether the kernel has delivered something since it was asked last, while nothing was written or read.
    fn bytes_arrive(&mut self) -> bool {
        if self.in_flight == Some(0) {
            return false;
        }
        let [client, target] = [self.client.unacknowledged(), self.target.unacknowledged()];
        let now = client.unwrap_or(0).saturating_add(target.unwrap_or(0));
        let before = self.in_flight.replace(now);
        before.is_some_and(|before| now < before)
    }

    /// Serves both directions until both are blocked. A direction that is has left its waker with the socket.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Option<End> {
        for round in 0..ROUNDS {
            let most = if round == 0 { FIRST_READ } else { READ };
            let blocked =
                self.poll_upward(cx).is_pending() & self.poll_downward(cx, most).is_pending();
            let unanswered = self.traffic.owes_an_answer();
            let end = ending(self.upward, self.downward, unanswered);
            if end.is_some() || blocked {
                return end;
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
        if let Err(error) = ready!(flushed) {
            return self.target_refuses(&error);
        }
        match self.upward {
            // The target is gone: what the client still says has nowhere to go.
            Flow::Open if matches!(self.downward, Flow::Cutting(_)) => return Poll::Pending,
            // To a deaf target as well: unread bytes make the kernel reset a socket that is closed, and the client would
            // lose what is on its way to it.
            Flow::Open | Flow::Deaf => {
                return LENT.with_borrow_mut(|lent| self.poll_receive(cx, lent));
            }
            Flow::Ending => {
                if let Err(error) = ready!(Pin::new(&mut self.target).poll_shutdown(cx)) {
                    return self.target_refuses(&error);
                }
                self.upward = Flow::Ended;
            }
            Flow::Cutting(why) => self.upward = Flow::Cut(why),
            Flow::Ended | Flow::Cut(_) | Flow::Lost => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn target_refuses(&mut self, error: &Error) -> Poll<()> {
        // Of a target that finished before, a write says EPIPE; the socket has no peer after a reset that was told.
        let finished = [ErrorKind::BrokenPipe, ErrorKind::NotConnected];
        self.target_was_reset |= !finished.contains(&error.kind());
        self.to_target = Backlog::default();
        self.upward = self.upward.deaf();
        Poll::Ready(())
    }

    fn client_is_cut(&mut self, why: &'static str) -> Poll<()> {
        self.upward = if self.upward == Flow::Deaf {
            Flow::Lost
        } else {
            Flow::Cutting(why)
        };
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
                return self.client_is_cut("the client reset the connection");
            }
            read = space.filled().len();
            if read == 0 {
                let why = "the client ended the connection without close_notify";
                return self.client_is_cut(why);
            }
        }
        self.moved |= self.upward == Flow::Open;
        old.copy_from_slice(self.records.incomplete());
        let records = lent.input.get_mut(..kept + read).unwrap_or_default();
        let (decrypted, end) =
            self.records
                .decrypt(records, &mut lent.output, self.to_client.end());
        self.upward = match (end, self.upward) {
            (Incoming::Open, upward) => upward,
            (Incoming::Closed, Flow::Deaf) => Flow::Lost,
            (Incoming::Closed, _) => Flow::Ending,
            (Incoming::Broken(why), _) => Flow::Cutting(why),
        };
        if matches!(self.upward, Flow::Deaf | Flow::Lost) {
            return Poll::Ready(());
        }
        let plaintext = lent.output.get(..decrypted).unwrap_or_default();
        let last = self.upward == Flow::Ending;
        let Self {
            to_target,
            target,
            traffic,
            ..
        } = self;
        let count = |bytes| traffic.add_to_target(bytes);
        if let Err(error) = to_target.send(cx, target, plaintext, last, count) {
            return self.target_refuses(&error);
        }
        Poll::Ready(())
    }

    /// One step from target to client, plaintext in and ciphertext out; pending if none can be taken.
    fn poll_downward(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
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
            Flow::Open => return LENT.with_borrow_mut(|lent| self.poll_fetch(cx, lent, most)),
            Flow::Ending => {
                if ready!(Pin::new(&mut self.client).poll_shutdown(cx)).is_err() {
                    return self.client_refuses();
                }
                self.downward = Flow::Ended;
            }
            Flow::Cutting(why) => self.downward = Flow::Cut(why),
            Flow::Ended | Flow::Cut(_) | Flow::Deaf | Flow::Lost => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn client_refuses(&mut self) -> Poll<()> {
        self.to_client = Backlog::default();
        self.downward = self.downward.deaf();
        Poll::Ready(())
    }

    /// Reads from the target what there is, at most this much, encrypts it, and hands the records to the client. An end that is there too
    /// goes along in the same write.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, lent: &mut Buffers, most: usize) -> Poll<()> {
        let mut space = ReadBuf::new(lent.input.get_mut(..most).unwrap_or_default());
        let mut next = Flow::Open;
        while next == Flow::Open && space.remaining() > 0 {
            let before = space.filled().len();
            match Pin::new(&mut self.target).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if space.filled().len() > before => {}
                Poll::Ready(Ok(())) if !self.target_was_reset => next = Flow::Ending,
                // What came before it is passed on.
                Poll::Ready(_) => next = Flow::Cutting("the target reset the connection"),
                Poll::Pending if before > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let plaintext = space.filled();
        self.moved |= !plaintext.is_empty();
        let mut farewell = Vec::new();
        let sealed = self
            .records
            .encrypt(plaintext, &mut lent.output)
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
        if next == Flow::Ending && self.upward == Flow::Open {
            self.traffic.target_finished_first();
        }
        let Self {
            to_client, client, ..
        } = self;
        let last = next == Flow::Ending;
        if to_client.send(cx, client, records, last, |_| {}).is_err() {
            return self.client_refuses();
        }
        Poll::Ready(())
    }
}
