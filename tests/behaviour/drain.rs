//! Drains: a signal to stop makes the gate not ready, ends accepting and lets sessions finish for a bounded time; a
//! second signal ends it at once.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::client::{Connection, Ending, Offer};
use crate::support::gate::{Gate, Setup, connections};
use crate::support::pki::Pki;
use crate::support::target::{self, Ended, Target};
use crate::support::{PATIENCE, eventually};

struct Session {
    gate: Gate,
    target: Target<Ended>,
    client: Connection,
}

/// A gate with one live session.
fn session(drain_timeout: &str) -> Session {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--drain-timeout", drain_timeout)
        .start();
    let mut client = pki.client("drained").connect(gate.address());
    client.prove_admitted();
    Session {
        gate,
        target,
        client,
    }
}

fn wait_until_draining(gate: &Gate) {
    eventually("the gate says that it drains", || {
        let ready = gate.get("/readyz");
        (ready.status == 503 && ready.body.contains("draining")).then_some(())
    });
}

#[test]
fn a_live_session_finishes_after_either_signal_and_new_clients_are_not_accepted() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut session = session("60s");
        session.gate.signal(signal);
        wait_until_draining(&session.gate);
        assert_eq!(session.gate.get("/livez").status, 200, "draining is alive");
        eventually("nobody accepts any more", || {
            TcpStream::connect(session.gate.address()).err()
        });
        session.client.prove_admitted();
        session.client.finish();
        assert_eq!(session.client.ending(), Ending::Clean);
        assert_eq!(session.gate.wait(), 0);
        assert_eq!(session.target.result(), Ended::Clean);
        assert_eq!(session.gate.record()["outcome"], "relayed");
    }
}

#[test]
fn a_session_that_does_not_finish_in_time_is_cut() {
    let mut session = session("500ms");
    session.gate.signal(Signal::TERM);
    let ending = session.client.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    assert_eq!(session.gate.wait(), 0, "asked to stop, and did");
    assert_eq!(session.target.result(), Ended::Reset);
    assert_eq!(session.gate.record()["outcome"], "drained");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut session = session("1h");
        session.gate.signal(signal);
        wait_until_draining(&session.gate);
        let started = Instant::now();
        session.gate.signal(signal);
        assert_eq!(session.gate.wait(), 0);
        assert!(started.elapsed() < PATIENCE / 4, "at once");
        assert!(session.client.ending().is_a_cut());
        assert_eq!(session.gate.record()["outcome"], "drained");
    }
}

#[test]
fn a_gate_without_sessions_stops_at_once() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .flag("--drain-timeout", "1h")
        .start();
    let started = Instant::now();
    assert_eq!(gate.terminate(), 0);
    assert!(started.elapsed() < PATIENCE / 4);
    assert_eq!(target.accepts(), 0);
}

#[test]
fn an_unfinished_handshake_does_not_hold_up_the_end_for_longer_than_a_handshake_may_take() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .flag("--drain-timeout", "1h")
        .flag("--handshake-timeout", "1s")
        .start();
    let silent = TcpStream::connect(gate.address()).expect("the gate accepts");
    gate.wait_for_metrics("one handshake", |metrics| metrics.open() == 1.0);
    assert_eq!(gate.terminate(), 0);
    assert_eq!(connections(&gate.log.records()).len(), 1);
    drop(silent);
}

#[test]
fn draining_under_load_cuts_nobody_who_was_admitted() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .flag("--drain-timeout", "60s")
        .start();
    let client = pki.client("load");
    let ca = pki.ca();
    let config = Offer::of(&client, &ca).config();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Until nobody accepts any more.
                while let Ok(socket) = TcpStream::connect(gate.address()) {
                    // Not admitted yet: a connection that waited in the backlog may end here.
                    let Ok(mut connection) = Connection::over(socket, config.clone()) else {
                        return;
                    };
                    if connection.refusal().is_some() {
                        return;
                    }
                    for _ in 0..20 {
                        connection.prove_admitted();
                    }
                    connection.finish();
                    assert_eq!(connection.ending(), Ending::Clean);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("clients are served", || {
            (served.load(Ordering::SeqCst) >= 40).then_some(())
        });
        gate.signal(Signal::TERM);
    });
    assert_eq!(gate.wait(), 0);
    let records = connections(&gate.log.records());
    let relayed = records
        .iter()
        .filter(|record| record["outcome"] == "relayed")
        .count();
    assert_eq!(relayed, served.load(Ordering::SeqCst));
    for record in records
        .iter()
        .filter(|record| record["outcome"] != "relayed")
    {
        let bytes = record["bytes_to_target"].as_u64().unwrap_or_default();
        assert_eq!(bytes, 0, "somebody who was served was cut: {record}");
    }
}

#[test]
fn a_gate_that_drains_never_becomes_ready_again() {
    let session = session("60s");
    session.gate.signal(Signal::TERM);
    wait_until_draining(&session.gate);
    for _ in 0..20 {
        assert_eq!(session.gate.get("/readyz").status, 503);
    }
}
