//! Who is touching which file at this moment, and since when.
//!
//! Whoever touches a file on a mount whose server is gone does not come back, and no flag, signal or deadline of ours
//! changes that (open(2), `O_NONBLOCK`). So each touch is noted before it is made. One who waits can then tell a file
//! that hangs from work that takes long, and nobody touches such a file a second time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant, SystemTime};

use super::Unreadable;

/// Of the whole process, for a thread that hangs is the process's, whoever started it.
static TOUCHES: Mutex<Vec<Touch>> = Mutex::new(Vec::new());

struct Touch {
    thread: ThreadId,
    path: PathBuf,
    since: SystemTime,
    /// When it was last seen to get on.
    moved: Instant,
    /// Somebody has given up waiting for it.
    hangs: bool,
}

fn touches() -> MutexGuard<'static, Vec<Touch>> {
    TOUCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// Does something that asks the file system about this path, noted as such while it lasts. Not to be nested.
///
/// # Errors
/// What `touch` returns. Without touching it, if a touch of this path hangs already.
pub fn touching<T>(
    path: &Path,
    touch: impl FnOnce() -> Result<T, Unreadable>,
) -> Result<T, Unreadable> {
    let _noted = Noted::new(path)?;
    touch()
}

/// Taken back when it is dropped, by a panic as well.
struct Noted;

impl Noted {
    fn new(path: &Path) -> Result<Self, Unreadable> {
        let mut touches = touches();
        if let Some(touch) = touches
            .iter()
            .find(|touch| touch.hangs && touch.path == path)
        {
            return Err(Unreadable::Hangs(format!(
                "reading it hangs since {}: the file system that it is on does not answer, like a \
                 network mount whose server is away; bring that back, or name a file elsewhere",
                humantime::format_rfc3339_seconds(touch.since)
            )));
        }
        touches.push(Touch {
            thread: this_thread(),
            path: path.to_owned(),
            since: SystemTime::now(),
            moved: Instant::now(),
            hangs: false,
        });
        Ok(Self)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let thread = this_thread();
        touches().retain(|touch| touch.thread != thread);
    }
}

/// Notes that what this thread touches gets on.
pub(super) fn progress() {
    let thread = this_thread();
    for touch in touches().iter_mut().filter(|touch| touch.thread == thread) {
        touch.moved = Instant::now();
    }
}

/// True if what a thread touches has not got on for so long. From then on it is known to hang.
pub(super) fn hangs(thread: ThreadId, patience: Duration) -> bool {
    let mut touches = touches();
    let touch = touches
        .iter_mut()
        .find(|touch| touch.thread == thread && touch.moved.elapsed() >= patience);
    touch.is_some_and(|touch| {
        touch.hangs = true;
        true
    })
}

/// What is known to hang.
pub(super) fn hanging() -> Vec<PathBuf> {
    let touches = touches();
    let hanging = touches.iter().filter(|touch| touch.hangs);
    hanging.map(|touch| touch.path.clone()).collect()
}
