//! When the kernel says nothing, or says it of a folder that is gone: the timer finds the change.

use super::*;

#[test]
fn a_folder_that_is_replaced_by_another_is_still_followed() {
    let (mut mounted, client, _target) = plain(Writer::Rewrite, "1s");
    let server = mounted.servers.server();
    let (root, aside) = (
        mounted.mount.root(),
        mounted.mount.elsewhere().join("aside"),
    );
    fs::rename(&root, &aside).expect("it can be moved");
    fs::create_dir(&root).expect("the name is free");
    for name in ["tls.crt", "tls.key", "ca.crt", "gate.toml"] {
        fs::copy(aside.join(name), root.join(name)).expect("it is there");
    }
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a new folder", changed, || {
        mounted.served(&client) == server.serial()
    });
    // And what changes in the new folder is seen as before.
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a change in it", changed, || {
        mounted.served(&client) == server.serial()
    });
}

#[test]
fn a_folder_that_was_gone_for_a_moment_is_watched_again_without_the_timer() {
    let (mut mounted, client, _target) = plain(Writer::Rewrite, "1h");
    let (root, aside) = (
        mounted.mount.root(),
        mounted.mount.elsewhere().join("aside"),
    );
    let made = mounted.mount.elsewhere().join("made");
    fs::create_dir(&made).expect("the name is free");
    let server = mounted.servers.server();
    for name in ["ca.crt", "gate.toml"] {
        fs::copy(root.join(name), made.join(name)).expect("it is there");
    }
    write(&made.join("tls.crt"), &server.chain);
    write(&made.join("tls.key"), &server.key);
    fs::rename(&root, &aside).expect("it can be moved");
    pause();
    pause();
    fs::rename(&made, &root).expect("it can be moved");
    let changed = Instant::now();
    soon("a new folder", changed, || {
        mounted.served(&client) == server.serial()
    });
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("a change in it", changed, || {
        mounted.served(&client) == server.serial()
    });
}

#[test]
fn a_folder_that_is_gone_for_long_is_a_failure_until_it_is_back() {
    let (mut mounted, client, _target) = plain(Writer::Rewrite, "1s");
    let old = mounted.served(&client);
    let (root, aside) = (
        mounted.mount.root(),
        mounted.mount.elsewhere().join("aside"),
    );
    fs::rename(&root, &aside).expect("it can be moved");
    eventually("a failure", || {
        (mounted.gate.reloads("failure") >= 2).then_some(())
    });
    let told = events(&mounted.gate, "reload_failed");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(mounted.served(&client), old);
    fs::rename(&aside, &root).expect("it can be moved");
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("the folder is back", changed, || {
        mounted.served(&client) == server.serial()
    });
    assert!(mounted.gate.status()["last_failure"].is_null());
}

#[test]
fn what_changes_right_after_the_start_is_not_missed() {
    for _ in 0..5 {
        let (mut mounted, client, _target) = plain(Writer::Rename, "1h");
        let server = mounted.servers.server();
        replace_pair(&mut mounted.mount, &server);
        let changed = Instant::now();
        soon("an early change", changed, || {
            mounted.served(&client) == server.serial()
        });
    }
}

#[test]
fn a_file_that_is_named_from_now_on_is_watched_as_well() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    let mut mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &[]);
    let good = ca.client("good");
    let client = mounted.client(&good);
    let address = mounted.gate.address();
    let folder = temporary_folder();
    let list = folder.path().join("ca.crl");
    write(&list, &ca.revoking(&[]));
    rules.tls = format!("client_crl = [{:?}]\n", list.display().to_string());
    mounted.rule(&rules);
    mounted.gate.wait_for_generation_after(1);
    assert!(is_admitted(address, &client));
    write(&list, &ca.revoking(&[&good]));
    let changed = Instant::now();
    soon("a new file", changed, || {
        is_refused(address, &client, AlertDescription::CertificateRevoked)
    });
}

#[test]
fn the_timer_finds_what_no_watch_reports() {
    let (mut mounted, client, _target) = plain(Writer::Unseen, "1s");
    let server = mounted.servers.server();
    replace_pair(&mut mounted.mount, &server);
    let changed = Instant::now();
    soon("the timer", changed, || {
        mounted.served(&client) == server.serial()
    });
    assert_eq!(mounted.gate.reloads("failure"), 0);
}

#[test]
fn where_inotify_cannot_be_had_the_timer_does_and_the_log_says_so() {
    const WRAPPER: [&str; 7] = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"",
        "sh",
    ];
    let mut probe = Command::new(WRAPPER[0]);
    if !probe
        .args(&WRAPPER[1..])
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("skipped: this system gives no user namespace with a limit of its own");
        return;
    }
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = "reload_interval = \"1s\"\n".to_owned();
    let mut mounted = Mounted::start_with(Writer::Kubelet, &rules, &ca.pem, &[], |setup| {
        setup.under(&WRAPPER)
    });
    let client = mounted.client(&ca.client("good"));
    for _ in 0..2 {
        let server = mounted.servers.server();
        replace_pair(&mut mounted.mount, &server);
        let changed = Instant::now();
        soon("without inotify", changed, || {
            mounted.served(&client) == server.serial()
        });
    }
    assert_eq!(mounted.gate.watches(), 0);
    assert_eq!(events(&mounted.gate, "not_watching").len(), 1, "told once");
}
