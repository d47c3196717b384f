//! The command: reads the command line, runs what it says, prints what went wrong once, ends with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use portcullis::cli::{self, Cli};
use portcullis::telemetry::log;

fn main() -> ExitCode {
    cli::run(Cli::parse()).unwrap_or_else(|failure| {
        log::report(&failure.report());
        failure.exit_code()
    })
}
