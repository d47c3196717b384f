//! One thing measured with answers of several sizes, as a line for each relay, in SVG; both axes are logarithmic.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::{
    Color as _, IntoDrawingArea as _, PathElement, SVGBackend, ShapeStyle, Text, WHITE,
};
use plotters::style::{BLACK, IntoFont as _};

use crate::plot::{OURS, THEIRS, WIDTH};
use crate::report::{Metric, short, size};

const HEIGHT: u32 = 420;
const TOP: i32 = 56;
const BOTTOM: i32 = 380;
const LEFT: i32 = 80;
const RIGHT: i32 = 540;
/// Room for a label.
const LINE: i32 = 18;

/// Draws the medians; lines whose label is in `ours` stand out. All metrics have the same relays.
pub(crate) fn draw(sizes: &[Metric], ours: &[String], path: &Path) -> Result<()> {
    let (first, last) = (sizes.first(), sizes.last());
    let (first, last) = first.zip(last).context("nothing was measured")?;
    let fail = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| fail(&error))?;
    let write = |text: String, x: i32, y: i32, size: i32| {
        let text = Text::new(text, (x, y), ("sans-serif", size).into_font());
        area.draw(&text).map_err(|error| fail(&error))
    };
    let line = |points: Vec<(i32, i32)>, style: ShapeStyle| {
        let line = PathElement::new(points, style);
        area.draw(&line).map_err(|error| fail(&error))
    };
    write(first.headline(), 12, 12, 19)?;

    let bytes = |metric: &Metric| metric.answer.unwrap_or(1);
    let medians = || {
        let rows = sizes.iter().flat_map(|metric| &metric.rows);
        rows.map(|row| row.median().max(1.0))
    };
    let across = Axis::new(bytes(first) as f64, bytes(last) as f64, LEFT, RIGHT);
    let lowest = 10_f64.powf(medians().fold(f64::MAX, f64::min).log10().floor());
    let highest = medians().fold(lowest * 10.0, f64::max);
    let upwards = Axis::new(lowest, highest, BOTTOM, TOP);
    let mut tick = lowest;
    while tick <= highest {
        let y = upwards.at(tick);
        line(vec![(LEFT, y), (RIGHT, y)], THEIRS.stroke_width(1))?;
        write(format!("{tick}"), 12, y - 8, 14)?;
        tick *= 10.0;
    }
    for metric in sizes {
        let x = across.at(bytes(metric) as f64);
        line(vec![(x, TOP), (x, BOTTOM)], THEIRS.stroke_width(1))?;
        write(size(bytes(metric)), x - 20, BOTTOM + 8, 14)?;
    }

    // From the top down, so that labels which would lie on each other move down.
    let mut rows: Vec<_> = last.rows.iter().collect();
    rows.sort_by(|one, other| other.median().total_cmp(&one.median()));
    let mut free = TOP - LINE;
    for row in rows {
        let of_row = sizes.iter().filter_map(|metric| {
            let median = metric.row(&row.label)?.median().max(1.0);
            Some((across.at(bytes(metric) as f64), upwards.at(median)))
        });
        let style = if ours.contains(&row.label) {
            OURS.stroke_width(3)
        } else {
            BLACK.mix(0.45).stroke_width(1)
        };
        line(of_row.collect(), style)?;
        let y = free.max(upwards.at(row.median().max(1.0)) - LINE / 2);
        write(
            format!("{} {}", row.label, short(row.median())),
            RIGHT + 10,
            y,
            14,
        )?;
        free = y + LINE;
    }
    area.present().map_err(|error| fail(&error))
}

/// Where a value lies.
struct Axis {
    least: f64,
    most: f64,
    from: i32,
    to: i32,
}

impl Axis {
    fn new(least: f64, most: f64, from: i32, to: i32) -> Self {
        Self {
            least,
            most,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> i32 {
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + (f64::from(self.to - self.from) * share).round() as i32
    }
}
