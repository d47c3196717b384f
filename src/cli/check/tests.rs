//! What `check` and `explain` say of files that a throwaway CA made, in a folder that is gone afterwards.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::{Command, FromArgMatches as _};

use super::*;
use crate::cli::pki::authority::{Authority, Names, Purpose};
use crate::cli::pki::lifetime::lifetime;

/// A folder with what a gate needs, for this many days.
fn folder(days: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let valid = lifetime(UnixTime::now(), days);
    let authority = Authority::new("check CA", valid).expect("it can be made");
    let names = Names {
        common_name: Some("gate".to_owned()),
        dns: vec!["localhost".to_owned()],
        ..Names::default()
    };
    let server = authority.issue(Purpose::Server, &names, valid);
    let server = server.expect("it can be issued");
    for (name, content) in [
        ("ca.crt", authority.cert_pem()),
        ("tls.crt", &server.cert_pem),
        ("tls.key", &server.key_pem),
    ] {
        fs::write(folder.path().join(name), content).expect("it is new");
    }
    folder
}

fn flags(folder: &Path, more: &[&str]) -> Flags {
    let path = |name: &str| folder.join(name).display().to_string();
    let (cert, key, ca) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
    let files = ["gate", "--cert", &cert, "--key", &key, "--client-ca", &ca];
    let matches = <Flags as clap::Args>::augment_args(Command::new("gate"))
        .try_get_matches_from(files.iter().chain(more))
        .expect("clap judges no value");
    Flags::from_arg_matches(&matches).expect("it has been matched")
}

#[test]
fn everything_that_was_found_is_said() {
    let folder = folder(90);
    let more = [
        "--allow-dns=prometheus.test",
        "--allow-from=10.0.0.0/8",
        "--max-session=1h",
    ];
    let found = Found::new(&flags(folder.path(), &more)).expect("nothing is wrong");
    let now = UnixTime::now();
    let text = report(&found, &["a trap".to_owned()], now)
        .text()
        .to_owned();
    for said in [
        "Server certificate\n",
        "  subject   CN=gate\n",
        "  names     dns:localhost\n",
        " days)\n",
        "  chain     1 certificate\n",
        "tls.key (matches)\n",
        "CAs that vouch for clients: 1\n  subject   CN=check CA\n",
        "Route default\n  listens   0.0.0.0:54899\n  target    127.0.0.1:54898\n",
        "  admits    dns:prometheus.test\n  from      10.0.0.0/8\n",
        "  admin     127.0.0.1:54900\n",
        "  at once   4096 admitted, 256 in the handshake, any number per source\n",
        "session 1h",
        "Warnings: 1\n  - a trap\n",
        "\nThis can be served, with 1 warning.\n",
    ] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    let path = folder.path().display().to_string();
    for line in text.lines().filter(|line| !line.contains(&path)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn what_weakens_the_gate_is_marked_where_it_stands_and_warned_of() {
    let folder = folder(90);
    let more = [
        "--allow-any-client",
        "--unsafe-target",
        "--target=192.0.2.1:80",
        "--allow-missing-eku",
    ];
    let found = Found::new(&flags(folder.path(), &more)).expect("nothing is wrong");
    let traps = traps::all(&found.config);
    let text = report(&found, &traps, UnixTime::now()).text().to_owned();
    assert_eq!(text.matches("UNSAFE").count(), 3, "{text}");
    assert_eq!(text.matches("this weakens the gate").count(), 3, "{text}");
}

#[test]
fn what_serve_refuses_is_refused_with_every_reason() {
    let found = Found::new(&flags(folder(1).path(), &[]));
    let problems = found.err().expect("no rule and no files").to_string();
    assert!(problems.contains("--allow-dns"), "{problems}");
    let gone = tempfile::tempdir().expect("a folder can be made");
    let found = Found::new(&flags(gone.path(), &["--allow-any-client"]));
    let Problems(problems) = found.err().expect("the files are gone");
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn a_time_is_read_as_of_now() {
    let folder = folder(90);
    let found = Found::new(&flags(folder.path(), &["--allow-any-client"])).expect("it is usable");
    let tomorrow = Duration::from_secs(UnixTime::now().as_secs() + 24 * 60 * 60 + 60);
    let text = report(&found, &[], UnixTime::since_unix_epoch(tomorrow));
    assert!(text.text().contains("(in 88 days)"), "{}", text.text());
}
