//! Lines for people, with colour where it helps and is wanted.
//!
//! Its own file so that the story need not think about terminals. Every line is written at once: what is on the screen
//! has happened.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::sheet::wrapped;

/// The column of values.
const LABEL: usize = 23;

/// Where the story is told.
pub(super) struct Show<W> {
    to: W,
    colour: bool,
}

/// What a text is to stand out as; SGR parameters of ECMA-48.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Strong = 1,
    Good = 32,
    Bad = 31,
}

impl Show<io::Stdout> {
    /// On standard output; in colour if that is a terminal, and `NO_COLOR` is not set (no-color.org).
    pub(super) fn on_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            to: io::stdout(),
            colour: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
        }
    }
}

impl<W: Write> Show<W> {
    /// A line as it is.
    pub(super) fn line(&mut self, line: impl Display) -> anyhow::Result<()> {
        let written = writeln!(self.to, "{line}").and_then(|()| self.to.flush());
        written.context("cannot write to standard output")
    }

    /// The beginning of a part, apart from what stands above.
    pub(super) fn heading(&mut self, text: &str) -> anyhow::Result<()> {
        let text = self.toned(Tone::Strong, text);
        self.line(format_args!("\n{text}"))
    }

    /// Sentences, in lines of 80 columns.
    pub(super) fn text(&mut self, indent: usize, text: &str) -> anyhow::Result<()> {
        self.all(&wrapped(&" ".repeat(indent), indent, text))
    }

    /// A sentence whose further lines stand further in.
    pub(super) fn item(&mut self, hanging: usize, text: &str) -> anyhow::Result<()> {
        self.all(&wrapped("", hanging, text))
    }

    /// A label and its value.
    pub(super) fn fact(&mut self, label: &str, value: impl Display) -> anyhow::Result<()> {
        let first = format!("   {label:width$} ", width = LABEL - 4);
        self.all(&wrapped(&first, LABEL, &value.to_string()))
    }

    /// How a part ended.
    pub(super) fn verdict(&mut self, good: bool, text: &str) -> anyhow::Result<()> {
        let (tone, mark) = match good {
            true => (Tone::Good, "[ok]"),
            false => (Tone::Bad, "[not as it must]"),
        };
        let first = format!("   {mark} ");
        let hanging = first.len();
        for line in wrapped(&first, hanging, text) {
            let line = self.toned(tone, &line);
            self.line(line)?;
        }
        Ok(())
    }

    fn all(&mut self, lines: &[String]) -> anyhow::Result<()> {
        lines.iter().try_for_each(|line| self.line(line))
    }

    fn toned(&self, tone: Tone, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", tone as u8),
            false => text.to_owned(),
        }
    }
}

/// A measured time as people read it: `4.2 ms`, `1.25 s`.
pub(super) fn took(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..1000.0 => format!("{millis:.1} ms"),
        _ => format!("{:.2} s", millis / 1000.0),
    }
}

/// A word of a shell command that means the same when it is pasted.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(colour: bool) -> String {
        let mut show = Show {
            to: Vec::new(),
            colour,
        };
        show.heading("A part").expect("memory");
        show.fact("outcome", "relayed").expect("memory");
        show.verdict(true, "as it must be").expect("memory");
        String::from_utf8(show.to).expect("text")
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(
            shown(false),
            "\nA part\n   outcome             relayed\n   [ok] as it must be\n"
        );
        assert_eq!(
            shown(true),
            "\n\x1b[1mA part\x1b[0m\n   outcome             relayed\n\x1b[32m   [ok] as it must be\x1b[0m\n"
        );
    }

    #[test]
    fn words_mean_the_same_when_pasted() {
        for (word, pasted) in [
            (
                "/tmp/portcullis-demo-1/ca.crt",
                "/tmp/portcullis-demo-1/ca.crt",
            ),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), pasted);
        }
    }

    #[test]
    fn times_are_rounded_for_people() {
        assert_eq!(took(Duration::from_micros(4210)), "4.2 ms");
        assert_eq!(took(Duration::from_millis(1250)), "1.25 s");
    }
}
