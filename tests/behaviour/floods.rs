//! A source that connects as fast as it can gets in nobody's way but its own.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::client::{Connection, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::pki::Pki;
use crate::support::raise_descriptor_limit;
use crate::support::target;

/// How long a flight of a client from far away is under way.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// How many connections have to give way while one such flight is: all handshakes that may be unfinished, several times.
const TURNED_OVER: f64 = 4.0 * 256.0;

/// The clients from far away, one after the other.
const CLIENTS: usize = 5;

/// Sockets that may be open beside unfinished handshakes: what each of two workers has just accepted, and the clients
/// that got in, though most have left by then.
const BESIDE: f64 = 2.0 + CLIENTS as f64;

/// Connects as fast as it can, a source after the other, says nothing, and holds on to the newest; ends when dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr, sources: Vec<Ipv4Addr>) -> Self {
        const HELD: usize = 600;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut held = VecDeque::new();
            for source in sources.iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                // Leaves nothing behind in the kernel.
                socket.set_linger(Some(Duration::ZERO)).expect("an option");
                socket
                    .bind(&SocketAddr::from((*source, 0)).into())
                    .expect("all of 127.0.0.0/8 is loopback");
                socket.set_nonblocking(true).expect("an option");
                // It is under way, or the gate is as busy as it should be.
                drop(socket.connect(&address.into()));
                held.push_back(socket);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Connects from an address of its own.
fn connect_from(source: Ipv4Addr, gate: &Gate) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((source, 0)).into())
        .expect("all of 127.0.0.0/8 is loopback");
    socket
        .connect(&gate.address().into())
        .expect("the gate accepts");
    socket.into()
}

/// Clients from far away get in, each time, while these sources flood the gate.
fn slow_clients_get_in_beside(sources: Vec<Ipv4Addr>) {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--handshake-timeout", "1h")
        .flag("--threads", "2")
        .start();
    let gave_way = || gate.metrics().closed("over_limit");
    let under_way = || {
        let before = gave_way();
        std::thread::sleep(ROUND_TRIP);
        gate.wait_for_metrics("all places have been taken anew", |metrics| {
            let open = metrics.open();
            assert!(
                open <= 256.0 + BESIDE,
                "{open} are open: more come than leave"
            );
            metrics.closed("over_limit") >= before + TURNED_OVER
        });
    };
    let (client, ca) = (pki.client("far-away"), pki.ca());
    let config = Offer::of(&client, &ca).config();
    let _flood = Flood::start(gate.address(), sources);
    under_way();
    for _ in 0..CLIENTS {
        let socket = connect_from(Ipv4Addr::new(127, 0, 0, 2), &gate);
        let config = Arc::clone(&config);
        Connection::over_a_long_way(socket, config, under_way).prove_admitted();
    }
}

#[test]
fn a_fast_source_locks_no_slow_client_out() {
    slow_clients_get_in_beside(vec![Ipv4Addr::new(127, 1, 0, 1)]);
}

#[test]
fn a_hundred_fast_sources_lock_no_slow_client_out() {
    slow_clients_get_in_beside(
        (1..=100)
            .map(|number| Ipv4Addr::new(127, 1, 0, number))
            .collect(),
    );
}

#[test]
fn a_fast_source_takes_no_more_descriptors_than_there_are() {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .under(&["prlimit", "--nofile=64"])
        .start();
    let _flood = Flood::start(gate.address(), vec![Ipv4Addr::new(127, 1, 0, 1)]);
    for round in 1..=5 {
        gate.wait_for_metrics("all places have been taken anew", |metrics| {
            metrics.closed("over_limit") >= f64::from(round) * TURNED_OVER
        });
        pki.client("within")
            .connect(gate.address())
            .prove_admitted();
    }
    let failed = |record: &serde_json::Value| record["event"] == "accept_failed";
    assert!(!gate.log.records().iter().any(failed), "accepting failed");
}
