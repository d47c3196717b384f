//! One table of the configuration file as a source of settings that knows the line of each.
//!
//! A key is taken out when it is asked for; what is left at the end is unknown. So the list of known keys is the list
//! of keys that were read, and cannot be forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::{Kind, Setting, Source};
use super::{Located, Place, Problem, surface, value};

/// The text of a file and where its lines start.
pub(super) struct Document<'t> {
    name: Arc<PathBuf>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Document<'t> {
    pub(super) fn new(name: Arc<PathBuf>, text: &'t str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(after_breaks).collect();
        Self { name, text, starts }
    }

    /// The place of a key that stands at this byte.
    pub(super) fn place(&self, key: String, at: usize) -> Place {
        Place::File {
            key,
            file: Arc::clone(&self.name),
            line: self.starts.partition_point(|start| *start <= at),
        }
    }

    /// The line that this byte stands in.
    pub(super) fn line_at(&self, at: usize) -> Option<&'t str> {
        let start = self.starts.iter().rev().find(|start| **start <= at)?;
        self.text.get(*start..)?.lines().next()
    }

    fn excerpt(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let line = self.text.get(value.span())?.lines().next()?;
        Some(value::bounded(line))
    }
}

type Entry<'t> = (usize, &'t Spanned<DeValue<'t>>);

/// A table, less the keys that were asked for.
pub(super) struct Table<'t> {
    document: &'t Document<'t>,
    /// With the tables it stands in; empty for the top level.
    name: String,
    /// Where it starts.
    at: usize,
    left: BTreeMap<&'t str, Entry<'t>>,
    known: Vec<String>,
    /// What a flag's name has before the key.
    prefix: &'static str,
    /// It was no table, which has been noted: no key of it is missing.
    refused: bool,
}

impl<'t> Table<'t> {
    /// The top level.
    pub(super) fn new(document: &'t Document<'t>, entries: &'t DeTable<'t>) -> Self {
        Self {
            left: index(entries),
            ..Self::empty(document, String::new(), 0)
        }
    }

    fn empty(document: &'t Document<'t>, name: String, at: usize) -> Self {
        Self {
            document,
            name,
            at,
            left: BTreeMap::new(),
            known: Vec::new(),
            prefix: "--",
            refused: false,
        }
    }

    /// Where the table starts.
    pub(super) fn place(&self) -> Place {
        self.document.place(self.name.clone(), self.at)
    }

    /// Reads the keys without this prefix of the flags' names.
    pub(super) fn with_prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// A table in this one; an empty one if there is none.
    pub(super) fn table(&mut self, key: &str, problems: &mut Vec<Problem>) -> Self {
        let Some((at, value)) = self.take(key) else {
            let table = Self::empty(self.document, self.key(key), self.at);
            return Self {
                refused: self.refused,
                ..table
            };
        };
        let wanted = || format!("a table is wanted; write {}", table_form(key));
        self.entries(self.key(key), at, value, wanted, problems)
    }

    /// The tables of a list of tables.
    pub(super) fn tables(&mut self, key: &str, problems: &mut Vec<Problem>) -> Vec<Self> {
        let Some((at, value)) = self.take(key) else {
            return Vec::new();
        };
        let wanted = || format!("a list of tables is wanted; write [[{key}]]");
        match value.get_ref().as_array() {
            Some(tables) => tables
                .iter()
                .enumerate()
                .map(|(index, table)| {
                    let name = format!("{}[{index}]", self.key(key));
                    self.entries(name, table.span().start, table, wanted, problems)
                })
                .collect(),
            // Read as if it were the only one, so that its own problems are found too.
            None => {
                let name = self.key(key);
                problems.push(self.wrong_type(name.clone(), at, value, wanted()));
                let mut ignored = Vec::new();
                vec![self.entries(name, at, value, wanted, &mut ignored)]
            }
        }
    }

    fn entries(
        &self,
        name: String,
        at: usize,
        value: &'t Spanned<DeValue<'t>>,
        wanted: impl Fn() -> String,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let table = Self::empty(self.document, name, at);
        match value.get_ref().as_table() {
            Some(entries) => Self {
                left: index(entries),
                ..table
            },
            None => {
                problems.push(self.wrong_type(table.name.clone(), at, value, wanted()));
                Self {
                    refused: true,
                    ..table
                }
            }
        }
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) {
        for (key, (at, _)) in &self.left {
            problems.push(Problem {
                place: self.document.place(self.key(key), *at),
                value: None,
                what: format!("unknown key; {}", self.instead_of(key)),
            });
        }
    }

    fn instead_of(&self, key: &str) -> String {
        const FARTHEST: usize = 2;
        let kinds = ["dns", "uri", "cn", "ou", "spki"];
        if let Some(kind) = key
            .strip_prefix("allow_")
            .filter(|kind| kinds.contains(kind))
        {
            return format!("write {kind} = [\"…\"] into the allow table of a [[route]]");
        }
        if let Some(home) = home(key) {
            return format!("it belongs {home}, move it there");
        }
        let near = self.known.iter().map(|known| (distance(known, key), known));
        match near.min().filter(|(distance, _)| *distance <= FARTHEST) {
            Some((_, nearest)) => format!("did you mean {nearest}?"),
            None => format!("the keys here are {}", self.known.join(", ")),
        }
    }

    fn take(&mut self, key: &str) -> Option<Entry<'t>> {
        self.known.push(key.to_owned());
        self.left.remove(key)
    }

    fn key(&self, key: &str) -> String {
        let key = value::bounded(&key.escape_debug().to_string());
        if self.name.is_empty() {
            key
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn key_of(&self, flag: &str) -> String {
        let name = flag.strip_prefix(self.prefix).unwrap_or(flag);
        name.replace('-', "_")
    }

    fn absent<T>(&self) -> Setting<T> {
        if self.refused {
            Setting::Refused
        } else {
            Setting::Unset
        }
    }

    fn wrong_type(
        &self,
        key: String,
        at: usize,
        value: &Spanned<DeValue<'_>>,
        wanted: String,
    ) -> Problem {
        let found = value.get_ref().type_str();
        Problem {
            place: self.document.place(key, at),
            value: self.document.excerpt(value),
            what: format!("is of type {found}, but {wanted}"),
        }
    }
}

impl Source for Table<'_> {
    fn one(
        &mut self,
        flag: &'static str,
        kind: Kind,
        problems: &mut Vec<Problem>,
    ) -> Setting<String> {
        let key = self.key_of(flag);
        let Some((at, value)) = self.take(&key) else {
            return self.absent();
        };
        let text = match (value.get_ref(), kind) {
            (DeValue::String(text), Kind::Text | Kind::Duration | Kind::Version) => {
                text.as_ref().to_owned()
            }
            (DeValue::Integer(number), Kind::Number | Kind::Duration) => {
                let decimal = i128::from_str_radix(number.as_str(), number.radix());
                decimal.map_or_else(|_| number.to_string(), |decimal| decimal.to_string())
            }
            (DeValue::Float(number), Kind::Version) => number.as_str().to_owned(),
            (DeValue::Boolean(switch), Kind::Switch) => switch.to_string(),
            (_, _) => {
                let wanted = match kind {
                    Kind::Text | Kind::Duration | Kind::Version => {
                        format!("a string is wanted; write {key} = \"…\"")
                    }
                    Kind::Number => {
                        format!("an integer is wanted; write {key} = NUMBER without quotes")
                    }
                    Kind::Switch => {
                        format!("a boolean is wanted; write {key} = true or {key} = false")
                    }
                };
                problems.push(self.wrong_type(self.key(&key), at, value, wanted));
                return Setting::Refused;
            }
        };
        Setting::Set(Located {
            value: text,
            place: self.document.place(self.key(&key), at),
        })
    }

    fn many(
        &mut self,
        flag: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Setting<Vec<Located<String>>> {
        let key = self.key_of(flag);
        let Some((at, value)) = self.take(&key) else {
            return self.absent();
        };
        let name = self.key(&key);
        let Some(array) = value.get_ref().as_array() else {
            let wanted = format!("a list is wanted; write {key} = [\"…\"]");
            problems.push(self.wrong_type(name, at, value, wanted));
            return Setting::Refused;
        };
        let place = self.document.place(name.clone(), at);
        if array.is_empty() {
            problems.push(Problem {
                place,
                value: None,
                what: "empty list; remove it or name at least one".to_owned(),
            });
            return Setting::Refused;
        }
        let mut texts = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let at = element.span().start;
            let name = format!("{name}[{index}]");
            match element.get_ref().as_str() {
                Some(text) => texts.push(Located {
                    value: text.to_owned(),
                    place: self.document.place(name, at),
                }),
                None => {
                    let wanted = "a string is wanted; write \"…\"".to_owned();
                    problems.push(self.wrong_type(name, at, element, wanted));
                }
            }
        }
        // The others are handed on all the same, so that their problems are found too.
        if texts.is_empty() {
            return Setting::Refused;
        }
        Setting::Set(Located {
            value: texts,
            place,
        })
    }
}

fn index<'t>(entries: &'t DeTable<'t>) -> BTreeMap<&'t str, Entry<'t>> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (key.get_ref().as_ref(), (key.span().start, value)))
        .collect()
}

fn table_form(key: &str) -> String {
    match key {
        "allow" => "allow = { dns = [\"…\"] }".to_owned(),
        key => format!("[{key}]"),
    }
}

/// Where a known setting belongs that was found in another table. A setting written below a table's header falls into
/// that table, which is the mistake most often made.
fn home(key: &str) -> Option<&'static str> {
    let same = |flag: &&surface::Flag| {
        flag.name
            .strip_prefix("--")
            .is_some_and(|name| name.replace('-', "_") == key)
    };
    let flag = surface::FLAGS.iter().find(same)?;
    match flag.heading {
        surface::CONFIGURATION => None,
        surface::TLS => Some("in [tls]"),
        surface::ROUTE | surface::ADMISSION => Some("in a [[route]]"),
        _ => Some("at the top level, above the first [table]"),
    }
}

/// How many letters must be inserted, removed or replaced to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut above: Vec<usize> = (0..=other.chars().count()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut left = index + 1;
        let mut row = vec![left];
        for (against, pair) in other.chars().zip(above.windows(2)) {
            let &[diagonal, up] = pair else { continue };
            let replaced = diagonal + usize::from(letter != against);
            left = replaced.min(up + 1).min(left + 1);
            row.push(left);
        }
        above = row;
    }
    above.last().copied().unwrap_or_default()
}
