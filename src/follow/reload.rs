//! Keeps the published generation in step with the files: a hint, one consistent read, a judgement, one swap.
//!
//! A bad set is refused as a whole, and the last good generation serves on. An update that is seen half-way is waited
//! out. Whatever touches a file, and the judging, happens on the reader's thread: a file that hangs is a failed reload,
//! and a panic there costs a reload, not the process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::look::{Look, Looking};
use super::watch::{Hint, Hints};
use crate::config::{Config, Flags, Tls, Waiting};
use crate::file::reader::Reader;
use crate::identity::Validity;
use crate::telemetry::{Metrics, Summary};
use crate::trust::validate::Validated;
use crate::trust::{Generation, changes};

/// How long an update may be half-done before that is called a failure.
const PATIENCE: Duration = Duration::from_millis(800);
const RETRY: Duration = Duration::from_millis(100);

/// Publishes generations.
#[derive(Debug)]
pub struct Reloader {
    reader: Reader,
    /// The command line, which names the configuration file that is read again; without it, `config` stands.
    flags: Option<Flags>,
    /// What the published generation was made with. Listeners and targets stay as they were at the start.
    config: Config,
    published: watch::Sender<Arc<Generation>>,
    metrics: Arc<Metrics>,
    last: LastReload,
    /// Warnings are told once for as long as they last.
    told_aging: Vec<String>,
}

/// How the newest attempt to change the generation ended; shared with those who show it.
#[derive(Debug, Clone, Default)]
pub struct LastReload(Arc<Mutex<Ended>>);

#[derive(Debug, Default)]
struct Ended {
    failure: Option<Failure>,
    waiting: Vec<Waiting>,
}

/// An attempt that changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When these reasons were first met.
    pub since: SystemTime,
    /// Every reason, a line each.
    pub reason: String,
}

impl LastReload {
    /// The newest attempt's failure; `None` if it went well.
    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// What the configuration file says and a restart would change.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.lock().waiting.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the failure is news.
    fn failed(&self, reason: &str) -> bool {
        let mut last = self.lock();
        if last
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == reason)
        {
            return false;
        }
        last.failure = Some(Failure {
            since: SystemTime::now(),
            reason: reason.to_owned(),
        });
        true
    }

    /// Returns what is over.
    fn mended(&self) -> Option<Failure> {
        self.lock().failure.take()
    }
}

impl Reloader {
    /// Starts from a generation that was made of `config`, which `flags` led to.
    pub fn new(
        reader: Reader,
        flags: Option<Flags>,
        config: Config,
        first: Generation,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.published(&summary(&first));
        Self {
            reader,
            flags,
            config,
            published: watch::Sender::new(Arc::new(first)),
            metrics,
            last: LastReload::default(),
            told_aging: Vec::new(),
        }
    }

    /// The generation, now and whenever it changes.
    pub fn generations(&self) -> watch::Receiver<Arc<Generation>> {
        self.published.subscribe()
    }

    /// How the newest attempt ended.
    pub fn last(&self) -> LastReload {
        self.last.clone()
    }

    /// Follows the files for as long as it is polled. Cancel safe: a generation is published whole or not at all.
    pub async fn run(mut self, mut hints: Hints) {
        // The first look is for what changed after the start had read the files and before anybody watched them.
        let mut hint = Hint::Timer;
        loop {
            self.follow(hint, &mut hints).await;
            self.tell_aging();
            let summary = summary(&self.published.borrow());
            self.metrics.stands(&summary);
            self.metrics.watching(hints.are_reported());
            hint = tokio::select! {
                hint = hints.next() => hint,
                () = self.reader.freed() => Hint::Timer,
            };
        }
    }

    /// Every file that a change of which is to be followed.
    fn followed(&self) -> Vec<PathBuf> {
        let Tls {
            cert,
            key,
            client_ca,
            client_crl,
            ..
        } = &self.config.tls;
        let tls = [cert, key].into_iter().chain(client_ca).chain(client_crl);
        let file = self.flags.as_ref().and_then(Flags::config);
        tls.map(|located| located.value.clone())
            .chain(file.map(|located| PathBuf::from(&located.value)))
            .collect()
    }

    /// Looks until the files are unchanged, or changed and good, or bad for longer than an update takes.
    async fn follow(&mut self, mut hint: Hint, hints: &mut Hints) {
        let deadline = Instant::now() + PATIENCE;
        let reason = loop {
            match self.look(hints).await {
                Ok(look) => {
                    let before = self.config.clone();
                    self.take(look, hint);
                    if before.same_trust(&self.config) {
                        return;
                    }
                    // Other files may be named now, and nobody watched them while they were read.
                    hint = Hint::Changed;
                }
                Err(reason) if Instant::now() >= deadline => break reason,
                Err(_) => sleep(RETRY).await,
            }
        };
        self.metrics.reload_failed();
        self.metrics.reload_failing(true);
        if self.last.failed(&reason) || hint == Hint::Hangup {
            let generation = self.published.borrow().number;
            tracing::warn!(
                event = "reload_failed",
                generation,
                reason,
                "the last good generation serves on"
            );
        }
    }

    async fn look(&mut self, hints: &mut Hints) -> Result<Look, String> {
        let looking = Looking {
            flags: self.flags.clone(),
            config: self.config.clone(),
            published: self.published.subscribe(),
            // Before every look: a folder that comes back is another one.
            arming: hints.arming(self.followed()),
        };
        let looked = self.reader.run(move || looking.arm_and_look()).await;
        let (armed, look) = looked.map_err(|error| error.to_string())?;
        if let Some(armed) = armed {
            hints.armed(armed);
        }
        look.map_err(|problems| problems.to_string())
    }

    fn take(&mut self, look: Look, hint: Hint) {
        if let Some(Failure { since, reason }) = self.last.mended() {
            let generation = self.published.borrow().number;
            let lasted = SystemTime::now().duration_since(since).unwrap_or_default();
            tracing::info!(
                event = "reload_mended",
                generation,
                reason,
                since = humantime::format_rfc3339_millis(since).to_string(),
                lasted_seconds = lasted.as_secs(),
                "what failed to reload is good again"
            );
        }
        self.metrics.reload_failing(false);
        self.tell_restart(look.restart);
        match look.changed {
            Some(changed) => self.publish(*changed),
            None if hint == Hint::Hangup => {
                tracing::info!(
                    event = "reload_unchanged",
                    "the files hold what is served already"
                );
            }
            None => {}
        }
    }

    fn tell_restart(&self, waiting: Vec<Waiting>) {
        self.metrics.restart_needed(!waiting.is_empty());
        // Whoever shows it never waits for the log.
        let before = std::mem::replace(&mut self.last.lock().waiting, waiting.clone());
        for what in news(&waiting, &before) {
            let (running, configured) = (what.running.as_deref(), what.configured.as_deref());
            let setting = &*what.setting;
            tracing::warn!(
                event = "restart_needed",
                setting,
                running,
                configured,
                "{what}"
            );
        }
    }

    fn publish(
        &mut self,
        (
            config,
            Validated {
                generation,
                warnings,
            },
        ): (Config, Validated),
    ) {
        let (number, certificate) = (generation.number, generation.server.serial.clone());
        self.metrics.published(&summary(&generation));
        self.metrics.reload_succeeded();
        let generation = Arc::new(generation);
        let before = self.published.send_replace(Arc::clone(&generation));
        let changes = changes((&self.config, &before), (&config, &generation));
        self.config = config;
        tracing::info!(
            event = "reloaded",
            generation = number,
            certificate,
            changes = changes.join("\n")
        );
        tell_weakening(&before.unsafe_settings, &generation.unsafe_settings);
        for warning in warnings {
            tracing::warn!(event = "configuration", "{warning}");
        }
    }

    /// Time passes without any file changing.
    fn tell_aging(&mut self) {
        let aging = self.published.borrow().aging(SystemTime::now());
        for warning in news(&aging, &self.told_aging) {
            tracing::warn!(event = "renewal_due", "{warning}");
        }
        self.told_aging = aging;
    }
}

/// Those that were not there before.
fn news<'a, T: PartialEq>(now: &'a [T], before: &'a [T]) -> impl Iterator<Item = &'a T> {
    now.iter().filter(|one| !before.contains(one))
}

fn tell_weakening(before: &[String], now: &[String]) {
    for setting in news(now, before) {
        tracing::warn!(event = "unsafe_setting", setting, "this weakens the gate");
    }
    for setting in news(before, now) {
        tracing::info!(
            event = "unsafe_setting_gone",
            setting,
            "this weakens the gate no longer"
        );
    }
}

/// What the metrics say of a generation.
fn summary(generation: &Generation) -> Summary {
    let now = UnixTime::now();
    let lives = generation.vouching_cas(now).map(|ca| ca.facts.validity);
    let digests = generation.digests();
    Summary {
        number: generation.number,
        server: generation.server.validity,
        client_ca: first_to_end(lives).unwrap_or(generation.server.validity),
        lists: generation
            .counting_lists(now)
            .map(|list| list.life)
            .collect(),
        left_out: generation.left_out(now).len(),
        unsafe_settings: generation.unsafe_settings.len(),
        digests: [
            ("server", digests.server),
            ("client_ca", digests.client_ca),
            ("client_crl", digests.client_crl),
            ("rules", digests.rules),
        ],
    }
}

fn first_to_end(lives: impl Iterator<Item = Validity>) -> Option<Validity> {
    lives.min_by_key(|life| life.not_after)
}

impl Drop for Reloader {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "a bug ended the following of the files; restart the gate, and report it with the panic in this log";
            self.metrics.reload_failed();
            self.metrics.reload_failing(true);
            self.last.failed(reason);
            tracing::error!(
                event = "reload_failed",
                reason,
                "no change takes effect any more"
            );
        }
    }
}

#[cfg(test)]
mod tests;
