//! How sessions end when the two sides do not agree: a target that dies in mid-answer, one that answers before it was
//! asked to the end, one that never answers, a client that reads slowly or is gone before there is a target.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::FullListener;
use crate::relay::wait_until_sent;
use crate::support::client::{Connection, Ending, Offer, server_name};
use crate::support::eventually;
use crate::support::gate::{Gate, Setup};
use crate::support::pki::{Authority, Pki, temporary_folder};
use crate::support::target::{self, Hold, Target};
use crate::support::volume::{Mounted, Rules, Writer, allow};

/// Says half of something, waits until the gate is busy with the client's bytes, and is gone with some of them unread.
fn dies_in_mid_answer(socket: Socket, _: &Hold) {
    let mut stream = &socket;
    stream.read_exact(&mut [0; 1]).expect("a question");
    stream.write_all(b"the first half").expect("the gate reads");
    stream.read_exact(&mut [0; 3000]).expect("more of it");
    target::reset(socket);
}

#[test]
fn a_target_that_dies_in_mid_answer_never_looks_finished_to_a_client_that_is_sending() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let targets = [
        Target::serving(dies_in_mid_answer),
        Target::serving_unix(&folder.path().join("s"), dies_in_mid_answer),
    ];
    for target in targets {
        let gate = Setup::open_to(&pki, &target).start();
        for count in 1..=20 {
            let mut client = pki.client("sender").connect(gate.address());
            while client.try_send(&[b'x'; 1000]).is_ok() {}
            // A reset takes what its receiver has not read with it.
            let (_, ending) = client.read_to_end();
            assert!(ending.is_a_cut(), "{ending:?}");
            let record = &gate.records(count)[count - 1];
            assert_eq!(record["outcome"], "io_error", "{record}");
            assert_eq!(record["reason"], "the target reset the connection");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_question_is_over_arrives_whole() {
    const ANSWER: usize = 3 << 20;
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        let mut stream = &socket;
        stream.read_exact(&mut [0; 1]).expect("a question");
        stream.write_all(&vec![7; ANSWER]).expect("the gate reads");
        wait_until_sent(&socket);
        socket
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        // It has heard enough: what still comes is answered with a reset.
        drop(socket);
    });
    let gate = Setup::open_to(&pki, &target).start();
    let config = Offer::of(&pki.client("early"), &pki.ca()).config();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // So small that most of the answer waits on the other side.
    socket.set_recv_buffer_size(16 * 1024).expect("an option");
    socket
        .connect(&gate.address().into())
        .expect("the gate accepts");
    socket.set_nonblocking(true).expect("an option");
    let socket = tokio::net::TcpStream::from_std(socket.into()).expect("a runtime");
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(server_name(), socket)
        .await;
    let (mut reader, mut writer) = tokio::io::split(stream.expect("a handshake"));
    let question = async {
        // Until nobody listens any more.
        while writer.write_all(&[b'x'; 8000]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let answer = async {
        let mut answer = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            match reader
                .read(&mut piece)
                .await
                .expect("no reset overtakes it")
            {
                0 => return answer,
                read => answer.extend_from_slice(&piece[..read]),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (received, ()) = tokio::join!(answer, question);
    assert!(received == vec![7; ANSWER], "{} bytes", received.len());
    let record = gate.record();
    assert_eq!(record["outcome"], "relayed", "{record}");
    assert_eq!(record["bytes_from_target"], ANSWER);
}

#[test]
fn a_target_that_never_answers_leaves_a_trace() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("scraper").connect(gate.address());
    client.send(b"GET /metrics HTTP/1.1\r\n\r\n");
    let waiting = eventually("the session waits", || {
        let sessions: Value = serde_json::from_str(&gate.get("/sessions").body).expect("JSON");
        sessions[0]["unanswered_ms"].as_u64()
    });
    assert!(waiting < 60_000, "{waiting}");
    // The scraper's patience is over; the target hears it and finishes as well.
    client.finish();
    assert_eq!(client.ending(), Ending::Clean);
    let record = gate.record();
    assert_eq!(record["outcome"], "unanswered", "{record}");
    assert_eq!(record["level"], "WARN");
    assert_eq!(gate.metrics().closed("unanswered"), 1.0);
}

#[test]
fn a_session_that_was_answered_or_never_asked_is_not_unanswered() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let mut asked = pki.client("asked").connect(gate.address());
    asked.prove_admitted();
    let sessions: Value = serde_json::from_str(&gate.get("/sessions").body).expect("JSON");
    assert_eq!(sessions[0]["unanswered_ms"], Value::Null, "{sessions}");
    let silent = pki.client("silent").connect(gate.address());
    for mut client in [asked, silent] {
        client.finish();
        assert_eq!(client.ending(), Ending::Clean);
    }
    for record in gate.records(2) {
        assert_eq!(record["outcome"], "relayed", "{record}");
    }
}

/// Reads this much every tenth of a second, for so long; how much came, and the end if there was one.
fn read_slowly(client: &mut Connection, bytes: usize, time: Duration) -> (usize, Option<Ending>) {
    let until = Instant::now() + time;
    let mut received = 0;
    while Instant::now() < until {
        let (piece, ending) = client.receive_at_most(bytes);
        received += piece.len();
        if ending.is_some() {
            return (received, ending);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (received, None)
}

fn with_a_small_window(gate: &Gate, pki: &std::sync::Arc<Pki>) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("an option");
    socket
        .connect(&gate.address().into())
        .expect("the gate accepts");
    let config = Offer::of(&pki.client("slow"), &pki.ca()).config();
    Connection::over(socket.into(), config).expect("a handshake")
}

#[test]
fn whoever_reads_slowly_is_not_idle_and_whoever_stops_is() {
    let pki = Pki::shared();
    for finishes in [false, true] {
        let target = Target::serving(move |socket, hold| {
            let block = vec![1; 2 << 20];
            let written = (&socket).write_all(&block);
            if finishes {
                written.expect("the gate reads");
                socket
                    .shutdown(std::net::Shutdown::Write)
                    .expect("it is open");
            } else {
                while (&socket).write_all(&block).is_ok() {}
            }
            hold.wait();
        });
        let gate = Setup::open_to(&pki, &target)
            .flag("--idle-timeout", "4s")
            .start();
        let mut client = with_a_small_window(&gate, &pki);
        // 80 kB a second: by far too slow to make much room in what a kernel buffers.
        let (read, ended) = read_slowly(&mut client, 8000, Duration::from_secs(10));
        assert!(ended.is_none(), "{ended:?}, though it read all the time");
        let stopped = Instant::now();
        let record = gate.record();
        assert_eq!(record["outcome"], "idle_timeout", "{record}");
        let reason = record["reason"].as_str().expect("a reason");
        assert!(reason.contains("no byte moved for 4s"), "{reason}");
        let took = stopped.elapsed();
        assert!(took > Duration::from_secs(2), "{took:?}");
        let (bytes, ending) = client.read_to_end();
        if finishes {
            // The kernel has all of it and the end.
            assert!(
                reason.ends_with("after the target had finished"),
                "{reason}"
            );
            assert_eq!((read + bytes.len(), ending), (2 << 20, Ending::Clean));
        } else {
            assert!(
                reason.ends_with("bytes that one side never took are lost"),
                "{reason}"
            );
            assert!(ending.is_a_cut(), "{ending:?}");
        }
    }
}

/// Waits until the session of an admitted client whose target does not answer is listed.
fn wait_for_the_session(gate: &Gate) {
    eventually("the target is being dialled", || {
        let sessions: Value = serde_json::from_str(&gate.get("/sessions").body).expect("JSON");
        (sessions.as_array()?.len() == 1).then_some(())
    });
}

#[test]
fn a_client_that_resets_while_its_target_is_dialled_is_noticed() {
    let pki = Pki::shared();
    let full = FullListener::new();
    let gate = Setup::to(&pki, &full.address.to_string())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "5m")
        .start();
    let client = pki.client("gone").connect(gate.address());
    wait_for_the_session(&gate);
    client.reset();
    let record = gate.record();
    assert_eq!(record["outcome"], "io_error", "{record}");
}

#[test]
fn a_second_signal_ends_the_dialling_too() {
    let pki = Pki::shared();
    let full = FullListener::new();
    let mut gate = Setup::to(&pki, &full.address.to_string())
        .switch("--allow-any-client")
        .flag("--connect-timeout", "5m")
        .start();
    let _client = pki.client("waiting").connect(gate.address());
    wait_for_the_session(&gate);
    gate.signal(Signal::TERM);
    gate.log
        .wait_for_record("it drains", |record| record["event"] == "draining");
    gate.signal(Signal::TERM);
    assert_eq!(gate.wait(), 0);
    assert_eq!(gate.record()["outcome"], "drained");
}

#[test]
fn trust_that_ends_while_the_target_is_dialled_ends_the_session() {
    let full = FullListener::new();
    let clients = Authority::root("clients");
    let mut rules = Rules::allowing(&full.address.to_string(), &["leaver"]);
    rules.top.push_str("connect_timeout = \"5m\"\n");
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &clients.pem, &[]);
    let leaver = mounted.client(&clients.client("leaver"));
    let mut leaver = Connection::open(mounted.gate.address(), leaver).expect("a handshake");
    wait_for_the_session(&mounted.gate);
    rules.route = allow(&["somebody-else"]);
    mounted.rule(&rules);
    let ending = leaver.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    assert_eq!(mounted.gate.record()["outcome"], "evicted");
}
