//! `portcullis demo`: the whole job on one machine, told as it happens.
//!
//! Nothing in; a throwaway PKI, a sample target, a gate and two scrapes out, and each line printed from what really
//! happened. Opens nothing but loopback, and leaves nothing behind.

mod folder;
mod records;
mod scenes;
mod show;
mod stage;
mod target;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio_util::task::TaskTracker;

use self::folder::Folder;
use self::records::Entry;
use self::show::Show;
use self::stage::Stage;

/// The name of the client that the demo's gate lets in.
const CLIENT: &str = "prometheus.monitoring.svc";

/// Shows the whole job on this machine: nothing to prepare, nothing left behind
///
/// Makes a throwaway PKI in a private folder, starts a sample metrics endpoint that listens on loopback only and the
/// gate in front of it, scrapes it once with a client certificate, which is let in, and once without, which is refused,
/// and shows what client, gate and target saw. Then it keeps running, prints commands to paste into another terminal,
/// and shows the gate's record of every connection.
///
/// Ctrl-C (or SIGTERM) stops it and removes the folder. Nothing listens on anything but 127.0.0.1: the gate on port
/// 54899, its target on 54898, its admin listener on 54900. A port that is taken is replaced by a free one, and the
/// demo says so. The folder is made below TMPDIR (default: /tmp) with mode 0700, certificates are good for a day, and
/// the CA's key is never written. Colour is used on a terminal, unless NO_COLOR is set. Environment variables of serve
/// have no effect.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  portcullis demo
  portcullis demo --once     # as a smoke test

Exit codes:
  0  stopped as asked; with --once: both scrapes went as they must
  1  something could not be started, or a scrape did not go as it must")]
pub struct Demo {
    /// Ends after the two scrapes
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Plays it on standard output.
    ///
    /// # Errors
    /// If something cannot be started or shown; the folder is removed then as well.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let records = records::take();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start")?;
        let good = runtime.block_on(self.play(records, Show::on_stdout()))?;
        Ok(match good {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    async fn play<W: Write>(
        self,
        mut records: Receiver<Entry>,
        mut show: Show<W>,
    ) -> anyhow::Result<bool> {
        // Before there is a folder: a signal that came in between would leave it behind.
        let mut signals = Signals::new()?;
        scenes::introduce(&mut show)?;
        let began = Instant::now();
        let folder = Folder::new()?;
        let authority = folder.fill()?;
        scenes::show_folder(&mut show, &folder, &authority, began.elapsed())?;

        let tasks = TaskTracker::new();
        let stage = tokio::select! {
            stage = Stage::set(&folder, &tasks) => stage?,
            () = signals.next() => return end(show, folder, !self.once),
        };
        // Whoever asks `--once` to stop in the middle does not get what was asked for.
        let mut good = !self.once;
        tokio::select! {
            told = Box::pin(scenes::tell(&mut show, &folder, &stage, &mut records, self.once)) => good = told?,
            () = signals.next() => {}
        }
        show.line("")?;
        tokio::select! {
            () = stage.gate.drain() => {}
            () = signals.next() => {}
        }
        end(show, folder, good)
    }
}

fn end<W: Write>(mut show: Show<W>, folder: Folder, good: bool) -> anyhow::Result<bool> {
    let path = folder.path().display().to_string();
    folder.remove()?;
    show.text(0, &format!("Stopped, and {path} is removed."))?;
    Ok(good)
}

/// Everything that asks a program on a terminal to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
