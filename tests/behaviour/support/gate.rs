//! The real binary, started as an operator would: flags, variables or a file; its log read line by line.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::Metrics;
use super::pki::Pki;
use super::target::Target;
use super::{PATIENCE, eventually, http};

/// The program under test.
pub(crate) const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// The program of the image, as `make static` built it.
pub(crate) fn static_program() -> PathBuf {
    /// The Makefile sets it.
    const VARIABLE: &str = "STATIC_PORTCULLIS";
    let path = std::env::var_os(VARIABLE).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{VARIABLE} is not set: run `make test` or `make behaviour`, or set it to what `make static` built")
    });
    assert!(
        path.is_file(),
        "{VARIABLE}: {}: no such file",
        path.display()
    );
    path
}

/// `portcullis` with none of this process's `PORTCULLIS_…` variables.
pub(crate) fn portcullis() -> Command {
    program(&[], PORTCULLIS.as_ref())
}

fn program(wrapper: &[OsString], program: &OsStr) -> Command {
    let mut command = match wrapper {
        [] => Command::new(program),
        [outer, arguments @ ..] => {
            let mut command = Command::new(outer);
            command.args(arguments).arg(program);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(name);
        }
    }
    command
}

/// A gate about to be started.
pub(crate) struct Setup {
    wrapper: Vec<OsString>,
    program: OsString,
    flags: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    routes: usize,
    admin: bool,
    /// Keeps the files that the flags name.
    pki: Option<Arc<Pki>>,
}

impl Setup {
    /// `serve` and nothing else.
    pub(crate) fn bare() -> Self {
        Self {
            wrapper: Vec::new(),
            program: PORTCULLIS.into(),
            flags: Vec::new(),
            variables: Vec::new(),
            routes: 1,
            admin: true,
            pki: None,
        }
    }

    /// One route on a free port to a target, and an admin listener on another; nobody is allowed yet.
    pub(crate) fn to(pki: &Arc<Pki>, target: &str) -> Self {
        Self::bare()
            .flag("--listen", "127.0.0.1:0")
            .flag("--admin", "127.0.0.1:0")
            .flag("--target", target)
            .credentials(pki)
    }

    /// As [`Setup::to`], admitting whoever the development CA vouches for.
    pub(crate) fn open_to<T>(pki: &Arc<Pki>, target: &Target<T>) -> Self {
        Self::to(pki, &target.flag()).switch("--allow-any-client")
    }

    /// The server's certificate and the CA of its clients, all of the development PKI.
    pub(crate) fn credentials(mut self, pki: &Arc<Pki>) -> Self {
        let server = pki.server();
        self.pki = Some(Arc::clone(pki));
        self.flag("--cert", server.cert())
            .flag("--key", server.key())
            .flag("--client-ca", pki.ca())
    }

    /// A flag and its value; the last one of a name wins if the flag is not repeatable.
    pub(crate) fn flag(mut self, name: &str, value: impl Into<OsString>) -> Self {
        const REPEATABLE: [&str; 7] = [
            "--client-ca",
            "--allow-dns",
            "--allow-uri",
            "--allow-cn",
            "--allow-ou",
            "--allow-spki",
            "--allow-from",
        ];
        if !REPEATABLE.contains(&name)
            && let Some(at) = self.flags.iter().position(|flag| flag == name)
        {
            self.flags.drain(at..at + 2);
        }
        self.flags.extend([name.into(), value.into()]);
        self
    }

    /// A flag without a value.
    pub(crate) fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.into());
        self
    }

    /// An environment variable.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// A configuration file that has this many routes.
    pub(crate) fn file(mut self, path: &Path, routes: usize) -> Self {
        self.routes = routes;
        self.flag("--config", path)
    }

    /// Runs it under another program, as `prlimit --nofile=64`.
    pub(crate) fn under<S: AsRef<OsStr>>(mut self, wrapper: &[S]) -> Self {
        self.wrapper = wrapper.iter().map(|part| part.as_ref().into()).collect();
        self
    }

    /// Runs this copy of it.
    pub(crate) fn copy(mut self, program: &Path) -> Self {
        self.program = program.into();
        self
    }

    /// Says that no admin listener is to be waited for.
    pub(crate) fn without_admin(mut self) -> Self {
        self.admin = false;
        self
    }

    /// Starts it and returns once it listens everywhere.
    pub(crate) fn start(self) -> Gate {
        let (routes, admin) = (self.routes, self.admin);
        let mut gate = self.spawn();
        gate.log.wait_for("every listener", |records| {
            let count = |event| records.iter().filter(|r| r["event"] == event).count();
            (count("listening") >= routes && (!admin || count("admin_listening") >= 1))
                .then_some(())
        });
        for record in gate.log.records() {
            let address = || {
                let text = record["address"].as_str().expect("an address");
                text.to_owned()
            };
            match record["event"].as_str() {
                Some("listening") => {
                    let route = record["route"].as_str().expect("a route").to_owned();
                    let address = address().parse().expect("IP:PORT");
                    gate.addresses.insert(route, address);
                }
                Some("admin_listening") => gate.admin = Some(address()),
                _ => {}
            }
        }
        gate
    }

    /// As [`Setup::start`], and then closes the pipe that the log goes to.
    pub(crate) fn start_and_stop_reading(self) -> Gate {
        let gate = self.start();
        gate.log.stop_reading();
        gate
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(self) -> Gate {
        let mut command = program(&self.wrapper, &self.program);
        command.arg("serve").args(&self.flags).envs(self.variables);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Log::reading(child.stderr.take().expect("it is piped"));
        Gate {
            child,
            log,
            addresses: HashMap::new(),
            admin: None,
            _pki: self.pki,
        }
    }

    /// Runs it until it ends by itself: exit code and what it said, its last error as a person would read it.
    pub(crate) fn run(self) -> (i32, String) {
        let mut gate = self.spawn();
        let code = gate.wait();
        let mut said = gate.log.text();
        if let Some(last) = gate.log.records().last()
            && last["event"] == "fatal"
        {
            assert_eq!(last["exit_code"], code, "{last}");
            said.push('\n');
            said.push_str(last["reason"].as_str().expect("a reason"));
        }
        (code, said)
    }
}

/// A running gate; killed when dropped.
pub(crate) struct Gate {
    child: Child,
    /// What it writes to standard error.
    pub(crate) log: Log,
    addresses: HashMap<String, SocketAddr>,
    admin: Option<String>,
    _pki: Option<Arc<Pki>>,
}

impl Gate {
    /// Where clients of the route that flags make connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.route("default")
    }

    /// Where clients of a route connect.
    pub(crate) fn route(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).expect("the route listens")
    }

    /// Where the admin listener is, as the log said it.
    pub(crate) fn admin(&self) -> &str {
        self.admin.as_deref().expect("there is an admin listener")
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the admin listener.
    pub(crate) fn get(&self, path: &str) -> http::Response {
        http::get(self.admin(), path)
    }

    /// All metrics as they are now.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").body)
    }

    /// Returns once it serves: from then on nothing is opened but for a client or a file.
    pub(crate) fn wait_until_ready(&self) {
        eventually("the gate is ready", || {
            (self.get("/readyz").status == 200).then_some(())
        });
    }

    /// Returns once the metrics look like this.
    pub(crate) fn wait_for_metrics(&self, what: &str, is: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(what, || Some(self.metrics()).filter(|metrics| is(metrics)))
    }

    /// The record of the only connection there was so far, once it has ended.
    pub(crate) fn record(&self) -> Value {
        let mut records = self.records(1);
        assert_eq!(records.len(), 1, "one connection was made: {records:#?}");
        records.remove(0)
    }

    /// The connection records, once there are that many.
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        self.log
            .wait_for(&format!("{count} connection records"), |records| {
                let connections = connections(records);
                (connections.len() >= count).then_some(connections)
            })
    }

    /// Returns once this many connections have been told: by a record of their own, or summed up in a flood.
    pub(crate) fn wait_until_told(&self, count: usize) {
        let told = |records: &[Value]| connections(records).len() as u64 + summed(records);
        let what = format!("{count} connections are told");
        let told = self.log.wait_for(&what, |records| {
            Some(told(records)).filter(|told| *told >= count as u64)
        });
        assert_eq!(told, count as u64, "each is told once");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the gate runs");
    }

    /// Waits for the process to end by itself and returns its exit code, -1 if a signal ended it.
    pub(crate) fn wait(&mut self) -> i32 {
        let code = self.wait_unread();
        self.log.wait_for_end();
        code
    }

    /// As [`Gate::wait`], though nobody reads the log to its end.
    pub(crate) fn wait_unread(&mut self) -> i32 {
        let status = eventually("the gate ends", || {
            self.child.try_wait().expect("it can be waited for")
        });
        status.code().unwrap_or(-1)
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// How many descriptors it holds open.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        match std::fs::read_dir(folder) {
            Ok(entries) => entries.count(),
            // The process is not dumpable, so only root may look inside; it can still count for itself. The
            // connection that asks is one of them.
            Err(_) => self.metrics().value("process_open_fds", &[]) as usize - 1,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("what the gate said:\n{}", self.log.text());
        }
    }
}

/// The connection records among all others.
pub(crate) fn connections(records: &[Value]) -> Vec<Value> {
    let connections = records.iter().filter(|r| r["event"] == "connection");
    connections.cloned().collect()
}

/// How many connections have no record of their own, for there were too many of their kind.
pub(crate) fn summed(records: &[Value]) -> u64 {
    let sums = records
        .iter()
        .filter(|record| record["event"] == "connections_summed");
    sums.filter_map(|record| record["more"].as_u64()).sum()
}

/// A log that grows.
#[derive(Clone)]
pub(crate) struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    records: Vec<Value>,
    /// Nobody wants to read on.
    enough: bool,
    /// Nobody reads for now; the pipe stays open.
    paused: bool,
    ended: bool,
}

impl Log {
    fn reading(stderr: ChildStderr) -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        std::thread::spawn(move || {
            let changed = &writer.0.1;
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut lines = writer.lines();
                lines.records.extend(serde_json::from_str::<Value>(&line));
                lines.text.push(line);
                changed.notify_all();
                if lines.enough {
                    break;
                }
                let resumed = changed.wait_while(lines, |lines| lines.paused);
                drop(resumed.unwrap_or_else(PoisonError::into_inner));
            }
            writer.lines().ended = true;
            changed.notify_all();
        });
        log
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A test that panicked while it looked has broken nothing.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every line so far that is a JSON value.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.lines().records.clone()
    }

    /// Every line so far.
    pub(crate) fn text(&self) -> String {
        self.lines().text.join("\n")
    }

    /// Returns what is found once it is found.
    pub(crate) fn wait_for<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        self.wait(what, |lines| find(&lines.records))
    }

    /// Returns the first record like this, once there is one.
    pub(crate) fn wait_for_record(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |records| records.iter().find(|r| is(r)).cloned())
    }

    /// Returns once a line holds this text.
    pub(crate) fn wait_for_text(&self, text: &str) {
        self.wait(text, |lines| {
            let found = lines.text.iter().any(|line| line.contains(text));
            found.then_some(())
        });
    }

    /// Closes the pipe at the next line that comes.
    fn stop_reading(&self) {
        self.lines().enough = true;
    }

    /// Leaves the pipe open and what comes in it, from the next line on.
    pub(crate) fn pause(&self) {
        self.lines().paused = true;
    }

    /// Reads on.
    pub(crate) fn resume(&self) {
        self.lines().paused = false;
        self.0.1.notify_all();
    }

    fn wait_for_end(&self) {
        self.wait("the end of the log", |lines| lines.ended.then_some(()));
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&Lines) -> Option<T>) -> T {
        let changed = &self.0.1;
        let deadline = Instant::now() + PATIENCE;
        let mut guard = self.lines();
        loop {
            if let Some(found) = find(&guard) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                left > Duration::ZERO && !guard.ended,
                "gave up waiting: {what}; the log:\n{}",
                guard.text.join("\n")
            );
            let waited = changed.wait_timeout(guard, left);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
