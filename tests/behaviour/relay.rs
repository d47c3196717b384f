//! A faithful pipe: bytes arrive complete and in order, each direction ends by itself, and a connection that was cut
//! is never shown to the other side as one that ended.

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{BLOCKED, Ending, Offer, server_name};
use crate::support::gate::Setup;
use crate::support::pki::{Pki, temporary_folder};
use crate::support::target::{self, Ended, Target};
use crate::support::{eventually, pattern, sha256};

const BULK: usize = 64 << 20;

#[tokio::test]
async fn sixty_four_mebibytes_each_way_at_once_arrive_unchanged() {
    let pki = Pki::shared();
    let (to_target, from_target) = (pattern(BULK, 1), pattern(BULK, 2));
    let sent = from_target.clone();
    let target = Target::serving(move |socket, _| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&socket).write_all(&sent).expect("the gate reads");
                socket
                    .shutdown(std::net::Shutdown::Write)
                    .expect("it is open");
            });
            let (bytes, ended) = target::read_to_end(&socket);
            (bytes.len(), sha256(&bytes), ended)
        })
    });
    let gate = Setup::open_to(&pki, &target).start();

    let config = Offer::of(&pki.client("bulk"), &pki.ca()).config();
    let socket = tokio::net::TcpStream::connect(gate.address())
        .await
        .expect("the gate accepts");
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(server_name(), socket)
        .await;
    let (mut reader, mut writer) = tokio::io::split(stream.expect("a handshake"));
    let mut received = Vec::with_capacity(BULK);
    let (read, written) = tokio::join!(reader.read_to_end(&mut received), async {
        writer.write_all(&to_target).await?;
        writer.shutdown().await
    });
    read.expect("the target's bytes end cleanly");
    written.expect("the gate reads");

    assert_eq!(received.len(), BULK);
    assert_eq!(sha256(&received), sha256(&from_target));
    assert_eq!(target.result(), (BULK, sha256(&to_target), Ended::Clean));
    let record = gate.record();
    assert_eq!(record["outcome"], "relayed");
    assert_eq!(record["bytes_to_target"], BULK);
    assert_eq!(record["bytes_from_target"], BULK);
}

#[test]
fn a_client_that_finished_sending_still_receives() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        let (request, ended) = target::read_to_end(&socket);
        (&socket).write_all(b"the answer").expect("the gate reads");
        (request, ended)
    });
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("half-close").connect(gate.address());
    client.send(b"the question");
    client.finish();
    assert_eq!(target.result(), (b"the question".to_vec(), Ended::Clean));
    assert_eq!(
        client.read_to_end(),
        (b"the answer".to_vec(), Ending::Clean)
    );
    assert_eq!(gate.record()["outcome"], "relayed");
}

#[test]
fn a_target_that_finished_sending_still_receives() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        (&socket).write_all(b"a banner").expect("the gate reads");
        socket
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        target::read_to_end(&socket)
    });
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("half-close").connect(gate.address());
    assert_eq!(client.read_to_end(), (b"a banner".to_vec(), Ending::Clean));
    client.send(b"sent after the target's end");
    client.finish();
    assert_eq!(
        target.result(),
        (b"sent after the target's end".to_vec(), Ended::Clean)
    );
    assert_eq!(gate.record()["outcome"], "relayed");
}

#[test]
fn a_target_that_resets_is_never_a_clean_end_and_what_it_said_before_arrives() {
    let pki = Pki::shared();
    let said = pattern(300_000, 3);
    let target = target::resets_after(said.clone());
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("reset").connect(gate.address());
    assert_eq!(client.receive(said.len()), said);
    client.send(b"!");
    let ending = client.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    assert_eq!(gate.record()["outcome"], "io_error");
}

#[test]
fn a_client_that_resets_is_never_a_clean_end_and_what_it_said_before_arrives() {
    let pki = Pki::shared();
    let (got_it, wait_for_it) = channel();
    let target = Target::serving(move |socket, _| {
        let mut bytes = vec![0; 300_000];
        (&socket)
            .read_exact(&mut bytes)
            .expect("the client's bytes");
        got_it.send(()).expect("the test waits");
        (bytes, target::read_to_end(&socket))
    });
    let gate = Setup::open_to(&pki, &target).start();
    let said = pattern(300_000, 4);
    let mut client = pki.client("reset").connect(gate.address());
    client.send(&said);
    wait_for_it.recv().expect("the target has it");
    client.reset();
    assert_eq!(target.result(), (said, (Vec::new(), Ended::Reset)));
    assert_eq!(gate.record()["outcome"], "io_error");
}

#[test]
fn a_tls_stream_without_close_notify_is_never_a_clean_end_and_what_came_before_arrives() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target).start();
    let said = pattern(100_000, 5);
    let mut client = pki.client("truncation").connect(gate.address());
    client.send(&said);
    client.truncate();
    let (bytes, ended) = target.result();
    assert_eq!(ended, Ended::Reset);
    assert_eq!(
        bytes, said,
        "a cut takes nothing back that was received before it"
    );
    let record = gate.record();
    assert_eq!(record["outcome"], "io_error");
    assert_eq!(record["bytes_to_target"], said.len());
}

#[test]
fn bytes_that_are_no_tls_are_never_a_clean_end() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("garbage").connect(gate.address());
    client.prove_admitted();
    let mut socket = client.into_socket();
    socket.write_all(&[0x16; 64]).expect("the gate reads");
    assert_eq!(target.result(), Ended::Reset);
    assert_eq!(gate.record()["outcome"], "io_error");
}

#[test]
fn an_unreachable_target_is_a_cut_for_the_client() {
    let pki = Pki::shared();
    let nobody = target::Nobody::new();
    let gate = Setup::to(&pki, &nobody.address().to_string())
        .switch("--allow-any-client")
        .start();
    let mut client = pki.client("unreachable").connect(gate.address());
    let ending = client.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    let record = gate.record();
    assert_eq!(record["outcome"], "target_unreachable");
    assert_ne!(
        record["reason"].as_str().unwrap_or_default(),
        "",
        "{record}"
    );
}

#[test]
fn a_unix_socket_can_be_the_target() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let target = Target::serving_unix(&folder.path().join("s"), |socket, _| {
        target::echo_until_end(&socket)
    });
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("unix").connect(gate.address());
    client.send(b"over a socket file");
    assert_eq!(client.receive(18), b"over a socket file");
    client.finish();
    assert_eq!(client.ending(), Ending::Clean);
    assert_eq!(target.result(), Ended::Clean);
    assert_eq!(gate.record()["outcome"], "relayed");
}

#[test]
fn an_idle_session_ends_cleanly_on_both_sides() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target)
        .flag("--idle-timeout", "500ms")
        .start();
    let mut client = pki.client("idle").connect(gate.address());
    client.send(b"last words");
    assert_eq!(client.ending(), Ending::Clean);
    assert_eq!(target.result(), (b"last words".to_vec(), Ended::Clean));
    let record = gate.record();
    assert_eq!(record["outcome"], "idle_timeout");
    assert!(
        record["duration_ms"].as_f64().expect("a number") >= 500.0,
        "{record}"
    );
}

#[test]
fn bytes_in_one_direction_keep_a_session_from_being_idle() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target)
        .flag("--idle-timeout", "2s")
        .start();
    let mut client = pki.client("busy").connect(gate.address());
    let started = std::time::Instant::now();
    // A pace, not a synchronisation: no gap comes near the limit, their sum exceeds it.
    while started.elapsed() < Duration::from_secs(4) {
        client.send(b".");
        std::thread::sleep(Duration::from_millis(100));
    }
    client.finish();
    assert_eq!(target.result().1, Ended::Clean);
    assert_eq!(gate.record()["outcome"], "unanswered");
}

#[test]
fn a_half_closed_session_is_idle_in_the_end() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, hold| {
        let request = target::read_to_end(&socket);
        hold.wait();
        request
    });
    let gate = Setup::open_to(&pki, &target)
        .flag("--idle-timeout", "500ms")
        .start();
    let mut client = pki.client("half-idle").connect(gate.address());
    client.send(b"done");
    client.finish();
    assert_eq!(client.ending(), Ending::Clean);
    assert_eq!(gate.record()["outcome"], "idle_timeout");
}

#[test]
fn a_session_that_reaches_its_limit_is_cut() {
    let pki = Pki::shared();
    let target = target::sink();
    let gate = Setup::open_to(&pki, &target)
        .flag("--max-session", "700ms")
        .start();
    let mut client = pki.client("limit").connect(gate.address());
    client.send(b"busy");
    let ending = client.ending();
    assert!(ending.is_a_cut(), "{ending:?}");
    assert_eq!(target.result(), (b"busy".to_vec(), Ended::Reset));
    let record = gate.record();
    assert_eq!(record["outcome"], "session_limit");
    assert!(
        record["duration_ms"].as_f64().expect("a number") >= 700.0,
        "{record}"
    );
}

#[test]
fn a_target_that_never_reads_stops_the_client_instead_of_filling_memory() {
    let pki = Pki::shared();
    let target = target::mute();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("flood").connect(gate.address());
    let written = client.send_until_blocked();
    assert!(written < 256 << 20, "{written} bytes went nowhere");
    assert_eq!(gate.get("/livez").status, 200);
    let resident = resident_bytes(gate.pid());
    assert!(
        resident < 128 << 20,
        "{resident} bytes of memory for one stuck session"
    );
}

fn resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<usize> = line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.expect("a size in kB") << 10
}

#[test]
fn a_client_that_never_reads_stops_the_target_instead_of_filling_memory() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        let block = vec![0; 1 << 16];
        socket.set_write_timeout(Some(BLOCKED)).expect("a duration");
        let mut written = 0;
        while let Ok(len) = (&socket).write(&block) {
            written += len;
        }
        written
    });
    let gate = Setup::open_to(&pki, &target).start();
    let client = pki.client("deaf").connect(gate.address());
    let written = target.result();
    assert!(written < 256 << 20, "{written} bytes went nowhere");
    let resident = resident_bytes(gate.pid());
    assert!(
        resident < 128 << 20,
        "{resident} bytes of memory for one stuck session"
    );
    drop(client);
}

#[test]
fn a_thousand_small_messages_come_back_one_by_one() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("chatty").connect(gate.address());
    for number in 0_u32..1000 {
        client.send(&number.to_be_bytes());
        assert_eq!(
            client.receive(4),
            number.to_be_bytes(),
            "nothing waits for more to come"
        );
    }
    client.finish();
    assert_eq!(client.ending(), Ending::Clean);
    assert_eq!(gate.record()["bytes_to_target"], 4000);
}

#[test]
fn bytes_of_a_live_session_are_counted_while_it_lives() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("counted").connect(gate.address());
    client.prove_admitted();
    eventually("both directions are counted", || {
        let metrics = gate.metrics();
        let count =
            |direction| metrics.value("portcullis_bytes_total", &[("direction", direction)]);
        (count("to_target") == 1.0 && count("from_target") == 1.0).then_some(())
    });
}

#[test]
fn tls_1_2_is_relayed_as_faithfully() {
    let pki = Pki::shared();
    let target = Target::serving(|socket, _| {
        let (request, ended) = target::read_to_end(&socket);
        if ended == Ended::Clean {
            (&socket).write_all(&request).expect("the gate reads");
        }
        ended
    });
    let gate = Setup::open_to(&pki, &target)
        .flag("--tls-min", "1.2")
        .start();
    let (client, ca) = (pki.client("old"), pki.ca());
    let offer = Offer {
        version: &rustls::version::TLS12,
        ..Offer::of(&client, &ca)
    };
    let said = pattern(1 << 20, 6);
    let mut connection = offer.connect(gate.address()).expect("a handshake");
    connection.send(&said);
    connection.finish();
    assert_eq!(target.result(), Ended::Clean);
    assert!(connection.read_to_end() == (said, Ending::Clean));

    let mut connection = offer.connect(gate.address()).expect("a handshake");
    connection.send(b"before the cut");
    connection.truncate();
    assert_eq!(target.result(), Ended::Reset);
}

#[test]
fn a_client_that_breaks_tls_hears_the_alert_for_it_though_it_has_said_more() {
    use rustls::AlertDescription::{BadRecordMac, RecordOverflow, UnexpectedMessage};
    type Change = fn(&mut Vec<u8>);
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--tls-min", "1.2")
        .start();
    let (client, ca) = (pki.client("broken"), pki.ca());
    let changes: [(Change, _, _); 3] = [
        (|sent| sent[9] ^= 1, BadRecordMac, "is not authentic"),
        (
            |sent| sent[3] = 0xff,
            RecordOverflow,
            "is longer than any may be",
        ),
        (|sent| sent[0] = 99, UnexpectedMessage, "is of a type"),
    ];
    let mut count = 0;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (change, alert, reason) in changes {
            let offer = Offer {
                version,
                ..Offer::of(&client, &ca)
            };
            let mut connection = offer.connect(gate.address()).expect("a handshake");
            connection.prove_admitted();
            // What a socket holds unread when it is closed makes a reset of the end.
            connection.send_changed(&pattern(1 << 15, 7), change);
            assert_eq!(connection.ending(), Ending::Alert(alert), "{version:?}");
            assert_eq!(target.result(), Ended::Reset);
            count += 1;
            let record = gate.records(count).remove(count - 1);
            assert_eq!(record["outcome"], "io_error", "{record}");
            let why = record["reason"].as_str().expect("a reason");
            assert!(why.contains(reason), "{version:?}: {why}");
        }
    }
}

#[test]
fn both_address_families_reach_a_dual_stack_listener_and_are_shown_as_they_are() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::open_to(&pki, &target)
        .flag("--listen", "[::]:0")
        .flag("--allow-from", "127.0.0.0/8")
        .flag("--allow-from", "::1/128")
        .start();
    let port = gate.address().port();
    for (position, source) in ["127.0.0.1", "::1"].into_iter().enumerate() {
        let ip: std::net::IpAddr = source.parse().expect("an address");
        let mut client = pki.client("family").connect((ip, port).into());
        client.prove_admitted();
        let shown = client.source().to_string();
        drop(client);
        assert_eq!(gate.records(position + 1)[position]["source"], shown);
    }
}

#[test]
fn bytes_that_came_right_before_a_reset_are_not_lost_with_it() {
    let pki = Pki::shared();
    let said = pattern(16_000, 7);
    let sent = said.clone();
    let target = Target::serving(move |socket, _| {
        (&socket).write_all(&sent).expect("the gate reads");
        wait_until_sent(&socket);
        target::reset(socket);
    });
    let gate = Setup::open_to(&pki, &target).start();
    let (bytes, ending) = pki.client("abrupt").connect(gate.address()).read_to_end();
    assert!(bytes == said, "{} of {} bytes", bytes.len(), said.len());
    assert!(ending.is_a_cut(), "{ending:?}");

    let sink = target::sink();
    let gate = Setup::open_to(&pki, &sink).start();
    let mut client = pki.client("abrupt").connect(gate.address());
    client.send(&said);
    wait_until_sent(&client.socket());
    client.reset();
    let (bytes, ended) = sink.result();
    assert!(bytes == said, "{} of {} bytes", bytes.len(), said.len());
    assert_eq!(ended, Ended::Reset);
}

/// Returns once the kernel of the other side has everything.
pub(crate) fn wait_until_sent(socket: &Socket) {
    let local = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    let local = local.expect("a TCP socket");
    let port = format!(":{:04X}", local.port());
    eventually("all bytes are sent", || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let mut rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.len() > 4 && row[1].ends_with(&port) && row[3] == "01")?;
        row[4].starts_with("00000000:").then_some(())
    });
}

#[test]
fn a_cut_takes_nothing_back_from_a_side_that_reads_late() {
    let pki = Pki::shared();
    let said = pattern(400_000, 8);
    let (cut, was_cut) = channel();
    let was_cut = std::sync::Mutex::new(was_cut);
    let target = Target::serving(move |socket, _| {
        was_cut
            .lock()
            .expect("one connection")
            .recv()
            .expect("the test tells");
        target::read_to_end(&socket)
    });
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("late").connect(gate.address());
    client.send(&said);
    client.truncate();
    // Not a synchronisation: time for a gate to do wrong. One that is slower than this passes unseen.
    std::thread::sleep(Duration::from_millis(200));
    cut.send(()).expect("the target waits");
    let (bytes, ended) = target.result();
    assert!(bytes == said, "{} of {} bytes", bytes.len(), said.len());
    assert_eq!(ended, Ended::Reset);

    let sent = said.clone();
    let target = Target::serving(move |socket, _| {
        (&socket).write_all(&sent).expect("the gate reads");
        wait_until_sent(&socket);
        target::reset(socket);
    });
    let gate = Setup::open_to(&pki, &target).start();
    let mut client = pki.client("late").connect(gate.address());
    target.result();
    std::thread::sleep(Duration::from_millis(200));
    let (bytes, ending) = client.read_to_end();
    assert!(bytes == said, "{} of {} bytes", bytes.len(), said.len());
    assert!(ending.is_a_cut(), "{ending:?}");
}
