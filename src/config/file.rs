//! The configuration file: text in, the settings of its tables out, and everything that is wrong with it.
//!
//! Walks the parsed document rather than deserialising it, so that an unknown key or a wrong type is noted with its
//! line and reading goes on. Opens the file that `--config` names and no other.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::setting::{Kind, Reader, Source as _};
use super::settings::{AllowSettings, RouteSettings, SharedSettings, TlsSettings};
use super::table::{Document, Table};
use super::{Located, Problem, value};

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
    read_bounded(Path::new(&written.value)).map_err(|error| {
        problem(format!(
            "cannot be read: {error}; check the path and the mount"
        ))
    })
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    // Ten thousand rules fit many times; a device or a log named by mistake does not fill the memory.
    const LARGEST: u64 = 16 << 20;
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(std::io::Error::other(format!(
            "larger than {LARGEST} bytes"
        )));
    }
    Ok(text)
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
