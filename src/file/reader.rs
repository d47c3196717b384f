//! The thread that touches files, so that nothing else has to wait for a file system: a job in, its answer out.
//!
//! A job that hangs is left behind with its thread and done again by another thread, which steps around the file that
//! hangs ([`super::touching`]) and so can say which it is. Such threads are few, and the process does not wait for them
//! when it ends. Never ends a job that only takes long.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::hang;

/// For how long a touch of a file may come to nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most threads that are left behind at a time.
pub(super) const MOST_LEFT_BEHIND: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// One thread, started at the first job; another one in its place when it hangs.
#[derive(Debug)]
pub struct Reader {
    thread: Option<Thread>,
    left_behind: Vec<JoinHandle<()>>,
    freed: Arc<Notify>,
    patience: Duration,
}

#[derive(Debug)]
struct Thread {
    jobs: mpsc::Sender<Job>,
    handle: JoinHandle<()>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The job panicked.
    #[error("a bug ended the reading of the files; please report it with the panic in this log")]
    Bug,
    /// Too many threads hang already.
    #[error(
        "{MOST_LEFT_BEHIND} threads hang, each on a file system that does not answer: {}; bring that back, or restart \
         with files elsewhere",
        listed(.0)
    )]
    AllHang(Vec<PathBuf>),
    /// The system gives no thread.
    #[error("no thread can be started to read the files: {0}; raise the limit of processes")]
    NoThread(#[source] std::io::Error),
}

fn listed(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl Reader {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            thread: None,
            left_behind: Vec::new(),
            freed: Arc::default(),
            patience,
        }
    }

    /// Has a job done, again if a file hangs under it: for that file it is then an error of reading.
    ///
    /// # Errors
    /// If the job panics, or no thread is left for it.
    pub async fn run<T: Send + 'static>(
        &mut self,
        job: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<T, NoAnswer> {
        let job = Arc::new(job);
        loop {
            let (tell, told) = oneshot::channel();
            let (job, freed) = (Arc::clone(&job), Arc::clone(&self.freed));
            let thread = self.hand(Box::new(move || {
                if tell.send(job()).is_err() {
                    freed.notify_one();
                }
            }))?;
            match answer(told, &thread.handle, self.patience).await {
                Answer::Told(answer) => {
                    self.thread = Some(thread);
                    return Ok(answer);
                }
                Answer::Panicked => return Err(NoAnswer::Bug),
                Answer::Hangs => self.left_behind.push(thread.handle),
            }
        }
    }

    /// Hands a job to the thread and the thread to the caller, who gives it back once it is free again.
    fn hand(&mut self, mut job: Job) -> Result<Thread, NoAnswer> {
        if let Some(thread) = self.thread.take() {
            match thread.jobs.send(job) {
                Ok(()) => return Ok(thread),
                Err(mpsc::SendError(unsent)) => job = unsent,
            }
        }
        self.left_behind.retain(|handle| !handle.is_finished());
        if self.left_behind.len() >= MOST_LEFT_BEHIND {
            return Err(NoAnswer::AllHang(hang::hanging()));
        }
        let (jobs, received) = mpsc::channel::<Job>();
        let handle = Builder::new()
            .name("reader".to_owned())
            .spawn(move || received.into_iter().for_each(|job| job()))
            .map_err(NoAnswer::NoThread)?;
        // The receiver lives until the first job has been done.
        drop(jobs.send(job));
        Ok(Thread { jobs, handle })
    }

    /// Returns when a job that was left behind is over: its file answers again. Cancel safe.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

enum Answer<T> {
    Told(T),
    Panicked,
    Hangs,
}

async fn answer<T>(
    mut told: oneshot::Receiver<T>,
    thread: &JoinHandle<()>,
    patience: Duration,
) -> Answer<T> {
    loop {
        match timeout(patience / 10, &mut told).await {
            Ok(Ok(answer)) => return Answer::Told(answer),
            Ok(Err(_)) => return Answer::Panicked,
            Err(_) if hang::hangs(thread.thread().id(), patience) => return Answer::Hangs,
            Err(_) => {}
        }
    }
}

/// Has a job done while this thread waits: for commands that do one thing and end.
///
/// # Errors
/// As [`Reader::run`].
pub fn run_once<T: Send + 'static>(
    job: impl Fn() -> T + Send + Sync + 'static,
) -> Result<T, NoAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(NoAnswer::NoThread)?;
    runtime.block_on(Reader::default().run(job))
}
