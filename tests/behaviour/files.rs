//! A file is read whole or not at all, and no file can freeze the gate: not one that is no file, and not one whose file
//! system does not answer.

mod hang;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;

use crate::support::eventually;
use crate::support::gate::{Gate, Setup, portcullis};
use crate::support::peers::{Done, Input, openssl, run};
use crate::support::pki::{Authority, Pki, temporary_folder, write};
use crate::support::target::{self, Target};
use crate::support::volume::{Mounted, Rules, Writer, knock};

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A command that reads what `serve` reads.
fn reading(command: &str, pki: &Pki, ca: &Path) -> Command {
    let mut reading = portcullis();
    let server = pki.server();
    reading.arg(command).args(["--allow-dns", "good.test"]);
    reading.arg("--cert").arg(server.cert());
    reading.arg("--key").arg(server.key());
    reading.arg("--client-ca").arg(ca);
    reading
}

fn ran(command: &mut Command) -> Done {
    run(command, &Input::All(b""))
}

/// A gate that admits one client, and that client; it looks at its files once a second.
fn plain() -> (Mounted, Arc<ClientConfig>, Target<target::Ended>) {
    let ca = Authority::root("clients");
    let target = target::echo();
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.top = "reload_interval = \"1s\"\n".to_owned();
    let mounted = Mounted::start(Writer::Rename, &rules, &ca.pem, &[]);
    let client = mounted.client(&ca.client("good"));
    (mounted, client, target)
}

fn is_served(gate: &Gate, client: &Arc<ClientConfig>) -> bool {
    knock(gate.address(), client).is_ok()
}

fn events(gate: &Gate, event: &str) -> Vec<Value> {
    let mut records = gate.log.records();
    records.retain(|record| record["event"] == event);
    records
}

/// The reason of the newest failure, once there are that many.
fn failure(gate: &Gate, count: usize) -> String {
    let failed = gate.log.wait_for("a failed reload", |records| {
        let mut failed = records.iter().filter(|r| r["event"] == "reload_failed");
        failed.nth(count - 1).cloned()
    });
    failed["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_bundle_in_any_form_has_the_certificates_that_openssl_finds_in_it() {
    let pki = Pki::shared();
    let (one, two) = (Authority::root("one"), Authority::root("two"));
    let both = [&*one.pem, &*two.pem].concat();
    let one_line = |pem: &str| {
        let lines: Vec<&str> = pem.lines().filter(|line| !line.contains("-----")).collect();
        let body = lines.concat();
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let folder = temporary_folder();
    let path = folder.path().join("ca.crt");
    let forms: &[(&str, Vec<u8>)] = &[
        ("as it is", both.clone().into()),
        ("CRLF", both.replace('\n', "\r\n").into()),
        ("white space", both.replace('\n', " \n").into()),
        ("no final newline", both.trim_end().into()),
        (
            "one line",
            (one_line(&one.pem) + &one_line(&two.pem)).into(),
        ),
        (
            "text around",
            [b"subject=K\xf6ln\n", both.as_bytes(), b"the end\n"].concat(),
        ),
    ];
    for (form, bytes) in forms {
        fs::write(&path, bytes).expect("the folder is ours");
        let found = openssl(&["storeutl", "-noout", "-certs", text(&path)]);
        assert!(found.contains("Total found: 2"), "{form}: {found}");
        let done = ran(&mut reading("check", &pki, &path));
        let said = done.text();
        assert_eq!(done.code, 0, "{form}: {said}");
        assert!(said.contains("vouch for clients: 2"), "{form}: {said}");
    }
}

#[test]
fn a_block_that_would_be_lost_makes_the_file_bad_with_its_line() {
    let pki = Pki::shared();
    let (one, two) = (Authority::root("one"), Authority::root("two"));
    let lines = one.pem.lines().count();
    let folder = temporary_folder();
    let path = folder.path().join("ca.crt");
    let joined = one.pem.trim_end().to_owned() + &two.pem;
    let indented: String = two.pem.lines().map(|l| format!("  {l}\n")).collect();
    let trusted = two.pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let four = two.pem.replacen("-----BEGIN", "----BEGIN", 1);
    let cases = [
        (joined, lines, "join files with a newline"),
        (one.pem.clone() + &indented, lines + 1, "indented it"),
        (one.pem.clone() + &trusted, lines + 1, "openssl x509"),
        (one.pem.clone() + &four, lines + 1, "there are 4"),
    ];
    for (bundle, line, what) in cases {
        write(&path, &bundle);
        let done = ran(&mut reading("check", &pki, &path));
        assert_eq!(done.code, 2, "{what}: {done:?}");
        let place = format!("{:?}: line {line}: ", text(&path));
        for part in ["--client-ca", &*place, what] {
            assert!(done.stderr.contains(part), "{part:?} in {}", done.stderr);
        }
    }
}

/// Puts something that is no file in a file's place, in one step, and says what that is called.
type Replace = fn(&Path, &Path);

const NO_FILES: [(&str, Replace); 5] = [
    ("a pipe, not a file", |path, new| {
        assert_eq!(ran(Command::new("mkfifo").arg(new)).code, 0);
        fs::rename(new, path).expect("it can be moved");
    }),
    ("a device, not a file", |path, new| {
        symlink("/dev/zero", new).expect("the name is free");
        fs::rename(new, path).expect("it can be moved");
    }),
    ("lead in a circle", |path, new| {
        symlink(path, new).expect("the name is free");
        fs::rename(new, path).expect("it can be moved");
    }),
    ("a folder, not a file", |path, new| {
        fs::create_dir(new).expect("the name is free");
        fs::remove_file(path).expect("it is there");
        fs::rename(new, path).expect("it can be moved");
    }),
    ("a socket or a device", |path, new| {
        drop(UnixListener::bind(new).expect("the name is free"));
        fs::remove_dir(path).expect("it is there");
        fs::rename(new, path).expect("it can be moved");
    }),
];

#[test]
fn what_is_no_file_is_refused_at_start_at_once() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let path = folder.path().join("ca.crt");
    write(&path, "");
    for (what, replace) in NO_FILES {
        replace(&path, &folder.path().join("new"));
        for command in ["serve", "check", "explain"] {
            let begun = Instant::now();
            let mut command = reading(command, &pki, &path);
            if command.get_args().any(|argument| argument == "explain") {
                command.arg("--client-cert").arg(pki.server().cert());
            }
            let done = ran(&mut command);
            assert_eq!(done.code, 2, "{what}: {done:?}");
            for part in ["--client-ca", text(&path), what] {
                assert!(done.stderr.contains(part), "{part:?} in {}", done.stderr);
            }
            assert!(begun.elapsed() < Duration::from_secs(4), "{what}");
        }
    }
    let setup = Setup::to(&pki, "127.0.0.1:9").flag("--config", "/dev/zero");
    let (code, said) = setup.run();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--config: \"/dev/zero\": a device"), "{said}");
}

#[test]
fn what_is_no_file_fails_a_reload_and_a_good_file_mends_it_and_says_so() {
    let (mut mounted, client, _target) = plain();
    let path = mounted.mount.path("ca.crt");
    let new = mounted.mount.elsewhere().join("new");
    let good = mounted.mount.content("ca.crt").to_vec();
    for (number, (what, replace)) in NO_FILES.into_iter().enumerate() {
        replace(&path, &new);
        let reason = failure(&mounted.gate, number + 1);
        assert!(reason.contains(what), "{what:?} in {reason:?}");
        assert!(reason.contains(text(&path)), "{reason}");
        assert!(is_served(&mounted.gate, &client), "{what}");
    }
    assert_eq!(events(&mounted.gate, "reload_mended").len(), 0);
    mounted.mount.update(&[("ca.crt", &good)]);
    let mended = |record: &Value| record["event"] == "reload_mended";
    let told = mounted.gate.log.wait_for_record("the end of it", mended);
    let failed = events(&mounted.gate, "reload_failed");
    let last = failed.last().expect("it was told");
    assert_eq!(told["reason"], last["reason"], "what is over");
    assert!(
        told["lasted_seconds"].is_u64() && told["since"].is_string(),
        "{told}"
    );
    assert!(mounted.gate.status()["last_failure"].is_null());
    assert_eq!(mounted.gate.generation(), 1);
    assert_eq!(mounted.gate.terminate(), 0);
    assert_eq!(events(&mounted.gate, "reload_mended").len(), 1, "told once");
}

#[test]
fn a_secret_without_a_ca_is_told_as_the_issuers_doing() {
    let pki = Pki::shared();
    let server = pki.server();
    let folder = temporary_folder();
    for (name, from) in [("tls.crt", server.cert()), ("tls.key", server.key())] {
        fs::copy(from, folder.path().join(name)).expect("it was made");
    }
    let path = |name: &str| folder.path().join(name);
    for _ in 0..2 {
        let setup = Setup::to(&pki, "127.0.0.1:9")
            .flag("--allow-dns", "good.test")
            .flag("--cert", path("tls.crt"))
            .flag("--key", path("tls.key"))
            .flag("--client-ca", path("ca.crt"));
        let (code, said) = setup.run();
        assert_eq!(code, 2, "{said}");
        let issuer = "tls.crt is there: its issuer leaves ca.crt out";
        assert!(said.contains(issuer), "{said}");
        write(&path("ca.crt"), "");
    }
}

#[test]
fn what_a_person_gives_once_may_come_from_a_pipe() {
    let pki = Pki::shared();
    let target = target::exporter();
    let gate = Setup::open_to(&pki, &target).start();
    let client = pki.client("piped");
    let program = crate::support::gate::PORTCULLIS;
    let mut scrape = Command::new("bash");
    scrape.arg("-c").arg(format!(
        "{program} scrape --cert <(cat {:?}) --key <(sleep 0.1; cat {:?}) --ca <(cat {:?}) https://{}/",
        client.cert(),
        client.key(),
        pki.ca(),
        gate.address()
    ));
    let done = ran(&mut scrape);
    assert_eq!(
        (done.code, &*done.stdout),
        (0, target::EXPOSITION),
        "{done:?}"
    );
    let mut explain = Command::new("bash");
    let server = pki.server();
    explain.arg("-c").arg(format!(
        "{program} explain --client-cert <(cat {:?}) --cert {:?} --key {:?} --client-ca {:?} --allow-any-client",
        client.cert(),
        server.cert(),
        server.key(),
        pki.ca()
    ));
    let done = ran(&mut explain);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn a_folder_that_may_not_be_listed_is_left_to_the_timer_and_the_others_are_not() {
    let ca = Authority::root("clients");
    let target = target::echo();
    let folder = temporary_folder();
    let unlisted = folder.path().join("unlisted");
    fs::create_dir(&unlisted).expect("the name is free");
    let bundle = unlisted.join("ca.crt");
    write(&bundle, &ca.pem);
    fs::set_permissions(&unlisted, fs::Permissions::from_mode(0o311)).expect("it is ours");
    let mut rules = Rules::allowing(&target.flag(), &["good"]);
    rules.bundles = vec![bundle];
    let mut mounted = Mounted::start_with(Writer::Rename, &rules, &ca.pem, &[], |setup| {
        if rustix::process::geteuid().is_root() {
            // As itself, but without the right to look past modes.
            setup.under(&["setpriv", "--inh-caps=-all", "--bounding-set=-all"])
        } else {
            setup
        }
    });
    let client = mounted.client(&ca.client("good"));
    let told = |record: &Value| record["event"] == "not_watching";
    let told = mounted.gate.log.wait_for_record("the folder", told);
    assert_eq!(told["folder"], text(&unlisted), "{told}");
    assert!(
        told["error"]
            .as_str()
            .is_some_and(|why| why.contains("listed")),
        "{told}"
    );
    // The interval is an hour: only a watch reports this.
    for _ in 0..2 {
        let server = mounted.servers.server();
        let pair = [
            ("tls.crt", server.chain.as_bytes()),
            ("tls.key", server.key.as_bytes()),
        ];
        mounted.mount.update(&pair);
        eventually("a change in a folder that may be listed", || {
            (mounted.served(&client) == server.serial()).then_some(())
        });
    }
    assert_eq!(events(&mounted.gate, "not_watching").len(), 1, "told once");
    fs::set_permissions(&unlisted, fs::Permissions::from_mode(0o700)).expect("it is ours");
}
