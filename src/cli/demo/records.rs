//! The gate's log lines in, its records in a form for people out.
//!
//! Its own file because this is the only place that reads what the gate writes. Shows fields as they are and makes up
//! none.

use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver};

use crate::config::{Chosen, Log, LogFormat, LogLevel};
use crate::event::Outcome;
use crate::telemetry::log;

/// Lines that wait to be shown; the gate never waits for this, so more are lost.
const WAITING: usize = 256;
/// The fields of a record that are shown, in this order, each by the name it has in the log.
const FIELDS: [&str; 12] = [
    "outcome",
    "reason",
    "source",
    "names",
    "serial",
    "rule",
    "tls_version",
    "cipher",
    "group",
    "bytes_to_target",
    "bytes_from_target",
    "duration_ms",
];

/// How the gate of a demo logs.
pub(super) const LOG: Log = Log {
    format: Chosen::written(LogFormat::Json),
    level: LogLevel::Info,
};

/// Takes the log of this process, from now on.
pub(super) fn take() -> Receiver<Entry> {
    let (sender, receiver) = mpsc::channel(WAITING);
    log::start_into(LOG, move |line| {
        if let Some(entry) = Entry::read(line) {
            sender.try_send(entry).ok();
        }
    });
    receiver
}

/// Something the gate logged that is worth a look.
#[derive(Debug)]
pub(super) enum Entry {
    /// A connection has ended.
    Connection(Record),
    /// A warning or an error.
    Warning(String),
}

/// The fields of one connection record.
#[derive(Debug)]
pub(super) struct Record(Value);

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let fields: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        match (text("event")?, text("level")?) {
            ("connection", _) => Some(Self::Connection(Record(fields))),
            (_, "WARN" | "ERROR") => Some(Self::Warning(line.trim_end().to_owned())),
            (_, _) => None,
        }
    }
}

impl Record {
    /// How the connection ended.
    pub(super) fn outcome(&self) -> String {
        self.field("outcome").unwrap_or_default()
    }

    /// The fields that are there, and what they say.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let fields = FIELDS.iter();
        fields
            .filter_map(|name| Some((*name, self.field(name)?)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// The record in a sentence: `03:17:02 relayed, from 127.0.0.1:4711, dns:a, …`.
    pub(super) fn sentence(&self) -> String {
        let field = |name| self.field(name).unwrap_or_default();
        let time = field("time");
        let time = time.split_once('T').map_or("", |(_, time)| time);
        let mut parts = vec![
            format!("{} {}", time.get(..8).unwrap_or_default(), field("outcome")),
            format!("from {}", field("source")),
        ];
        // Why a connection that was let in ended well needs no words.
        if field("outcome") != Outcome::Relayed.as_str() {
            parts.push(field("reason"));
        }
        parts.push(field("names"));
        let (to, from) = (field("bytes_to_target"), field("bytes_from_target"));
        parts.push(format!("{to} bytes in, {from} out"));
        parts.push(format!("{} ms", field("duration_ms")));
        parts.retain(|part| !part.is_empty());
        parts.join(", ")
    }

    fn field(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Array(values) => {
                let texts = values.iter().filter_map(Value::as_str);
                Some(texts.collect::<Vec<_>>().join(", "))
            }
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                Some(value.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_field_by_field_and_nothing_else_is() {
        let line = r#"{"time":"2026-11-23T03:17:02.345Z","level":"INFO","event":"connection","route":"default",
            "source":"127.0.0.1:4711","outcome":"relayed","reason":"","names":["dns:a","uri:b"],"rule":"dns:a",
            "bytes_to_target":83,"bytes_from_target":812,"duration_ms":4,"generation":1}"#;
        let Some(Entry::Connection(record)) = Entry::read(line) else {
            panic!("it is one");
        };
        assert_eq!(record.outcome(), "relayed");
        let facts = record.facts();
        let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "outcome",
                "source",
                "names",
                "rule",
                "bytes_to_target",
                "bytes_from_target",
                "duration_ms"
            ]
        );
        assert_eq!(facts[2].1, "dns:a, uri:b");
        assert_eq!(
            record.sentence(),
            "03:17:02 relayed, from 127.0.0.1:4711, dns:a, uri:b, 83 bytes in, 812 out, 4 ms"
        );
    }

    #[test]
    fn warnings_are_shown_and_routine_is_not() {
        let line = |level: &str| format!(r#"{{"time":"","level":"{level}","event":"listening"}}"#);
        assert!(matches!(
            Entry::read(&line("WARN")),
            Some(Entry::Warning(_))
        ));
        assert!(Entry::read(&line("INFO")).is_none());
        assert!(Entry::read("not a record").is_none());
    }
}
