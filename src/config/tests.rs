//! The configuration as a whole: helpers that write all three sources, and the tests in the files below.

mod change;
mod file;
mod routes;
mod sources;

use std::path::Path;

use clap::{Command, FromArgMatches as _};

use super::parse::{Written, assemble};
use super::{Config, Flags, Place, surface};

/// Flags as typed, beside variables as set.
fn flags(arguments: &[&str], variables: &[(&str, &str)]) -> Flags {
    let command = <Flags as clap::Args>::augment_args(Command::new("gate"));
    let arguments = ["gate"].iter().chain(arguments);
    let matches = command
        .try_get_matches_from(arguments)
        .expect("clap judges no value");
    let mut flags = Flags::from_arg_matches(&matches).expect("it has been matched");
    for (variable, value) in variables {
        let same = |flag: &&surface::Flag| flag.variable == *variable;
        let flag = surface::FLAGS.iter().find(same).expect(variable);
        if flag.found(&matches).is_none() {
            let place = Place::Variable((*variable).to_owned());
            flags.note(flag, place, vec![(*value).to_owned()]);
        }
    }
    flags
}

fn parse(flags: &Flags, file: Option<&str>) -> Result<Config, Vec<String>> {
    let written = file.map_or(Written::Nothing, |text| {
        Written::Text(Path::new("gate.toml"), text)
    });
    assemble(flags, written).map_err(|problems| {
        let problems = problems.0.iter();
        problems.map(ToString::to_string).collect()
    })
}

/// What is wrong with these flags and variables.
fn wrong(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    parse(&flags(arguments, variables), None).expect_err("there is a problem")
}

/// What is wrong with this file.
fn wrong_file(text: &str) -> Vec<String> {
    parse(&Flags::default(), Some(text)).expect_err("there is a problem")
}

/// The configuration of a file in which nothing is wrong.
fn good_file(text: &str) -> Config {
    parse(&Flags::default(), Some(text)).expect("nothing is wrong")
}

/// The configuration of flags and variables in which nothing is wrong, with one allow rule more.
fn good(arguments: &[&str], variables: &[(&str, &str)]) -> Config {
    let arguments: Vec<_> = ["--allow-dns", "prometheus.test"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    parse(&flags(&arguments, variables), None).expect("nothing is wrong")
}
