//! Pictures of the training: sample grids and curves.

use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::FontStyle;

use crate::log::Record;
use crate::{Error, Result};

/// A PNG of pictures `[c, h, w]` (values in `[-1, 1]`, 1 or 3 channels), `columns` in a row, each pixel `zoom` wide, with
/// a gap of one pixel.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn grid_png(path: &Path, pictures: &[Vec<f32>], shape: [usize; 3], columns: usize, zoom: u32) -> Result<()> {
    let [c, h, w] = shape;
    let (h, w) = (h as u32, w as u32);
    let columns = columns.max(1) as u32;
    let rows = (pictures.len() as u32).div_ceil(columns).max(1);
    let mut grid = RgbImage::from_pixel(columns * (w * zoom + 1) + 1, rows * (h * zoom + 1) + 1, Rgb([64, 64, 64]));
    for (i, picture) in (0u32..).zip(pictures) {
        let (left, top) = ((i % columns) * (w * zoom + 1) + 1, (i / columns) * (h * zoom + 1) + 1);
        for (x, y) in (0..w * zoom).flat_map(|x| (0..h * zoom).map(move |y| (x, y))) {
            let at = |channel: usize| {
                let value = picture[((channel % c) as u32 * h * w + (y / zoom) * w + x / zoom) as usize];
                ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
            };
            grid.put_pixel(left + x, top + y, Rgb([at(0), at(1), at(2)]));
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    grid.write_to(&mut bytes, ImageFormat::Png).map_err(|e| Error::Plot(e.to_string()))?;
    crate::checkpoint::write_atomically(path, bytes.get_ref())
}

/// Loss over pictures seen on the left, held-out error by noise level on the right (earliest light, latest dark).
pub(crate) fn curves_png(path: &Path, records: &[Record]) -> Result<()> {
    const SIZE: (u32, u32) = (1200, 480);
    let fail = |e: &dyn std::fmt::Display| Error::Plot(e.to_string());
    // The program brings its own font, for systems without any.
    plotters::style::register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| Error::Plot("the embedded font is damaged".into()))?;
    let mut buffer = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut buffer, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|e| fail(&e))?;
        let (left, right) = root.split_horizontally(SIZE.0 / 2);
        loss_chart(&left, records).map_err(|e| fail(&e))?;
        error_chart(&right, records).map_err(|e| fail(&e))?;
        root.present().map_err(|e| fail(&e))?;
    }
    let plot = RgbImage::from_raw(SIZE.0, SIZE.1, buffer).ok_or_else(|| Error::Plot("wrong buffer size".into()))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    plot.write_to(&mut bytes, ImageFormat::Png).map_err(|e| fail(&e))?;
    crate::checkpoint::write_atomically(path, bytes.get_ref())
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn loss_chart(area: &Area<'_>, records: &[Record]) -> Drawn {
    let points: Vec<(f64, f64)> = records
        .iter()
        .filter_map(|r| match r {
            Record::Step { images, loss, .. } => Some((*images as f64 / 1000.0, *loss)),
            Record::HeldOut { .. } | Record::Figures { .. } => None,
        })
        .collect();
    let Some(last) = points.last() else { return Ok(()) };
    let (low, high) = range(points.iter().map(|p| p.1));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .caption("training loss", ("sans-serif", 20))
        .build_cartesian_2d(0.0..last.0, (low..high).log_scale())?;
    let round = |loss: &f64| format!("{loss:.2}");
    chart.configure_mesh().x_desc("thousand pictures seen").y_desc("loss").y_label_formatter(&round).draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), BLUE.mix(0.3)))?;
    chart.draw_series(LineSeries::new(smooth(&points), BLUE.stroke_width(2)))?;
    Ok(())
}

fn error_chart(area: &Area<'_>, records: &[Record]) -> Drawn {
    let curves: Vec<Vec<(f64, f64)>> = records
        .iter()
        .filter_map(|r| match r {
            Record::HeldOut { errors, .. } => Some(errors.iter().map(|e| (e.sigma, e.mse)).collect()),
            Record::Step { .. } | Record::Figures { .. } => None,
        })
        .collect();
    let Some(first) = curves.first() else { return Ok(()) };
    let (low, high) = range(curves.iter().flatten().map(|p| p.1));
    let (left, right) = range(first.iter().map(|p| p.0));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .caption("held-out error of x0_hat", ("sans-serif", 20))
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart.configure_mesh().x_desc("noise level sigma / alpha").y_desc("mean squared error").draw()?;
    for (i, curve) in curves.iter().enumerate() {
        let shade = (i + 1) as f64 / curves.len() as f64;
        chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.mix(shade)))?;
    }
    Ok(())
}

/// A positive, non-empty range around the finite values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite() && *v > 0.0)
        .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    if low.is_finite() { (low * 0.9, high * 1.1) } else { (0.1, 1.0) }
}

/// Means over five points around each.
fn smooth(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    points.iter().enumerate().map(|(i, (x, _))| {
        let near = &points[i.saturating_sub(2)..points.len().min(i + 3)];
        (*x, near.iter().map(|(_, y)| y).sum::<f64>() / near.len() as f64)
    })
}
