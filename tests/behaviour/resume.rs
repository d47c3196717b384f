//! No resumption: a client that comes with a ticket or a session id, of whatever origin, gets a full handshake with
//! every check, and goes without one.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use rustls::AlertDescription;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::client::Ending;
use crate::support::gate::Setup;
use crate::support::peers::{Done, Input, KillOnDrop, run, s_client, start};
use crate::support::pki::{Authority, Credentials, Pki, temporary_folder};
use crate::support::target;
use crate::support::volume::{Mounted, Rules, Writer, allow, knock};

/// After the answer to this the server ends.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A server that does resume, with the certificate of the gate: what it hands out looks as if it were the gate's.
struct Elsewhere {
    address: SocketAddr,
    _process: KillOnDrop,
}

impl Elsewhere {
    fn start(pki: &Pki, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        let server = pki.server();
        command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-Verify", "1"]);
        command
            .arg("-cert")
            .arg(server.cert())
            .arg("-key")
            .arg(server.key());
        command.arg("-CAfile").arg(pki.ca()).args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = start(&mut command);
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let process = KillOnDrop::of(child);
        let (sender, found) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let address = line
                    .strip_prefix("ACCEPT ")
                    .and_then(|text| text.parse().ok());
                // Read on even when nobody waits any more, or the server would block.
                let _nobody_waits = address.map(|address| sender.send(address));
            }
        });
        Self {
            address: found.recv_timeout(PATIENCE).expect("it listens"),
            _process: process,
        }
    }

    /// Leaves a session of this server in a file.
    fn hand_out(&self, pki: &Pki, client: &Credentials, version: &str, session: &Path) {
        let first = self.visit(pki, client, version, "-sess_out", session);
        assert!(first.stdout.contains("\nNew, "), "{}", first.text());
        assert!(session.exists(), "{}", first.text());
        // It is one that counts: there it does resume.
        let again = self.visit(pki, client, version, "-sess_in", session);
        assert!(again.stdout.contains("\nReused, "), "{}", again.text());
    }

    fn visit(
        &self,
        pki: &Pki,
        client: &Credentials,
        version: &str,
        option: &str,
        session: &Path,
    ) -> Done {
        let mut command = s_client(self.address, &pki.ca(), Some(client));
        command.arg(version).arg(option).arg(session);
        run(&mut command, &Input::All(REQUEST))
    }
}

#[test]
fn a_session_from_elsewhere_gets_a_full_handshake() {
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target)
        .flag("--tls-min", "1.2")
        .start();
    let client = pki.client("prometheus");
    let folder = temporary_folder();
    let cases: [(&str, &str, &[&str]); 3] = [
        ("a ticket of TLS 1.3", "-tls1_3", &[]),
        ("a ticket of TLS 1.2", "-tls1_2", &[]),
        ("a session id of TLS 1.2", "-tls1_2", &["-no_ticket"]),
    ];
    for (number, (what, version, arguments)) in cases.into_iter().enumerate() {
        let elsewhere = Elsewhere::start(&pki, arguments);
        let session = folder.path().join(number.to_string());
        elsewhere.hand_out(&pki, &client, version, &session);
        let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
        command.arg(version).arg("-sess_in").arg(&session);
        let kept = folder.path().join(format!("{number}-kept"));
        command.arg("-sess_out").arg(&kept);
        let done = run(&mut command, &Input::All(REQUEST));
        assert!(done.stdout.contains("\nNew, "), "{what}: {}", done.text());
        assert!(
            !done.stdout.contains("\nReused, "),
            "{what}: {}",
            done.text()
        );
        assert!(
            done.stdout.contains("sample_up 1"),
            "{what}: {}",
            done.text()
        );
        let record = gate.records(number + 1).remove(number);
        assert_eq!(record["resumed"], false, "{what}: {record}");
        assert!(
            record["names"].to_string().contains("dns:prometheus.test"),
            "{what}: {record}"
        );
    }
}

#[test]
fn a_session_from_elsewhere_does_not_carry_a_client_past_the_judge() {
    let pki = Pki::shared();
    let target = target::echo();
    let gate = Setup::to(&pki, &target.flag())
        .flag("--allow-dns", "prometheus.test")
        .flag("--tls-min", "1.2")
        .start();
    // Whoever was judged there has to be judged here.
    let stranger = pki.client("stranger");
    let folder = temporary_folder();
    for (number, version) in ["-tls1_3", "-tls1_2"].into_iter().enumerate() {
        let elsewhere = Elsewhere::start(&pki, &[]);
        let session = folder.path().join(number.to_string());
        elsewhere.hand_out(&pki, &stranger, version, &session);
        // With its certificate and without one.
        for credentials in [Some(&stranger), None] {
            let mut command = s_client(gate.address(), &pki.ca(), credentials);
            command.arg(version).arg("-sess_in").arg(&session);
            let done = run(&mut command, &Input::Open(b"let me in\n"));
            assert!(done.alert().is_some(), "{version}: {}", done.text());
            assert!(
                !done.stdout.contains("let me in"),
                "{version}: {}",
                done.text()
            );
        }
    }
    let records = gate.records(4);
    let refused = |r: &Value| r["outcome"] != "relayed";
    assert!(records.iter().all(refused), "{records:#?}");
    assert_eq!(target.accepts(), 0);
}

#[test]
fn a_client_that_was_admitted_once_is_judged_by_the_new_rules_when_it_comes_again() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["leaver", "stayer"]);
    let mut mounted = Mounted::start(Writer::Kubelet, &rules, &ca.pem, &[]);
    // One configuration, and so one memory of sessions, for all its connections.
    let leaver = mounted.client(&ca.client("leaver"));
    let address = mounted.gate.address();
    let connection = knock(address, &leaver).expect("it is admitted");
    assert_eq!(
        connection.tls().handshake_kind(),
        Some(rustls::HandshakeKind::Full)
    );
    assert_eq!(connection.tls().tls13_tickets_received(), 0);
    drop(connection);
    rules.route = allow(&["stayer"]);
    mounted.rule(&rules);
    mounted.gate.wait_for_generation_after(1);
    let ending = knock(address, &leaver).err();
    assert_eq!(ending, Some(Ending::Alert(AlertDescription::AccessDenied)));
    assert_eq!(target.accepts(), 1);
}
