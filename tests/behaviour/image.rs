//! The image holds one program and nothing else: it needs nothing that is not there, serves as a user without any
//! right on a root that nobody can write to, and weighs less than what it replaces.
//!
//! The program is the one that `make static` built, as the image has it; see [`static_program`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::support::client::Offer;
use crate::support::gate::{Gate, Setup, static_program};
use crate::support::http::Metrics;
use crate::support::peers::{Done, Input, curl, run};
use crate::support::pki::{Credentials, Pki, SERVER_NAME, temporary_folder};
use crate::support::target::{self, EXPOSITION};

/// The user and the group of the image.
const USER: u32 = 65532;
/// The compressed image of plain socat, which it takes the place of, has 3.61 MB. Docker compresses a little less than
/// gzip: what has 3.5 MB here has 3.6 MB there.
const MOST_BYTES: u64 = 3_500_000;

fn ran(program: &str, arguments: &[&str]) -> String {
    let done = run(Command::new(program).args(arguments), &Input::All(b""));
    assert_eq!(done.code, 0, "{program} {arguments:?}: {done:?}");
    done.stdout
}

/// A root folder as the image has it, with the mount points that a container runtime would make.
struct Root(TempDir);

impl Root {
    fn unpacked() -> Self {
        let root = Self(temporary_folder());
        root.open(root.0.path());
        let program = root.0.path().join("portcullis");
        fs::copy(static_program(), &program).expect("a copy");
        root.open(&program);
        for mount in [
            "etc",
            "etc/portcullis",
            "etc/portcullis/tls",
            "certs",
            "certs/client",
        ] {
            let folder = root.0.path().join(mount);
            fs::create_dir(&folder).expect("the folder is new");
            root.open(&folder);
        }
        root
    }

    /// Temporary folders are their owner's alone.
    fn open(&self, path: &Path) {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own file");
    }

    /// What runs a program in there as the image's user: no capability, now or later, nothing writable, and of the
    /// file system only this folder and one Secret. Where root runs the tests, the user is a real one; else the
    /// kernel calls us by its number.
    fn entered(&self, secret: &Secret, mount: &str) -> Vec<OsString> {
        let user = USER.to_string();
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |these: &[&str]| words.extend(these.iter().map(OsString::from));
        if geteuid().is_root() {
            let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
            add(&["setpriv", &user, &group, "--clear-groups"]);
        }
        add(&["bwrap", "--unshare-user", "--uid", &user, "--gid", &user]);
        add(&[
            "--cap-drop",
            "ALL",
            "--die-with-parent",
            "--clearenv",
            "--chdir",
            "/",
        ]);
        for (from, to) in [(self.0.path(), "/"), (secret.0.path(), mount)] {
            let from = from.to_str().expect("a UTF-8 path");
            add(&["--ro-bind", from, to]);
        }
        words
    }

    /// Runs `portcullis` in there to its end, as `kubectl exec` or a probe would.
    fn run(&self, secret: &Secret, mount: &str, arguments: &[&str]) -> Done {
        let words = self.entered(secret, mount);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("/portcullis").args(arguments);
        run(&mut command, &Input::All(b""))
    }
}

/// A folder with the files of a Secret and the rights that `fsGroup` gives them.
struct Secret(TempDir);

impl Secret {
    fn of(credentials: &Credentials) -> Self {
        let folder = temporary_folder();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own folder");
        for file in [credentials.cert(), credentials.key(), credentials.ca()] {
            let copy = folder.path().join(file.file_name().expect("a file"));
            fs::copy(&file, &copy).expect("a copy");
            if geteuid().is_root() {
                chown(&copy, None, Some(USER)).expect("root may");
            }
            fs::set_permissions(&copy, Permissions::from_mode(0o440)).expect("our own file");
        }
        Self(folder)
    }
}

/// The process inside: the program that made its surroundings waits for it.
fn inside(gate: &Gate) -> Pid {
    let pid = gate.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&children).expect("it runs");
    let child = children.trim().parse().ok().and_then(Pid::from_raw);
    child.unwrap_or_else(|| panic!("one child, not {children:?}"))
}

#[test]
fn it_serves_from_an_empty_read_only_root_as_a_user_without_any_right() {
    let (root, pki, target) = (Root::unpacked(), Pki::shared(), target::exporter());
    let (client, server) = (pki.client("prometheus"), Secret::of(&pki.server()));
    let mount = "/etc/portcullis/tls";
    let mut gate = Setup::bare()
        .flag("--listen", "127.0.0.1:0")
        .flag("--admin", "127.0.0.1:0")
        .flag("--target", target.flag())
        .flag("--allow-dns", "prometheus.test")
        .under(&root.entered(&server, mount))
        .copy(Path::new("/portcullis"))
        .start();

    let pid = inside(&gate);
    let process = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).expect("it runs")
    };
    let status = process("status");
    let fact = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        value.unwrap_or_else(|| panic!("no {name} in {status}"))
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(fact(set), "0000000000000000", "{set}");
    }
    assert_eq!(fact("NoNewPrivs"), "1");
    if geteuid().is_root() {
        assert_eq!(fact("Uid"), ["65532"; 4].join("\t"));
        assert_eq!(fact("Gid"), ["65532"; 4].join("\t"));
    }
    let mounts = process("mountinfo");
    let mounts: BTreeSet<_> = mounts
        .lines()
        .map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>())
        .map(|mount| (mount[0], mount[1].split(',').next().unwrap_or_default()))
        .collect();
    assert_eq!(mounts, BTreeSet::from([("/", "ro"), (mount, "ro")]));

    let done = run(
        &mut curl(gate.address(), "/metrics", &client),
        &Input::All(b""),
    );
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, EXPOSITION),
        "{done:?}"
    );

    let url = format!("https://{}/metrics", gate.address());
    let scrape = ["scrape", "--server-name", SERVER_NAME, &url];
    let done = root.run(&Secret::of(&client), "/certs/client", &scrape);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, EXPOSITION),
        "{done:?}"
    );

    let probe = ["probe", "--ready", "--admin", gate.admin()];
    let done = root.run(&server, mount, &probe);
    assert_eq!(done.code, 0, "{done:?}");

    // Without /proc it knows little about itself, and says what it knows.
    let open = gate.metrics().value(
        "portcullis_connections_accepted_total",
        &[("route", "default")],
    );
    assert!(open >= 2.0, "{open}");

    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(gate.wait(), 0, "{}", gate.log.text());
}

#[test]
fn a_name_that_nothing_there_can_resolve_is_an_error_that_says_so() {
    let (root, client) = (Root::unpacked(), Pki::shared().client("prometheus"));
    let scrape = ["scrape", "https://gate.test:54899/metrics"];
    let done = root.run(&Secret::of(&client), "/certs/client", &scrape);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("the host has no address"), "{done:?}");
}

#[test]
fn a_name_of_the_hosts_file_resolves() {
    let (root, pki, target) = (Root::unpacked(), Pki::shared(), target::exporter());
    let hosts = root.0.path().join("etc/hosts");
    fs::write(&hosts, format!("127.0.0.1 {SERVER_NAME}\n")).expect("our own folder");
    let gate = Setup::open_to(&pki, &target).start();
    let url = format!("https://{SERVER_NAME}:{}/metrics", gate.address().port());
    let client = Secret::of(&pki.client("prometheus"));
    let done = root.run(&client, "/certs/client", &["scrape", &url]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, EXPOSITION),
        "{done:?}"
    );
}

#[test]
fn the_program_needs_no_other_file_and_is_position_independent() {
    let program = static_program();
    let program = program.to_str().expect("a UTF-8 path");
    let elf = ran(
        "readelf",
        &[
            "--wide",
            "--file-header",
            "--segments",
            "--dynamic",
            program,
        ],
    );
    for absent in ["INTERP", "(NEEDED)", "TEXTREL", "RPATH", "RUNPATH"] {
        assert!(!elf.contains(absent), "{absent}: {elf}");
    }
    for present in ["DYN (", "PIE", "BIND_NOW", "GNU_RELRO"] {
        assert!(elf.contains(present), "{present}: {elf}");
    }
    let stack = elf.lines().find(|line| line.contains("GNU_STACK"));
    assert!(
        stack.is_some_and(|line| line.contains(" RW  ")),
        "{stack:?}"
    );
    let writable_code = elf
        .lines()
        .find(|line| line.contains("LOAD") && line.contains(" RWE "));
    assert_eq!(writable_code, None);
}

#[test]
fn the_image_weighs_less_than_the_plain_relay_it_replaces() {
    let (root, folder) = (temporary_folder(), temporary_folder());
    let program = root.path().join("portcullis");
    fs::copy(static_program(), &program).expect("a copy");
    let layer = folder.path().join("layer.tar.gz");
    let (layer, root) = (layer.to_str(), root.path().to_str());
    let (layer, root) = (layer.expect("UTF-8"), root.expect("UTF-8"));
    ran(
        "tar",
        &[
            "--create",
            "--gzip",
            "--file",
            layer,
            "--directory",
            root,
            "portcullis",
        ],
    );
    let bytes = fs::metadata(layer).expect("tar made it").len();
    println!("the compressed layer has {bytes} bytes");
    assert!(
        bytes < MOST_BYTES,
        "{bytes} bytes, {MOST_BYTES} are the most"
    );
}

#[test]
fn it_takes_little_memory_at_its_first_answer() {
    /// KiB: 5,220 were measured, and 6,980 without `.cargo/layout.ld`, which `make layout` writes anew. The functions
    /// it names are those that the image's compiler makes; with another one more of them are scattered.
    const MOST: u64 = 6144;
    const MOST_SCATTERED: u64 = 8192;
    let program = static_program();
    let made_by = ran(
        "readelf",
        &["--string-dump=.comment", program.to_str().expect("UTF-8")],
    );
    let most = if made_by.contains(&format!("rustc version {}.", image_compiler())) {
        MOST
    } else {
        MOST_SCATTERED
    };

    let (pki, target) = (Pki::shared(), target::exporter());
    let gate = Setup::open_to(&pki, &target)
        .variable("GLIBC_TUNABLES", tunables())
        .flag("--threads", "2")
        .copy(&program)
        .start();
    let mut client = curl(gate.address(), "/metrics", &pki.client("first"));
    let done = run(&mut client, &Input::All(b""));
    assert_eq!(done.stdout, EXPOSITION, "{done:?}");

    let sums = fs::read_to_string(format!("/proc/{}/smaps_rollup", gate.pid()));
    let sums = sums.expect("it runs");
    // What is shared with other tests' gates counts in full.
    let resident = sums.lines().find_map(|line| line.strip_prefix("Rss:"));
    let resident = resident.and_then(|kib| kib.trim().strip_suffix(" kB"));
    let resident: u64 = resident.and_then(|kib| kib.parse().ok()).expect("a sum");
    println!("{resident} KiB at the first answer");
    assert!(
        resident <= most,
        "{resident} KiB, {most} are the most:\n{sums}"
    );
}

#[test]
fn what_a_burst_took_is_given_back() {
    const BURST: usize = 1500;
    /// What the allocator keeps, twice over.
    const KEPT: f64 = 8192.0;
    let (pki, target) = (Pki::shared(), target::exporter());
    let gate = Setup::open_to(&pki, &target)
        .variable("GLIBC_TUNABLES", tunables())
        .flag("--max-handshakes", BURST.to_string())
        .copy(&static_program())
        .start();
    let (client, ca) = (pki.client("burst"), pki.ca());
    let offer = Offer::of(&client, &ca);
    let connect = |_| offer.connect(gate.address()).expect("it is admitted");
    let resident = |metrics: &Metrics| metrics.value("process_resident_memory_bytes", &[]) / 1024.0;
    // The pages of the program that the first connection reads are no burst's.
    drop(connect(0));
    let before = resident(&gate.wait_for_metrics("it has gone", |metrics| metrics.open() == 0.0));
    let held: Vec<_> = (0..BURST).map(connect).collect();
    let most = resident(&gate.metrics());
    assert!(
        most > before + KEPT,
        "{before} KiB, {most} with {BURST} connections"
    );
    drop(held);
    gate.wait_for_metrics("the memory is back", |metrics| {
        metrics.open() == 0.0 && resident(metrics) < before + KEPT
    });
}

/// How the image has the allocator set.
fn tunables() -> String {
    let lines = dockerfile();
    let mut lines = lines.lines();
    let setting = lines.find_map(|line| line.strip_prefix("ENV GLIBC_TUNABLES="));
    setting.expect("the Dockerfile sets it").to_owned()
}

/// The version of Rust that the image is made with, as `1.95`.
fn image_compiler() -> String {
    let text = dockerfile();
    let image = text
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST_IMAGE="));
    let tag = image.and_then(|image| image.rsplit_once(":")?.1.split_once('-'));
    tag.expect("the Dockerfile names it").0.to_owned()
}

fn dockerfile() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    fs::read_to_string(file).expect("it is there")
}

#[test]
fn the_dockerfile_says_what_the_manifest_says_and_leaves_nothing_but_the_program() {
    let text = dockerfile();
    for (label, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        let line = format!("org.opencontainers.image.{label}=\"{value}\"");
        assert!(text.contains(&line), "no {line}");
    }
    let (_, last) = text.rsplit_once("\nFROM ").expect("stages");
    let copied: Vec<_> = last
        .lines()
        .filter(|line| line.starts_with("COPY") || line.starts_with("ADD"))
        .collect();
    assert_eq!(copied, ["COPY --from=build /portcullis /portcullis"]);
    assert!(last.starts_with("scratch\n"), "{last}");
    for line in [
        "USER 65532:65532",
        "ENTRYPOINT [\"/portcullis\"]",
        "CMD [\"serve\"]",
    ] {
        assert!(last.lines().any(|one| one == line), "no {line}");
    }
    assert!(!last.contains("RUN "), "nothing can run there: {last}");
}
