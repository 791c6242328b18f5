//! The sheet of results: input and masked input on the left, samples on the right.

use super::Raster;
use super::canvas::{Align, Canvas, DrawError, FAINT, INK};

/// A picture with its label.
pub struct Cell {
    /// What is written above it.
    pub label: String,
    /// The picture; those of one sheet are of one size.
    pub picture: Raster,
}

const GAP: usize = 10;
const GUTTER: usize = 30;
const LABEL: usize = 22;
const MARGIN: usize = 16;
const FONT_SIZE: f64 = 14.0;
const MOST_COLUMNS: usize = 8;

/// Draws the sheet: `given` in the first column, `samples` beside it in their order, a `caption` below.
///
/// # Errors
/// When the text cannot be drawn.
pub fn grid(given: &[Cell], samples: &[Cell], caption: &str) -> Result<Canvas, DrawError> {
    let first = given.iter().chain(samples).next();
    let (cell_width, cell_height) = first.map_or((0, 0), |cell| (cell.picture.width, cell.picture.height));
    let columns = samples.len().div_ceil(given.len().max(1)).clamp(1, MOST_COLUMNS);
    let rows = samples.len().div_ceil(columns).max(given.len());
    let (across, down) = (cell_width + GAP, cell_height + LABEL + GAP);
    let right = MARGIN + cell_width + if samples.is_empty() { 0 } else { GUTTER + columns * across - GAP };
    let bottom = MARGIN + rows * down;
    // A caption needs its width, however small the pictures are.
    let width = (right + MARGIN).max(2 * MARGIN + caption.chars().count() * 8);
    let mut sheet = Canvas::new(width, bottom + if caption.is_empty() { 4 } else { LABEL + 10 });

    let given = given.iter().enumerate().map(|(row, cell)| (cell, MARGIN, row));
    let samples = samples.iter().enumerate().map(|(i, cell)| {
        let left = MARGIN + cell_width + GUTTER + (i % columns) * across;
        (cell, left, i / columns)
    });
    for (cell, left, row) in given.chain(samples) {
        let top = MARGIN + row * down;
        sheet.write(&cell.label, (left + cell_width / 2, top), FONT_SIZE, INK, Align::Centre)?;
        sheet.place(&cell.picture, left, top + LABEL);
    }
    sheet.write(caption, (MARGIN, bottom), FONT_SIZE - 1.0, FAINT, Align::Left)?;
    Ok(sheet)
}
