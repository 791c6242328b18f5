//! The metrics of one picture.

use std::collections::BTreeMap;
use std::path::Path;

use vipaint_eval::metrics::{diversity, intervals, psnr, spread, ssim};

use super::networks::Networks;
use super::{Ask, Case, shown};
use crate::error::{Error, Result};
use crate::picture::Picture;

/// Samples whose pairs LPIPS compares.
const COMPARED: usize = 16;

/// The metrics of a picture, by name.
pub(super) fn of(case: &Case, ask: &Ask, networks: &mut Networks) -> Result<BTreeMap<String, f64>> {
    let truth = Picture::open(&case.truth)?;
    let samples = case.samples.iter().map(|path| open(path, &truth, &case.truth)).collect::<Result<Vec<_>>>()?;
    if let Some((mask, name)) = ask.mask {
        mask.check(&truth, name)?;
    }
    let channels = if truth.is_grey() && samples.iter().all(Picture::is_grey) { 1 } else { 3 };
    let shape = [channels, truth.height(), truth.width()];
    let true_values = values(&truth, channels);
    let sample_values: Vec<Vec<f32>> = samples.iter().map(|sample| values(sample, channels)).collect();
    let slices: Vec<&[f32]> = sample_values.iter().map(Vec::as_slice).collect();
    let hidden = ask.mask.map(|(mask, _)| {
        let pixel = |i: usize| !mask.known(i % truth.width(), i / truth.width());
        (0..true_values.len()).map(|i| pixel(i / channels)).collect::<Vec<bool>>()
    });
    let inside = |values: &[f32], inside: bool| -> Vec<f32> {
        let wanted = |i: usize| hidden.as_ref().is_none_or(|hidden| hidden[i]) == inside;
        values.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, value)| *value).collect()
    };

    let mut scores = BTreeMap::new();
    let mut put = |name: &str, value: f64| {
        scores.insert(name.to_owned(), value);
    };
    let hole = inside(&true_values, true);
    put("psnr", mean(slices.iter().map(|sample| finite(psnr(&inside(sample, true), &hole)))));
    put("ssim", mean(slices.iter().map(|sample| ssim(sample, &true_values, shape))));
    if hidden.is_some() {
        let known = inside(&true_values, false);
        let error = |sample: &&[f32]| {
            let pairs = inside(sample, false).into_iter().zip(&known).map(|(a, b)| f64::from((a - b).abs()));
            pairs.fold(0.0, f64::max)
        };
        put("known pixels' error", slices.iter().map(error).fold(0.0, f64::max));
    }
    if slices.len() > 1 {
        let average: Vec<f32> =
            (0..true_values.len()).map(|i| mean(slices.iter().map(|sample| f64::from(sample[i]))) as f32).collect();
        put("psnr of the mean", finite(psnr(&inside(&average, true), &hole)));
    }
    if let Some(spread) = spread(&slices, hidden.as_deref()) {
        put("pixel sd", spread);
    }
    if let Some(coverage) = intervals(&slices, &true_values, hidden.as_deref(), ask.level) {
        put("coverage", coverage.share);
        put("nominal coverage", coverage.nominal);
    }
    if let Some(distances) =
        networks.distances(&truth, &samples, &diversity::pairs(samples.len().min(COMPARED), 2 * COMPARED))?
    {
        put("lpips", mean(distances.to_truth.into_iter()));
        if !distances.between.is_empty() {
            put("pairwise lpips", mean(distances.between.into_iter()));
        }
    }
    networks.look(&truth, &samples);
    Ok(scores)
}

/// Equal pictures would make every mean infinite; 8 bits cannot tell more than this.
fn finite(decibels: f64) -> f64 {
    const MOST: f64 = 100.0;
    decibels.min(MOST)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn open(path: &Path, truth: &Picture, name: &Path) -> Result<Picture> {
    let picture = Picture::open(path)?;
    if (picture.width(), picture.height()) == (truth.width(), truth.height()) {
        return Ok(picture);
    }
    let problem = format!("is {}, but {} is {}", picture.describe(), shown(name), truth.describe());
    Err(Error::input(shown(path), problem, "give pictures of one size"))
}

/// A picture's values in [0, 1], row by row, channels last.
fn values(picture: &Picture, channels: usize) -> Vec<f32> {
    let (width, height) = (picture.width(), picture.height());
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    pixels.flat_map(|(x, y)| (0..channels).map(move |channel| picture.unit(x, y, channel))).collect()
}
