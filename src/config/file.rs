//! The configuration file: text in, the settings of its tables out, and everything that is wrong with it.
//!
//! Walks the parsed document rather than deserialising it, so that an unknown key or a wrong type is noted with its
//! line and reading goes on. Opens the file that `--config` names and no other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::setting::{Kind, Reader, Source as _};
use super::settings::{AllowSettings, RouteSettings, SharedSettings, TlsSettings};
use super::table::{Document, Table};
use super::{Located, Problem, value};
use crate::file;

/// Ten thousand rules fit many times; a log named by mistake does not fill the memory.
const LARGEST: u64 = 16 << 20;

/// What a file says.
#[derive(Debug)]
pub(super) struct File {
    pub(super) tls: TlsSettings,
    pub(super) shared: SharedSettings,
    /// Each with the place of its table.
    pub(super) routes: Vec<Located<RouteSettings>>,
}

/// Reads the file that `--config` names.
pub(super) fn read(written: &Located<String>) -> Result<String, Problem> {
    let problem = |what: String| Problem {
        place: written.place.clone(),
        value: Some(value::bounded(&written.value)),
        what,
    };
    if written.value.trim().is_empty() {
        let what = "empty; unset it or name a file".to_owned();
        return Err(Problem {
            value: None,
            ..problem(what)
        });
    }
    let mut bytes = file::read(Path::new(&written.value), LARGEST)
        .map_err(|unreadable| problem(unreadable.to_string()))?;
    String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(valid);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        problem(format!("line {line} is not UTF-8; write the file as UTF-8"))
    })
}

/// Parses the text of a file; `None` if it is not TOML at all.
pub(super) fn parse(name: &Path, text: &str, problems: &mut Vec<Problem>) -> Option<File> {
    let document = Document::new(Arc::new(PathBuf::from(name)), text);
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            problems.push(Problem {
                place: document.place(String::new(), start),
                value: document.line_at(start).map(value::bounded),
                what: format!("not TOML: {}; mend this line", error.message()),
            });
            return None;
        }
    };
    let mut root = Table::new(&document, root.get_ref());
    let mut tls = root.table("tls", problems);
    let settings = TlsSettings::read(Reader::of(&mut tls, problems));
    tls.finish(problems);
    let shared = SharedSettings::read(Reader::of(&mut root, problems));
    let routes = root.tables("route", problems);
    let routes = routes.into_iter().map(|table| route(table, problems));
    let routes = routes.collect();
    root.finish(problems);
    Some(File {
        tls: settings,
        shared,
        routes,
    })
}

fn route(mut table: Table<'_>, problems: &mut Vec<Problem>) -> Located<RouteSettings> {
    let name = table
        .one("--name", Kind::Text, problems)
        .parse(value::route_name, problems);
    let mut allow = table.table("allow", problems).with_prefix("--allow-");
    let rules = AllowSettings::read(Reader::of(&mut allow, problems));
    allow.finish(problems);
    let from = Reader::of(&mut table, problems);
    let route = RouteSettings::read(from, name, rules);
    let place = table.place();
    table.finish(problems);
    Located {
        value: route,
        place,
    }
}
