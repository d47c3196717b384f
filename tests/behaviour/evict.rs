//! Continuous authorization: a live session whose client is no longer admissible is cut within a second of the change,
//! with the reason in its record, and every other session goes on as if nothing had been.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::client::{Connection, Ending};
use crate::support::eventually;
use crate::support::pki::{Authority, authority_params, client_params, dns};
use crate::support::target::{self, Ended};
use crate::support::volume::{Identity, Mounted, Rules, Writer, allow, knock, list_params};

/// The promise is one second (docs/rotation.md); the rest is for a machine that is busy with other work.
const SOON: Duration = Duration::from_secs(3);

/// A gate with one session that is to be ended and one that is not.
struct Scene {
    mounted: Mounted,
    rules: Rules,
    target: target::Target<Ended>,
    /// Vouches for the bystander.
    ours: Authority,
    /// Vouches for the one who has to go.
    theirs: Authority,
    leaver: Connection,
    leaving: Identity,
    bystander: Connection,
}

impl Scene {
    fn new() -> Self {
        Self::with(|theirs| theirs.client("leaver"), |_, _| String::new())
    }

    /// `issue` makes the certificate of the one who has to go; `list` the revocation lists, if there are any.
    fn with(
        issue: impl FnOnce(&Authority) -> Identity,
        list: impl FnOnce(&Authority, &Authority) -> String,
    ) -> Self {
        let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
        let target = target::echo();
        let mut rules = Rules::allowing(&target.flag(), &["leaver", "bystander"]);
        let list = list(&ours, &theirs);
        if !list.is_empty() {
            rules.lists = vec!["ca.crl"];
        }
        let bundle = [&*ours.pem, &*theirs.pem].concat();
        let more = [("ca.crl", list.as_bytes())];
        let mounted = Mounted::start(Writer::Kubelet, &rules, &bundle, &more);
        let leaving = issue(&theirs);
        let address = mounted.gate.address();
        let bystander = mounted.client(&ours.client("bystander"));
        let bystander = knock(address, &bystander).expect("it is admitted");
        let leaver = mounted.client(&leaving);
        let leaver = knock(address, &leaver).expect("it is admitted");
        Self {
            mounted,
            rules,
            target,
            ours,
            theirs,
            leaver,
            leaving,
            bystander,
        }
    }

    /// Asserts that the leaver is cut soon after `since`, for a reason that says this, and the bystander is not.
    fn assert_evicted(mut self, since: Instant, reason: &str) -> Value {
        let (_, ending) = self.leaver.read_to_end();
        let took = since.elapsed();
        println!("{reason}: {took:?}, {ending:?}");
        assert!(took < SOON, "{reason}: {took:?}");
        assert!(
            matches!(ending, Ending::Truncated | Ending::Reset),
            "no close_notify: {ending:?}"
        );
        assert_eq!(
            self.target.result(),
            Ended::Reset,
            "the target sees no clean end"
        );
        let record = self.mounted.gate.record();
        assert_eq!(record["outcome"], "evicted", "{record}");
        assert!(
            record["reason"]
                .as_str()
                .is_some_and(|r| r.contains(reason)),
            "{record}"
        );
        assert_eq!(record["serial"], self.leaving.serial(), "{record}");
        assert_eq!(self.mounted.gate.metrics().closed("evicted"), 1.0);
        for _ in 0..10 {
            self.bystander.prove_admitted();
        }
        assert_eq!(self.mounted.gate.metrics().open(), 1.0);
        self.bystander.finish();
        assert_eq!(self.bystander.ending(), Ending::Clean);
        record
    }
}

#[test]
fn removing_a_ca_closes_its_sessions_and_no_other() {
    let mut scene = Scene::new();
    let bundle = scene.ours.pem.clone();
    scene.mounted.mount.update(&[("ca.crt", bundle.as_bytes())]);
    let record = scene.assert_evicted(Instant::now(), "no CA of the client-CA bundle");
    assert_eq!(
        record["generation"], 1,
        "the one that admitted it: {record}"
    );
}

#[test]
fn revoking_a_certificate_closes_its_sessions_and_no_other() {
    let none =
        |ours: &Authority, theirs: &Authority| [ours.revoking(&[]), theirs.revoking(&[])].concat();
    let mut scene = Scene::with(|theirs| theirs.client("leaver"), none);
    let lists = [
        scene.ours.revoking(&[]),
        scene.theirs.revoking(&[&scene.leaving]),
    ]
    .concat();
    scene.mounted.mount.update(&[("ca.crl", lists.as_bytes())]);
    scene.assert_evicted(Instant::now(), "revoked");
}

#[test]
fn withdrawing_a_rule_closes_the_sessions_it_admitted_and_no_other() {
    let mut scene = Scene::new();
    scene.rules.route = allow(&["bystander"]);
    scene.mounted.rule(&scene.rules);
    scene.assert_evicted(Instant::now(), "dns:leaver.test");
}

#[test]
fn a_list_that_is_given_for_the_first_time_closes_the_sessions_it_revokes_and_no_other() {
    let mut scene = Scene::new();
    let lists = [
        scene.ours.revoking(&[]),
        scene.theirs.revoking(&[&scene.leaving]),
    ]
    .concat();
    scene.rules.lists = vec!["ca.crl"];
    let text = scene.rules.text(&scene.mounted.mount);
    let files = [("ca.crl", lists.as_bytes()), ("gate.toml", text.as_bytes())];
    scene.mounted.mount.update(&files);
    scene.assert_evicted(Instant::now(), "revoked");
}

/// A certificate for seconds, and the moment it is over.
fn short_lived(seconds: u64) -> (rcgen::CertificateParams, SystemTime) {
    let mut params = client_params([dns("leaver.test")]);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is past 1970");
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + seconds);
    params.not_after = not_after.into();
    // The last second counts as a whole.
    (params, not_after + Duration::from_secs(1))
}

fn instant(time: SystemTime) -> Instant {
    Instant::now()
        + time
            .duration_since(SystemTime::now())
            .expect("it is yet to come")
}

#[test]
fn a_certificate_that_expires_while_nothing_flows_closes_its_session_and_no_other() {
    let (params, over) = short_lived(4);
    let over = instant(over);
    let mut scene = Scene::with(|theirs| theirs.issue(params, &[]), |_, _| String::new());
    scene.bystander.prove_admitted();
    assert!(Instant::now() < over, "too slow to see anything");
    scene.leaver.prove_admitted();
    let ended = scene.mounted.gate.log.clone();
    let record = scene.assert_evicted(over, "expired");
    drop(ended);
    let lived = record["duration_ms"].as_f64().unwrap_or_default();
    assert!(lived > 500.0, "not before its time: {record}");
}

#[test]
fn a_certificate_that_expires_while_bytes_flow_closes_its_session_and_no_other() {
    let (params, over) = short_lived(4);
    let over = instant(over);
    let mut scene = Scene::with(|theirs| theirs.issue(params, &[]), |_, _| String::new());
    let mut rounds = 0_u64;
    let ending = loop {
        if let Err(ending) = scene.leaver.try_send(&[b'x'; 1_000]) {
            break ending;
        }
        if let (_, Some(ending)) = scene.leaver.receive_at_most(1_000) {
            break ending;
        }
        rounds += 1;
        // Bytes flow, and a core is left for others.
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("{rounds} rounds, {ending:?}");
    assert!(
        Instant::now() >= over - Duration::from_secs(1),
        "not before its time"
    );
    assert!(
        matches!(ending, Ending::Truncated | Ending::Reset),
        "{ending:?}"
    );
    assert!(rounds > 100);
    scene.assert_evicted(over, "expired");
}

#[test]
fn an_intermediate_that_expires_closes_the_sessions_below_it_and_no_other() {
    let (params, over) = short_lived(4);
    let over = instant(over);
    let mut above = authority_params("a short-lived intermediate");
    above.not_after = params.not_after;
    let issue = |theirs: &Authority| {
        let (middle, _) = theirs.intermediate(above);
        middle.issue(client_params([dns("leaver.test")]), &[&middle])
    };
    let scene = Scene::with(issue, |_, _| String::new());
    scene.assert_evicted(over, "expired");
}

#[test]
fn a_list_that_runs_out_closes_the_sessions_it_speaks_for_and_no_other() {
    let over = instant(short_lived(4).1);
    let next_update = short_lived(4).0.not_after;
    let lists = |ours: &Authority, theirs: &Authority| {
        let mut params = list_params([]);
        params.next_update = next_update;
        let short = theirs.list(&params).pem().expect("PEM");
        [ours.revoking(&[]), short].concat()
    };
    let scene = Scene::with(|theirs| theirs.client("leaver"), lists);
    scene.assert_evicted(over, "stale since");
}

/// Connects from another address of loopback.
fn knock_from(source: [u8; 4], address: SocketAddr, client: &Arc<ClientConfig>) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((source, 0)).into())
        .expect("loopback is all ours");
    socket.connect(&address.into()).expect("the gate accepts");
    let connection = Connection::over(TcpStream::from(socket), Arc::clone(client));
    let mut connection = connection.expect("TLS 1.3");
    connection.prove_admitted();
    connection
}

#[test]
fn withdrawing_a_network_closes_the_sessions_from_it_and_no_other() {
    let mut scene = Scene::new();
    let address = scene.mounted.gate.address();
    let client = scene.mounted.client(&scene.ours.client("bystander"));
    let old = std::mem::replace(
        &mut scene.bystander,
        knock_from([127, 0, 0, 2], address, &client),
    );
    old.reset();
    scene.mounted.gate.records(1);
    assert_eq!(scene.target.result(), Ended::Reset);
    scene
        .rules
        .route
        .push_str("allow_from = [\"127.0.0.2/32\"]\n");
    scene.mounted.rule(&scene.rules);
    let changed = Instant::now();
    let (_, ending) = scene.leaver.read_to_end();
    println!("a network: {:?}, {ending:?}", changed.elapsed());
    assert!(changed.elapsed() < SOON);
    assert!(
        matches!(ending, Ending::Truncated | Ending::Reset),
        "{ending:?}"
    );
    assert_eq!(scene.target.result(), Ended::Reset);
    let record = scene.mounted.gate.records(2).remove(1);
    assert_eq!(record["outcome"], "evicted", "{record}");
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|r| r.contains("--allow-from")),
        "{record}"
    );
    scene.bystander.prove_admitted();
    // And nobody comes from there any more.
    let client = scene.mounted.client(&scene.ours.client("bystander"));
    let socket = TcpStream::connect(address).expect("the gate accepts");
    assert!(Connection::over(socket, client).is_err());
    assert_eq!(scene.mounted.gate.records(3)[2]["outcome"], "source_denied");
}

#[test]
fn a_session_that_stands_still_because_nobody_reads_is_closed_as_well() {
    let ca = Authority::root("clients");
    // Sends for ever to a client that never reads.
    let target = target::Target::serving(|socket, _| {
        let mut stream = &socket;
        while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
    });
    let mut rules = Rules::allowing(&target.flag(), &["leaver"]);
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &ca.pem, &[]);
    let client = mounted.client(&ca.client("leaver"));
    let connection = Connection::open(mounted.gate.address(), client);
    let connection = connection.expect("TLS 1.3");
    let sent = || mounted.gate.metrics().value("portcullis_bytes_total", &[]);
    let mut before = 0.0;
    eventually("the pipe is full", || {
        let now = sent();
        let full = now > 0.0 && now == std::mem::replace(&mut before, now);
        std::thread::sleep(Duration::from_millis(100));
        full.then_some(())
    });
    rules.route = allow(&["other"]);
    mounted.rule(&rules);
    let changed = Instant::now();
    target.result();
    println!("nobody reads: {:?}", changed.elapsed());
    assert!(changed.elapsed() < SOON);
    // The record waits a moment for a client that does not take the end.
    let record = mounted.gate.record();
    assert_eq!(record["outcome"], "evicted", "{record}");
    drop(connection);
}

#[test]
fn a_client_whose_ca_goes_while_it_shakes_hands_reaches_nobody() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let target = target::sink();
    let rules = Rules::allowing(&target.flag(), &["leaver"]);
    let bundle = [&*ours.pem, &*theirs.pem].concat();
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &bundle, &[]);
    let client = mounted.client(&theirs.client("leaver"));
    let socket = TcpStream::connect(mounted.gate.address()).expect("the gate accepts");
    mounted
        .gate
        .wait_for_metrics("it is accepted", |metrics| metrics.open() == 1.0);
    mounted.mount.update(&[("ca.crt", ours.pem.as_bytes())]);
    mounted.gate.wait_for_generation_after(1);
    let changed = Instant::now();
    let mut connection = Connection::over(socket, client).expect("TLS 1.3");
    let _may_be_cut_already = connection.try_send(b"let me in");
    let (bytes, ending) = connection.read_to_end();
    assert!(changed.elapsed() < SOON);
    assert_eq!(bytes, b"");
    assert_ne!(ending, Ending::Clean);
    let record = mounted.gate.record();
    assert_eq!(record["refusal"], "unknown_issuer", "{record}");
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|r| r.contains("no CA")),
        "{record}"
    );
    assert_eq!(
        record["bytes_to_target"].as_u64().unwrap_or_default(),
        0,
        "{record}"
    );
    assert_eq!(target.accepts(), 0, "nobody is dialled for");
}

#[test]
fn new_rules_that_still_admit_a_client_leave_its_session_alone() {
    let mut scene = Scene::new();
    for round in 0..5 {
        let before = scene.mounted.gate.generation();
        scene.rules.route = allow(&["leaver", "bystander", &format!("new-{round}")]);
        scene.mounted.rule(&scene.rules);
        scene.mounted.gate.wait_for_generation_after(before);
        scene.leaver.prove_admitted();
        scene.bystander.prove_admitted();
    }
    let metrics = scene.mounted.gate.metrics();
    assert_eq!((metrics.open(), metrics.closed("evicted")), (2.0, 0.0));
    assert_eq!(scene.target.accepts(), 2);
}

#[test]
fn everything_else_that_changes_leaves_sessions_alone() {
    let mut scene = Scene::new();
    let server = scene.mounted.servers.server();
    let swapped = [&*scene.theirs.pem, &*scene.ours.pem].concat();
    let lists = [scene.ours.revoking(&[]), scene.theirs.revoking(&[])].concat();
    scene.rules.lists = vec!["ca.crl"];
    let text = scene.rules.text(&scene.mounted.mount);
    let changes: [&[(&str, &[u8])]; 3] = [
        &[
            ("tls.crt", server.chain.as_bytes()),
            ("tls.key", server.key.as_bytes()),
        ],
        &[("ca.crt", swapped.as_bytes())],
        &[("ca.crl", lists.as_bytes()), ("gate.toml", text.as_bytes())],
    ];
    for change in changes {
        let before = scene.mounted.gate.generation();
        scene.mounted.mount.update(change);
        scene.mounted.gate.wait_for_generation_after(before);
        scene.leaver.prove_admitted();
        scene.bystander.prove_admitted();
    }
    assert_eq!(scene.mounted.gate.metrics().open(), 2.0);
}

/// A target that takes no connection before it is told to: the queue of those that wait is full.
fn closed_target() -> (Socket, Vec<TcpStream>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("a bound socket can listen");
    let address = listener.local_addr().expect("it is bound").as_socket();
    let address = address.expect("an IPv4 address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        waiting.push(stream);
    }
    (listener, waiting, address)
}

#[test]
fn a_rule_that_is_withdrawn_while_the_target_is_dialled_ends_the_session() {
    let (listener, waiting, target) = closed_target();
    let authority = Authority::root("clients");
    let mut rules = Rules::allowing(&target.to_string(), &["leaver"]);
    rules.top.push_str("connect_timeout = \"50s\"\n");
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &authority.pem, &[]);
    let client = mounted.client(&authority.client("leaver"));
    let mut leaver = Connection::open(mounted.gate.address(), client).expect("a handshake");
    eventually("the client is admitted", || {
        let sessions = mounted.gate.get("/sessions").body;
        sessions.contains("leaver").then_some(())
    });
    let before = mounted.gate.generation();
    rules.route = allow(&["bystander"]);
    mounted.rule(&rules);
    mounted.gate.wait_for_generation_after(before);
    drop(waiting);
    // From here on the target takes whoever comes, for as long as the test lives.
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            taken.push(stream);
        }
    });
    let record = mounted.gate.record();
    assert_eq!(record["outcome"], "evicted", "{record}");
    let (_, ending) = leaver.read_to_end();
    assert!(ending.is_a_cut(), "{ending:?}");
}
