//! "The files may have changed", from three sources: the kernel, a timer, SIGHUP. Each is only a hint to look.
//!
//! Folders are watched, never files: a watch on a file follows the old one when a new one takes its place. What the
//! kernel cannot report (no inotify, no watches left, a network file system) the timer finds.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use crate::file;

/// An update is several operations; looking waits until they have come in, and many hints make one look.
const SETTLE: Duration = Duration::from_millis(50);
/// More links than this lead nowhere (path_resolution(7) allows 40).
const MOST_LINKS: usize = 40;
/// Whoever writes in a watched folder all the time must not hold up the look at the files.
const MOST_READS: usize = 1000;

/// The stream of hints.
#[derive(Debug)]
pub struct Hints {
    folders: Option<Folders>,
    timer: Interval,
    hangup: Signal,
    /// What is not watched and has been told; empty is the name of all.
    told: BTreeSet<PathBuf>,
}

/// Who gave the hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Somebody changed something in a watched folder.
    Changed,
    /// It is time to look again.
    Timer,
    /// An operator sent SIGHUP.
    Hangup,
}

impl Hints {
    /// Hints every `interval`, at each SIGHUP, and, once [armed](Self::armed), at each change. `hangup` is asked for
    /// early by the caller: until then the signal ends the process.
    pub fn new(interval: Duration, hangup: Signal) -> Self {
        let mut timer = interval_at(Instant::now() + interval, interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            folders: None,
            timer,
            hangup,
            told: BTreeSet::new(),
        }
    }

    /// What it takes to watch the folders that lead to these files now. To be done before the files are read: what
    /// changes while they are read is then a hint. What was reported before is forgotten here, and nothing that comes
    /// later: whatever changes while the folders are found is a hint, too.
    pub fn arming(&mut self, files: Vec<PathBuf>) -> Option<Arming> {
        if self.folders.is_none() {
            match Folders::none() {
                Ok(folders) => self.folders = Some(folders),
                Err(error) => {
                    let why = match Errno::from_io_error(&error) {
                        Some(Errno::MFILE) => {
                            "the user has no inotify instance left; raise fs.inotify.max_user_instances"
                        }
                        _ => &*error.to_string(),
                    };
                    self.tell(Path::new(""), why);
                }
            }
        }
        let folders = self.folders.as_ref()?;
        folders.forget();
        Some(Arming {
            instance: Arc::clone(folders.instance.get_ref()),
            files,
        })
    }

    /// Keeps what is watched now, and nothing else any more.
    pub fn armed(&mut self, armed: Armed) {
        if let Some(folders) = &mut self.folders {
            folders.keep(armed.watches);
        }
        self.told.retain(|told| {
            let fails = |(folder, _): &(PathBuf, _)| folder == told;
            armed.failed.iter().any(fails)
        });
        for (folder, why) in armed.failed {
            self.tell(&folder, &why);
        }
    }

    fn tell(&mut self, folder: &Path, error: &str) {
        if self.told.insert(folder.to_owned()) {
            let what = "files are looked at every --reload-interval only";
            match folder.as_os_str().is_empty() {
                true => tracing::warn!(event = "not_watching", error, "{what}"),
                false => {
                    let folder = folder.display().to_string();
                    tracing::warn!(event = "not_watching", folder, error, "its {what}");
                }
            }
        }
    }

    /// True if the kernel reports changes in every folder. Never so before the first [`arming`](Self::arming).
    pub fn are_reported(&self) -> bool {
        self.folders.is_some() && self.told.is_empty()
    }

    /// Returns at the next hint, when it has settled. Not cancel safe: a change that still settles is dropped with it.
    pub async fn next(&mut self) -> Hint {
        let hint = tokio::select! {
            () = changed(self.folders.as_ref()) => Hint::Changed,
            _ = self.timer.tick() => Hint::Timer,
            _ = self.hangup.recv() => Hint::Hangup,
        };
        if hint == Hint::Changed {
            sleep(SETTLE).await;
        }
        hint
    }
}

/// Watching that is still to be done, by a thread that may hang at it.
#[derive(Debug)]
pub struct Arming {
    instance: Arc<OwnedFd>,
    files: Vec<PathBuf>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Armed {
    watches: BTreeSet<i32>,
    /// The folders that are left to the timer, and why.
    failed: Vec<(PathBuf, String)>,
}

impl Arming {
    /// Watches every folder that can be. Blocks.
    pub fn watch(&self) -> Armed {
        let mut armed = Armed::default();
        let mut done = BTreeSet::new();
        for path in &self.files {
            // A file that hangs is told by those who read it.
            let _told_elsewhere = file::touching(path, || {
                for folder in folders_of(path) {
                    if !done.contains(&folder) {
                        armed.add(&self.instance, &folder);
                        done.insert(folder);
                    }
                }
                Ok(())
            });
        }
        armed
    }
}

impl Armed {
    fn add(&mut self, instance: &OwnedFd, folder: &Path) {
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let why = match inotify::add_watch(instance, folder, changes) {
            Ok(number) => {
                // A folder that is watched already keeps its number.
                self.watches.insert(number);
                return;
            }
            // A folder that is not there yet is found by the timer.
            Err(Errno::NOENT | Errno::NOTDIR) => return,
            Err(Errno::ACCESS) => {
                "it may not be listed (mode 0711?), and the kernel reports only what may; give the gate read permission"
                    .to_owned()
            }
            Err(Errno::NOSPC) => {
                "the user has no inotify watch left; raise fs.inotify.max_user_watches".to_owned()
            }
            Err(error) => std::io::Error::from(error).to_string(),
        };
        self.failed.push((folder.to_owned(), why));
    }
}

/// The folders that are watched. One instance for all of them and for good: the kernel allows a user few, and on a host
/// network others share the count.
#[derive(Debug)]
struct Folders {
    instance: AsyncFd<Arc<OwnedFd>>,
    watches: BTreeSet<i32>,
}

impl Folders {
    fn none() -> std::io::Result<Self> {
        let instance = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            instance: register(Arc::new(instance))?,
            watches: BTreeSet::new(),
        })
    }

    fn forget(&self) {
        for _ in 0..MOST_READS {
            if !self.has_changed() {
                break;
            }
        }
    }

    fn keep(&mut self, watches: BTreeSet<i32>) {
        for gone in self.watches.difference(&watches) {
            // The kernel forgets a folder that was removed by itself.
            let _forgotten = inotify::remove_watch(&self.instance, *gone);
        }
        // Not for nothing: a new set would lie above the memory of connections, and keep it from being given back.
        if self.watches != watches {
            self.watches = watches;
        }
    }

    /// Takes reports, as many as fit one read, if there are any.
    fn has_changed(&self) -> bool {
        let mut space = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(self.instance.get_ref(), &mut space)
            .next()
            .is_ok()
    }
}

#[expect(
    deprecated,
    reason = "unsound only for types that lie about their descriptor; the new function is `unsafe`"
)]
fn register(instance: Arc<OwnedFd>) -> std::io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::new(instance)
}

/// Returns at the first report.
async fn changed(folders: Option<&Folders>) {
    let Some(folders) = folders else {
        return std::future::pending().await;
    };
    loop {
        let Ok(mut ready) = folders.instance.readable().await else {
            return std::future::pending().await;
        };
        if folders.has_changed() {
            return;
        }
        ready.clear_ready();
    }
}

/// Every folder in which a change can make this name lead to something else: the one that holds the file, and those
/// that hold a link on the way.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut links = 0;
    let mut here = PathBuf::new();
    let mut todo: Vec<PathBuf> = vec![file.to_owned()];
    if file.is_relative() {
        here.push(".");
    }
    while let Some(path) = todo.pop() {
        let mut components = path.components();
        let Some(component) = components.next() else {
            continue;
        };
        let rest = components.as_path();
        if !rest.as_os_str().is_empty() {
            todo.push(rest.to_owned());
        }
        match component {
            Component::RootDir | Component::Prefix(_) => here = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => here.push(".."),
            Component::Normal(name) => match std::fs::read_link(here.join(name)) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    folders.insert(here.clone());
                    todo.push(target);
                }
                Ok(_) | Err(_) => {
                    if todo.is_empty() {
                        folders.insert(here.clone());
                    }
                    here.push(name);
                }
            },
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_folder_on_the_way_is_watched() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["volume/..2026_1", "elsewhere/real"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("volume/..2026_1/tls.crt"), "x").unwrap();
        symlink("..2026_1", root.join("volume/..data")).unwrap();
        symlink("..data/tls.crt", root.join("volume/tls.crt")).unwrap();
        symlink(root.join("volume"), root.join("elsewhere/mount")).unwrap();
        let folders = folders_of(&root.join("elsewhere/mount/tls.crt"));
        let wanted = ["elsewhere", "volume", "volume/..2026_1"].map(|folder| root.join(folder));
        assert_eq!(folders.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[tokio::test]
    async fn only_the_folders_of_the_newest_look_are_watched() {
        let root = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| root.path().join(name));
        for folder in [&old, &new] {
            std::fs::create_dir(folder).unwrap();
        }
        let change = |folder: &Path| std::fs::write(folder.join("tls.crt"), "x").unwrap();
        let watching = |mut folders: Folders, folder: &Path| {
            folders.forget();
            let arming = Arming {
                instance: Arc::clone(folders.instance.get_ref()),
                files: vec![folder.join("tls.crt")],
            };
            folders.keep(arming.watch().watches);
            folders
        };
        let folders = watching(Folders::none().unwrap(), &old);
        change(&old);
        assert!(folders.has_changed());
        change(&old);
        let folders = watching(folders, &old);
        assert!(!folders.has_changed(), "that was before the look");
        change(&old);
        assert!(folders.has_changed(), "it is watched still");
        let folders = watching(folders, &new);
        assert!(
            folders.has_changed(),
            "the kernel says what is no longer watched"
        );
        change(&old);
        assert!(!folders.has_changed());
        change(&new);
        assert!(folders.has_changed());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(!folders_of(&root.path().join("a")).is_empty());
    }
}
