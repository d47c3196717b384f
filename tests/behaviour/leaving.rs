//! Ten thousand clients that leave, each in some state: nothing of them stays, and each is told once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use crate::limits::FullListener;
use crate::support::client::{Connection, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::pki::Pki;
use crate::support::target::{self, Target};
use crate::support::{eventually, raise_descriptor_limit};

const CLIENTS: usize = 10_000;
const THREADS: usize = 4;
/// As many stay a while before they leave, in each thread.
const LINGERING: usize = 32;
/// The states in which a client leaves; most never come as far as a handshake.
const STATES: usize = 40;

/// What an unlucky moment leaves behind, at most: the pages of the program and what the allocator keeps.
const RESIDENT: u64 = 64 << 20;

struct Leaving<'a> {
    address: SocketAddr,
    welcome: Arc<ClientConfig>,
    unwelcome: Arc<ClientConfig>,
    hello: &'a [u8],
}

/// A client at the moment before it leaves: with a reset, or an orderly end.
struct Leaver {
    socket: Socket,
    resets: bool,
    _session: Option<Connection>,
}

impl Drop for Leaver {
    fn drop(&mut self) {
        if self.resets {
            self.socket
                .set_linger(Some(Duration::ZERO))
                .expect("lingering can be set");
        }
    }
}

impl Leaving<'_> {
    fn socket(&self, number: usize) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Ten thousand ports of one address would not be enough for all that runs beside this.
        let source = Ipv4Addr::new(127, 7, (number >> 8) as u8, number as u8 | 1);
        socket
            .bind(&SocketAddr::from((source, 0)).into())
            .expect("all of 127.0.0.0/8 is loopback");
        socket
            .connect(&self.address.into())
            .expect("the gate accepts");
        target::patient(&socket);
        socket
    }

    fn session(&self, number: usize, config: &Arc<ClientConfig>) -> Connection {
        let socket = self.socket(number).into();
        Connection::over(socket, Arc::clone(config)).expect("a handshake")
    }

    /// Client number `number` comes as far as it comes.
    fn comes(&self, number: usize) -> Leaver {
        let resets = (number / STATES).is_multiple_of(2);
        let mut connection = match number % STATES {
            0 => {
                let mut refused = self.session(number, &self.unwelcome);
                refused.refusal().expect("it is refused");
                refused
            }
            1 => {
                let config = Arc::clone(&self.welcome);
                Connection::open_but_for(self.address, config, 7)
            }
            2..=6 => self.session(number, &self.welcome),
            state => {
                let socket = self.socket(number);
                // Nothing, a part of a hello, all of it, or something else altogether.
                let bytes = match state % 4 {
                    0 => &[][..],
                    1 => &self.hello[..self.hello.len() / 2],
                    2 => self.hello,
                    _ => b"GET / HTTP/1.1\r\n\r\n",
                };
                // It may have been told to give way already.
                drop((&socket).write_all(bytes));
                return Leaver {
                    socket,
                    resets,
                    _session: None,
                };
            }
        };
        match number % STATES {
            // Admitted, and silent.
            2 => connection.prove_admitted(),
            // In mid-upload.
            3 => connection.send(&[b'u'; 100_000]),
            // In mid-download, with a socket that is full.
            4 => connection.send(b"D"),
            // Half-closed.
            5 => {
                connection.send(b"u");
                connection.finish();
            }
            // In good order.
            6 => {
                connection.prove_admitted();
                connection.finish();
                connection.ending();
            }
            _ => {}
        }
        Leaver {
            socket: connection.socket(),
            resets,
            _session: Some(connection),
        }
    }
}

/// Echoes; whoever asks for a download gets one without an end.
fn target() -> Target<()> {
    Target::serving(|socket, _| {
        let mut stream = &socket;
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            if bytes[0] == b'D' {
                while stream.write_all(&bytes).is_ok() {}
            }
            if bytes[0] == b'?' && stream.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
    })
}

fn leave(gate: &Gate, pki: &Arc<Pki>, clients: usize) {
    let (welcome, unwelcome) = (pki.client("prometheus"), pki.client("stranger"));
    let ca = pki.ca();
    let config = |credentials| Offer::of(credentials, &ca).config();
    let hello = Connection::hello(config(&welcome));
    let leaving = Leaving {
        address: gate.address(),
        welcome: config(&welcome),
        unwelcome: config(&unwelcome),
        hello: &hello,
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let leaving = &leaving;
            scope.spawn(move || {
                let mut present = std::collections::VecDeque::new();
                for number in (thread..clients).step_by(THREADS) {
                    present.push_back(leaving.comes(number));
                    if present.len() > LINGERING {
                        present.pop_front();
                    }
                }
            });
        }
    });
}

/// Everybody has gone, and has been told once.
fn nothing_stays(gate: &Gate, descriptors: usize, threads: usize) -> f64 {
    let metrics = gate.wait_for_metrics("everybody has gone", |metrics| metrics.open() == 0.0);
    let accepted = metrics.value("portcullis_connections_accepted_total", &[]);
    let closed = metrics.value("portcullis_connections_closed_total", &[]);
    assert_eq!(accepted, closed);
    gate.wait_until_told(accepted as usize);
    eventually("the descriptors are back", || {
        (gate.descriptors() <= descriptors).then_some(())
    });
    assert_eq!(count_threads(gate), threads);
    let resident = gate.resident();
    assert!(resident < RESIDENT, "{resident} bytes stay");
    accepted
}

fn count_threads(gate: &Gate) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.pid()));
    tasks.expect("it runs").count()
}

#[test]
fn ten_thousand_clients_leave_in_every_state_and_nothing_stays() {
    raise_descriptor_limit();
    let (pki, target) = (Pki::shared(), target());
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .start();
    gate.wait_until_ready();
    let (descriptors, threads) = (gate.descriptors(), count_threads(&gate));
    leave(&gate, &pki, CLIENTS);
    let told = nothing_stays(&gate, descriptors, threads);
    // The kernel itself takes away some of those that reset at once.
    assert!(told > CLIENTS as f64 * 0.8, "{told} came in");
    pki.client("prometheus")
        .connect(gate.address())
        .prove_admitted();
}

#[test]
fn clients_that_leave_while_their_target_is_dialled_leave_nothing() {
    const DIALLED: usize = 200;
    let (pki, full) = (Pki::shared(), FullListener::new());
    let gate = Setup::to(&pki, &full.address.to_string())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "5m")
        .start();
    gate.wait_until_ready();
    let (descriptors, threads) = (gate.descriptors(), count_threads(&gate));
    let client = pki.client("prometheus");
    let waiting: Vec<_> = (0..DIALLED)
        .map(|_| client.connect(gate.address()))
        .collect();
    gate.wait_for_metrics("they are let in", |metrics| {
        metrics.open() == DIALLED as f64
    });
    waiting.into_iter().for_each(Connection::reset);
    assert_eq!(nothing_stays(&gate, descriptors, threads), DIALLED as f64);
}
