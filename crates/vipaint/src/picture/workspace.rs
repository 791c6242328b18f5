//! A picture at the prior's size, and back.

use super::frame::{Frame, Rect};
use super::resample::{Taps, from_size, to_size};
use super::{Mask, Picture, seam};
use crate::error::{Error, Result};

/// The square around a picture's hole at the prior's size.
///
/// Values are in [0, 1], `[channels, size, size]`.
#[derive(Debug, Clone)]
pub struct Workspace {
    picture: Picture,
    mask: Mask,
    frame: Frame,
    size: usize,
    channels: usize,
    values: Vec<f32>,
    known: Vec<bool>,
    notes: Vec<String>,
}

/// Squared distances of all pixels of a square picture to the nearest known one, along rows first (Saito and Toriwaki, 1994).
fn distances(known: &[bool], side: usize) -> Vec<f64> {
    let gap = |i: usize, j: usize| (i as f64 - j as f64).powi(2);
    let nearest = |costs: &dyn Fn(usize) -> f64, at: usize| {
        (0..side).map(|i| costs(i) + gap(i, at)).fold(f64::INFINITY, f64::min)
    };
    let cost = |y: usize, x: usize| if known[y * side + x] { 0.0 } else { f64::INFINITY };
    let rows: Vec<f64> = (0..side * side).map(|i| nearest(&|x| cost(i / side, x), i % side)).collect();
    (0..side * side).map(|i| nearest(&|y| rows[y * side + i % side], i / side)).collect()
}

/// Share of a pixel's area that must be known: all of it, or, if no pixel has that, half, or any of it.
const COVERAGES: [f64; 3] = [1.0 - 1e-9, 0.5, 1e-9];

impl Workspace {
    /// Prepares a picture for a prior of `channels` x `size` x `size`. The square around the hole is as large as the
    /// picture allows, or `context` times as large as the hole. `name` is the picture's, for messages.
    ///
    /// # Errors
    /// [`Error::Input`] when the picture has colour and the prior has not.
    pub fn new(
        picture: Picture,
        mask: Mask,
        channels: usize,
        size: usize,
        context: Option<f64>,
        name: &str,
    ) -> Result<Self> {
        if channels == 1 && !picture.is_grey() {
            let problem = "has colour, but the prior knows only grey and cannot say what colour belongs in the hole";
            return Err(Error::input(name, problem, "convert the picture to grey, or take a prior for colour"));
        }
        let (width, height) = (picture.width(), picture.height());
        let frame = Frame::around(mask.hole(), width, height, size, context);
        let mut work =
            Self { picture, mask, frame, size, channels, values: Vec::new(), known: Vec::new(), notes: Vec::new() };
        let shares = work.known_shares();
        // Some pixel in the frame or in the picture is known, but it need not be in the frame.
        let coverage = COVERAGES.into_iter().find(|least| shares.iter().any(|share| *share >= *least));
        let Some(coverage) = coverage else {
            let problem = "has nothing known near its hole";
            return Err(Error::input(name, problem, "leave out `--set context=`, so that the prior sees more of it"));
        };
        work.known = shares.iter().map(|share| *share >= coverage).collect();
        work.values = work.means(&shares);
        if frame.side != size {
            work.notes.push(format!(
                "a square of {0}x{0} pixels around the hole is worked on at {size}x{size} and scaled back",
                frame.side
            ));
        }
        if coverage < COVERAGES[0] {
            work.notes.push(format!(
                "at {size}x{size} no pixel is wholly known; those known by {:.0} % or more of their area are used",
                (100.0 * coverage).max(1.0)
            ));
        }
        Ok(work)
    }

    /// The picture's values; those of unknown pixels are 0.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Side of the prior's pictures.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Mean distance of hidden pixels to the nearest known one, in the prior's pixels; 0 if none is hidden.
    pub fn hidden_depth(&self) -> f64 {
        let squares = distances(&self.known, self.size);
        let hidden: Vec<f64> = squares.into_iter().filter(|square| *square > 0.0).map(f64::sqrt).collect();
        hidden.iter().sum::<f64>() / hidden.len().max(1) as f64
    }

    /// Which pixels are known, `[size, size]`.
    pub fn known(&self) -> &[bool] {
        &self.known
    }

    /// What a user should hear about scaling.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The picture that is worked on.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Its mask.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The hidden pixels, row by row.
    fn hidden(&self) -> impl Iterator<Item = (usize, usize)> {
        let hole = self.mask.hole();
        (hole.y..hole.y + hole.height)
            .flat_map(move |y| (hole.x..hole.x + hole.width).map(move |x| (x, y)))
            .filter(|(x, y)| !self.mask.known(*x, *y))
    }

    /// What a result says about the hidden pixels: `channels` values for each, row by row.
    ///
    /// # Panics
    /// If `result` has not the workspace's shape.
    pub fn hidden_values(&self, result: &[f32]) -> Vec<f32> {
        assert_eq!(result.len(), self.channels * self.size * self.size, "a result has the shape of its workspace");
        let patch = self.patch();
        let channels = result.chunks_exact(self.size * self.size).enumerate();
        let scaled: Vec<Vec<f32>> = channels.map(|(channel, result)| self.scale_back(result, channel, patch)).collect();
        let at = |x: usize, y: usize| (y - patch.y) * patch.width + x - patch.x;
        self.hidden().flat_map(|(x, y)| scaled.iter().map(move |channel| channel[at(x, y)])).collect()
    }

    /// The picture with values from [`Self::hidden_values`] in its hidden pixels; all others keep their samples.
    pub fn paste(&self, values: &[f32]) -> Picture {
        let mut picture = self.picture.clone();
        for ((x, y), values) in self.hidden().zip(values.chunks_exact(self.channels)) {
            picture.set_unit(x, y, values);
        }
        picture
    }

    /// For every pixel of the picture: `f` of its values if it is hidden.
    pub fn spread(&self, values: &[f32], f: impl Fn(&[f32]) -> f32) -> Vec<Option<f32>> {
        let mut all = vec![None; self.picture.width() * self.picture.height()];
        for ((x, y), values) in self.hidden().zip(values.chunks_exact(self.channels)) {
            all[y * self.picture.width() + x] = Some(f(values));
        }
        all
    }

    /// The hole with as much around it as the seam needs.
    fn patch(&self) -> Rect {
        let (inside, hole) = (self.frame.inside(self.picture.width(), self.picture.height()), self.mask.hole());
        let margin = 2 + 2 * self.frame.side.div_ceil(self.size);
        let (x, y) = (hole.x.saturating_sub(margin).max(inside.x), hole.y.saturating_sub(margin).max(inside.y));
        let right = (hole.x + hole.width + margin).min(inside.x + inside.width);
        let bottom = (hole.y + hole.height + margin).min(inside.y + inside.height);
        Rect { x, y, width: right - x, height: bottom - y }
    }

    /// One channel of a result, in the picture's pixels over `patch`, with the seam closed if it was scaled.
    fn scale_back(&self, result: &[f32], channel: usize, patch: Rect) -> Vec<f32> {
        let taps = from_size(self.size, self.frame.side);
        let in_frame = |at: usize, start: isize| &taps[(at as isize - start) as usize];
        let mut scaled = Vec::with_capacity(patch.width * patch.height);
        for y in patch.y..patch.y + patch.height {
            // Rows first: one mixed row serves the whole line.
            let rows = in_frame(y, self.frame.y);
            let mut row = vec![0.0; self.size];
            for (source, weight) in result[rows.start * self.size..].chunks(self.size).zip(&rows.weights) {
                row.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * f64::from(*value));
            }
            scaled.extend((patch.x..patch.x + patch.width).map(|x| {
                let columns = in_frame(x, self.frame.x);
                columns.weights.iter().zip(&row[columns.start..]).map(|(weight, value)| weight * value).sum::<f64>()
                    as f32
            }));
        }
        if self.frame.side != self.size {
            self.close_seam(&mut scaled, channel, patch);
        }
        scaled
    }

    /// Adds what the scaled result misses at the known pixels of `patch`, continued smoothly into the hole.
    fn close_seam(&self, scaled: &mut [f32], channel: usize, patch: Rect) {
        let pixels = || (0..scaled.len()).map(|i| (patch.x + i % patch.width, patch.y + i / patch.width));
        let known: Vec<bool> = pixels().map(|(x, y)| self.mask.known(x, y)).collect();
        let mut residual: Vec<f32> =
            pixels().zip(&*scaled).map(|((x, y), value)| self.picture.unit(x, y, channel) - value).collect();
        if known.contains(&true) {
            seam::fill(&mut residual, &known, patch.width, patch.height);
            scaled.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
        }
    }

    /// The share of each of the prior's pixels that is known. // [size, size]
    fn known_shares(&self) -> Vec<f64> {
        self.sum_known(|_, _| 1.0)
    }

    /// Means over what is known of each pixel; 0 where too little is. // [channels, size, size]
    fn means(&self, shares: &[f64]) -> Vec<f32> {
        let channel = |channel| {
            let sums = self.sum_known(move |x, y| f64::from(self.picture.unit(x, y, channel)));
            let means = sums.into_iter().zip(shares).zip(&self.known);
            means.map(|((sum, share), known)| if *known { (sum / share) as f32 } else { 0.0 }).collect::<Vec<_>>()
        };
        (0..self.channels).flat_map(channel).collect()
    }

    /// Weighted sums of `value` over the known pixels of the picture that make up each of the prior's pixels.
    fn sum_known(&self, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let taps = to_size(self.frame.side, self.size);
        let inside = |taps: &Taps, start: isize, limit: usize| -> Vec<(usize, f64)> {
            let pairs = taps.weights.iter().enumerate().map(|(j, weight)| (start + (taps.start + j) as isize, *weight));
            pairs.filter(|(at, _)| (0..limit as isize).contains(at)).map(|(at, weight)| (at as usize, weight)).collect()
        };
        let columns: Vec<_> = taps.iter().map(|taps| inside(taps, self.frame.x, self.picture.width())).collect();
        let mut sums = Vec::with_capacity(self.size * self.size);
        for rows in taps.iter().map(|taps| inside(taps, self.frame.y, self.picture.height())) {
            sums.extend(columns.iter().map(|columns| {
                let mut sum = 0.0;
                for (y, on_y) in &rows {
                    for (x, on_x) in columns.iter().filter(|(x, _)| self.mask.known(*x, *y)) {
                        sum += on_x * on_y * value(*x, *y);
                    }
                }
                sum
            }));
        }
        sums
    }
}

#[cfg(test)]
mod tests;
