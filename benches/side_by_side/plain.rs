//! The plainest relay there is, as a floor for all others: bytes from one socket to the other, no TLS, no check, no
//! record, no timer. One thread each worker, edge-triggered epoll, one buffer each thread.
//!
//! It is this very program, started again with `--plain`, so that its CPU time and memory can be told from ours.

#![expect(
    clippy::indexing_slicing,
    reason = "a panic ends the measurement, which is right if an index is wrong"
)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

const CHUNK: usize = 256 << 10;
const EVENTS: usize = 256;
const LISTENER: u64 = u64::MAX;
/// The end of a stream is an event of its own, so that a read that comes up short need not be repeated.
const ENDS: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// Relays until it is killed.
pub(crate) fn serve(listen: SocketAddr, target: SocketAddr, workers: usize) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    // Connections inherit both.
    let socket = Socket::from(listener);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    let work = || Worker::new(&listener, target)?.run();
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work()
    })
}

/// A pair of sockets, the client's and the target's.
struct Pair([Side; 2]);

struct Side {
    socket: TcpStream,
    /// Bytes of the other side that this one has not taken yet.
    waiting: Vec<u8>,
    /// It has said all that it will say.
    ended: bool,
}

struct Worker<'a> {
    listener: &'a TcpListener,
    target: SocketAddr,
    epoll: std::os::fd::OwnedFd,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(listener: &'a TcpListener, target: SocketAddr) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, listener, EventData::new_u64(LISTENER), flags)?;
        Ok(Self {
            listener,
            target,
            epoll,
            pairs: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; CHUNK],
        })
    }

    fn run(mut self) -> Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Err(Errno::INTR) => {}
                waited => drop(waited?),
            }
            let mut left = Vec::new();
            for event in events.drain(..) {
                let token = event.data.u64();
                if token == LISTENER {
                    self.accept()?;
                    continue;
                }
                let (index, from) = (usize::try_from(token / 2)?, usize::from(token % 2 == 1));
                let Some(Some(pair)) = self.pairs.get_mut(index) else {
                    continue;
                };
                if pair.moves(from, event.flags, &mut self.buffer).is_err() || pair.is_over() {
                    left.push(index);
                    self.pairs[index] = None;
                }
            }
            // Not before all events of this turn have been seen: one may still mean the pair that has gone.
            self.free.append(&mut left);
        }
    }

    fn accept(&mut self) -> Result<()> {
        let client = match self.listener.accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        client.set_nonblocking(true)?;
        let socket = Socket::new(
            Domain::for_address(self.target),
            Type::STREAM.nonblocking(),
            None,
        )?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error.into());
            }
            _ => {}
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let sides = [client, socket.into()].map(|socket| Side {
            socket,
            waiting: Vec::new(),
            ended: false,
        });
        for (side, number) in sides.iter().zip(0..) {
            let token = EventData::new_u64(index as u64 * 2 + number);
            epoll::add(&self.epoll, &side.socket, token, flags)?;
        }
        self.pairs[index] = Some(Pair(sides));
        Ok(())
    }
}

impl Pair {
    /// Moves what one side's event is about: its bytes to the other, and those that wait for it.
    fn moves(&mut self, from: usize, flags: EventFlags, buffer: &mut [u8]) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) && !self.0[from].waiting.is_empty() {
            let to = &mut self.0[from];
            let bytes = std::mem::take(&mut to.waiting);
            to.send(&bytes)?;
            if to.waiting.is_empty() {
                self.copy(1 - from, true, buffer)?;
            }
        }
        if flags.intersects(EventFlags::IN | ENDS) {
            self.copy(from, flags.intersects(ENDS), buffer)?;
        }
        Ok(())
    }

    fn copy(&mut self, from: usize, to_the_end: bool, buffer: &mut [u8]) -> io::Result<()> {
        let (first, second) = self.0.split_at_mut(1);
        let (from, to) = match from {
            0 => (&mut first[0], &mut second[0]),
            _ => (&mut second[0], &mut first[0]),
        };
        while !from.ended && to.waiting.is_empty() {
            let read = match from.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                read => read?,
            };
            if read == 0 {
                from.ended = true;
                to.socket.shutdown(Shutdown::Write)?;
            }
            to.send(&buffer[..read])?;
            if read < buffer.len() && !to_the_end {
                break;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.0.iter().all(|side| side.ended)
    }
}

impl Side {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waiting.extend_from_slice(bytes);
                    break;
                }
                written => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }
}
