//! The gate and its peers: which are here, and one of them from start to its first answer.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::load::{Buffer, Client, refused};
use crate::peers;
use crate::pki::Pki;
use crate::process::Tree;
use crate::quota::Quota;
use crate::target::{Seen, Target};

/// Connections that every relay must be able to hold.
pub(crate) const CONNECTIONS: usize = 6000;

/// Bytes of a small answer.
pub(crate) const SMALL: usize = 100;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gate,
    Envoy,
    Ghostunnel,
    Haproxy,
    Hitch,
    Nginx,
    Stunnel,
    /// The plain relay, and bare cryptography.
    Floor,
}

impl Kind {
    pub(crate) const PEERS: [Self; 7] = [
        Self::Envoy,
        Self::Ghostunnel,
        Self::Haproxy,
        Self::Nginx,
        Self::Hitch,
        Self::Stunnel,
        Self::Floor,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Envoy => "envoy",
            Self::Ghostunnel => "ghostunnel",
            Self::Haproxy => "haproxy",
            Self::Hitch => "hitch",
            Self::Nginx => "nginx",
            Self::Stunnel => "stunnel",
            Self::Floor => "floor",
        }
    }

    /// The program, if it is installed.
    pub(crate) fn find(self) -> Option<PathBuf> {
        let wheel = "lib/python3*/site-packages/envoy/_bin/envoy";
        match self {
            Self::Gate => None,
            Self::Envoy => in_venv(wheel).or_else(|| on_path("envoy")),
            Self::Stunnel => on_path("stunnel4"),
            Self::Floor => std::env::current_exe().ok(),
            Self::Ghostunnel | Self::Haproxy | Self::Hitch | Self::Nginx => on_path(self.name()),
        }
    }

    /// The arguments by which a program tells its version.
    fn version_flag(self) -> &'static str {
        match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Stunnel => "-version",
            Self::Gate | Self::Envoy | Self::Ghostunnel | Self::Hitch | Self::Floor => "--version",
        }
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps some of them where only root's PATH looks.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn in_venv(pattern: &str) -> Option<PathBuf> {
    let mut found = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/bench")];
    for part in pattern.split('/') {
        found = match part.strip_suffix('*') {
            None => found.into_iter().map(|folder| folder.join(part)).collect(),
            Some(start) => found
                .iter()
                .flat_map(|folder| beginning(folder, start))
                .collect(),
        };
    }
    found.into_iter().find(|program| program.is_file())
}

fn beginning(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect()
}

/// A program under test.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// How the tables call it.
    pub(crate) label: String,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
}

impl Subject {
    /// What it says of its version, in one line.
    pub(crate) fn version(&self) -> Result<String> {
        if self.kind == Kind::Floor {
            return Ok("a plain relay, and bare cryptography".to_owned());
        }
        let output = Command::new(&self.program)
            .arg(self.kind.version_flag())
            .output();
        let output = output.with_context(|| self.program.display().to_string())?;
        let all = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&all).into_owned();
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| line.chars().any(|c| c.is_ascii_digit()));
        let program = self.program.display().to_string();
        Ok(line
            .unwrap_or("unknown")
            .replace(&program, "")
            .trim()
            .to_owned())
    }
}

/// What differs between two starts of one program.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) workers: usize,
    pub(crate) quota: bool,
    /// Flags of the gate alone.
    pub(crate) flags: Vec<OsString>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            workers: 2,
            quota: false,
            flags: Vec::new(),
        }
    }
}

/// What every relay of a run shares.
pub(crate) struct World {
    pub(crate) target: Target,
    pub(crate) pki: Pki,
    client: Client,
    pub(crate) nobody: Client,
    pub(crate) stranger: Client,
    pub(crate) folder: PathBuf,
    pub(crate) logs: bool,
}

impl World {
    pub(crate) fn make(folder: &Path, logs: bool) -> Result<Self> {
        let pki = Pki::make(folder)?;
        Ok(Self {
            target: Target::start()?,
            client: Client::new(&pki, Some(&pki.client))?,
            nobody: Client::new(&pki, None)?,
            stranger: Client::new(&pki, Some(&pki.stranger))?,
            pki,
            folder: folder.to_owned(),
            logs,
        })
    }
}

/// A relay that answers.
pub(crate) struct Relay {
    pub(crate) label: String,
    pub(crate) kind: Kind,
    /// Who is let in.
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    /// What is behind it.
    pub(crate) target: SocketAddr,
    pub(crate) tree: Tree,
    pub(crate) seen: Arc<Seen>,
    /// From exec to the first answer through TLS.
    pub(crate) first_answer: Duration,
}

impl Relay {
    /// Starts it, and waits until it answers through TLS.
    pub(crate) fn start(world: &World, subject: &Subject, variant: &Variant) -> Result<Self> {
        Self::try_start(world, subject, variant).with_context(|| subject.label.clone())
    }

    fn try_start(world: &World, subject: &Subject, variant: &Variant) -> Result<Self> {
        const TOO_LONG: Duration = Duration::from_secs(30);
        let door = world.target.listen()?;
        let address = free_address()?;
        let place = peers::Place {
            pki: &world.pki,
            folder: &world.folder,
            listen: address,
            target: door.address,
            workers: variant.workers,
        };
        let mut command = peers::command(subject, &place)?;
        command.args(&variant.flags);
        let quota = if variant.quota {
            Some(Quota::make()?)
        } else {
            None
        };
        let client = if subject.kind == Kind::Floor {
            Client::PLAIN
        } else {
            world.client.clone()
        };
        let mut buffer = Buffer::new();
        let started = Instant::now();
        let mut tree = Tree::start(command, quota, world.logs)?;
        loop {
            let asked = client.open(address).and_then(|mut connection| {
                connection.get(SMALL, &mut buffer)?;
                Ok(connection)
            });
            match asked {
                Ok(connection) => {
                    let first_answer = started.elapsed();
                    connection.close(&mut buffer)?;
                    let label = subject.label.clone();
                    let seen = door.seen;
                    return Ok(Self {
                        label,
                        kind: subject.kind,
                        client,
                        address,
                        target: door.address,
                        tree,
                        seen,
                        first_answer,
                    });
                }
                Err(error) => {
                    tree.still_runs()?;
                    ensure!(started.elapsed() < TOO_LONG, "does not answer: {error:#}");
                    sleep(Duration::from_micros(500));
                }
            }
        }
    }

    /// Fails unless strangers are refused, the settings hold, and nothing can be resumed. Returns what was agreed on.
    pub(crate) fn check(&self, world: &World) -> Result<Agreed> {
        let heard = || self.seen.bytes.load(Ordering::Relaxed);
        let before = heard();
        if self.kind != Kind::Floor {
            refused(&world.nobody, self.address).context("without a certificate")?;
            refused(&world.stranger, self.address).context("with a certificate of another CA")?;
            self.settle(0)?;
            ensure!(
                heard() == before,
                "the target heard a client that had to be refused"
            );
        }
        let mut buffer = Buffer::new();
        let mut connection = self.client.open(self.address)?;
        connection.get(SMALL, &mut buffer)?;
        let (terms, tickets) = connection.agreed();
        connection.close(&mut buffer)?;
        Ok(Agreed { terms, tickets })
    }

    /// Connections that the target has from it.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Waits until the relay has no more than this many connections to the target, so that its work is all done.
    pub(crate) fn settle(&self, open: usize) -> Result<()> {
        let since = Instant::now();
        while self.open() > open {
            ensure!(
                since.elapsed() < Duration::from_secs(20),
                "{} keeps connections to the target that its clients have left",
                self.label
            );
            sleep(Duration::from_millis(5));
        }
        sleep(Duration::from_millis(30));
        Ok(())
    }
}

/// What a relay and the client agreed on.
pub(crate) struct Agreed {
    pub(crate) terms: String,
    pub(crate) tickets: u32,
}

/// A port that nobody has, below those that the kernel gives to outgoing connections.
fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let offset = u16::try_from(std::process::id() % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset.wrapping_add(step)) % COUNT;
        if let Ok(free) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(free.local_addr()?);
        }
    }
    anyhow::bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
