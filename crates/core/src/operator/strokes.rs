//! Strokes of a brush, as LaMa hides them (Suvorov et al., 2022; the settings are its `random_thin_256` and
//! `random_thick_256`), with lengths and widths scaled from 256 pixels to the picture's shorter side; and rectangles.

use std::f64::consts::PI;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::protocol::Plane;

/// How strokes are drawn; lengths and widths in pixels of a picture of 256.
pub(super) struct Brush {
    /// Strokes, from and to, both included.
    times: (usize, usize),
    /// Widths are uniform from 5 to 5 and this.
    max_width: f64,
    /// Lengths of a stroke's pieces are uniform from 10 to 10 and this.
    max_length: f64,
    /// Chance that rectangles are drawn in place of strokes, as the settings weigh the two generators.
    rectangles: f64,
}

/// LaMa's thin setting.
pub(super) const THIN: Brush = Brush { times: (4, 50), max_width: 10.0, max_length: 40.0, rectangles: 0.0 };
/// LaMa's thick setting.
pub(super) const THICK: Brush = Brush { times: (1, 5), max_width: 100.0, max_length: 200.0, rectangles: 0.3 / 1.3 };

/// The side that the settings are for.
const SIDE: f64 = 256.0;
/// More than this share is never hidden, as in LaMa's test sets (`max_tamper_area`); nor is nothing.
const MOST: f64 = 0.5;
/// Draws after which the last one is taken as it is.
const TRIES: usize = 100;

/// A mask by LaMa's rules, drawn again until it hides something, and half of the picture at most.
pub(super) fn mask(plane: &Plane, brush: &Brush, rng: &mut ChaCha8Rng) -> Vec<bool> {
    draw_until(plane, (0.0, MOST), || {
        if rng.random::<f64>() < brush.rectangles { boxes(plane, rng) } else { strokes(plane, brush, rng) }
    })
}

/// Draws masks of hidden pixels until the hidden share is in `(least, most]`; the result says what is known.
fn draw_until(plane: &Plane, (least, most): (f64, f64), mut draw: impl FnMut() -> Vec<bool>) -> Vec<bool> {
    let mut hidden = draw();
    for _ in 0..TRIES {
        let count = hidden.iter().filter(|hidden| **hidden).count();
        let share = count as f64 / (plane.height * plane.width) as f64;
        if count > 0 && share >= least && share <= most {
            break;
        }
        hidden = draw();
    }
    hidden.into_iter().map(|hidden| !hidden).collect()
}

/// Broken lines: each starts anywhere, and turns up to four times.
fn strokes(plane: &Plane, brush: &Brush, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let scale = plane.height.min(plane.width) as f64 / SIDE;
    let mut hidden = plane.map(|_, _| false);
    for stroke in 0..rng.random_range(brush.times.0..=brush.times.1) {
        let mut from = (rng.random::<f64>() * plane.width as f64, rng.random::<f64>() * plane.height as f64);
        for _ in 0..rng.random_range(1..=5) {
            // Whole radians from 0 to 3, as LaMa has it, every other stroke the other way round.
            let angle = 0.01 + f64::from(rng.random_range(0..4u8));
            let angle = if stroke % 2 == 0 { 2.0 * PI - angle } else { angle };
            let length = scale * (10.0 + brush.max_length * rng.random::<f64>());
            let width = (scale * (5.0 + brush.max_width * rng.random::<f64>())).max(1.0);
            let to = (
                (from.0 + length * angle.sin()).clamp(0.0, plane.width as f64),
                (from.1 + length * angle.cos()).clamp(0.0, plane.height as f64),
            );
            paint(&mut hidden, plane, from, to, width / 2.0);
            from = to;
        }
    }
    hidden
}

/// Hides the pixels whose centres are within `radius` of the line between two points (x, y).
fn paint(hidden: &mut [bool], plane: &Plane, from: (f64, f64), to: (f64, f64), radius: f64) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let square = dx * dx + dy * dy;
    for (i, hidden) in hidden.iter_mut().enumerate() {
        let (x, y) = ((i % plane.width) as f64 + 0.5 - from.0, (i / plane.width) as f64 + 0.5 - from.1);
        let along = if square > 0.0 { ((x * dx + y * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
        *hidden |= (x - along * dx).hypot(y - along * dy) <= radius;
    }
}

/// LaMa's rectangles: one to three with sides of 30 to 150 pixels, 10 from the edges.
fn boxes(plane: &Plane, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let scale = plane.height.min(plane.width) as f64 / SIDE;
    let mut hidden = plane.map(|_, _| false);
    for _ in 0..rng.random_range(1..=3) {
        let mut span = |n: usize| {
            let margin = (10.0 * scale) as usize;
            let length = (scale * rng.random_range(30.0..150.0)).round().max(1.0) as usize;
            let length = length.min(n.saturating_sub(2 * margin).max(1));
            let start = rng.random_range(margin..=(n - length - margin.min(n - length)).max(margin));
            start..(start + length).min(n)
        };
        let (rows, columns) = (span(plane.height), span(plane.width));
        hide(&mut hidden, plane, &rows, &columns);
    }
    hidden
}

fn hide(hidden: &mut [bool], plane: &Plane, rows: &std::ops::Range<usize>, columns: &std::ops::Range<usize>) {
    for (i, hidden) in hidden.iter_mut().enumerate() {
        *hidden |= rows.contains(&(i / plane.width)) && columns.contains(&(i % plane.width));
    }
}

/// Rectangles with sides of an eighth to two thirds of the picture's, one after the other, until at least 30 % is hidden;
/// more than 70 % never is, unless the picture is too small for it.
pub(super) fn rectangles(plane: &Plane, rng: &mut ChaCha8Rng) -> Vec<bool> {
    const LEAST: f64 = 0.3;
    draw_until(plane, (LEAST, 0.7), || {
        let mut hidden = plane.map(|_, _| false);
        let least = (LEAST * hidden.len() as f64).ceil() as usize;
        while hidden.iter().filter(|hidden| **hidden).count() < least {
            let mut span = |n: usize| {
                let length = ((n as f64 * rng.random_range(0.125..0.667)).round() as usize).clamp(1, n);
                let start = rng.random_range(0..=n - length);
                start..start + length
            };
            let (rows, columns) = (span(plane.height), span(plane.width));
            hide(&mut hidden, plane, &rows, &columns);
        }
        hidden
    })
}
