//! "The files may have changed", from three sources: the kernel, a timer, SIGHUP. Each is only a hint to look.
//!
//! Folders are watched, never files: a watch on a file follows the old one when a new one takes its place. What the
//! kernel cannot report (no inotify, no watches left, a network file system) the timer finds.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

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
    told: bool,
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
    /// Hints every `interval`, at each SIGHUP, and, once [armed](Self::arm), at each change. `hangup` is asked for
    /// early by the caller: until then the signal ends the process.
    pub fn new(interval: Duration, hangup: Signal) -> Self {
        let mut timer = interval_at(Instant::now() + interval, interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            folders: None,
            timer,
            hangup,
            told: false,
        }
    }

    /// Watches the folders that lead to these files now. To be called before the files are read: what changes while
    /// they are read is then a hint.
    pub fn arm<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>) {
        let folders = self.folders.take().map_or_else(Folders::none, Ok);
        match folders.and_then(|folders| folders.watch(files)) {
            Ok(folders) => self.folders = Some(folders),
            Err(error) if !self.told => {
                self.told = true;
                tracing::warn!(event = "not_watching", %error, "files are looked at every --reload-interval only");
            }
            Err(_) => {}
        }
    }

    /// True if the kernel reports changes. Never so before the first [`arm`](Self::arm).
    pub fn are_reported(&self) -> bool {
        self.folders.is_some()
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

/// The folders that are watched. One instance for all of them and for good: the kernel allows a user few, and on a host
/// network others share the count.
#[derive(Debug)]
struct Folders {
    instance: AsyncFd<OwnedFd>,
    watches: BTreeSet<i32>,
}

impl Folders {
    fn none() -> std::io::Result<Self> {
        let instance = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            instance: register(instance)?,
            watches: BTreeSet::new(),
        })
    }

    /// Watches what leads to these files now, and nothing else any more. What was reported before is forgotten first, and
    /// nothing that comes later: whatever changes while the folders are found is a hint.
    fn watch<'a>(mut self, files: impl IntoIterator<Item = &'a Path>) -> std::io::Result<Self> {
        for _ in 0..MOST_READS {
            if !self.has_changed() {
                break;
            }
        }
        let folders: BTreeSet<PathBuf> = files.into_iter().flat_map(folders_of).collect();
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
        let mut watches = BTreeSet::new();
        for folder in &folders {
            match inotify::add_watch(&self.instance, folder, changes) {
                // A folder that is watched already keeps its number.
                Ok(number) => drop(watches.insert(number)),
                // A folder that is not there yet is found by the timer.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for gone in self.watches.difference(&watches) {
            // The kernel forgets a folder that was removed by itself.
            let _forgotten = inotify::remove_watch(&self.instance, *gone);
        }
        // Not for nothing: a new set would lie above the memory of connections, and keep it from being given back.
        if self.watches != watches {
            self.watches = watches;
        }
        Ok(self)
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
fn register(instance: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
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
        let watching = |folders: Folders, folder: &Path| {
            let file = folder.join("tls.crt");
            folders.watch([&*file]).unwrap()
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
