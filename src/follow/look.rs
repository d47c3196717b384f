//! One look at the files: where they stand in, what is new about them out.
//!
//! Its own file because it runs elsewhere: on the reader's thread, which may hang at it. Publishes nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::watch::{Armed, Arming};
use crate::config::{Config, Flags, Problems, Waiting};
use crate::trust::Generation;
use crate::trust::load::{Files, load};
use crate::trust::validate::{Validated, validate};

/// Files that are not replaced as one must stay the same for this long: a writer may be in the middle of one.
const STILL: Duration = Duration::from_millis(50);

/// What one look at the files led to.
pub(super) struct Look {
    /// What else was changed and is not followed.
    pub(super) restart: Vec<Waiting>,
    /// A generation to publish, unless everything is as it was.
    pub(super) changed: Option<Box<(Config, Validated)>>,
}

/// One look, for a thread that may hang at it. Holds no generation while it reads: if it hangs, that would live on.
pub(super) struct Looking {
    pub(super) flags: Option<Flags>,
    pub(super) config: Config,
    pub(super) published: watch::Receiver<Arc<Generation>>,
    pub(super) arming: Option<Arming>,
}

impl Looking {
    /// Watches first: what changes while the files are read is then a hint.
    pub(super) fn arm_and_look(&self) -> (Option<Armed>, Result<Look, Problems>) {
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

    fn wanted(&self) -> Result<(Config, Vec<Waiting>), Problems> {
        match &self.flags {
            Some(flags) => Ok(self.config.with_trust_of(&Config::parse(flags)?)),
            None => Ok((self.config.clone(), Vec::new())),
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
