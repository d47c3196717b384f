//! The admin listener as a Unix socket: what has its path, who may connect, and what is left.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn setup(target: &target::Target<target::Ended>, path: &Path) -> Setup {
    let address = format!("unix:{}", path.display());
    Setup::open_to(&Pki::shared(), target).flag("--admin", address)
}

#[test]
fn it_answers_there_and_is_gone_with_the_gate() {
    let (folder, target) = (temporary_folder(), target::echo());
    let path = folder.path().join("admin");
    let mut gate = setup(&target, &path).start();
    eventually("ready", || {
        (gate.get("/readyz").status == 200).then_some(())
    });
    let mode = fs::metadata(&path).expect("it is there").mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}: others may not connect");
    assert_eq!(gate.terminate(), 0);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("it is ours").collect();
    assert!(left.is_empty(), "{left:?}");
    // What a killed gate leaves behind does not keep the next one from starting.
    drop(UnixListener::bind(&path));
    let gate = setup(&target, &path).start();
    assert_eq!(gate.get("/livez").status, 200);
}

#[test]
fn what_is_no_dead_socket_is_never_removed() {
    let (folder, target) = (temporary_folder(), target::echo());
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "years of data").expect("it is ours");
    fs::write(at("empty"), "").expect("it is ours");
    fs::create_dir(at("folder")).expect("it is ours");
    std::os::unix::fs::symlink(at("file"), at("link")).expect("it is ours");
    for (name, what) in [
        ("file", "a file is there"),
        ("empty", "a file is there"),
        ("folder", "a folder is there"),
        ("link", "a symbolic link is there"),
    ] {
        let before = fs::symlink_metadata(at(name)).expect("it is there").ino();
        let started = Instant::now();
        let (code, said) = setup(&target, &at(name)).without_admin().run();
        assert_eq!(code, 1, "{said}");
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "waiting helps nothing"
        );
        let place = format!("--admin: \"unix:{}\": {what}", at(name).display());
        assert!(said.contains(&place), "{place} in {said}");
        let after = fs::symlink_metadata(at(name)).expect("it is still there");
        assert_eq!(after.ino(), before, "{name}");
    }
    assert_eq!(fs::read(at("file")).expect("it is there"), b"years of data");
    assert_eq!(fs::read_dir(folder.path()).expect("it is ours").count(), 4);
}

#[test]
fn one_that_answers_is_waited_for_and_then_named() {
    let (folder, target) = (temporary_folder(), target::echo());
    let path = folder.path().join("admin");
    let mut first = setup(&target, &path).start();
    let started = Instant::now();
    let (code, said) = setup(&target, &path).flag("--bind-timeout", "300ms").run();
    assert_eq!(code, 1, "{said}");
    assert!(started.elapsed() >= Duration::from_millis(300));
    let named = format!("--admin: \"unix:{}\": somebody listens", path.display());
    for text in [&*named, "tried for", "ss -xlp", "choose another path"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert_eq!(
        first.get("/livez").status,
        200,
        "the first one is untouched"
    );

    let waiting = setup(&target, &path).flag("--bind-timeout", "60s").spawn();
    waiting.log.wait_for_record("a retry", |record| {
        record["event"] == "bind_retry" && record.to_string().contains("admin")
    });
    assert_eq!(first.terminate(), 0);
    waiting
        .log
        .wait_for_record("its turn", |record| record["event"] == "admin_listening");
    let address = format!("unix:{}", path.display());
    assert_eq!(http::get(&address, "/livez").status, 200);
}
