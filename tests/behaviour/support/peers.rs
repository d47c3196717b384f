//! Real peers: programs that somebody else wrote, run with a deadline. A missing one fails the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use super::eventually;
use super::pki::{Credentials, SERVER_NAME};

/// A finished peer.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit code, -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The number of the TLS alert that OpenSSL says it received.
    pub(crate) fn alert(&self) -> Option<u8> {
        let (_, rest) = self.stderr.split_once("SSL alert number ")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// All that it said.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// What a peer reads from standard input.
pub(crate) enum Input<'a> {
    /// These bytes, then the end.
    All(&'a [u8]),
    /// These bytes, and then nothing until the peer ends by itself.
    Open(&'a [u8]),
}

/// Starts a peer.
pub(crate) fn start(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!(
            "{program} cannot be started ({error}); `make peers` installs what the tests talk to"
        )
    })
}

/// Runs a peer to its end.
pub(crate) fn run(command: &mut Command, input: &Input<'_>) -> Done {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = start(command);
    let mut stdin = child.stdin.take();
    let collect = |mut stream: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("a pipe can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = collect(Box::new(child.stdout.take().expect("it is piped")));
    let stderr = collect(Box::new(child.stderr.take().expect("it is piped")));
    let (Input::All(bytes) | Input::Open(bytes)) = input;
    if let Some(stdin) = &mut stdin {
        // A peer that was refused does not read.
        drop(stdin.write_all(bytes));
    }
    if matches!(input, Input::All(_)) {
        drop(stdin.take());
    }
    let code = KillOnDrop(child).wait();
    drop(stdin);
    Done {
        code,
        stdout: stdout.join().expect("the reader ends"),
        stderr: stderr.join().expect("the reader ends"),
    }
}

/// A peer that is spoken with while it runs; killed when dropped.
pub(crate) struct Dialogue {
    stdin: ChildStdin,
    said: Arc<Mutex<String>>,
    _process: KillOnDrop,
}

impl Dialogue {
    /// Starts it and listens to both of its outputs.
    pub(crate) fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = start(command);
        let said = Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it is piped")),
            Box::new(child.stderr.take().expect("it is piped")),
        ];
        for mut output in outputs {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = output.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..len]);
                    said.lock().expect("nobody panics here").push_str(&text);
                }
            });
        }
        Self {
            stdin: child.stdin.take().expect("it is piped"),
            said,
            _process: KillOnDrop(child),
        }
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        self.stdin
            .write_all(text.as_bytes())
            .expect("the peer reads");
    }

    /// Returns once it has said this, and forgets all it said until then.
    pub(crate) fn wait_for(&mut self, text: &str) {
        eventually(text, || {
            let mut said = self.said.lock().expect("nobody panics here");
            let end = said.find(text)? + text.len();
            said.drain(..end);
            Some(())
        });
    }
}

/// A running peer; killed when dropped.
pub(crate) struct KillOnDrop(Child);

impl KillOnDrop {
    /// Takes charge of a process.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it runs");
    }

    /// Waits for it to end by itself and returns its exit code, -1 if a signal ended it.
    pub(crate) fn wait(&mut self) -> i32 {
        let what = format!("process {} ends", self.0.id());
        let status = eventually(&what, || self.0.try_wait().expect("it can be waited for"));
        status.code().unwrap_or(-1)
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `openssl s_client` with these credentials; `-ign_eof` keeps it until the other side ends.
pub(crate) fn s_client(
    address: SocketAddr,
    ca: &Path,
    credentials: Option<&Credentials>,
) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-ign_eof"]);
    command.args(["-servername", SERVER_NAME, "-verify_hostname", SERVER_NAME]);
    command.arg("-verify_return_error").arg("-CAfile").arg(ca);
    if let Some(credentials) = credentials {
        command.arg("-cert").arg(credentials.cert());
        command.arg("-cert_chain").arg(credentials.cert());
        command.arg("-key").arg(credentials.key());
    }
    command
}

/// `gnutls-cli` with these credentials.
pub(crate) fn gnutls_cli(
    address: SocketAddr,
    ca: &Path,
    credentials: Option<&Credentials>,
) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--port", &address.port().to_string()]);
    command.args([
        "--sni-hostname",
        SERVER_NAME,
        "--verify-hostname",
        SERVER_NAME,
    ]);
    command.arg("--x509cafile").arg(ca);
    if let Some(credentials) = credentials {
        command.arg("--x509certfile").arg(credentials.cert());
        command.arg("--x509keyfile").arg(credentials.key());
    }
    command.arg(address.ip().to_string());
    command
}

/// `curl` for a URL of the gate, by the server's name.
pub(crate) fn curl(address: SocketAddr, path: &str, credentials: &Credentials) -> Command {
    let mut command = Command::new("curl");
    let resolve = format!("{SERVER_NAME}:{}:{}", address.port(), address.ip());
    command.args([
        "--silent",
        "--show-error",
        "--fail",
        "--resolve",
        &resolve,
        "--cacert",
    ]);
    command
        .arg(credentials.ca())
        .arg("--cert")
        .arg(credentials.cert());
    command.arg("--key").arg(credentials.key());
    command.arg(format!("https://{SERVER_NAME}:{}{path}", address.port()));
    command
}

/// Converts or makes something with `openssl`; panics if that fails.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let done = run(Command::new("openssl").args(arguments), &Input::All(b""));
    assert_eq!(done.code, 0, "openssl {arguments:?}: {done:?}");
    done.stdout
}

/// A server somebody else wrote that says in its log where it listens; killed when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _process: KillOnDrop,
}

impl Server {
    /// Starts it and returns once a line of its log has `"Listening on" address=IP:PORT`.
    pub(crate) fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = start(command);
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let process = KillOnDrop(child);
        let (sender, found) = channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let address = line.split_once("\"Listening on\" address=");
                let address = address.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                // Read on even when nobody waits any more, or the server would block.
                let _nobody_waits = address.map(|address| sender.send(address));
            }
        });
        let address = found.recv_timeout(PATIENCE);
        let address = address.unwrap_or_else(|_| panic!("{command:?} does not listen"));
        Self {
            address,
            _process: process,
        }
    }
}
