//! Keeps the published generation in step with the files: a hint, one consistent read, a judgement, one swap.
//!
//! A bad set is refused as a whole, and the last good generation serves on. An update that is seen half-way is waited
//! out. Whatever touches a file, and the judging, happens on the reader's thread: a file that hangs is a failed reload,
//! and a panic there costs a reload, not the process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::watch::{Armed, Arming, Hint, Hints};
use crate::config::{Config, Flags, Problem, Problems, Tls};
use crate::file::reader::Reader;
use crate::identity::Validity;
use crate::telemetry::{Metrics, Summary};
use crate::trust::load::{Files, load};
use crate::trust::validate::{Validated, validate};
use crate::trust::{CrlFacts, Generation};

/// How long an update may be half-done before that is called a failure.
const PATIENCE: Duration = Duration::from_millis(800);
const RETRY: Duration = Duration::from_millis(100);
/// Files that are not replaced as one must stay the same for this long: a writer may be in the middle of one.
const STILL: Duration = Duration::from_millis(50);

/// Publishes generations.
#[derive(Debug)]
pub struct Reloader {
    reader: Reader,
    /// The command line, which names the configuration file that is read again; without it, `startup` stands.
    flags: Option<Flags>,
    /// What the process was started with; listeners and targets stay as they are here.
    startup: Config,
    /// What the published generation was made with.
    config: Config,
    published: watch::Sender<Arc<Generation>>,
    metrics: Arc<Metrics>,
    last: LastReload,
    /// Warnings are told once for as long as they last.
    told_aging: Vec<String>,
    told_restart: Vec<String>,
}

/// How the newest attempt to change the generation ended; shared with those who show it.
#[derive(Debug, Clone, Default)]
pub struct LastReload(Arc<Mutex<Option<Failure>>>);

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
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns true if the failure is news.
    fn note(&self, failure: Option<String>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.as_ref().map(|failure| failure.reason.clone());
        if before == failure {
            return false;
        }
        *last = failure.map(|reason| Failure {
            since: SystemTime::now(),
            reason,
        });
        true
    }
}

/// What one look at the files led to.
struct Look {
    /// What else was changed and is not followed.
    restart: Vec<Problem>,
    /// A generation to publish, unless everything is as it was.
    changed: Option<Box<(Config, Validated)>>,
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
            startup: config.clone(),
            config,
            published: watch::Sender::new(Arc::new(first)),
            metrics,
            last: LastReload::default(),
            told_aging: Vec::new(),
            told_restart: Vec::new(),
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
        if self.last.note(Some(reason.clone())) || hint == Hint::Hangup {
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
            startup: self.startup.clone(),
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
        if self.last.note(None) {
            let generation = self.published.borrow().number;
            tracing::info!(
                event = "reload_mended",
                generation,
                "what failed to reload is good again"
            );
        }
        let restart: Vec<String> = look.restart.iter().map(ToString::to_string).collect();
        for what in restart
            .iter()
            .filter(|what| !self.told_restart.contains(what))
        {
            tracing::warn!(event = "restart_needed", "{what}");
        }
        self.told_restart = restart;
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
        self.published.send_replace(Arc::new(generation));
        self.config = config;
        tracing::info!(event = "reloaded", generation = number, certificate);
        for warning in warnings {
            tracing::warn!(event = "configuration", "{warning}");
        }
    }

    /// Time passes without any file changing.
    fn tell_aging(&mut self) {
        let aging = self.published.borrow().aging(SystemTime::now());
        for warning in aging
            .iter()
            .filter(|warning| !self.told_aging.contains(warning))
        {
            tracing::warn!(event = "renewal_due", "{warning}");
        }
        self.told_aging = aging;
    }
}

/// What the metrics say of a generation.
fn summary(generation: &Generation) -> Summary {
    let lives = generation.client_cas.iter().map(|facts| facts.validity);
    Summary {
        number: generation.number,
        server: generation.server.validity,
        client_ca: first_to_end(lives).unwrap_or(generation.server.validity),
        crl: first_to_end(generation.crls.iter().map(CrlFacts::life)),
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
            self.last.note(Some(reason.to_owned()));
            tracing::error!(
                event = "reload_failed",
                reason,
                "no change takes effect any more"
            );
        }
    }
}

/// One look, for a thread that may hang at it. Holds no generation while it reads: if it hangs, that would live on.
struct Looking {
    flags: Option<Flags>,
    startup: Config,
    config: Config,
    published: watch::Receiver<Arc<Generation>>,
    arming: Option<Arming>,
}

impl Looking {
    fn arm_and_look(&self) -> (Option<Armed>, Result<Look, Problems>) {
        let armed = self.arming.as_ref().map(Arming::watch);
        (armed, self.look())
    }

    /// Reads, compares, judges.
    fn look(&self) -> Result<Look, Problems> {
        let (wanted, restart) = self.wanted()?;
        let mut files = load(&wanted.tls)?;
        let same_rules = wanted.same_trust(&self.config);
        let current = Arc::clone(&self.published.borrow());
        if same_rules && files.digest() == *current.digest() {
            return Ok(Look {
                restart,
                changed: None,
            });
        }
        if !(same_rules && files.atomic) {
            files = self.standing_still(&wanted, files)?;
        }
        let validated = validate(&wanted, &files, Some(&current), SystemTime::now())?;
        Ok(Look {
            restart,
            changed: Some(Box::new((wanted, validated))),
        })
    }

    fn wanted(&self) -> Result<(Config, Vec<Problem>), Problems> {
        match &self.flags {
            Some(flags) => Ok(self.startup.with_trust_of(&Config::parse(flags)?)),
            None => Ok((self.startup.clone(), Vec::new())),
        }
    }

    /// The same files, read again, if they are the same.
    fn standing_still(&self, wanted: &Config, files: Files) -> Result<Files, Problems> {
        let digest = files.digest();
        // They may be large.
        drop(files);
        std::thread::sleep(STILL);
        let (again, _) = self.wanted()?;
        let files = load(&wanted.tls)?;
        if again.same_trust(wanted) && files.digest() == digest {
            return Ok(files);
        }
        Err(Problems(vec![files.cert.problem(
            "the files do not stand still; have each replaced in one step",
        )]))
    }
}

#[cfg(test)]
mod tests;
