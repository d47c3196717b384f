//! One setting as a source has it: unset, refused, or a value with its place.
//!
//! Flags, file and defaults are all a [`Source`] and are read by the same [`Reader`], so that no setting can be parsed
//! in two ways. Every problem is noted and reading goes on; what settings there are is told in `settings`.

use super::surface::{self, Shape};
use super::{Located, Place, Problem, value};
use crate::policy::{InvalidRule, Rule};

/// What a source says about one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting<T> {
    /// Nothing; the next source is asked.
    Unset,
    /// Something unusable, and a problem has been noted: neither asked elsewhere nor reported again as missing.
    Refused,
    /// This.
    Set(Located<T>),
}

impl<T> Setting<T> {
    /// This, unless it is unset: then the source below decides.
    pub(super) fn over(self, below: Self) -> Self {
        match self {
            Self::Unset => below,
            Self::Refused | Self::Set(_) => self,
        }
    }

    /// The value, if it is usable.
    pub(super) fn located(self) -> Option<Located<T>> {
        match self {
            Self::Set(located) => Some(located),
            Self::Unset | Self::Refused => None,
        }
    }

    /// The value without its place, if it is usable.
    pub(super) fn value(self) -> Option<T> {
        self.located().map(|located| located.value)
    }

    /// As [`Self::located`], to look at.
    pub(super) fn written(&self) -> Option<&Located<T>> {
        match self {
            Self::Set(located) => Some(located),
            Self::Unset | Self::Refused => None,
        }
    }

    /// Where the usable value stands.
    pub(super) fn place(&self) -> Option<&Place> {
        self.written().map(|located| &located.place)
    }

    /// True if a problem has been noted.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }
}

impl Setting<String> {
    /// Parses the text; a problem is noted with its place.
    pub(super) fn parse<T>(
        self,
        parser: impl Fn(&str) -> Result<T, String>,
        problems: &mut Vec<Problem>,
    ) -> Setting<T> {
        match self {
            Self::Unset => Setting::Unset,
            Self::Refused => Setting::Refused,
            Self::Set(written) => match parse_one(written, parser) {
                Ok(located) => Setting::Set(located),
                Err(problem) => {
                    problems.push(problem);
                    Setting::Refused
                }
            },
        }
    }
}

impl Setting<Vec<Located<String>>> {
    /// Parses each text; one that is refused refuses the whole list, after all have been looked at.
    pub(super) fn parse_each<T>(
        self,
        parser: impl Fn(&str) -> Result<T, String>,
        problems: &mut Vec<Problem>,
    ) -> Setting<Vec<Located<T>>> {
        match self {
            Self::Unset => Setting::Unset,
            Self::Refused => Setting::Refused,
            Self::Set(Located { value, place }) => {
                let known = problems.len();
                let alone = value.len() == 1;
                let mut parsed = Vec::with_capacity(value.len());
                for written in value {
                    if is_empty(&written.value) && !alone {
                        problems.push(Problem {
                            place: written.place,
                            value: None,
                            what: "one entry is empty; take it out or give it a value".to_owned(),
                        });
                        continue;
                    }
                    match parse_one(written, &parser) {
                        Ok(located) => parsed.push(located),
                        Err(problem) => problems.push(problem),
                    }
                }
                if problems.len() > known {
                    return Setting::Refused;
                }
                let value = parsed;
                Setting::Set(Located { value, place })
            }
        }
    }
}

/// Parses one text or says what is wrong with it.
pub(super) fn parse_one<T>(
    written: Located<String>,
    parser: impl Fn(&str) -> Result<T, String>,
) -> Result<Located<T>, Problem> {
    let Located { value: text, place } = written;
    if is_empty(&text) {
        let what = match place {
            Place::File { .. } => "empty; remove it or give a value",
            Place::Flag(_) | Place::Variable(_) | Place::Default(_) => {
                "empty; unset it or give a value"
            }
        };
        return Err(Problem {
            place,
            value: None,
            what: what.to_owned(),
        });
    }
    match parser(&text) {
        Ok(value) => Ok(Located { value, place }),
        Err(what) => Err(Problem {
            place,
            value: Some(value::bounded(&text)),
            what,
        }),
    }
}

fn is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

/// What kind of value a setting takes, for a source that can tell kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    /// Text, or the number 0.
    Duration,
    /// Text, or a number with a point.
    Version,
}

/// Something that settings can be read from, by the name of the flag.
pub(super) trait Source {
    /// The text of a setting that has one value.
    fn one(
        &mut self,
        flag: &'static str,
        kind: Kind,
        problems: &mut Vec<Problem>,
    ) -> Setting<String>;

    /// The texts of a setting that has many.
    fn many(
        &mut self,
        flag: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Setting<Vec<Located<String>>>;
}

/// What holds if nobody wrote anything: the defaults that help shows.
pub(super) struct Defaults;

impl Source for Defaults {
    fn one(&mut self, name: &'static str, _: Kind, _: &mut Vec<Problem>) -> Setting<String> {
        let default = surface::flag(name).and_then(|flag| flag.default);
        default.map_or(Setting::Unset, |text| {
            Setting::Set(Located {
                value: text.to_owned(),
                place: Place::Default(name),
            })
        })
    }

    fn many(
        &mut self,
        name: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Setting<Vec<Located<String>>> {
        debug_assert_eq!(
            surface::flag(name).map(|flag| flag.shape),
            Some(Shape::Many)
        );
        let place = Place::Default(name);
        let one = self.one(name, Kind::Text, problems).located();
        one.map_or(Setting::Unset, |one| {
            Setting::Set(Located {
                value: vec![one],
                place,
            })
        })
    }
}

/// A source and where its problems go.
pub(super) struct Reader<'a, S> {
    source: &'a mut S,
    problems: &'a mut Vec<Problem>,
}

impl<'a, S: Source> Reader<'a, S> {
    pub(super) fn of(source: &'a mut S, problems: &'a mut Vec<Problem>) -> Self {
        Self { source, problems }
    }

    pub(super) fn one<T>(
        &mut self,
        flag: &'static str,
        kind: Kind,
        parser: impl Fn(&str) -> Result<T, String>,
    ) -> Setting<T> {
        self.source
            .one(flag, kind, self.problems)
            .parse(parser, self.problems)
    }

    pub(super) fn many<T>(
        &mut self,
        flag: &'static str,
        parser: impl Fn(&str) -> Result<T, String>,
    ) -> Setting<Vec<Located<T>>> {
        self.source
            .many(flag, self.problems)
            .parse_each(parser, self.problems)
    }

    pub(super) fn rules(
        &mut self,
        flag: &'static str,
        parser: impl Fn(&str) -> Result<Rule, InvalidRule>,
    ) -> Setting<Vec<Located<Rule>>> {
        self.many(flag, |text| parser(text).map_err(|error| error.to_string()))
    }
}
