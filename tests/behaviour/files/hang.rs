//! Files whose file system does not answer: strace holds a system call up for a path, as a mount would whose server is
//! away.

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Longer than any of these tests; what one that fails leaves behind ends as well.
const FOR_EVER: &str = "120s";

/// Runs a program so that one of its system calls about a path takes so long, from its `first` such call on.
fn held_up(call: &str, path: &Path, delay: &str, when: &str) -> Vec<String> {
    let inject = format!("inject={call}:delay_enter={delay}:when={when}");
    let words = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P"];
    let words = words.into_iter().chain([text(path), "-e"]);
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.extend([format!("trace={call}"), "-e".to_owned(), inject]);
    words
}

/// A gate whose CA bundle is held up as this says, and a client that it admits.
fn hanging(
    interval: &str,
    wrapper: impl FnOnce(&Path) -> Vec<String>,
) -> (Mounted, Arc<ClientConfig>, Target<target::Ended>, Rules) {
    let ca = Authority::root("clients");
    let target = target::echo();
    let folder = temporary_folder();
    let bundle = folder.path().join("ca.crt");
    write(&bundle, &ca.pem);
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = format!("reload_interval = \"{interval}\"\n");
    rules.bundles = vec![bundle.clone()];
    let wrapper = wrapper(&bundle);
    let special = |setup: Setup| setup.under(&wrapper);
    let mounted = Mounted::start_with(Writer::Rename, &rules, &ca.pem, &[], special);
    // It is open no longer than that.
    drop(folder.keep());
    let client = mounted.client(&ca.client("good"));
    (mounted, client, target, rules)
}

/// A line of what the kernel says of the process.
fn status(gate: &Gate, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

/// The exit code, once the process has ended. The thread that hangs is dead then, but strace takes leave of it only
/// when the delay is over, and until then nobody hears of the end.
fn end(gate: &mut Gate) -> i32 {
    eventually("the gate ends", || {
        let ended = |state: String| state.starts_with('Z');
        status(gate, "State").is_none_or(ended).then_some(())
    });
    if let Some(tracer) = status(gate, "TracerPid").and_then(|pid| Pid::from_raw(pid.parse().ok()?))
    {
        // It may have ended.
        let _ended = kill_process(tracer, Signal::KILL);
    }
    gate.wait()
}

/// How many threads read files, or hang at it.
fn readers(gate: &Gate) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", gate.pid())).expect("it runs");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "reader").count()
}

#[test]
fn a_read_that_hangs_is_told_and_other_files_are_taken_up_all_the_same() {
    for call in ["openat", "readlink"] {
        // Where links lead is asked after the start only.
        let when = if call == "openat" { "2+" } else { "1+" };
        let held = |bundle: &Path| held_up(call, bundle, FOR_EVER, when);
        let (mut mounted, client, _target, mut rules) = hanging("300ms", held);
        let reason = failure(&mounted.gate, 1);
        let bundle = rules.bundles.remove(0);
        for part in [
            text(&bundle),
            "client_ca",
            "reading it hangs since 20",
            "; ",
        ] {
            assert!(reason.contains(part), "{part:?} in {reason}");
        }
        assert_eq!(mounted.gate.status()["last_failure"]["reason"], *reason);
        eventually("further failures", || {
            (mounted.gate.reloads("failure") >= 5).then_some(())
        });
        assert_eq!(events(&mounted.gate, "reload_failed").len(), 1, "told once");
        assert!(is_served(&mounted.gate, &client));
        assert_eq!(readers(&mounted.gate), 2, "not one for each look");

        // The same CA, from a file that answers.
        mounted.rule(&rules);
        mounted.gate.wait_for_generation_after(1);
        let mended = |record: &Value| record["event"] == "reload_mended";
        mounted.gate.log.wait_for_record("the end of it", mended);
        assert!(is_served(&mounted.gate, &client));
        let begun = Instant::now();
        mounted.gate.signal(Signal::TERM);
        assert_eq!(end(&mut mounted.gate), 0, "though a thread hangs");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_hang_that_ends_is_followed_by_a_look() {
    // A load reads it and finds its end: the third read is the second load's.
    let held = |bundle: &Path| held_up("read", bundle, "7s", "3");
    let (mounted, client, _target, _rules) = hanging("1h", held);
    failure(&mounted.gate, 1);
    let mended = |record: &Value| record["event"] == "reload_mended";
    mounted.gate.log.wait_for_record("the end of it", mended);
    assert!(mounted.gate.status()["last_failure"].is_null());
    assert_eq!(mounted.gate.generation(), 1);
    assert!(is_served(&mounted.gate, &client));
}

/// A gate that does not get as far as serving, as this file holds it up.
fn never_starting(flag: &str, path: &Path, pki: &Arc<Pki>) -> Gate {
    Setup::to(pki, "127.0.0.1:9")
        .flag("--allow-dns", "good.test")
        .flag(flag, path)
        .under(&held_up("openat", path, FOR_EVER, "1+"))
        .spawn()
}

#[test]
fn a_file_that_hangs_at_start_is_exit_2_after_a_while_and_a_signal_ends_it_before() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let config = folder.path().join("gate.toml");
    write(&config, "drain_timeout = \"1s\"\n");
    for (flag, path) in [("--key", pki.server().key()), ("--config", config)] {
        let begun = Instant::now();
        let mut gate = never_starting(flag, &path, &pki);
        assert_eq!(end(&mut gate), 2);
        let said = gate.log.text();
        for part in [flag, text(&path), "reading it hangs since 20"] {
            assert!(said.contains(part), "{part:?} in {said}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{flag}");
        for signal in [Signal::TERM, Signal::INT] {
            let begun = Instant::now();
            let mut gate = never_starting(flag, &path, &pki);
            eventually("it has begun to read", || {
                let mask = u64::from_str_radix(&status(&gate, "SigCgt")?, 16);
                let mask = mask.expect("a mask");
                let caught = 1 << (signal.as_raw() - 1);
                (mask & caught != 0).then_some(())
            });
            gate.signal(signal);
            assert_eq!(end(&mut gate), 0, "{flag}: asked to stop, and did");
            assert!(begun.elapsed() < Duration::from_secs(5), "{flag}");
        }
    }
}

#[test]
fn commands_end_when_a_file_hangs() {
    let pki = Pki::shared();
    let (ca, client) = (pki.ca(), pki.client("hanging").cert());
    for (name, path) in [("check", &ca), ("explain", &client)] {
        let wrapper = held_up("openat", path, "12s", "1+");
        let inner = reading(name, &pki, &ca);
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(inner.get_program());
        command.args(inner.get_args());
        if name == "explain" {
            command.arg("--client-cert").arg(&client);
        }
        let done = ran(&mut command);
        assert_eq!(done.code, 2, "{name}: {done:?}");
        for part in [text(path), "reading it hangs since 20"] {
            assert!(done.stderr.contains(part), "{part:?} in {}", done.stderr);
        }
    }
}
