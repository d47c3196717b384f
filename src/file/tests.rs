//! What a path can lead to, and threads that hang at one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::reader::{MOST_LEFT_BEHIND, NoAnswer, Reader, run_once};
use super::*;

fn said(path: &Path) -> String {
    read(path, 10)
        .map(|bytes| bytes.to_vec())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_is_no_file_is_refused_in_a_sentence_of_its_own_and_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = UnixListener::bind(path("socket")).unwrap();
    symlink("circle", path("circle")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    symlink("/dev/zero", path("zero")).unwrap();
    fs::write(path("file"), "0123456789").unwrap();
    fs::write(path("large"), "0123456789a").unwrap();
    let long = "x".repeat(300);
    let cases = [
        (path("pipe"), "a pipe, not a file"),
        (path("socket"), "a socket or a device"),
        (path("circle"), "lead in a circle"),
        (path("dangling"), "what it leads to (nowhere) is not there"),
        (path("zero"), "a device, not a file"),
        (path(""), "a folder, not a file"),
        (path("absent"), "no such file; name the right path"),
        (path("absent/tls.crt"), "and no folder "),
        (path("file/tls.crt"), "where there should be a folder"),
        (path(&long), "longer than a path may be"),
        (path("large"), "larger than 0 MiB"),
        (PathBuf::from("/proc/self/mem"), "the disk or the server"),
    ];
    for (path, what) in cases {
        let begun = Instant::now();
        let said = said(&path);
        assert!(
            said.contains(what),
            "{}: {what:?} in {said:?}",
            path.display()
        );
        assert!(said.contains(';'), "what to do: {said:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{}",
            path.display()
        );
    }
    assert_eq!(**read(&path("file"), 10).unwrap(), *b"0123456789");
    if !rustix::process::getuid().is_root() {
        fs::set_permissions(path("file"), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(said(&path("file")).contains("not readable by uid"));
    }
}

#[test]
fn a_file_whose_size_nobody_knows_before_is_read_to_its_end() {
    let maps = read(Path::new("/proc/self/maps"), 1 << 20).unwrap();
    assert!(maps.len() > 1000 && maps.ends_with(b"\n"), "{}", maps.len());
    let said = said(Path::new("/proc/self/maps"));
    assert!(said.contains("larger than"), "{said}");
}

#[test]
fn a_pipe_is_read_where_somebody_asked_for_that_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // Without a writer it is at its end.
    assert_eq!(read_once(&pipe, 10).unwrap().len(), 0);
    let keeps_it_open = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let reading = {
        let pipe = pipe.clone();
        thread::spawn(move || read_once(&pipe, 10))
    };
    let large = thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "0123456789a")
    });
    let read = reading.join().unwrap();
    drop(keeps_it_open);
    drop(large.join().unwrap());
    assert!(read.unwrap_err().to_string().contains("larger than"));
}

const SHORT: Duration = Duration::from_millis(100);

/// A path at which every thread that touches it hangs until told.
struct Hanging {
    path: PathBuf,
    tell: mpsc::Sender<()>,
    told: std::sync::Arc<std::sync::Mutex<mpsc::Receiver<()>>>,
}

impl Hanging {
    fn new(name: &str) -> Self {
        let (tell, told) = mpsc::channel();
        Self {
            path: PathBuf::from(name),
            tell,
            told: std::sync::Arc::new(std::sync::Mutex::new(told)),
        }
    }

    fn job(&self) -> impl Fn() -> Result<u8, Unreadable> + Send + Sync + use<> {
        let (path, told) = (self.path.clone(), std::sync::Arc::clone(&self.told));
        move || {
            touching(&path, || {
                told.lock().unwrap().recv().unwrap();
                Ok(7)
            })
        }
    }
}

#[tokio::test]
async fn a_file_that_hangs_is_an_error_until_it_does_not() {
    let mut reader = Reader::new(SHORT);
    let hanging = Hanging::new("/hangs/until/told");
    for _ in 0..2 * MOST_LEFT_BEHIND {
        let said = reader.run(hanging.job()).await.unwrap().unwrap_err();
        assert!(matches!(said, Unreadable::Hangs(_)), "{said:?}");
        assert!(
            said.to_string().contains("reading it hangs since 20"),
            "{said}"
        );
    }
    let other = reader.run(|| touching(Path::new("/other"), || Ok(1))).await;
    assert_eq!(other.unwrap(), Ok(1), "another file is not held up");
    hanging.tell.send(()).unwrap();
    reader.freed().await;
    hanging.tell.send(()).unwrap();
    assert_eq!(reader.run(hanging.job()).await.unwrap(), Ok(7));
}

#[tokio::test]
async fn threads_that_hang_are_few() {
    let mut reader = Reader::new(SHORT);
    let names = ["/hangs/1", "/hangs/2", "/hangs/3", "/hangs/4", "/hangs/5"];
    let all: Vec<Hanging> = names.into_iter().map(Hanging::new).collect();
    let (last, some) = all.split_last().unwrap();
    assert_eq!(some.len(), MOST_LEFT_BEHIND);
    for hanging in &some[1..] {
        assert!(reader.run(hanging.job()).await.unwrap().is_err());
    }
    // The fourth is left behind, and then there is none to say so.
    let said = reader.run(some[0].job()).await.unwrap_err().to_string();
    for name in &names[..MOST_LEFT_BEHIND] {
        assert!(said.contains(name), "{said}");
    }
    assert!(matches!(
        reader.run(last.job()).await,
        Err(NoAnswer::AllHang(_))
    ));
    some[2].tell.send(()).unwrap();
    reader.freed().await;
    last.tell.send(()).unwrap();
    let answer = loop {
        // The thread that is free ends a moment after it says so.
        match reader.run(last.job()).await {
            Err(NoAnswer::AllHang(_)) => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    assert_eq!(answer.unwrap(), Ok(7));
    for hanging in some {
        // Whoever waited there may be gone.
        let _heard = hanging.tell.send(());
    }
}

#[tokio::test]
async fn work_that_takes_long_is_no_hang_and_neither_is_a_file_that_moves() {
    let mut reader = Reader::new(SHORT);
    let slow = || {
        thread::sleep(3 * SHORT);
        touching(Path::new("/slow"), || {
            for _ in 0..6 {
                thread::sleep(SHORT / 2);
                hang::progress();
            }
            Ok(2)
        })
    };
    assert_eq!(reader.run(slow).await.unwrap(), Ok(2));
}

#[tokio::test]
async fn a_job_that_panics_costs_itself_and_nothing_else() {
    let mut reader = Reader::default();
    let panics = || {
        touching(Path::new("/panics"), || -> Result<u8, _> {
            panic!("as a test")
        })
    };
    assert!(matches!(reader.run(panics).await, Err(NoAnswer::Bug)));
    let after = reader
        .run(|| touching(Path::new("/panics"), || Ok(3)))
        .await;
    assert_eq!(after.unwrap(), Ok(3));
}

#[test]
fn a_command_has_a_job_done_and_waits() {
    assert_eq!(run_once(|| 4).unwrap(), 4);
}
