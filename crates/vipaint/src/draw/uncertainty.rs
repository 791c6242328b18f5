//! Where samples disagree: the standard deviation of each hidden pixel, as colours.

use super::Raster;
use super::canvas::{Align, Canvas, DrawError, INK};
use crate::picture::Picture;

const MARGIN: usize = 16;
const LABEL: usize = 26;
const GUTTER: usize = 22;
const BAR: usize = 18;
const NUMBERS: usize = 54;
const FONT_SIZE: f64 = 13.0;
const LEAST_HEIGHT: usize = 140;

/// From nothing to much: dark violet, magenta, orange, light yellow (anchors of matplotlib's "inferno").
const COLOURS: [[u8; 3]; 9] = [
    [0, 0, 4],
    [31, 12, 72],
    [85, 15, 109],
    [136, 34, 106],
    [186, 54, 85],
    [227, 89, 51],
    [249, 140, 10],
    [249, 201, 50],
    [252, 255, 164],
];

/// Draws `deviation` (one value a pixel, in units of the picture's whole range; `None` where the pixel is known) over a
/// pale copy of the picture, with a scale bar.
///
/// # Errors
/// When the text cannot be drawn.
pub fn uncertainty(picture: &Picture, deviation: &[Option<f32>], caption: &str) -> Result<Canvas, DrawError> {
    let largest = deviation.iter().flatten().fold(0.0f32, |a, b| a.max(*b));
    let top_of_scale = round_up(largest);
    let pale = Raster::of(picture);
    let map = Raster::from_fn(picture.width(), picture.height(), |x, y| match deviation[y * picture.width() + x] {
        Some(value) => colour(value / top_of_scale),
        None => pale.at(x, y).map(|value| 176 + value / 4),
    })
    .for_eyes();

    let height = map.height.max(LEAST_HEIGHT);
    let text = 2 * MARGIN + caption.chars().count() * 8; // Hack's letters are equally wide
    let width = (2 * MARGIN + map.width + GUTTER + BAR + NUMBERS).max(text);
    let mut sheet = Canvas::new(width, MARGIN + LABEL + height + MARGIN);
    sheet.write(caption, (MARGIN, MARGIN - 4), FONT_SIZE, INK, Align::Left)?;
    let top = MARGIN + LABEL;
    sheet.place(&map, MARGIN, top);
    let left = MARGIN + map.width + GUTTER;
    let share = |y: usize| 1.0 - y as f32 / (height - 1) as f32;
    sheet.place(&Raster::from_fn(BAR, height, |_, y| colour(share(y))), left, top);
    for tick in 0..=4 {
        let y = top + (height - 1) * (4 - tick) / 4;
        sheet.place(&Raster::from_fn(5, 1, |_, _| [45, 49, 57]), left + BAR, y);
        let text = format!("{:.3}", top_of_scale * tick as f32 / 4.0);
        sheet.write(&text, (left + BAR + 9, y.saturating_sub(4)), FONT_SIZE - 1.0, INK, Align::Left)?;
    }
    Ok(sheet)
}

fn colour(share: f32) -> [u8; 3] {
    let at = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let (low, high) = (COLOURS[at as usize], COLOURS[(at as usize + 1).min(COLOURS.len() - 1)]);
    [0, 1, 2].map(|i| (f32::from(low[i]) * (1.0 - at.fract()) + f32::from(high[i]) * at.fract()).round() as u8)
}

/// The next number of the form 0.04, 0.08, .. 0.4, .. that is not smaller, so that quarters of it are short.
fn round_up(largest: f32) -> f32 {
    [0.004, 0.008, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.44, 0.48]
        .into_iter()
        .find(|step| *step >= largest)
        .unwrap_or(0.52)
}
