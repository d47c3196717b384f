//! The command line and the environment as text, each value with the flag or the variable it came from.
//!
//! clap finds the values and lets a flag win over its variable; it judges none of them, so that one bad value does not
//! hide the next. Which flags there are stands in `surface`.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::setting::{Kind, Setting, Source};
use super::surface::{self, FLAGS, Flag, Shape};
use super::{Located, Place, Problem};

/// Every flag of `serve`, as written on the command line or in the environment.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    written: BTreeMap<&'static str, Located<Vec<Located<String>>>>,
}

impl Flags {
    /// The file that `--config` names.
    pub fn config(&self) -> Option<&Located<String>> {
        self.written.get("--config")?.value.first()
    }

    pub(super) fn note(&mut self, flag: &'static Flag, place: Place, values: Vec<String>) {
        let values = match (&place, flag.shape) {
            (Place::Variable(_), Shape::Many) => values
                .iter()
                .flat_map(|list| list.split(','))
                .map(|value| value.trim().to_owned())
                .collect(),
            (_, _) => values,
        };
        let located = |value| Located {
            value,
            place: place.clone(),
        };
        let value = values.into_iter().map(located).collect();
        self.written.insert(flag.name, Located { value, place });
    }
}

impl Source for Flags {
    fn one(&mut self, flag: &'static str, _: Kind, _: &mut Vec<Problem>) -> Setting<String> {
        let written = self.written.get(flag).and_then(|list| list.value.first());
        written.cloned().map_or(Setting::Unset, Setting::Set)
    }

    fn many(&mut self, flag: &'static str, _: &mut Vec<Problem>) -> Setting<Vec<Located<String>>> {
        let written = self.written.get(flag);
        written.cloned().map_or(Setting::Unset, Setting::Set)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in FLAGS {
            if let Some((place, values)) = flag.found(matches) {
                self.note(flag, place, values);
            }
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        FLAGS
            .iter()
            .fold(command, |command, flag| command.arg(flag.arg()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Only `--admin`, for a command that asks the admin listener; its default if nobody wrote it.
#[derive(Debug, Clone)]
pub struct AdminFlag(pub Located<String>);

const ADMIN: &Flag = &surface::ADMIN;

impl FromArgMatches for AdminFlag {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let default = || {
            let value = ADMIN.default.unwrap_or_default().to_owned();
            (Place::Default(ADMIN.name), vec![value])
        };
        let (place, values) = ADMIN.found(matches).unwrap_or_else(default);
        let value = values.into_iter().next().unwrap_or_default();
        Ok(Self(Located { value, place }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AdminFlag {
    fn augment_args(command: Command) -> Command {
        command.arg(
            ADMIN
                .arg()
                .help_heading(None::<&str>)
                .help("The gate's admin listener"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Flag {
    /// The flag for a command that takes it.
    pub fn arg(&'static self) -> Arg {
        let arg = Arg::new(self.name)
            .long(self.long())
            .env(self.variable)
            .hide_env_values(true)
            .value_name(self.value)
            .help_heading(self.heading)
            .help(self.help)
            .action(match self.shape {
                Shape::One | Shape::Switch => ArgAction::Set,
                Shape::Many => ArgAction::Append,
            });
        let arg = match self.shape {
            Shape::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
            // Else a negative number would be taken for a flag and hide what else is wrong.
            Shape::One | Shape::Many => arg.allow_negative_numbers(true),
        };
        match self.default {
            Some(default) => arg.default_value(default),
            None => arg,
        }
    }

    /// What was written for this flag and where; nothing if the default holds.
    pub fn found(&self, matches: &ArgMatches) -> Option<(Place, Vec<String>)> {
        let source = matches.value_source(self.name)?;
        let place = if source == ValueSource::CommandLine {
            Place::Flag(self.name)
        } else if source == ValueSource::EnvVariable {
            Place::Variable(self.variable.to_owned())
        } else {
            return None;
        };
        let values = matches.get_many::<String>(self.name)?;
        Some((place, values.cloned().collect()))
    }

    fn long(&'static self) -> &'static str {
        self.name.trim_start_matches('-')
    }
}
