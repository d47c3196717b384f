//! `deploy/prometheus` as its users meet it: a real Prometheus, and its promtool, take the shipped files.
//!
//! Debian's Prometheus is built without Kubernetes discovery, so each discovery block is replaced by a file that says what
//! the block would find; the relabelling and everything else is as shipped.

mod end_to_end;
mod queries;
mod rules;
mod scrapes;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::peers::{Input, run};

/// A shipped file.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// What is in it.
fn text(name: &str) -> String {
    let path = file(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces something that is there, once.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in\n{text}");
    text.replace(from, to)
}

/// `prometheus.yml` with discovery from the file `JOB.json` beside it, JOB being the one in which the block stands.
fn with_discovery_from_files() -> String {
    let shipped = text("prometheus/prometheus.yml");
    let mut derived = String::new();
    let (mut job, mut inside) = ("", false);
    for line in shipped.lines() {
        inside &= line.starts_with("      ");
        if inside {
            continue;
        }
        job = line.trim().strip_prefix("- job_name: ").unwrap_or(job);
        match line.strip_prefix("    kubernetes_sd_configs:") {
            None => derived.push_str(line),
            Some(rest) => {
                derived.push_str("    file_sd_configs:");
                derived.push_str(rest);
                inside = !rest.contains('*');
                if inside {
                    derived.push_str(&format!("\n      - files: [{job}.json]"));
                }
            }
        }
        derived.push('\n');
    }
    assert!(!derived.contains("kubernetes_sd"), "{derived}");
    derived
}

/// Runs promtool; panics unless it is content.
fn promtool(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new("promtool");
    let done = run(command.args(arguments).arg(file), &Input::All(b""));
    assert_eq!(
        done.code,
        0,
        "{arguments:?} {}: {}",
        file.display(),
        done.text()
    );
    done.text()
}
