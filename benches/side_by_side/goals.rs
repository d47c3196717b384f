//! What the gate is held to, and whether this run shows it.

use crate::kept;
use crate::relays::{Kind, Subject};
use crate::report::{Metric, Row};
use crate::scenarios::SCRAPE;

/// A metric, and the most that it may be: a share of somebody else's, or so much in its own unit.
struct Goal {
    metric: &'static str,
    answer: Option<usize>,
    most: f64,
    of: Of,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The peer with the lowest median.
    BestPeer,
    Envoy,
    Nobody,
}

const fn goal(metric: &'static str, answer: Option<usize>, most: f64, of: Of) -> Goal {
    Goal {
        metric,
        answer,
        most,
        of,
    }
}

const GOALS: [Goal; 9] = [
    goal(kept::P50, Some(SCRAPE), 0.75, Of::BestPeer),
    goal(kept::P99, Some(SCRAPE), 0.75, Of::BestPeer),
    goal(kept::FIRST, Some(SCRAPE), 1.0, Of::BestPeer),
    goal(kept::CPU, Some(SCRAPE), 0.75, Of::Envoy),
    goal(kept::CPU_OF_FOUR, Some(SCRAPE), 0.65, Of::Envoy),
    goal("bulk-down", None, 0.80, Of::Envoy),
    goal("bulk-up", None, 0.80, Of::Envoy),
    goal("handshake", None, 0.60, Of::Envoy),
    // 7.0, rounded.
    goal("idle-all", None, 7.05, Of::Nobody),
];

/// A line for each goal and gate; a goal that this run cannot judge has none.
pub(crate) fn table(metrics: &[Metric], subjects: &[Subject]) -> String {
    let kind = |row: &Row| {
        let subject = subjects.iter().find(|subject| subject.label == row.label);
        subject.map(|subject| subject.kind)
    };
    let mut lines = String::new();
    for goal in &GOALS {
        let of_goal = |metric: &&Metric| metric.name == goal.metric && metric.answer == goal.answer;
        let Some(metric) = metrics.iter().find(of_goal) else {
            continue;
        };
        let peer = match goal.of {
            Of::BestPeer => {
                let rows = metric.rows.iter();
                rows.filter(|row| !matches!(kind(row), None | Some(Kind::Gate | Kind::Floor)))
                    .min_by(|one, other| one.median().total_cmp(&other.median()))
            }
            Of::Envoy => metric.row(Kind::Envoy.name()),
            Of::Nobody => None,
        };
        if peer.is_none() && goal.of != Of::Nobody {
            continue;
        }
        let unit = peer.map_or_else(
            || metric.unit.to_owned(),
            |peer| format!("× {}", peer.label),
        );
        for gate in &metric.rows {
            if kind(gate) != Some(Kind::Gate) {
                continue;
            }
            let measured = peer.map_or_else(|| gate.median(), |peer| gate.ratio(peer));
            let verdict = if measured <= goal.most {
                "reached"
            } else {
                "not reached"
            };
            lines.push_str(&format!(
                "| {} | {} | {:.2} {unit} | {measured:.2} | {verdict} |\n",
                gate.label,
                metric.heading(),
                goal.most
            ));
        }
    }
    if lines.is_empty() {
        return lines;
    }
    format!("| | goal | at most | measured | |\n| --- | --- | ---: | ---: | --- |\n{lines}")
}
