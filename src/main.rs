//! The command: reads the command line, runs what it says, prints what went wrong once, ends with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use portcullis::cli::{self, Cli};
use portcullis::telemetry::log;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.log_format();
    cli::run(cli).unwrap_or_else(|failure| {
        log::report(&failure.problems(), failure.exit_code(), format);
        failure.exit_code().into()
    })
}
