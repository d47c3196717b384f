//! What work costs the gate, in things that can be counted: system calls, instructions, allocations. No clock is read,
//! so a busy machine changes nothing.
//!
//! A bound that is passed is a regression until proven otherwise: find what the change made the gate do more often
//! (`strace -f`, `valgrind --tool=callgrind` and `make bench` show it), and undo it. If it is worth its price, raise
//! the bound to a fifth above what is now measured, and say in the commit what was bought with it. A bound that is far
//! above what is measured guards nothing: lower it when the gate gets cheaper.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use allocation_counter::AllocationInfo;
use clap::{Args as _, Command, FromArgMatches as _};
use portcullis::config::{Config, Flags};
use rustls::ClientConfig;
use socket2::Socket;
use tokio::sync::oneshot;

use crate::support::client::{Connection, Offer};
use crate::support::gate::{Gate, Setup};
use crate::support::pki::Pki;
use crate::support::target::{Hold, Target, patient};

/// What one unit of work may cost: the bound, and what was measured when it was set (Debian 12 on x86-64, the binary
/// that `cargo test` builds).
const BOUNDS: &[(&str, f64, f64)] = &[
    ("system calls of a connection", 41.0, 34.0),
    ("system calls of a kept scrape", 7.8, 6.5),
    ("system calls of a MiB down", 10.5, 8.6),
    ("system calls of a MiB up", 10.0, 8.1),
    ("thousand instructions of a connection", 3000.0, 2625.0),
    ("thousand instructions of a kept scrape", 451.0, 375.5),
    ("allocations of a connection", 157.0, 130.7),
    ("allocated KiB of a connection", 56.0, 46.6),
    ("allocations of a MiB down", 2.0, 0.0),
    ("allocated KiB of a MiB down", 20.0, 0.1),
    ("allocations of a MiB up", 6.0, 4.4),
    ("allocated KiB of a MiB up", 60.0, 33.6),
];

/// Fails if so many units of work always cost more than the bound allows. A busy machine can only add to a count, as
/// where a few bytes are read because the rest has not come yet: one good measurement of eight is enough.
fn within(what: &str, units: usize, mut measure: impl FnMut() -> u64) {
    let bound = BOUNDS.iter().find(|bound| bound.0 == what);
    let (_, most, measured) = *bound.expect("the table names it");
    let mut seen = Vec::new();
    while seen.len() < 8 {
        let each = measure() as f64 / units as f64;
        println!("{what}: {each:.1}, at most {most}");
        if each <= most {
            return;
        }
        seen.push(each);
    }
    panic!(
        "{what}: {seen:.1?}; at most {most} is allowed, and {measured} was measured once. \
         The first lines of this test's file say what to do."
    );
}

const MIB: usize = 1 << 20;
const SCRAPE: usize = 102_000;

/// A target that sends or takes as many bytes as it is told: a sign and a length of seven bytes.
fn warehouse() -> Target {
    Target::serving(|mut socket: Socket, _: &Hold| {
        patient(&socket);
        let chunk = vec![b'm'; MIB];
        let mut order = [0; 8];
        while socket.read_exact(&mut order).is_ok() {
            let bytes = i64::from_be_bytes(order);
            let mut missing = usize::try_from(bytes.unsigned_abs()).expect("it fits");
            if bytes > 0 {
                while missing > 0 {
                    let part = missing.min(chunk.len());
                    socket.write_all(&chunk[..part]).expect("the gate reads");
                    missing -= part;
                }
            } else {
                let mut taken = vec![0; MIB];
                while missing > 0 {
                    let part = missing.min(taken.len());
                    socket
                        .read_exact(&mut taken[..part])
                        .expect("the gate writes");
                    missing -= part;
                }
                socket.write_all(b"!").expect("the gate reads");
            }
        }
    })
}

/// A client of the warehouse.
struct Customer {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Customer {
    fn new(pki: &Pki, address: SocketAddr) -> Self {
        let config = Offer::of(&pki.client("budget"), &pki.ca()).config();
        Self { config, address }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address, Arc::clone(&self.config)).expect("TLS 1.3")
    }

    /// Connections with one small exchange each, one after the other, each ended by both sides.
    fn come_and_go(&self, times: usize) {
        for _ in 0..times {
            let mut connection = self.connect();
            fetch(&mut connection, 100);
            connection.finish();
            connection.ending();
        }
    }
}

fn fetch(connection: &mut Connection, bytes: usize) {
    connection.send(&i64::try_from(bytes).expect("it fits").to_be_bytes());
    connection.receive(bytes);
}

fn deliver(connection: &mut Connection, bytes: usize) {
    connection.send(&(-i64::try_from(bytes).expect("it fits")).to_be_bytes());
    let chunk = vec![b'm'; MIB];
    for _ in 0..bytes / MIB {
        connection.send(&chunk);
    }
    connection.receive(1);
}

// How much work is done: enough that starting and stopping the gate, which is taken off, is small against it.
const CONNECTIONS: usize = 60;
const SCRAPES: usize = 60;
const MIBS: usize = 64;

/// Starts the gate under a tool, does some work, stops it in order, and returns what the tool said.
fn under(tool: &[&'static str], work: impl Fn(&Customer)) -> String {
    let pki = Pki::shared();
    let target = warehouse();
    let mut gate: Gate = Setup::to(&pki, &target.flag())
        .under(tool)
        .flag("--allow-dns", "budget.test")
        .flag("--threads", "1")
        .flag("--reload-interval", "1h")
        .start();
    let customer = Customer::new(&pki, gate.address());
    // What is made once is made now.
    customer.come_and_go(3);
    work(&customer);
    assert_eq!(gate.terminate(), 0, "{}", gate.log.text());
    gate.log.text()
}

/// The system calls of a run that say how much the gate did. How often it went to sleep, and was woken, depends on
/// what else the machine does.
fn system_calls(work: impl Fn(&Customer)) -> u64 {
    let said = under(
        &["strace", "-D", "-f", "-q", "-c", "-U", "calls,name"],
        work,
    );
    let sleeps = ["epoll_wait", "futex", "sched_yield", "total"];
    let calls = said.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(' ')?;
        let counts = !sleeps.contains(&name.trim());
        counts.then(|| calls.parse::<u64>().ok()).flatten()
    });
    calls.sum()
}

#[cfg(target_arch = "x86_64")]
fn instructions(work: impl Fn(&Customer)) -> u64 {
    let tool = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ];
    let said = under(&tool, work);
    let count = said.lines().find_map(|line| line.split_once("I   refs:"));
    let (_, count) = count.unwrap_or_else(|| panic!("valgrind counted nothing:\n{said}"));
    count.trim().replace(',', "").parse().expect("a number")
}

fn scrape_often(customer: &Customer) {
    let mut connection = customer.connect();
    (0..SCRAPES).for_each(|_| fetch(&mut connection, SCRAPE));
}

#[test]
fn work_takes_few_system_calls() {
    let nothing = system_calls(|_| {});
    let more = |work: fn(&Customer)| system_calls(work).saturating_sub(nothing);
    within("system calls of a connection", CONNECTIONS, || {
        more(|customer| customer.come_and_go(CONNECTIONS))
    });
    within("system calls of a kept scrape", SCRAPES, || {
        more(scrape_often)
    });
    within("system calls of a MiB down", MIBS, || {
        more(|customer| fetch(&mut customer.connect(), MIBS * MIB))
    });
    within("system calls of a MiB up", MIBS, || {
        more(|customer| deliver(&mut customer.connect(), MIBS * MIB))
    });
}

// The count depends on the instruction set.
#[cfg(target_arch = "x86_64")]
#[test]
fn work_takes_few_instructions() {
    let nothing = instructions(|_| {});
    let more = |work: fn(&Customer)| instructions(work).saturating_sub(nothing) / 1000;
    within("thousand instructions of a connection", CONNECTIONS, || {
        more(|customer| customer.come_and_go(CONNECTIONS))
    });
    within("thousand instructions of a kept scrape", SCRAPES, || {
        more(scrape_often)
    });
}

/// A gate on a thread of its own, which allocates for nobody else.
struct Counted {
    address: SocketAddr,
    spans: Sender<Span>,
}

/// Until when to count, and whom to tell.
type Span = (oneshot::Receiver<()>, Sender<AllocationInfo>);

impl Counted {
    fn start(pki: &Pki, target: &Target) -> Self {
        let config = config(pki, target);
        let (spans, asked) = channel::<Span>();
        let (started, address) = channel();
        std::thread::spawn(move || {
            // Records are written, as in the field, but go nowhere.
            portcullis::telemetry::log::start_into(config.log, |_| {});
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let running = runtime.block_on(portcullis::serve::start(config, None));
            let running = running.expect("it starts");
            started.send(running.listening[0]).expect("the test waits");
            for (end, tell) in asked {
                let count = || runtime.block_on(end).expect("the test ends the span");
                tell.send(allocation_counter::measure(count))
                    .expect("the test waits");
            }
        });
        let address = address.recv().expect("it starts");
        Self { address, spans }
    }

    /// What the gate allocates while this is done.
    fn during(&self, work: impl FnOnce()) -> AllocationInfo {
        let (end, ended) = oneshot::channel();
        let (tell, told) = channel();
        self.spans.send((ended, tell)).expect("the gate runs");
        work();
        end.send(()).expect("the gate runs");
        told.recv().expect("the gate runs")
    }
}

fn config(pki: &Pki, target: &Target) -> Config {
    let server = pki.server();
    let flags: [(&str, std::ffi::OsString); 9] = [
        // The caller's thread is the first worker; with no other, it does all of it.
        ("--threads", "1".into()),
        ("--listen", "127.0.0.1:0".into()),
        ("--admin", "off".into()),
        ("--target", target.flag().into()),
        ("--cert", server.cert().into()),
        ("--key", server.key().into()),
        ("--client-ca", pki.ca().into()),
        ("--allow-dns", "budget.test".into()),
        ("--log-format", "json".into()),
    ];
    let command = Flags::augment_args(Command::new("serve").no_binary_name(true))
        .mut_args(|flag| flag.env(None::<&'static str>));
    let words = flags
        .into_iter()
        .flat_map(|(flag, value)| [flag.into(), value]);
    let matches = command.try_get_matches_from(words).expect("flags");
    Config::parse(&Flags::from_arg_matches(&matches).expect("flags")).expect("a configuration")
}

#[test]
fn work_takes_few_allocations() {
    let pki = Pki::shared();
    let target = warehouse();
    let counted = Counted::start(&pki, &target);
    let customer = Customer::new(&pki, counted.address);
    // What is made once is made now.
    counted.during(|| customer.come_and_go(3));
    within("allocations of a connection", CONNECTIONS, || {
        let info = counted.during(|| customer.come_and_go(CONNECTIONS));
        info.count_total
    });
    within("allocated KiB of a connection", CONNECTIONS, || {
        let info = counted.during(|| customer.come_and_go(CONNECTIONS));
        info.bytes_total >> 10
    });
    let mut kept = None;
    counted.during(|| {
        let mut connection = customer.connect();
        fetch(&mut connection, MIB);
        deliver(&mut connection, MIB);
        kept = Some(connection);
    });
    let mut kept = kept.expect("it was opened");
    let mut down = || counted.during(|| fetch(&mut kept, MIBS * MIB));
    within("allocations of a MiB down", MIBS, || down().count_total);
    within("allocated KiB of a MiB down", MIBS, || {
        down().bytes_total >> 10
    });
    let mut up = || counted.during(|| deliver(&mut kept, MIBS * MIB));
    within("allocations of a MiB up", MIBS, || up().count_total);
    within("allocated KiB of a MiB up", MIBS, || up().bytes_total >> 10);
}
