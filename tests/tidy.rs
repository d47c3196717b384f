//! House rules that no compiler checks: which way modules depend on each other, who may spawn, how long a file may
//! be, and what is never committed.
#![allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules from the top down, a layer a line: each may use the layers below its own, none above or beside.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["serve"],
    &["admin"],
    &["gate", "follow"],
    &["trust"],
    &["telemetry"],
    &["harden", "listen"],
    &["config"],
    &["judge"],
    &["policy"],
    &["identity", "lifecycle", "places"],
    &["crypto", "event", "file", "pem"],
];

/// Where tasks and threads may be started: the two loops that accept, the root that owns them, the threads that
/// read files and write the log, and the demonstration, which is a small root of its own.
const SPAWNERS: &[&str] = &[
    "src/gate/accept.rs",
    "src/admin.rs",
    "src/serve/workers.rs",
    "src/serve.rs",
    "src/follow/exposed.rs",
    "src/file/reader.rs",
    "src/telemetry/log/writer.rs",
    "src/cli/demo/",
];

const MOST_LINES: usize = 400;

struct Source {
    /// Relative to the repository, with slashes.
    name: String,
    text: String,
}

impl Source {
    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        let name = self.name.trim_start_matches("src/");
        let end = name.find(['/', '.']).unwrap_or(name.len());
        name.get(..end).unwrap_or(name)
    }

    /// Lines of code that ship: no comments, and nothing from `#[cfg(test)]` on, which stands last in a file.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.name.ends_with("tests.rs") || self.name.contains("/tests/");
        let lines = self.text.lines().enumerate();
        lines
            .take_while(move |(_, line)| !is_test && line.trim() != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line))
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&repository().join(folder), &mut found);
    assert!(!found.is_empty(), "no Rust files in {folder}");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(repository()).expect("it is inside");
            found.push(Source {
                name: name.to_string_lossy().into_owned(),
                text: std::fs::read_to_string(&path).expect("UTF-8"),
            });
        }
    }
}

/// What git tracks or would track; a folder that is no clone has nothing to leak.
fn committed() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git is there");
    let files = String::from_utf8_lossy(&git.stdout);
    let exists = |name: &&str| repository().join(name).is_file();
    files.lines().filter(exists).map(str::to_owned).collect()
}

fn none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

fn layer(module: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&module));
    layer.unwrap_or_else(|| panic!("{module} is in no layer; say in LAYERS where it belongs"))
}

/// The modules that a line names, as `crate::name` or in the braces of `use crate::{…}`.
fn modules_named(line: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for (at, prefix) in line.match_indices("crate::") {
        let rest = line.get(at + prefix.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(group) => named.extend(group.split(',').map(first_name)),
            None => named.push(first_name(rest)),
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

fn first_name(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[test]
fn modules_use_only_the_layers_below_them() {
    let mut offences = Vec::new();
    for source in rust_files("src") {
        if ["lib", "main"].contains(&source.module()) {
            continue;
        }
        let own = layer(source.module());
        for (number, line) in source.shipped() {
            for name in modules_named(line) {
                if name != source.module() && layer(name) <= own {
                    offences.push(format!("{}:{number}: {}", source.name, line.trim()));
                }
            }
            if line.contains("crate::{") && !line.contains('}') {
                offences.push(format!("{}:{number}: too long a list", source.name));
            }
        }
    }
    none("a module uses one above or beside it", &offences);
}

#[test]
fn the_admin_listener_knows_nothing_of_the_gate_but_its_sessions() {
    let sources = rust_files("src");
    let admin = sources.iter().filter(|source| source.module() == "admin");
    let offences: Vec<_> = admin
        .flat_map(Source::shipped)
        .filter(|(_, line)| line.contains("crate::gate::") && !line.contains("::Sessions"))
        .map(|(_, line)| line.to_owned())
        .collect();
    none(
        "admin looks at sessions and nothing else of the gate",
        &offences,
    );
}

#[test]
fn only_the_owners_of_tasks_spawn() {
    let calls = [
        ".spawn(",
        "tokio::spawn(",
        "task::spawn",
        "thread::spawn",
        "spawn_blocking",
        "spawn_local",
    ];
    let mut offences = Vec::new();
    for source in rust_files("src") {
        if SPAWNERS.iter().any(|place| source.name.starts_with(place)) {
            continue;
        }
        for (number, line) in source.shipped() {
            if calls.iter().any(|call| line.contains(call)) {
                offences.push(format!("{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    none("a task without an owner", &offences);
}

#[test]
fn every_file_is_short_and_says_what_it_is() {
    let mut offences = Vec::new();
    for source in rust_files("src") {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            offences.push(format!(
                "{}: {lines} lines, {MOST_LINES} are enough",
                source.name
            ));
        }
        if !source.text.starts_with("//!") {
            offences.push(format!("{}: does not begin with //!", source.name));
        }
    }
    none("a file that does not explain itself", &offences);
}

#[test]
fn what_judges_does_no_io_and_reads_no_clock() {
    let forbidden = [
        "std::fs",
        "std::net::Tcp",
        "tokio::",
        "Instant::now",
        "SystemTime::now",
        "UnixTime::now",
    ];
    let mut offences = Vec::new();
    for source in rust_files("src") {
        if ["identity", "judge", "policy"].contains(&source.module()) {
            for (number, line) in source.shipped() {
                if forbidden.iter().any(|name| line.contains(name)) {
                    offences.push(format!("{}:{number}: {}", source.name, line.trim()));
                }
            }
        }
    }
    none(
        "what is judged depends on more than its arguments",
        &offences,
    );
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_for_later() {
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ig", "nore"],
        ["#[should", "_panic"],
    ];
    let marks = marks.map(|mark| mark.concat());
    let mut offences = Vec::new();
    for source in rust_files("src").into_iter().chain(rust_files("tests")) {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                offences.push(format!("{}:{}: {}", source.name, number + 1, line.trim()));
            }
        }
    }
    none("a mark of something unfinished", &offences);
}

#[test]
fn no_key_and_no_path_of_a_machine_is_committed() {
    // Written in two parts so that this file does not find itself.
    let key = ["PRIVATE KEY", "-----"].concat();
    let homes = ["/ro", "/ho", "/wo", "/Use"]
        .into_iter()
        .zip(["ot/", "me/", "rk/", "rs/"]);
    let homes: BTreeSet<_> = homes.map(|(one, other)| format!("{one}{other}")).collect();
    let mut offences = Vec::new();
    for name in committed() {
        let bytes = std::fs::read(repository().join(&name)).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            let begins_key = line.trim_start().starts_with("-----BEGIN") && line.contains(&key);
            // A home that is nobody's, in samples.
            let line = line.replace("/home/me/", "");
            if begins_key || homes.iter().any(|home| line.contains(home.as_str())) {
                offences.push(format!("{name}:{}", number + 1));
            }
        }
    }
    none("a key or a path of somebody's machine", &offences);
}

#[test]
fn every_certificate_folder_is_empty_but_for_its_explanation() {
    let kept = ["certs/README.md", "certs/.gitignore"];
    let mut files = committed();
    files.retain(|name| name.starts_with("certs/") && !kept.contains(&name.as_str()));
    none("a certificate is committed", &files);
}

#[test]
fn every_test_that_security_names_exists() {
    let promises = std::fs::read_to_string(repository().join("SECURITY.md")).expect("it is there");
    let tests: Vec<Source> = rust_files("tests")
        .into_iter()
        .chain(rust_files("src"))
        .collect();
    let is_name = |text: &&str| {
        text.matches('_').count() >= 2
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
    };
    let named: Vec<&str> = promises.split('`').filter(is_name).collect();
    assert!(named.len() > 50, "SECURITY.md names no tests");
    let is_there = |name: &str| {
        let (module, function) = name.rsplit_once("::").unwrap_or(("", name));
        let file = format!("tests/behaviour/{}.rs", module.replace("::", "/"));
        let defined = format!("fn {function}(");
        let mut files = tests
            .iter()
            .filter(|source| module.is_empty() || source.name == file);
        files.any(|source| source.text.contains(&defined))
    };
    let missing: Vec<String> = named
        .iter()
        .filter(|name| !is_there(name))
        .map(ToString::to_string)
        .collect();
    none("SECURITY.md names a test that does not exist", &missing);
}

#[test]
fn every_flag_stands_in_the_table_of_settings() {
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).expect("it is there");
    let (surface, table) = (read("src/config/surface.rs"), read("docs/configuration.md"));
    let flags: Vec<&str> = surface
        .split("name: \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(flags.len() > 25, "no flags found");
    let missing = |flag: &&&str| !table.contains(&format!("| `{flag}` |"));
    let missing: Vec<String> = flags
        .iter()
        .filter(missing)
        .map(ToString::to_string)
        .collect();
    none("docs/configuration.md lacks a flag", &missing);
}
