//! One line of the log: for people, or one flat JSON object. Knows how a line looks, and not where it goes.
//!
//! Text that a stranger chose is escaped before it gets here (`identity`), and both forms escape again whatever could
//! end a line.

use std::fmt;
use std::io::Write as _;
use std::time::SystemTime;

use tracing::Level;

use crate::config::LogFormat;

/// One line under construction.
pub(crate) struct Line {
    format: LogFormat,
    text: Vec<u8>,
}

impl Line {
    pub(crate) fn new(format: LogFormat, level: Level, event: &str) -> Self {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let mut line = Self {
            format,
            text: Vec::with_capacity(512),
        };
        match format {
            LogFormat::Json => {
                line.push(format_args!("{{\"time\":\"{time}\""));
                line.str("level", level.as_str());
                line.str("event", event);
            }
            LogFormat::Text => line.push(format_args!("{time} {:5} {event}", level.as_str())),
        }
        line
    }

    pub(crate) fn str(&mut self, key: &str, value: &str) {
        self.key(key);
        match self.format {
            LogFormat::Json => self.push_json(value),
            LogFormat::Text if is_bare(value) => self.text.extend_from_slice(value.as_bytes()),
            LogFormat::Text => self.push_json(value),
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        self.push(format_args!("{value}"));
    }

    pub(crate) fn list(&mut self, key: &str, values: &[String]) {
        self.key(key);
        self.text.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            self.push_json(value);
        }
        self.text.push(b']');
    }

    /// The whole line, its newline included.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.text.extend_from_slice(match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        });
        self.text
    }

    fn key(&mut self, key: &str) {
        let (before, after): (&[u8], &[u8]) = match self.format {
            LogFormat::Json => (b",\"", b"\":"),
            LogFormat::Text => (b" ", b"="),
        };
        for part in [before, key.as_bytes(), after] {
            self.text.extend_from_slice(part);
        }
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("writing to memory cannot fail");
    }

    fn push_json(&mut self, value: &str) {
        serde_json::to_writer(&mut self.text, value).expect("any text can be JSON");
    }
}

fn is_bare(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"'=\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat) -> String {
        let mut line = Line::new(format, Level::INFO, "connection");
        line.str("reason", "a \"quoted\"\nline");
        line.number("bytes", 3);
        line.list("names", &["dns:a".to_owned(), "uri:b".to_owned()]);
        String::from_utf8(line.text).expect("UTF-8")
    }

    #[test]
    fn json_is_one_flat_object() {
        let text = line(LogFormat::Json) + "}";
        let object: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(object["event"], "connection");
        assert_eq!(object["level"], "INFO");
        assert_eq!(object["reason"], "a \"quoted\"\nline");
        assert_eq!(object["names"][1], "uri:b");
    }

    #[test]
    fn no_value_can_end_a_text_line() {
        let text = line(LogFormat::Text);
        assert!(!text.contains('\n'), "{text}");
        assert!(
            text.contains(r#"reason="a \"quoted\"\nline" bytes=3"#),
            "{text}"
        );
    }
}
