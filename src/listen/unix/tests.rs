//! Things that stand at the path, and things that come and go while it is looked at: all of them are somebody's.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{
    DirEntryExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink,
};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::mknodat;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What a killed process leaves behind.
fn dead(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

fn refusal(path: &Path) -> String {
    bind(path).map(drop).unwrap_err().to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A caller hears what the listener says.
fn answers(path: &Path, listener: &UnixListener) -> bool {
    let Ok(mut caller) = UnixStream::connect(path) else {
        return false;
    };
    listener.set_nonblocking(true).unwrap();
    // Whoever only looked stands before it.
    while listener.accept().is_ok() {}
    caller.read(&mut [0]).is_ok()
}

#[test]
fn whatever_is_no_dead_socket_stays_and_is_told_apart() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "years of data").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    dead(&at("dead"));
    symlink(at("file"), at("to-file")).unwrap();
    symlink(at("dead"), at("to-dead")).unwrap();
    symlink(at("nothing"), at("to-nothing")).unwrap();
    let datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
    let before = names(folder.path());
    for (name, what) in [
        ("file", "a file is there, and only a dead socket"),
        ("empty", "a file is there"),
        ("folder", "a folder is there; name a socket in it, unix:"),
        ("fifo", "a FIFO is there"),
        ("to-file", "a symbolic link is there, and none is followed"),
        ("to-dead", "a symbolic link is there"),
        ("to-nothing", "a symbolic link is there"),
        (
            "datagrams",
            "a socket of another kind is there, and somebody",
        ),
        ("absent/socket", "there is no folder"),
        ("file/socket", "there is no folder"),
    ] {
        let inode = fs::symlink_metadata(at(name)).map(|it| it.ino()).ok();
        let refusal = refusal(&at(name));
        assert!(refusal.starts_with(what), "{name}: {refusal}");
        assert!(refusal.contains("; "), "a remedy: {refusal}");
        assert!(!bind(&at(name)).unwrap_err().may_pass, "{name}");
        let after = fs::symlink_metadata(at(name)).map(|it| it.ino()).ok();
        assert_eq!(inode, after, "{name}");
        // What can be seen without a knock is told beforehand, in the same words.
        let trap = in_the_way(&at(name)).unwrap_or_default();
        let knocks = name == "datagrams";
        assert_eq!(trap, if knocks { "" } else { &*refusal }, "{name}");
    }
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read(at("file")).unwrap(), b"years of data");
    drop(datagrams);
}

#[test]
fn a_dead_socket_is_replaced_and_one_that_answers_is_waited_for() {
    let folder = folder();
    let path = folder.path().join("admin.sock");
    assert_eq!(in_the_way(&path), None);
    dead(&path);
    assert_eq!(in_the_way(&path), None);
    let (listener, name) = bind(&path).unwrap();
    assert!(answers(&path, &listener));
    let hurdle = bind(&path).unwrap_err();
    assert!(hurdle.may_pass, "{hurdle}");
    assert!(hurdle.to_string().starts_with("somebody listens"));
    assert!(answers(&path, &listener), "and still does");
    drop(name);
    assert_eq!(names(folder.path()), [""; 0]);
    drop(bind(&path).unwrap());
}

#[test]
fn a_socket_with_more_callers_than_it_takes_in_is_alive() {
    let folder = folder();
    let path = folder.path().join("busy");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let mut callers = Vec::new();
    let full = loop {
        let caller = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        match caller.connect(&SockAddr::unix(&path).unwrap()) {
            Ok(()) => callers.push(caller),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert!(bind(&path).unwrap_err().may_pass);
    assert!(path.exists());
}

#[test]
fn owner_and_group_may_connect_as_far_as_the_umask_lets_them() {
    let folder = folder();
    let path = folder.path().join("admin.sock");
    let (_listener, _name) = bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = u32::from_str_radix(umask.unwrap().trim(), 8).unwrap();
    assert_eq!(mode, 0o660 & !umask, "{mode:o}");
}

#[test]
fn the_longest_path_that_a_configuration_may_name_can_be_bound() {
    let folder = folder();
    let taken = folder.path().as_os_str().len() + 1;
    let path = folder.path().join("x".repeat(98 - taken));
    assert_eq!(path.as_os_str().len(), 98);
    let (_listener, _name) = bind(&path).unwrap();
    assert!(path.exists());
}

#[test]
fn what_came_after_the_look_has_its_name_back() {
    let folder = folder();
    let path = folder.path().join("admin.sock");
    dead(&path);
    let (_kept, looked_at) = found(&path).unwrap().unwrap();
    for name in ["file", "other-socket"] {
        let other = folder.path().join(name);
        match name {
            "file" => fs::write(&other, "years of data").unwrap(),
            _ => dead(&other),
        }
        let inode = fs::metadata(&other).unwrap().ino();
        fs::rename(&other, &path).unwrap();
        take_away(&path, &looked_at).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "{name}");
        assert_eq!(names(folder.path()), ["admin.sock"]);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    take_away(&path, &looked_at).unwrap();
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();
    take_away(&path, &looked_at).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_name_that_is_somebody_elses_by_now_stays() {
    let folder = folder();
    let path = folder.path().join("admin.sock");
    let (_listener, name) = bind(&path).unwrap();
    fs::write(folder.path().join("file"), "years of data").unwrap();
    fs::rename(folder.path().join("file"), &path).unwrap();
    drop(name);
    assert_eq!(fs::read(&path).unwrap(), b"years of data");
    let (_listener, name) = bind(&folder.path().join("gone")).unwrap();
    fs::remove_file(folder.path().join("gone")).unwrap();
    drop(name);
    assert_eq!(names(folder.path()), ["admin.sock"]);
}

#[test]
fn of_many_that_want_the_name_of_a_dead_one_each_time_one_has_it_and_answers() {
    let folder = folder();
    let path = folder.path().join("admin.sock");
    for _ in 0..50 {
        dead(&path);
        let start = Barrier::new(4);
        let bound: Vec<_> = std::thread::scope(|scope| {
            let one = || {
                start.wait();
                bind(&path)
            };
            let threads = [(); 4].map(|()| scope.spawn(one));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let (bound, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(bound.len(), 1, "{refused:?}");
        assert!(refused.iter().all(|it| it.as_ref().unwrap_err().may_pass));
        let (listener, name) = bound.into_iter().next().unwrap().unwrap();
        assert!(answers(&path, &listener));
        drop(name);
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn files_that_come_and_go_while_many_look_are_all_there_in_the_end() {
    const FILES: usize = 300;
    let folder = folder();
    let path = folder.path().join("admin.sock");
    let over = AtomicBool::new(false);
    let home = |number: usize| folder.path().join(format!("file-{number}"));
    // Where a file is, whoever moved it.
    let find = |inode: u64| {
        let entries = fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
        let mut entries = entries.filter(|entry| entry.ino() == inode);
        entries.next().map(|entry| entry.path())
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(bind(&path));
                }
            });
        }
        for number in 0..FILES {
            // It may be taken already.
            drop(UnixListener::bind(&path));
            let file = home(number);
            fs::write(&file, number.to_string()).unwrap();
            let inode = fs::metadata(&file).unwrap().ino();
            // Never over another file: whatever is there is a socket, or a moment without any.
            fs::rename(&file, &path).unwrap();
            let is_home = || fs::symlink_metadata(&file).is_ok_and(|it| it.ino() == inode);
            while !is_home() {
                if let Some(here) = find(inode) {
                    drop(fs::rename(here, &file));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    for number in 0..FILES {
        assert_eq!(
            fs::read_to_string(home(number)).unwrap(),
            number.to_string()
        );
    }
    let others = names(folder.path());
    let sockets = others.iter().filter(|name| !name.starts_with("file-"));
    for name in sockets {
        let kind = fs::symlink_metadata(folder.path().join(name)).unwrap();
        assert!(kind.file_type().is_socket(), "{name}");
    }
}
