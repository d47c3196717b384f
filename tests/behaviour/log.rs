//! The log holds nobody up: what it cannot take is counted and told, and a flood of strangers is summed up. The error
//! that ends the gate is a line of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Connection, Ending};
use crate::support::gate::{Gate, Setup, connections, portcullis, summed};
use crate::support::peers::{Input, run};
use crate::support::pki::{Credentials, Pki, client_params, temporary_folder, uri, write};
use crate::support::target;

/// A client whose record is as long as a record becomes, nearly: it takes few to fill what waits.
fn wordy(pki: &Pki) -> Credentials {
    let names = (0..16).map(|number| uri(&format!("https://t/{number}/{}", "\"'".repeat(150))));
    pki.forge(&client_params(names))
}

/// More of them than fit.
const MANY: usize = 400;

/// Fills everything between the gate and whoever reads its log.
fn fill(pki: &Pki, address: SocketAddr) {
    let wordy = wordy(pki);
    for _ in 0..MANY {
        let mut connection = wordy.connect(address);
        connection.prove_admitted();
        connection.finish();
        assert_eq!(connection.ending(), Ending::Clean);
    }
}

fn exchange(connection: &mut Connection) {
    connection.send(b"ping");
    assert_eq!(connection.receive(4), b"ping");
}

/// How many lines the log says it lost.
fn lost_lines(records: &[Value]) -> u64 {
    let told = records
        .iter()
        .filter(|record| record["event"] == "log_lines_dropped");
    told.filter_map(|record| record["lines"].as_u64()).sum()
}

#[test]
fn a_log_that_is_not_read_for_ten_seconds_holds_nobody_up_and_tells_what_it_lost() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let mut live = pki.client("live").connect(gate.address());
    live.prove_admitted();
    gate.log.pause();
    let began = Instant::now();
    fill(&pki, gate.address());
    let mut rounds = 0;
    while rounds < 5 || began.elapsed() < Duration::from_secs(10) {
        exchange(&mut live);
        assert_eq!(gate.get("/livez").status, 200);
        assert_eq!(gate.get("/readyz").status, 200);
        std::thread::sleep(Duration::from_millis(100));
        rounds += 1;
    }
    let metrics = gate.wait_for_metrics("all records are made", |metrics| {
        metrics.closed("relayed") == MANY as f64
    });
    let lost = metrics.value("portcullis_log_lines_dropped_total", &[]);
    let resident = metrics.value("process_resident_memory_bytes", &[]);
    println!("{lost} lines lost, {resident} bytes resident");
    assert!(lost > 0.0, "there was room for all");
    gate.log.resume();
    let told = gate.log.wait_for("what was lost", |records| {
        let told = lost_lines(records);
        (told == lost as u64).then_some(told)
    });
    let written = connections(&gate.log.records()).len() as u64;
    assert_eq!(written + told, MANY as u64);
    // It goes on as before.
    exchange(&mut live);
    live.finish();
    live.ending();
    gate.log.wait_for_record("the newest record", |record| {
        record["names"].to_string().contains("live.test")
    });
}

#[test]
fn a_flood_of_strangers_is_summed_up_and_hides_no_client() {
    const SECONDS: u64 = 4;
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target).start();
    let key = KeyPair::generate().expect("a key");
    let alone = client_params([]).self_signed(&key);
    let stranger = pki.store(&[&alone.expect("well-formed parameters")], &key);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // A full accept queue may refuse one.
                    drop(TcpStream::connect(gate.address()));
                }
            });
        }
        std::thread::sleep(Duration::from_secs(SECONDS / 2));
        let mut client = pki.client("amid").connect(gate.address());
        client.prove_admitted();
        client.finish();
        client.ending();
        // A key is proved, though nobody vouches for it.
        stranger.connect(gate.address()).ending();
        std::thread::sleep(Duration::from_secs(SECONDS / 2));
        over.store(true, Ordering::Relaxed);
    });
    let metrics = gate.wait_for_metrics("all strangers are gone", |metrics| metrics.open() == 0.0);
    let closed = metrics.value("portcullis_connections_closed_total", &[]);
    assert_eq!(gate.terminate(), 0);
    let records = gate.log.records();
    let amid = records.iter().filter(|r| r["outcome"] == "relayed");
    assert_eq!(amid.count(), 1, "the client's record");
    let unknown = records
        .iter()
        .filter(|r| r["reason"].to_string().contains("CA"));
    assert_eq!(unknown.count(), 1, "whoever proved a key has a record");
    let written = connections(&records).len() as u64;
    let more = summed(&records);
    let bytes = gate.log.text().len() as u64 / SECONDS;
    println!("{closed} connections, {written} records, {more} summed up, {bytes} bytes a second");
    assert_eq!(
        metrics.value("portcullis_log_lines_dropped_total", &[]),
        0.0
    );
    assert_eq!(written + more, closed as u64);
    assert!(more > 0, "{closed} connections are no flood");
    assert!(bytes < 250_000, "{bytes} bytes a second");
}

#[test]
fn a_log_that_nobody_reads_keeps_the_gate_from_no_end() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target).start();
    gate.log.pause();
    fill(&pki, gate.address());
    let began = Instant::now();
    gate.signal(Signal::TERM);
    assert_eq!(gate.wait_unread(), 0);
    let took = began.elapsed();
    println!("{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    gate.log.resume();
}

#[test]
fn the_end_waits_for_a_log_that_is_read_slowly() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate: Gate = Setup::open_to(&pki, &target).start();
    gate.log.pause();
    let wordy = wordy(&pki);
    for _ in 0..40 {
        wordy.connect(gate.address()).prove_admitted();
    }
    gate.signal(Signal::TERM);
    gate.log.resume();
    assert_eq!(gate.wait(), 0);
    assert_eq!(connections(&gate.log.records()).len(), 40);
    let last = gate.log.records().pop().expect("a log");
    assert_eq!(last["event"], "stopped");
}

/// Runs a gate that must end by itself with this exit code, and returns the lines it wrote.
fn last_words(setup: Setup, code: i32) -> Vec<String> {
    let mut gate = setup.spawn();
    assert_eq!(gate.wait(), code, "{}", gate.log.text());
    gate.log.text().lines().map(str::to_owned).collect()
}

/// The last of these lines, all of which are JSON: why the gate ended.
fn fatal(lines: &[String], code: i32) -> String {
    let mut records: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let last = records.pop().expect("a last line");
    assert!(records.iter().all(|r| r["event"] != "fatal"), "told once");
    assert_eq!(last["event"], "fatal", "{last}");
    assert_eq!(last["level"], "ERROR", "{last}");
    assert_eq!(last["exit_code"], code, "{last}");
    assert!(
        last["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    let reason = last["reason"].as_str().expect("a reason");
    assert!(!reason.contains("portcullis: "), "{reason}");
    reason.to_owned()
}

#[test]
fn a_taken_port_ends_the_gate_with_one_line_in_the_form_of_the_log() {
    let pki = Pki::shared();
    let target = target::echo();
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("it is bound").to_string();
    let setup = || {
        Setup::open_to(&pki, &target)
            .flag("--listen", &address)
            .flag("--bind-timeout", "10ms")
    };
    let in_json = setup().variable("PORTCULLIS_LOG_FORMAT", "json");
    for setup in [setup(), in_json] {
        let reason = fatal(&last_words(setup, 1), 1);
        assert!(reason.starts_with("--listen: "), "{reason}");
        assert!(reason.contains(&format!("{address:?}")), "{reason}");
    }
    let folder = temporary_folder();
    let file = folder.path().join("gate.toml");
    write(&file, "log_format = \"text\"\n");
    let in_a_file = setup().flag("--config", &file);
    for setup in [setup().flag("--log-format", "text"), in_a_file] {
        let lines = last_words(setup, 1);
        let last = lines.last().expect("a last line");
        let told = format!("portcullis: --listen: {address:?}: ");
        assert!(last.starts_with(&told), "{last}");
    }
}

#[test]
fn what_is_unusable_ends_the_gate_with_every_problem_in_the_form_of_the_log() {
    let pki = Pki::shared();
    let flags = || {
        Setup::to(&pki, "10.0.0.1:9100")
            .flag("--allow-dns", "\"quoted\"\nline")
            .flag("--idle-timeout", "never")
    };
    let told = ["--target: ", "--allow-dns: ", "--idle-timeout: "];
    let with_files = || {
        Setup::to(&pki, "127.0.0.1:9")
            .flag("--allow-dns", "prometheus.test")
            .flag("--cert", "/nowhere/tls.crt")
            .flag("--key", "/nowhere/tls.key")
    };
    let files = ["--cert: ", "--key: "];
    for (setup, told) in [
        (flags(), &told[..]),
        (flags().flag("--log-format", "json"), &told[..]),
        // As for any log that goes to no terminal.
        (flags().flag("--log-format", "xml"), &told[..]),
        (with_files(), &files[..]),
    ] {
        let lines = last_words(setup, 2);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let reason = fatal(&lines, 2);
        let problems: Vec<_> = reason.lines().collect();
        for start in told {
            let found = problems.iter().filter(|line| line.starts_with(start));
            assert_eq!(found.count(), 1, "{start:?} in {reason}");
        }
    }
    for (setup, told) in [
        (flags().flag("--log-format", "text"), &told[..]),
        (flags().variable("PORTCULLIS_LOG_FORMAT", "text"), &told[..]),
        (with_files().flag("--log-format", "text"), &files[..]),
    ] {
        let lines = last_words(setup, 2);
        assert_eq!(lines.len(), told.len(), "{lines:?}");
        for start in told {
            let start = format!("portcullis: {start}");
            let found = lines.iter().filter(|line| line.starts_with(&start));
            assert_eq!(found.count(), 1, "{start:?} in {lines:?}");
        }
    }
}

#[test]
fn whatever_people_run_speaks_to_people_though_no_terminal_is_there() {
    for arguments in [
        &["check", "--idle-timeout", "never"][..],
        &["probe", "--admin", "nowhere"],
    ] {
        let mut command = portcullis();
        command.args(arguments).env("PORTCULLIS_LOG_FORMAT", "json");
        let done = run(&mut command, &Input::All(b""));
        assert_ne!(done.code, 0, "{done:?}");
        assert!(done.stderr.starts_with("portcullis: --"), "{done:?}");
    }
    let done = run(portcullis().args(["serve", "--lisen"]), &Input::All(b""));
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.starts_with("error: "), "{done:?}");
}
