//! Facts in, calm aligned text within 80 columns out.
//!
//! Its own file so that `check` and `explain` say the same fact in the same form. Breaks lines between words only: a
//! path or a pin stays whole, so that it can be copied. Does no IO.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::UnixTime;

use crate::identity::Validity;
use crate::identity::rfc3339;

/// How wide text for people is.
pub(super) const COLUMNS: usize = 80;
/// The column of values.
const LABEL: usize = 12;
/// The most values that stand below one label.
const VALUES: usize = 16;
const DAY: u64 = 24 * 60 * 60;

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Sheet(String);

impl Sheet {
    /// Begins a part, apart from what stands above.
    pub(super) fn heading(&mut self, text: &str) {
        self.gap();
        self.lines(&wrapped("", 2, text));
    }

    /// Leaves a line empty, but not at the top.
    pub(super) fn gap(&mut self) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
    }

    /// A fact of the part.
    pub(super) fn fact(&mut self, label: &str, value: impl Display) {
        let first = format!("  {label:width$}", width = LABEL - 2);
        self.lines(&wrapped(&first, LABEL, &value.to_string()));
    }

    /// A fact with several values, each on a line; of many, the first ones and how many more there are.
    pub(super) fn list(&mut self, label: &str, values: impl IntoIterator<Item: Display>) {
        let mut label = label;
        let mut values = values.into_iter();
        for value in values.by_ref().take(VALUES) {
            self.fact(label, value);
            label = "";
        }
        match values.count() {
            0 => {}
            more => self.fact("", format_args!("…and {more} more")),
        }
    }

    /// A sentence or two of a list of such.
    pub(super) fn item(&mut self, text: &str) {
        self.lines(&wrapped("  - ", 4, text));
    }

    /// A sentence of its own.
    pub(super) fn sentence(&mut self, text: &str) {
        self.lines(&wrapped("", 0, text));
    }

    /// Writes the page to standard output.
    ///
    /// # Errors
    /// If it cannot be written; a reader that has seen enough (`| head`) is none.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        match io::stdout().write_all(self.0.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output"),
        }
    }

    /// The page so far.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn lines(&mut self, lines: &[String]) {
        for line in lines {
            writeln!(self.0, "{line}").expect("writing to a String cannot fail");
        }
    }
}

/// Text in lines of at most 80 columns, if its words are short enough: the first begins with `first`, the others with
/// so many spaces.
pub(super) fn wrapped(first: &str, hanging: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let width = line.chars().count() + usize::from(!empty) + word.chars().count();
        if !empty && width > COLUMNS {
            lines.push(std::mem::replace(&mut line, " ".repeat(hanging)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// When something ends and how long that is from now.
pub(super) fn expiry(validity: Validity, now: UnixTime) -> String {
    let not_after = validity.not_after;
    let left = not_after.as_secs().saturating_sub(now.as_secs());
    let when = match left {
        0 if not_after < now => "past".to_owned(),
        0..DAY => format!(
            "in {}",
            humantime::format_duration(Duration::from_secs(left / 60 * 60))
        ),
        _ => counted(left / DAY, "in", "day"),
    };
    format!("{} ({when})", rfc3339(not_after))
}

/// `1 certificate`, `2 certificates`, after a word if there is one.
pub(super) fn counted(number: u64, before: &str, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    let before = if before.is_empty() {
        String::new()
    } else {
        format!("{before} ")
    };
    format!("{before}{number} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_stand_below_each_other() {
        let mut sheet = Sheet::default();
        sheet.heading("Server certificate");
        sheet.fact("subject", "CN=server");
        sheet.list("names", ["dns:a", "dns:b"]);
        sheet.list("admits", (0..18).map(|number| format!("dns:{number}")));
        let lines: Vec<_> = sheet.text().lines().collect();
        assert_eq!(
            lines[..4],
            [
                "Server certificate",
                "  subject   CN=server",
                "  names     dns:a",
                "            dns:b",
            ]
        );
        assert_eq!(lines.last(), Some(&"            …and 2 more"));
    }

    #[test]
    fn the_time_left_is_told_in_days_and_below_a_day_in_hours() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let validity = Validity {
            not_before: at(0),
            not_after: at(10 * DAY),
        };
        for (now, left) in [
            (0, "(in 10 days)"),
            (9 * DAY, "(in 1 day)"),
            (9 * DAY + 1, "(in 23h 59m)"),
            (10 * DAY + 1, "(past)"),
        ] {
            let text = expiry(validity, at(now));
            assert_eq!(text, format!("1970-01-11T00:00:00Z {left}"));
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_line_too_long(words in prop::collection::vec("[a-zé]{1,30}", 0..40)) {
            let lines = wrapped("  - ", 4, &words.join(" "));
            for line in &lines {
                prop_assert!(line.chars().count() <= COLUMNS, "{line:?}");
            }
            let text = lines.join(" ");
            let back: Vec<_> = text.split_whitespace().skip(1).collect();
            prop_assert_eq!(back, words);
        }
    }
}
