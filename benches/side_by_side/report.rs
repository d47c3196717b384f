//! What was measured, and how it is shown: a line while it runs, tables in Markdown, everything in JSON.

use serde_json::{Value, json};

use crate::scenarios::SCRAPE;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One thing measured of several relays.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Names its files.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Bytes of the answers, where the same thing is measured with several; all share name and title.
    pub(crate) answer: Option<usize>,
    /// What a heading says beside.
    pub(crate) beside: String,
    pub(crate) rows: Vec<Row>,
}

impl Better {
    fn words(self) -> &'static str {
        match self {
            Self::Lower => "lower is better",
            Self::Higher => "higher is better",
        }
    }
}

/// All rounds of one relay.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) rounds: Vec<f64>,
}

impl Row {
    pub(crate) fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    pub(crate) fn least(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NAN, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NAN, f64::max)
    }

    /// This one over another: the median of the ratios round by round, since a busy moment of the machine meets both. A
    /// difference of noisy values may come out below nothing; nobody is as quick as that, so nobody is compared with it.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        let ratios = rounds.map(|(this, other)| {
            if *other > 0.0 {
                this / other
            } else {
                f64::INFINITY
            }
        });
        median(ratios.collect())
    }
}

impl Metric {
    pub(crate) fn new(name: &str, title: &str, unit: &'static str, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            better,
            answer: None,
            beside: String::new(),
            rows: Vec::new(),
        }
    }

    /// The same, of answers of so many bytes.
    pub(crate) fn of_answer(self, bytes: usize) -> Self {
        Self {
            answer: Some(bytes),
            ..self
        }
    }

    /// The title, and of which answers.
    pub(crate) fn heading(&self) -> String {
        let answer = self.answer.map(|bytes| format!(", {}", size(bytes)));
        format!(
            "{}{}{}",
            self.title,
            answer.unwrap_or_default(),
            self.beside
        )
    }

    /// One more round of a relay.
    pub(crate) fn add(&mut self, label: &str, value: f64) {
        match self.rows.iter_mut().find(|row| row.label == label) {
            Some(row) => row.rounds.push(value),
            None => self.rows.push(Row {
                label: label.to_owned(),
                rounds: vec![value],
            }),
        }
    }

    pub(crate) fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    /// What stands above a picture.
    pub(crate) fn headline(&self) -> String {
        format!("{}, {} ({})", self.title, self.unit, self.better.words())
    }

    /// A table of this metric alone.
    pub(crate) fn table(&self) -> String {
        let better = self.better.words();
        let first = self.rows.first();
        let label = first.map_or("", |row| &row.label);
        let mut out = format!(
            "**{}**, {}, {better}\n\n| | median | least to most | rounds | {label} ÷ this |\n| --- | ---: | ---: | ---: | ---: |\n",
            self.heading(),
            self.unit
        );
        for row in &self.rows {
            let cells = [
                row.label.clone(),
                short(row.median()),
                format!("{} to {}", short(row.least()), short(row.most())),
                row.rounds.len().to_string(),
                format!("{:.2}", first.map_or(f64::NAN, |first| first.ratio(row))),
            ];
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        let row =
            |row: &Row| json!({"label": row.label, "median": row.median(), "rounds": row.rounds});
        json!({
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "answer_bytes": self.answer,
            "better": if self.better == Better::Lower { "lower" } else { "higher" },
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

/// The smallest of these values that so many per cent of them do not pass.
pub(crate) fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// One table of the medians of these relays, a column for each thing that was measured of the first; of several answers,
/// the usual one.
pub(crate) fn summary(metrics: &[Metric], labels: &[&str]) -> String {
    let columns: Vec<_> = metrics
        .iter()
        .filter(|metric| metric.answer.is_none_or(|bytes| bytes == SCRAPE))
        .filter(|metric| {
            labels
                .first()
                .is_some_and(|first| metric.row(first).is_some())
        })
        .collect();
    let heads: Vec<_> = columns
        .iter()
        .map(|metric| format!("{}, {}", metric.heading(), metric.unit))
        .collect();
    let mut out = format!(
        "| | {} |\n| --- |{}\n",
        heads.join(" | "),
        " ---: |".repeat(columns.len())
    );
    for label in labels {
        let cells = columns.iter().map(|metric| metric.row(label));
        let cells: Vec<_> = cells
            .map(|row| row.map_or_else(String::new, |row| short(row.median())))
            .collect();
        out.push_str(&format!("| {label} | {} |\n", cells.join(" | ")));
    }
    out
}

/// Bytes of an answer, for people.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 1_000_000 {
        format!("{} KB", bytes / 1000)
    } else {
        format!("{} MB", bytes / 1_000_000)
    }
}

/// Three digits that count, and no more than a reader needs.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
