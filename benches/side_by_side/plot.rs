//! One metric as a bar chart, in SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::{
    Color as _, IntoDrawingArea as _, PathElement, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::{BLACK, IntoFont as _};

use crate::report::{Metric, short};

pub(crate) const WIDTH: u32 = 720;
const LINE: i32 = 26;
const TOP: i32 = 44;
const LEFT: i32 = 250;
const RIGHT: i32 = 600;
pub(crate) const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
pub(crate) const THEIRS: RGBColor = RGBColor(0xb0, 0xb7, 0xbf);

/// Draws the medians as bars, with a line from the least to the most; bars whose label begins with `ours` stand out.
pub(crate) fn draw(metric: &Metric, ours: &[String], path: &Path) -> Result<()> {
    let rows = i32::try_from(metric.rows.len())?;
    let height = u32::try_from(TOP + rows * LINE + 12)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    let fail = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    area.fill(&WHITE).map_err(|error| fail(&error))?;
    let text = |text: String, x: i32, y: i32, size: i32| {
        Text::new(text, (x, y), ("sans-serif", size).into_font())
    };
    area.draw(&text(metric.headline(), 12, 12, 19))
        .map_err(|error| fail(&error))?;
    let longest = metric
        .rows
        .iter()
        .map(|row| row.most())
        .fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (f64::from(RIGHT - LEFT) * value.max(0.0) / longest).round() as i32;
    let mut y = TOP;
    for row in &metric.rows {
        let colour = if ours.contains(&row.label) {
            OURS
        } else {
            THEIRS
        };
        let (from, to) = ((LEFT, y), (x(row.median()), y + LINE - 8));
        let bar = Rectangle::new([from, to], colour.filled());
        let middle = y + (LINE - 8) / 2;
        let spread = PathElement::new([(x(row.least()), middle), (x(row.most()), middle)], BLACK);
        area.draw(&bar).map_err(|error| fail(&error))?;
        area.draw(&spread).map_err(|error| fail(&error))?;
        area.draw(&text(row.label.clone(), 12, y + 2, 16))
            .map_err(|error| fail(&error))?;
        area.draw(&text(short(row.median()), x(row.most()) + 8, y + 2, 16))
            .map_err(|error| fail(&error))?;
        y += LINE;
    }
    area.present().map_err(|error| fail(&error))
}
