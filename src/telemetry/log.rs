//! The log on standard error: lines for people or one flat JSON object each. `demo` alone takes the lines itself.
//!
//! [`Line`] is the only place that knows how a line looks. `tracing` events reach it through [`Layer`], connection
//! records directly, so both look alike. Text that a stranger chose is escaped before it gets here (`identity`), and
//! both forms escape again whatever could end a line.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::config::{Log, LogFormat, LogLevel};

/// Sends every `tracing` event of this process to standard error, from now on. A second call changes nothing.
pub fn start(log: Log) {
    let layer = Layer {
        format: *log.format,
        level: level_filter(log.level),
    };
    // Only a process that embeds several gates (a test) gets here twice; its first log stays.
    let _already_started =
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Takes whole lines, their newline included; must not block.
type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Where lines go instead of standard error.
static SINK: OnceLock<Sink> = OnceLock::new();

/// As [`start`], but hands every line to `sink`: for a command that shows records in a form of its own.
pub fn start_into(log: Log, sink: impl Fn(&str) + Send + Sync + 'static) {
    // As with the log itself, the first one stays.
    let _already_started = SINK.set(Box::new(sink));
    start(log);
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

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

    /// Writes the line in one piece.
    pub(crate) fn emit(mut self) {
        self.text.extend_from_slice(match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        });
        if let Some(sink) = SINK.get() {
            return sink(&String::from_utf8_lossy(&self.text));
        }
        // With standard error gone there is nobody left to tell.
        let _nowhere_to_say_so = std::io::stderr().lock().write_all(&self.text);
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

/// Turns `tracing` events into lines. A field `event` names the event.
struct Layer {
    format: LogFormat,
    level: LevelFilter,
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut name = Name(None);
        event.record(&mut name);
        let mut fields = Fields(Line::new(
            self.format,
            *event.metadata().level(),
            name.0.as_deref().unwrap_or("message"),
        ));
        event.record(&mut fields);
        fields.0.emit();
    }
}

struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "event" {
            self.0.str(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.number(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.str(field.name(), &format!("{value:?}"));
    }
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
