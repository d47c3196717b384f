//! What was measured, and how it is shown: a line while it runs, tables in Markdown, everything in JSON.

use serde_json::{Value, json};

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
    pub(crate) rows: Vec<Row>,
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
}

impl Metric {
    pub(crate) fn new(name: &str, title: &str, unit: &'static str, better: Better) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            better,
            rows: Vec::new(),
        }
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

    fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }

    /// The first relay of the run over this one: the median of the ratios round by round, since a busy moment of the
    /// machine meets both.
    fn ratio(&self, row: &Row) -> f64 {
        let first = self.rows.first().map_or(&[][..], |first| &first.rounds);
        let ratios = first
            .iter()
            .zip(&row.rounds)
            .map(|(first, this)| first / this);
        median(ratios.collect())
    }

    /// A table of this metric alone.
    pub(crate) fn table(&self) -> String {
        let better = match self.better {
            Better::Lower => "lower is better",
            Better::Higher => "higher is better",
        };
        let first = self.rows.first().map_or("", |row| &row.label);
        let mut out = format!(
            "**{}**, {}, {better}\n\n| | median | least to most | rounds | {first} ÷ this |\n| --- | ---: | ---: | ---: | ---: |\n",
            self.title, self.unit
        );
        for row in &self.rows {
            let cells = [
                row.label.clone(),
                short(row.median()),
                format!("{} to {}", short(row.least()), short(row.most())),
                row.rounds.len().to_string(),
                format!("{:.2}", self.ratio(row)),
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
            "better": if self.better == Better::Lower { "lower" } else { "higher" },
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

/// One table of the medians of these relays, a column for each thing that was measured of the first.
pub(crate) fn summary(metrics: &[Metric], labels: &[&str]) -> String {
    let columns: Vec<_> = metrics
        .iter()
        .filter(|metric| {
            labels
                .first()
                .is_some_and(|first| metric.row(first).is_some())
        })
        .collect();
    let heads: Vec<_> = columns
        .iter()
        .map(|metric| format!("{}, {}", metric.title, metric.unit))
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

/// Three digits that count, and no more than a reader needs.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
