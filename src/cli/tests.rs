//! The command line as it is typed: help that can be read, and an end for every mistake.

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::config::surface;

fn help(arguments: &[&str]) -> String {
    let arguments = ["portcullis"].iter().chain(arguments);
    Cli::try_parse_from(arguments)
        .expect_err("help is shown instead")
        .to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_eighty_columns() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["demo", "--help"],
        &["check", "--help"],
        &["explain", "--help"],
        &["probe", "--help"],
    ] {
        for line in help(command).lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
    }
}

/// What a command and those below it print after their flags.
fn examples(command: &clap::Command, found: &mut Vec<String>) {
    found.extend(command.get_after_long_help().map(ToString::to_string));
    for command in command.get_subcommands() {
        examples(command, found);
    }
}

#[test]
fn no_example_is_broken_in_the_middle_of_a_command() {
    let mut found = Vec::new();
    examples(&Cli::command(), &mut found);
    assert!(found.len() > 8, "{found:?}");
    for line in found.iter().flat_map(|text| text.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn help_can_be_asked_for_as_a_command() {
    for (one, other) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "check"], &["check", "--help"]),
        (&["help", "pki", "issue"], &["pki", "issue", "--help"]),
    ] {
        assert_eq!(help(one), help(other), "{one:?}");
    }
}

#[test]
fn help_of_serve_names_every_setting_with_variable_and_default() {
    let help = help(&["serve", "--help"]);
    for flag in surface::FLAGS {
        assert!(help.contains(flag.name), "{}", flag.name);
        assert!(
            help.contains(&format!("[env: {}]", flag.variable)),
            "{}",
            flag.variable
        );
        assert!(
            help.contains(&format!("{}:\n", flag.heading)),
            "{}",
            flag.heading
        );
        if let Some(default) = flag.default {
            assert!(help.contains(&format!("[default: {default}]")), "{default}");
        }
    }
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    for arguments in [
        &["portcullis"][..],
        &["portcullis", "sevre"],
        &["portcullis", "serve", "--lisen", "x"],
        &["portcullis", "serve", "x"],
        &["portcullis", "serve", "--listen", "a", "--listen", "b"],
        &["portcullis", "probe", "--live", "--ready"],
        &["portcullis", "probe", "--config", "x"],
    ] {
        let error = Cli::try_parse_from(arguments).expect_err("it is refused");
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
    let version =
        Cli::try_parse_from(["portcullis", "--version"]).expect_err("it is shown instead");
    assert_eq!(version.exit_code(), 0);
}

#[test]
fn every_problem_is_told_with_its_flag() {
    let cli = Cli::try_parse_from(["portcullis", "serve", "--threads=0", "--tls-min=1"]);
    let failure = run(cli.expect("it is well formed")).expect_err("the values are bad");
    let problems = failure.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems.iter().all(|problem| problem.starts_with("--")),
        "{problems:?}"
    );
    assert_eq!(failure.exit_code(), 2);
}
