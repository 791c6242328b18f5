//! The bound and its terms over the fit's iterations.

use plotters::chart::ChartBuilder;
use plotters::element::PathElement;
use plotters::prelude::{Color, LineSeries, RGBColor, Text};
use plotters::style::ShapeStyle;
use vipaint_core::posterior::Terms;

use super::canvas::{Canvas, DrawError, FAINT, INK, font};

const WIDTH: usize = 960;
const HEIGHT: usize = 520;
/// Width of the legend, right of the curves.
const LEGEND: u32 = 190;
/// Height of the note below them.
const NOTE: u32 = 34;

/// A curve: its name, its colour, and what it takes from the terms.
type Curve = (&'static str, RGBColor, fn(&Terms) -> f64);

/// Terms with the sign they have in the bound.
const CURVES: [Curve; 5] = [
    ("reconstruction", RGBColor(46, 125, 187), |t| t.reconstruction),
    ("- hierarchy", RGBColor(230, 126, 34), |t| -t.hierarchy),
    ("- prior", RGBColor(39, 154, 96), |t| -t.prior),
    ("- start", RGBColor(150, 91, 181), |t| -t.start),
    ("total", INK, Terms::total),
];

/// Draws the terms of every iteration, with a note on what they bound.
///
/// # Errors
/// When it cannot be drawn.
pub fn trace(terms: &[Terms], note: &str) -> Result<Canvas, DrawError> {
    let mut sheet = Canvas::new(WIDTH, HEIGHT);
    let values = || CURVES.iter().flat_map(|(_, _, of)| terms.iter().map(of)).filter(|value| value.is_finite());
    let (low, high) = values().fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let axis = Axis::over(low, high);
    let (bottom, top) = (axis.place(low), axis.place(high));
    let margin = 0.04 * (top - bottom).max(1e-6);
    let last = terms.len().max(2) as f64;
    {
        let root = sheet.area();
        let error = |e: plotters::drawing::DrawingAreaErrorKind<_>| DrawError::new(e);
        let (above, below) = root.split_vertically(HEIGHT as u32 - NOTE);
        below.draw(&Text::new(note.to_owned(), (24, 6), font(13.0, FAINT)?)).map_err(error)?;
        let (plot, legend) = above.split_horizontally(WIDTH as u32 - LEGEND);
        let mut chart = ChartBuilder::on(&plot)
            .margin(16)
            .caption("terms of the bound, in nats", font(17.0, INK)?)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(1.0..last, bottom - margin..top + margin)
            .map_err(error)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc("iteration")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_labels(0)
            .axis_style(FAINT)
            .label_style(font(13.0, INK)?)
            .draw()
            .map_err(error)?;
        for nats in axis.ticks(low, high) {
            let y = axis.place(nats);
            chart.draw_series(LineSeries::new([(1.0, y), (last, y)], FAINT.mix(0.25))).map_err(error)?;
            let place = (22, chart.backend_coord(&(1.0, y)).1 - 4);
            root.draw(&Text::new(number(nats), place, font(13.0, INK)?)).map_err(error)?;
        }
        for (row, (name, colour, of)) in CURVES.into_iter().enumerate() {
            let style = ShapeStyle::from(colour).stroke_width(if name == "total" { 3 } else { 2 });
            let points = terms.iter().enumerate().map(|(i, t)| ((i + 1) as f64, axis.place(of(t))));
            chart.draw_series(LineSeries::new(points.filter(|(_, y)| y.is_finite()), style)).map_err(error)?;
            let y = 70 + 26 * row as i32;
            legend.draw(&PathElement::new([(4, y), (28, y)], style)).map_err(error)?;
            legend.draw(&Text::new(name, (38, y - 4), font(14.0, INK)?)).map_err(error)?;
        }
    }
    Ok(sheet)
}

/// A vertical axis: linear where that shows everything, else logarithmic beyond some size, on both sides of 0.
enum Axis {
    Linear,
    Squeezed,
}

/// The span up to which the axis is linear.
const LINEAR_SPAN: f64 = 3000.0;
/// A squeezed axis is linear up to about here.
const LINEAR_PART: f64 = 100.0;

impl Axis {
    fn over(low: f64, high: f64) -> Self {
        if high - low <= LINEAR_SPAN { Self::Linear } else { Self::Squeezed }
    }

    fn place(&self, nats: f64) -> f64 {
        match self {
            Self::Linear => nats,
            Self::Squeezed => (nats / LINEAR_PART).asinh(),
        }
    }

    /// Numbers for the axis between `low` and `high`, far enough apart to be read.
    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        let sizes: Vec<f64> = match self {
            Self::Linear => {
                let rough = (high - low).max(1e-6) / 6.0;
                let decade = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * decade).into_iter().find(|s| *s >= rough);
                (0..8).map(|i| f64::from(i) * step.unwrap_or(rough)).collect()
            }
            Self::Squeezed => (0..22).map(|i| [1.0, 3.0][i % 2] * 10f64.powi(i as i32 / 2)).chain([0.0]).collect(),
        };
        let gap = 0.06 * (self.place(high) - self.place(low));
        let mut kept: Vec<f64> = vec![0.0];
        for value in sizes.into_iter().rev().flat_map(|size| [size, -size]) {
            let free = kept.iter().all(|other| (self.place(*other) - self.place(value)).abs() > gap);
            if value >= low && value <= high && free {
                kept.push(value);
            }
        }
        kept
    }
}

fn number(nats: f64) -> String {
    match nats.abs() {
        size if size >= 1e6 => format!("{nats:.0e}"),
        size if size >= 1e4 => format!("{}k", nats / 1e3),
        size if size >= 10.0 || size == 0.0 => format!("{nats:.0}"),
        _ => format!("{nats:.3}"),
    }
}
