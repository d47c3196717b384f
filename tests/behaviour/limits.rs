//! Everything is bounded, and what is over a bound harms nobody who is within it: silent sockets lock nobody out,
//! descriptors come back, a taken port is waited for, the gate never talks to itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::client::{Connection, Ending, Offer};
use crate::support::gate::{Gate, PORTCULLIS, Setup};
use crate::support::http::Metrics;
use crate::support::peers::{Input, curl, run};
use crate::support::pki::{Pki, client_params, dns, temporary_folder, write};
use crate::support::target::{self, Nobody, Target};
use crate::support::{PATIENCE, eventually, raise_descriptor_limit};

/// A TCP connection whose client never says a word.
fn silent(gate: &Gate) -> TcpStream {
    let socket = TcpStream::connect(gate.address()).expect("the gate accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a duration");
    socket
}

/// Returns once the gate has ended a connection that never said a word.
fn wait_for_the_end(mut socket: &TcpStream) {
    match socket.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("an end, not {other:?}"),
    }
}

fn scrape(gate: &Gate, pki: &Pki) {
    let done = run(
        &mut curl(gate.address(), "/metrics", &pki.client("curl")),
        &Input::All(b""),
    );
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, target::EXPOSITION),
        "{done:?}"
    );
}

#[test]
fn an_admitted_client_over_the_limit_is_closed_and_the_others_stay() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--max-connections", "2")
        .start();
    let client = pki.client("many");
    let mut inside: Vec<_> = (0..2).map(|_| client.connect(gate.address())).collect();
    inside.iter_mut().for_each(Connection::prove_admitted);

    let ending = client.connect(gate.address()).ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    let record = gate.record();
    assert_eq!(record["outcome"], "over_limit");
    assert_eq!(target.accepts(), 2);

    inside.iter_mut().for_each(Connection::prove_admitted);
    inside.pop().expect("two are inside").finish();
    gate.records(2);
    client.connect(gate.address()).prove_admitted();
}

#[test]
fn unfinished_handshakes_take_no_place_of_an_admitted_client() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--max-connections", "1")
        .start();
    let waiting: Vec<_> = (0..20).map(|_| silent(&gate)).collect();
    pki.client("one").connect(gate.address()).prove_admitted();
    drop(waiting);
}

#[test]
fn a_source_over_its_limit_is_closed_before_tls_and_other_sources_are_not() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--max-connections-per-source", "3")
        .start();
    let mut within: Vec<_> = (0..3).map(|_| silent(&gate)).collect();
    gate.wait_for_metrics("three connections", |metrics| metrics.open() == 3.0);
    wait_for_the_end(&silent(&gate));
    let record = gate.record();
    assert_eq!(record["outcome"], "over_limit");

    let client = pki.client("neighbour");
    let ca = pki.ca();
    let config = Offer::of(&client, &ca).config();
    let from_elsewhere = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    from_elsewhere
        .bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into())
        .expect("all of 127.0.0.0/8 is loopback");
    from_elsewhere
        .connect(&gate.address().into())
        .expect("the gate accepts");
    let mut neighbour = Connection::over(from_elsewhere.into(), config).expect("a handshake");
    neighbour.prove_admitted();

    drop(within.pop());
    // A connection counts for a moment longer than until its record, as its socket lingers.
    let mut next = eventually("the source has a place again", || {
        Offer::of(&client, &ca).connect(gate.address()).ok()
    });
    next.prove_admitted();
}

#[test]
fn the_oldest_unfinished_handshake_makes_room_for_a_new_one() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--max-handshakes", "4")
        .start();
    // One after the other: threads that accept side by side may count two that came together either way round.
    let first: Vec<_> = (1..=4)
        .map(|count| {
            let socket = silent(&gate);
            let counted = |metrics: &Metrics| metrics.open() == f64::from(count);
            gate.wait_for_metrics("one more handshake", counted);
            socket
        })
        .collect();
    let mut later = Vec::new();
    for (position, oldest) in first.iter().enumerate() {
        later.push(silent(&gate));
        wait_for_the_end(oldest);
        let records = gate.records(position + 1);
        let source = oldest.local_addr().expect("it is connected").to_string();
        assert_eq!(records[position]["source"], source, "the oldest goes first");
        assert_eq!(records[position]["outcome"], "over_limit");
    }
    assert_eq!(gate.metrics().open(), 4.0);
}

#[test]
fn five_hundred_silent_and_five_hundred_babbling_strangers_disturb_no_client() {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target).start();
    let mut strangers = Vec::new();
    for round in 0..20 {
        for _ in 0..25 {
            strangers.push(silent(&gate));
            let babbling = silent(&gate);
            // The gate may have had enough of it already.
            drop((&babbling).write_all(&[b'A' + round; 512]));
            strangers.push(babbling);
        }
        scrape(&gate, &pki);
    }
    assert_eq!(strangers.len(), 1000);
    drop(strangers);
    gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    assert_eq!(gate.metrics().closed("relayed"), 20.0);
    gate.wait_until_told(1020);
}

#[test]
fn ten_thousand_silent_sockets_lock_nobody_out() {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target)
        .flag("--handshake-timeout", "1h")
        .start();
    let mut sockets = Vec::new();
    for opened in 1..=10_000 {
        match TcpStream::connect(gate.address()) {
            Ok(socket) => sockets.push(socket),
            // This process has no descriptor left: the oldest were evicted long ago, so they are of no use.
            Err(_) => drop(sockets.drain(..sockets.len() / 2)),
        }
        if opened % 2_500 == 0 {
            scrape(&gate, &pki);
        }
    }
    // A worker takes in many at once, and whoever has to give way is gone a moment later. Nobody else leaves: the limit of
    // time is an hour.
    let metrics = gate.wait_for_metrics("unfinished handshakes are capped", |metrics| {
        metrics.open() <= 256.0
    });
    assert!(metrics.closed("over_limit") > 5_000.0, "{metrics:?}");
    drop(sockets);
}

#[test]
fn whoever_does_not_finish_the_handshake_in_time_is_dropped() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--handshake-timeout", "1s")
        .start();
    let started = Instant::now();
    let mute = silent(&gate);
    let dribbling = silent(&gate);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A record header that promises much, then a byte now and then: activity is not progress.
            let mut bytes = [0x16, 0x03, 0x01, 0x40, 0x00, 0x01]
                .into_iter()
                .chain(std::iter::repeat(0));
            while (&dribbling)
                .write_all(&[bytes.next().expect("endless")])
                .is_ok()
            {
                assert!(
                    started.elapsed() < PATIENCE,
                    "a dribbling client is never dropped"
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        wait_for_the_end(&mute);
        wait_for_the_end(&dribbling);
    });
    assert!(started.elapsed() >= Duration::from_secs(1));
    for record in gate.records(2) {
        assert_eq!(record["outcome"], "handshake_timeout", "{record}");
    }
    assert_eq!(target.accepts(), 0);
}

#[test]
fn a_target_that_does_not_answer_is_given_up() {
    let pki = Pki::shared();
    let full = FullListener::new();
    let gate = Setup::to(&pki, &full.address.to_string())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "300ms")
        .start();
    let mut client = pki.client("patient").connect(gate.address());
    let ending = client.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    assert_eq!(gate.record()["outcome"], "target_unreachable");
}

#[test]
fn a_unix_target_whose_queue_is_full_is_waited_for() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let full = FullUnixListener::new(folder.path());
    let gate = Setup::to(&pki, &full.target())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "1m")
        .start();
    let mut client = pki.client("patient").connect(gate.address());
    eventually("the target is being dialled", || {
        gate.get("/sessions").body.contains("patient").then_some(())
    });
    let accepting = full.listener.try_clone().expect("a descriptor is left");
    std::thread::spawn(move || {
        while let Ok((socket, _)) = accepting.accept() {
            target::patient(&socket);
            std::thread::spawn(move || target::echo_until_end(&socket));
        }
    });
    client.prove_admitted();
    // Wakes the thread that accepts.
    drop(full.listener.shutdown(std::net::Shutdown::Both));
}

#[test]
fn a_unix_target_whose_queue_stays_full_is_given_up_and_the_reason_says_so() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let full = FullUnixListener::new(folder.path());
    let gate = Setup::to(&pki, &full.target())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "300ms")
        .start();
    let ending = pki.client("patient").connect(gate.address()).ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    let record = gate.record();
    assert_eq!(record["outcome"], "target_unreachable");
    let reason = record["reason"].as_str().expect("a reason");
    for part in [full.target().as_str(), "300ms", "queue", "full"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(record["duration_ms"].as_u64() >= Some(300), "{record}");
}

/// A Unix socket whose backlog is full: the kernel refuses at once whoever does not want to wait.
struct FullUnixListener {
    path: std::path::PathBuf,
    listener: Socket,
    _waiting: Vec<Socket>,
}

impl FullUnixListener {
    fn new(folder: &Path) -> Self {
        let path = folder.join("target.sock");
        let address = SockAddr::unix(&path).expect("a short path");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener.bind(&address).expect("the path is free");
        listener.listen(0).expect("a bound socket can listen");
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("an option");
            match socket.connect(&address) {
                Ok(()) => waiting.push(socket),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("the queue cannot be filled: {error}"),
            }
        }
        Self {
            path,
            listener,
            _waiting: waiting,
        }
    }

    fn target(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

/// A listener whose backlog is full: the kernel answers no more connection requests.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl FullListener {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("loopback");
        listener.listen(0).expect("a bound socket can listen");
        let address = listener.local_addr().expect("it is bound");
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let connected = socket.connect_timeout(&address, Duration::from_millis(200));
            waiting.push(socket);
            if connected.is_err() {
                break;
            }
        }
        Self {
            address: address.as_socket().expect("it is TCP"),
            _listener: listener,
            _waiting: waiting,
        }
    }
}

#[test]
fn sixty_four_descriptors_are_enough_to_serve_among_hundreds_of_strangers() {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target)
        .under(&["prlimit", "--nofile=64"])
        .flag("--handshake-timeout", "2s")
        .start();
    gate.log
        .wait_for_record("a warning that the limit is lowered", |record| {
            record["level"]
                .as_str()
                .is_some_and(|level| level.eq_ignore_ascii_case("warn"))
                && record.to_string().contains("max-connections")
        });
    let strangers: Vec<_> = (0..300).map(|_| silent(&gate)).collect();
    for _ in 0..10 {
        scrape(&gate, &pki);
    }
    drop(strangers);
    scrape(&gate, &pki);
    let metrics = gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    assert_eq!(metrics.closed("relayed"), 11.0);
    assert_eq!(metrics.value("process_max_fds", &[]), 64.0);
}

#[test]
fn admitted_clients_beyond_the_descriptors_are_refused_and_the_others_served() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut gate = Setup::open_to(&pki, &target)
        .under(&["prlimit", "--nofile=64"])
        .start();
    let client = pki.client("many");
    let ca = pki.ca();
    let config = Offer::of(&client, &ca).config();
    let mut inside = Vec::new();
    for _ in 0..60 {
        let mut connection = Connection::open(gate.address(), config.clone()).expect("TLS 1.3");
        if connection.refusal().is_none() {
            inside.push(connection);
        }
    }
    assert!(
        inside.len() >= 10 && inside.len() < 60,
        "{} were let in",
        inside.len()
    );
    inside.iter_mut().for_each(Connection::prove_admitted);
    drop(inside);
    gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    client.connect(gate.address()).prove_admitted();
    assert_eq!(gate.terminate(), 0);
}

#[test]
fn every_descriptor_comes_back_after_two_thousand_connections_of_every_kind_of_ending() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        let mut first = [0; 1];
        match (&socket).read(&mut first) {
            // The client asks how the target shall end.
            Ok(1) if first == *b"R" => target::reset(socket),
            Ok(1) if first == *b"C" => drop(socket),
            _ => drop(target::read_to_end(&socket)),
        }
    });
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .start();
    let address = gate.address();
    let (welcome, unwelcome) = (pki.client("prometheus"), pki.client("stranger"));
    let mut expired = client_params([dns("prometheus.test")]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = pki.forge(&expired);
    let ca = pki.ca();
    let config = |credentials| Offer::of(credentials, &ca).config();
    let (good, not_allowed, too_old) = (config(&welcome), config(&unwelcome), config(&expired));
    let anonymous = Offer {
        credentials: None,
        ..Offer::of(&welcome, &ca)
    }
    .config();
    let open = |config: &std::sync::Arc<_>| {
        Connection::open(address, std::sync::Arc::clone(config)).expect("TLS 1.3")
    };

    scrape_admin(&gate);
    gate.wait_until_ready();
    let baseline = gate.descriptors();
    let rounds = 200;
    for _ in 0..rounds {
        let mut orderly = open(&good);
        orderly.send(b"bytes");
        orderly.finish();
        assert_eq!(orderly.ending(), Ending::Clean);
        open(&good).reset();
        open(&good).truncate();
        let mut closed_by_target = open(&good);
        closed_by_target.send(b"C");
        closed_by_target.read_to_end();
        let mut reset_by_target = open(&good);
        reset_by_target.send(b"R");
        assert!(reset_by_target.ending().is_a_cut());
        assert!(matches!(open(&not_allowed).ending(), Ending::Alert(_)));
        assert!(matches!(open(&too_old).ending(), Ending::Alert(_)));
        assert!(matches!(open(&anonymous).ending(), Ending::Alert(_)));
        drop(silent(&gate));
        silent(&gate)
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .expect("the gate reads");
    }
    gate.wait_until_told(10 * rounds);
    let metrics = gate.wait_for_metrics("everybody left", |metrics| metrics.open() == 0.0);
    let all = 10.0 * rounds as f64;
    assert_eq!(
        metrics.value("portcullis_connections_accepted_total", &[]),
        all
    );
    assert_eq!(
        metrics.value("portcullis_connections_closed_total", &[]),
        all
    );
    eventually("descriptors are back to where they were", || {
        (gate.descriptors() <= baseline).then_some(())
    });
}

fn scrape_admin(gate: &Gate) {
    assert_eq!(gate.get("/livez").status, 200);
    gate.metrics();
}

#[test]
fn a_taken_port_is_waited_for() {
    let pki = Pki::shared();
    let target = target::exporter();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = taken.local_addr().expect("it is bound");
    let gate = Setup::open_to(&pki, &target)
        .flag("--listen", address.to_string())
        .flag("--bind-timeout", "60s")
        .spawn();
    gate.log.wait_for_text(&address.port().to_string());
    drop(taken);
    gate.log.wait_for_record("the listener", |record| {
        record["event"] == "listening" && record["address"] == address.to_string()
    });
}

#[test]
fn a_port_that_stays_taken_is_named_with_the_ephemeral_range() {
    let pki = Pki::shared();
    let target = target::exporter();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, said) = Setup::open_to(&pki, &target)
        .flag("--listen", &address)
        .flag("--bind-timeout", "300ms")
        .run();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&address), "{said}");
    assert!(said.contains("ip_local_port_range"), "{said}");
    assert!(
        said.contains("ip_local_reserved_ports"),
        "what to do: {said}"
    );
}

#[test]
fn with_the_target_down_every_client_is_told_so() {
    let pki = Pki::shared();
    let nobody = Nobody::new();
    let gate = Setup::to(&pki, &nobody.address().to_string())
        .switch("--allow-any-client")
        .start();
    let client = pki.client("unlucky");
    for _ in 0..100 {
        let ending = client.connect(gate.address()).ending();
        assert!(ending.is_a_cut(), "{ending:?}");
    }
    for record in gate.records(100) {
        assert_eq!(record["outcome"], "target_unreachable", "{record}");
    }
}

/// A loopback connect to a port in the ephemeral range can be given that very port as its source, and then succeeds
/// with itself. A network namespace whose ephemeral range is one port makes that certain instead of rare.
#[test]
fn with_the_target_down_the_gate_never_connects_to_itself() {
    let namespace = run(
        Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]),
        &Input::All(b""),
    );
    assert_eq!(
        namespace.code, 0,
        "network namespaces are needed here: {namespace:?}"
    );
    let pki = Pki::shared();
    let client = pki.client("echo-hunter");
    let folder = temporary_folder();
    let script = folder.path().join("script");
    let (server, ca) = (pki.server(), pki.ca());
    let lines = [
        "set -eu".to_owned(),
        "ip link set lo up".to_owned(),
        "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range".to_owned(),
        format!(
            "{PORTCULLIS} serve --listen 127.0.0.1:20000 --admin off --target 127.0.0.1:40000 --allow-any-client \
             --log-format json --cert {} --key {} --client-ca {} 2>log & gate=$!",
            server.cert().display(),
            server.key().display(),
            ca.display()
        ),
        "trap 'kill $gate' EXIT".to_owned(),
        "until grep -q '\"listening\"' log; do kill -0 $gate; done".to_owned(),
        format!(
            "printf 'hello myself' | timeout 20 openssl s_client -quiet -connect 127.0.0.1:20000 -CAfile {} -cert {} \
             -key {} >answer 2>/dev/null || true",
            ca.display(),
            client.cert().display(),
            client.key().display()
        ),
        "until grep -q '\"connection\"' log; do kill -0 $gate; done".to_owned(),
    ];
    write(&script, &lines.join("\n"));
    let done = run(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "timeout", "60", "sh"])
            .arg(&script)
            .current_dir(folder.path())
            .stdin(Stdio::null()),
        &Input::All(b""),
    );
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let (log, answer) = (read("log"), read("answer"));
    assert_eq!(done.code, 0, "{done:?} {log}");
    assert!(
        !answer.contains("hello myself"),
        "the gate relayed a client to itself: {log}"
    );
    assert!(log.contains("\"target_unreachable\""), "{log}");
}

#[test]
fn core_dumps_are_off() {
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.pid())).expect("it runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let values: Vec<_> = core
        .expect("a line")
        .split_whitespace()
        .skip(4)
        .take(2)
        .collect();
    assert_eq!(values, ["0", "0"], "a dump would hold the key");
}

#[test]
fn an_idle_session_costs_little_memory() {
    raise_descriptor_limit();
    let pki = Pki::shared();
    let target = target::mute();
    let gate = Setup::open_to(&pki, &target).start();
    let client = pki.client("idle");
    let ca = pki.ca();
    let config = Offer::of(&client, &ca).config();
    let open = |count: usize| -> Vec<_> {
        let open = (0..count).map(|_| Connection::open(gate.address(), config.clone()));
        open.map(|connection| connection.expect("TLS 1.3"))
            .collect()
    };
    let first = open(100);
    target.wait_for_accepts(100);
    let before = resident_bytes(&gate);
    let more = open(400);
    target.wait_for_accepts(500);
    let each = resident_bytes(&gate).saturating_sub(before) / 400;
    assert!(each < 16 << 10, "{each} bytes for each idle session");
    drop((first, more));
}

fn resident_bytes(gate: &Gate) -> usize {
    gate.metrics().value("process_resident_memory_bytes", &[]) as usize
}

/// How the gate runs in a pod: as nobody in particular. The tests of a user who is not root run it so anyway.
#[test]
fn without_any_privilege_it_serves_measures_itself_and_hides_its_memory() {
    let pki = Pki::shared();
    let target = target::exporter();
    let folder = temporary_folder();
    let open_to_all = |path: &Path| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    };
    open_to_all(folder.path());
    let server = pki.server();
    let mut setup = Setup::open_to(&pki, &target);
    let files = [
        ("--cert", server.cert()),
        ("--key", server.key()),
        ("--client-ca", pki.ca()),
    ];
    for (number, (flag, from)) in files.into_iter().enumerate() {
        let copy = folder.path().join(format!("{number}.pem"));
        std::fs::copy(from, &copy).expect("a copy");
        open_to_all(&copy);
        setup = setup.flag(flag, copy);
    }
    if rustix::process::geteuid().is_root() {
        let program = folder.path().join("portcullis");
        std::fs::copy(PORTCULLIS, &program).expect("a copy");
        open_to_all(&program);
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        setup = setup.under(&nobody).copy(&program);
    }
    let gate = setup.start();
    scrape(&gate, &pki);
    let metrics = gate.metrics();
    for name in [
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(metrics.value(name, &[]) > 0.0, "{name}: {metrics:?}");
    }
    // The kernel gives the memory of a process that is not dumpable to root, whoever runs it: proc(5).
    let memory = std::fs::metadata(format!("/proc/{}/mem", gate.pid())).expect("it runs");
    assert_eq!(
        memory.uid(),
        0,
        "another process of the same user could read the key"
    );
}

#[test]
fn there_are_as_many_workers_as_asked_for() {
    let pki = Pki::shared();
    let target = target::exporter();
    let threads = |count: &str| {
        let gate = Setup::open_to(&pki, &target)
            .flag("--threads", count)
            .start();
        scrape(&gate, &pki);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.pid()));
        tasks.expect("it runs").count()
    };
    assert_eq!(threads("5"), threads("1") + 4);
}
