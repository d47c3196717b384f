//! The command: reads the command line, runs what it says, prints what went wrong once, ends with its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use portcullis::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse()).unwrap_or_else(|failure| {
        // With standard error gone there is nobody left to tell; the exit code still says it.
        drop(writeln!(std::io::stderr(), "{}", failure.report()));
        failure.exit_code()
    })
}
