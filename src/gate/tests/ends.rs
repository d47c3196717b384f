//! Sessions whose two sides speak, take, end and refuse in any order: what each is shown follows from what the other
//! said, whatever the tables of the gate are.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::advance;

use super::*;

/// What TLS 1.3 puts around a piece of plaintext, and a whole close_notify.
const AROUND: usize = 22;
const CLOSE_NOTIFY: usize = 24;

/// How a side stops speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// In the way of its protocol: close_notify, or FIN at the target.
    Finished,
    /// A client's FIN with no close_notify, so many bytes before its end.
    Truncated(usize),
    Reset,
    /// Never.
    Silent,
}

#[derive(Debug, Clone)]
struct Script {
    pieces: Vec<usize>,
    last: Last,
    /// Takes no more than this.
    takes: Option<usize>,
}

/// What a side does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    ClientSpeaks,
    TargetSpeaks,
    ClientTakes(usize),
    TargetTakes(usize),
}

/// One side, as its socket shows it to the gate.
#[derive(Debug)]
struct Scripted {
    to_come: VecDeque<Vec<u8>>,
    last: Last,
    takes: usize,
    arrived: VecDeque<u8>,
    ended: Option<Last>,
    /// Nothing that is written goes anywhere.
    dead: bool,
    /// The gate was shown the reset, which happens once.
    reset_shown: bool,
    read: usize,
    room: usize,
    got: Vec<u8>,
    finished: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Scripted {
    fn new(to_come: VecDeque<Vec<u8>>, script: &Script) -> Self {
        Self {
            to_come,
            last: script.last,
            takes: script.takes.unwrap_or(usize::MAX),
            arrived: VecDeque::new(),
            ended: None,
            dead: false,
            reset_shown: false,
            read: 0,
            room: 0,
            got: Vec::new(),
            finished: false,
            reader: None,
            writer: None,
        }
    }

    /// Says the next piece, or that there is none; false if it has nothing more to say.
    fn speak(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match (self.to_come.pop_front(), self.last) {
            (Some(piece), _) => self.arrived.extend(piece),
            (None, Last::Silent) => return false,
            (None, last) => {
                self.ended = Some(last);
                self.dead = last == Last::Reset;
            }
        }
        self.wake();
        true
    }

    fn make_room(&mut self, bytes: usize) {
        self.room = self.room.saturating_add(bytes);
        self.wake();
    }

    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn was_reset(&self) -> bool {
        self.ended == Some(Last::Reset)
    }

    /// As the kernel does: a reset is told once, of a peer that had finished as EPIPE.
    fn refusal(&mut self) -> Error {
        self.dead = true;
        self.ended.get_or_insert(Last::Reset);
        if self.was_reset() && !self.reset_shown {
            self.reset_shown = true;
            return ErrorKind::ConnectionReset.into();
        }
        ErrorKind::BrokenPipe.into()
    }
}

/// A side that the test keeps a hand on while the gate has it.
#[derive(Clone)]
struct Shared(Arc<std::sync::Mutex<Scripted>>);

impl Shared {
    fn new(side: Scripted) -> Self {
        Self(Arc::new(std::sync::Mutex::new(side)))
    }

    fn side(&self) -> std::sync::MutexGuard<'_, Scripted> {
        self.0.lock().unwrap()
    }
}

impl Side for Shared {}

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let mut side = self.side();
        if !side.arrived.is_empty() {
            let count = side.arrived.len().min(space.remaining());
            let bytes: Vec<u8> = side.arrived.drain(..count).collect();
            space.put_slice(&bytes);
            side.read += count;
        } else if side.ended.is_none() {
            side.reader = Some(cx.waker().clone());
            return Poll::Pending;
        } else if side.was_reset() && !side.reset_shown {
            side.reset_shown = true;
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let mut side = self.side();
        let left = side.takes - side.got.len();
        if side.dead || left == 0 {
            return Poll::Ready(Err(side.refusal()));
        }
        let count = bytes.len().min(side.room).min(left);
        if count == 0 {
            side.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        side.room -= count;
        side.got.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.side().finished = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn plaintext(pieces: &[usize], factor: usize) -> Vec<u8> {
    let len = pieces.iter().sum();
    (0..len)
        .map(|at: usize| ((at * factor) >> 3) as u8)
        .collect()
}

/// `bytes` in pieces of these lengths, the rest as the last.
fn cut(mut bytes: &[u8], lengths: impl Iterator<Item = usize>) -> VecDeque<Vec<u8>> {
    let mut pieces = VecDeque::new();
    for len in lengths {
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        pieces.push_back(piece.to_vec());
        bytes = rest;
    }
    pieces.push_back(bytes.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Plays both scripts and holds the session to them.
async fn play(of_client: &Script, of_target: &Script, steps: &[Step]) {
    let (mut tls, mut far, gate) = handshaken(1 << 20).await;
    let asked = plaintext(&of_client.pieces, 3);
    let answered = plaintext(&of_target.pieces, 5);
    for piece in cut(&asked, of_client.pieces.iter().copied()) {
        tls.write_all(&piece).await.unwrap();
    }
    tls.shutdown().await.unwrap();
    let mut wire = Vec::new();
    far.read_to_end(&mut wire).await.unwrap();
    let kept = match of_client.last {
        Last::Finished => wire.len(),
        Last::Truncated(bytes) => wire.len().saturating_sub(CLOSE_NOTIFY + bytes),
        Last::Reset | Last::Silent => wire.len() - CLOSE_NOTIFY,
    };
    wire.truncate(kept);
    let on_the_wire = of_client.pieces.iter().map(|len| len + AROUND);
    let client = Shared::new(Scripted::new(cut(&wire, on_the_wire), of_client));
    let pieces = of_target.pieces.iter().copied();
    let target = Shared::new(Scripted::new(cut(&answered, pieces), of_target));

    let traffic = traffic();
    let mut pump = Pump::new(client.clone(), target.clone(), gate.records, &traffic);
    let woken = Arc::new(Woken::default());
    woken.0.store(true, Ordering::SeqCst);
    let waker = Waker::from(Arc::clone(&woken));
    let mut end = None;
    {
        let mut run = pin!(unconstrained(pump.run(IDLE)));
        let mut poll = || {
            while end.is_none() && woken.0.swap(false, Ordering::SeqCst) {
                match run.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(done) => end = Some(done),
                    Poll::Pending => {}
                }
            }
            end.is_some()
        };
        let mut over = poll();
        for step in steps {
            if over {
                break;
            }
            match *step {
                Step::ClientSpeaks => drop(client.side().speak()),
                Step::TargetSpeaks => drop(target.side().speak()),
                Step::ClientTakes(bytes) => client.side().make_room(bytes),
                Step::TargetTakes(bytes) => target.side().make_room(bytes),
            }
            over = poll();
        }
        if !over {
            client.side().make_room(1 << 30);
            target.side().make_room(1 << 30);
            over = poll();
        }
        while !over && client.side().speak() | target.side().speak() {
            over = poll();
        }
        if !over {
            let open = |side: &Shared| side.side().ended.is_none();
            assert!(open(&client) || open(&target), "nobody was woken");
        }
        for _ in 0..16 {
            if !over {
                advance(IDLE / 4).await;
                over = poll();
            }
        }
    }
    let end = end.expect("a session whose time is over ends");

    let sealed = std::mem::take(&mut client.side().got);
    far.write_all(&sealed).await.unwrap();
    drop(far);
    let mut shown = Vec::new();
    let closed = tls.read_to_end(&mut shown).await.is_ok();
    let (client, target) = (client.side(), target.side());
    let clean = matches!(end, End::Clean(_));
    let (End::Clean(ended) | End::Cut(ended)) = &end;
    let by_itself = clean && ended.outcome != Outcome::IdleTimeout;

    assert!(asked.starts_with(&target.got), "a prefix at the target");
    assert!(answered.starts_with(&shown), "a prefix at the client");
    // A close_notify is an end, whatever becomes of the connection behind it.
    let told = client.last == Last::Finished && client.to_come.is_empty();
    let client_ended = client
        .ended
        .filter(|_| !told)
        .or(told.then_some(Last::Finished));
    if target.finished {
        let kind = client_ended;
        assert!(matches!(kind, None | Some(Last::Finished)), "{kind:?}");
        assert!(client.arrived.is_empty());
        assert!(kind.is_none() || target.dead || target.got == asked);
    }
    if closed {
        let kind = target.ended;
        assert!(matches!(kind, None | Some(Last::Finished)), "{kind:?}");
        assert_eq!(shown.len(), target.read, "all that it had said");
        assert!(kind.is_none() || shown == answered);
    }
    if clean {
        assert!(!client.reset_shown && !target.reset_shown, "{end:?}");
    }
    if by_itself && !target.dead {
        assert!(client_ended != Some(Last::Finished) || target.got == asked);
    }
    if by_itself && !client.dead {
        assert!(target.ended != Some(Last::Finished) || shown == answered);
    }
    let counted = traffic.totals();
    assert_eq!(counted, (target.got.len() as u64, target.read as u64));
}

fn script(last: impl Strategy<Value = Last>) -> impl Strategy<Value = Script> {
    let takes = proptest::option::weighted(0.3, 0_usize..6000);
    (vec(1_usize..3000, 0..5), last, takes).prop_map(|(pieces, last, takes)| Script {
        pieces,
        last,
        takes,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::ClientSpeaks),
        Just(Step::TargetSpeaks),
        (1_usize..4000).prop_map(Step::ClientTakes),
        (1_usize..4000).prop_map(Step::TargetTakes),
    ]
}

fn at_the_target() -> impl Strategy<Value = Last> {
    prop_oneof![
        3 => Just(Last::Finished),
        1 => Just(Last::Reset),
        1 => Just(Last::Silent),
    ]
}

fn at_the_client() -> impl Strategy<Value = Last> {
    prop_oneof![3 => at_the_target(), 1 => (0_usize..100).prop_map(Last::Truncated)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_a_side_is_shown_follows_from_what_the_other_said(
        client in script(at_the_client()), target in script(at_the_target()), steps in vec(step(), 0..30)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(play(&client, &target, &steps));
    }
}
