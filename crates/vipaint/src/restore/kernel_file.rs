//! Blur kernels from files: a grey picture, or a table of numbers.

use std::path::Path;

use vipaint_core::operator::Taps;

use crate::error::{Error, Result};
use crate::picture::{Picture, read};

/// The kernel in a file, scaled to the sum 1: a picture's values (white is the largest weight), or a text with a row of numbers
/// in each line, separated by blanks or commas.
///
/// # Errors
/// [`Error::Input`] when the file cannot be read or is neither.
pub(super) fn read_taps(path: &Path) -> Result<Taps> {
    let name = path.display().to_string();
    let bytes = read(path)?;
    let table = std::str::from_utf8(&bytes).ok().and_then(table);
    let (width, values) = match table {
        Some(table) => table,
        None => from_picture(&Picture::decode(&bytes, &name)?),
    };
    let sum: f64 = values.iter().sum();
    if width == 0 || values.is_empty() || !sum.is_finite() || sum.abs() < 1e-9 {
        return Err(Error::input(name, "has weights whose sum is 0", "give a kernel that keeps a grey area grey"));
    }
    let height = values.len() / width;
    if height > 255 || width > 255 {
        return Err(Error::input(name, format!("is a kernel of {width}x{height}"), "give one of at most 255x255"));
    }
    Ok(Taps { height, width, values: values.into_iter().map(|value| (value / sum) as f32).collect() })
}

/// Width and values, if every line holds equally many numbers.
fn table(text: &str) -> Option<(usize, Vec<f64>)> {
    let line = |line: &str| -> Option<Vec<f64>> {
        let words = line.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        words.map(|word| word.parse().ok()).collect()
    };
    let lines: Vec<Vec<f64>> = text.lines().filter(|line| !line.trim().is_empty()).map(line).collect::<Option<_>>()?;
    let width = lines.first()?.len();
    lines.iter().all(|line| line.len() == width).then(|| (width, lines.concat()))
}

fn from_picture(picture: &Picture) -> (usize, Vec<f64>) {
    let (width, height) = (picture.width(), picture.height());
    let value = |i: usize| (0..3).map(|c| f64::from(picture.unit(i % width, i / width, c))).sum::<f64>() / 3.0;
    (width, (0..width * height).map(value).collect())
}
