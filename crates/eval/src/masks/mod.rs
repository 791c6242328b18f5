//! Inpainting methods side by side on real pictures: every picture under every mask with every method, at equal cost.

mod contender;
mod page;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::{Mask, Protocol};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::sampler::Draw;

pub use crate::sheet::{Grid, Page};
pub use contender::{Budget, Contender};
pub use page::{Summary, markdown, summarise};

use crate::Result;

/// What is compared on.
pub struct Benchmark<'a> {
    /// The prior.
    pub prior: &'a Prior,
    /// Pictures `[c, h, w]` in the prior's value range, each with its class if there are classes.
    pub pictures: &'a [(Vec<f32>, Option<usize>)],
    /// Names of mask protocols.
    pub masks: &'a [&'static Protocol],
    /// The methods.
    pub contenders: &'a [Contender],
    /// Samples for each picture.
    pub samples: usize,
    /// Costs for each picture and method, in forward calls: everything is run at each of them.
    pub costs: &'a [u64],
    /// Noise standard deviation assumed by the likelihood (the pictures are noiseless).
    pub sigma_y: f64,
    /// The seed of everything.
    pub seed: u64,
    /// Judges the class of pictures `[n, c, h, w]`: one class index a picture.
    pub judge: Option<&'a (dyn Fn(Tensor<4>) -> Vec<usize> + Sync)>,
}

/// The result of one method on one picture under one mask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Index of the picture.
    pub picture: usize,
    /// Its class.
    pub class: Option<usize>,
    /// The mask protocol.
    pub mask: String,
    /// The contender's name.
    pub method: String,
    /// What it might spend, in forward calls.
    pub cost: u64,
    /// PSNR of the samples' mean inside the hole, dB, peak = the prior's value range.
    pub psnr_mean: f64,
    /// Highest PSNR of a sample inside the hole.
    pub psnr_best: f64,
    /// Pixel standard deviation over samples, averaged (as variance) inside the hole, in units of the value range.
    pub diversity: f64,
    /// Share of samples whose class is judged to be the picture's.
    pub agreement: Option<f64>,
    /// Forward calls.
    pub calls: u64,
    /// Vector-Jacobian products.
    pub vjps: u64,
    /// Seconds, with as many pictures side by side as there are threads.
    pub seconds: f64,
    /// The completed pictures, known pixels as given, as bytes from 0 (the lowest value) to 255 `[samples, c, h, w]`; only of
    /// pictures that the page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<u8>,
}

/// A method on a picture under a mask at a cost.
#[derive(Clone, Copy)]
struct Case<'a> {
    picture: usize,
    mask: &'static Protocol,
    contender: &'a Contender,
    cost: u64,
}

impl Case<'_> {
    /// Whether a row is its result.
    fn made(&self, row: &Row) -> bool {
        let same = (row.picture, row.cost) == (self.picture, self.cost);
        same && row.mask == self.mask.name && row.method == self.contender.name
    }
}

impl Benchmark<'_> {
    /// Runs what is missing in `earlier`, pictures side by side on the threads of the pool, and returns all rows in order.
    /// `done` hears of every finished row, and `tick` is asked at every step of a method; when one of them breaks, rows that
    /// `done` has not heard of are lost.
    ///
    /// # Errors
    /// The first error of a method, or [`vipaint_core::Error::Interrupted`].
    pub fn run(
        &self,
        earlier: &[Row],
        done: &(dyn Fn(&Row) -> ControlFlow<()> + Sync),
        tick: &(dyn Fn() -> ControlFlow<()> + Sync),
    ) -> Result<Vec<Row>> {
        (self.cases().into_par_iter().with_max_len(1))
            .map(|case| {
                if let Some(row) = earlier.iter().find(|row| case.made(row)) {
                    return Ok(row.clone());
                }
                let row = self.row(&case, tick)?;
                if done(&row).is_break() {
                    return Err(vipaint_core::Error::Interrupted.into());
                }
                Ok(row)
            })
            .collect()
    }

    /// Everything to be run, the cheapest first.
    fn cases(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for (&cost, picture) in self.costs.iter().flat_map(|cost| (0..self.pictures.len()).map(move |p| (cost, p))) {
            for mask in self.masks {
                cases.extend(self.contenders.iter().map(|contender| Case { picture, mask, contender, cost }));
            }
        }
        cases
    }

    /// Pictures that the page shows: spread over the set, which is ordered by class.
    pub(crate) fn shown(&self) -> impl Iterator<Item = usize> {
        let (n, shown) = (self.pictures.len(), page::SHOWN.min(self.pictures.len()));
        (0..shown).map(move |i| i * n / shown)
    }

    fn row(&self, case: &Case, tick: &(dyn Fn() -> ControlFlow<()> + Sync)) -> Result<Row> {
        let Case { picture, mask, contender, cost } = *case;
        let device = Device::flex();
        let prior = self.prior.counting_anew();
        let shape = prior.shape();
        let (truth, class) = &self.pictures[picture];
        let seed = self.seed.wrapping_add(picture as u64);
        let known = mask.mask(shape, seed);
        let y: Vec<f32> = truth.iter().zip(&known).map(|(x, m)| x * m).collect();
        let [c, h, w] = shape;
        let y = Tensor::from_data(TensorData::new(y, [1, c, h, w]), &device);
        let operator = Arc::new(Mask::new(&known, shape, &device)?);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y };
        let measurement = Measurement::new(operator, y, likelihood)?;
        let problem = Problem::new(prior, measurement, Guidance::default())?;
        let sampler = contender.sampler(&Budget { cost, samples: self.samples as u64, guided: false })?;
        let started = std::time::Instant::now();
        let draw = Draw { seed, indices: 0..self.samples, batch: self.samples };
        let samples = sampler.sample(&problem, &draw, &mut |_| tick())?;
        if samples.interrupted {
            return Err(vipaint_core::Error::Interrupted.into());
        }
        let seconds = started.elapsed().as_secs_f64();
        let images = samples.images.and_then(|i| i.try_into_vec_as::<f32>().ok()).unwrap_or_default();
        let (low, high) = (problem.prior.value_range.0 as f32, problem.prior.value_range.1 as f32);
        let completed: Vec<f32> = (images.iter().enumerate())
            .map(|(i, v)| {
                let at = i % truth.len();
                if known[at] == 1.0 { truth[at] } else { v.clamp(low, high) }
            })
            .collect();
        let measures = measure(&completed, truth, &known, f64::from(high - low));
        let agreement = match (self.judge, class) {
            (Some(judge), Some(class)) => {
                let pictures = TensorData::new(completed.clone(), [self.samples, c, h, w]);
                let named = judge(Tensor::from_data(pictures, &device));
                Some(named.iter().filter(|n| *n == class).count() as f64 / self.samples as f64)
            }
            _ => None,
        };
        let calls = problem.prior.calls();
        Ok(Row {
            picture,
            class: *class,
            mask: mask.name.into(),
            method: contender.name.clone(),
            cost,
            psnr_mean: measures[0],
            psnr_best: measures[1],
            diversity: measures[2],
            agreement,
            calls: calls.denoiser,
            vjps: calls.vjp,
            seconds,
            images: if self.shown().any(|shown| shown == picture) { bytes(&completed, low, high) } else { Vec::new() },
        })
    }
}

/// Values between `low` and `high` as bytes.
pub(crate) fn bytes(values: &[f32], low: f32, high: f32) -> Vec<u8> {
    values.iter().map(|v| ((v - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8).collect()
}

/// In-hole PSNR of the mean, best in-hole PSNR of a sample, and diversity over the value range.
fn measure(samples: &[f32], truth: &[f32], known: &[f32], range: f64) -> [f64; 3] {
    let n = samples.len() / truth.len();
    let hole: Vec<usize> = (0..truth.len()).filter(|i| known[*i] == 0.0).collect();
    let value = |s: usize, i: usize| f64::from(samples[s * truth.len() + i]);
    let psnr = |error: f64| 10.0 * (range * range / error.max(1e-12)).log10();
    let mse = |f: &dyn Fn(usize) -> f64| {
        hole.iter().map(|i| (f(*i) - f64::from(truth[*i])).powi(2)).sum::<f64>() / hole.len() as f64
    };
    let mean = |i: usize| (0..n).map(|s| value(s, i)).sum::<f64>() / n as f64;
    let best = (0..n).map(|s| mse(&|i| value(s, i))).fold(f64::INFINITY, f64::min);
    let variance = hole
        .iter()
        .map(|i| (0..n).map(|s| (value(s, *i) - mean(*i)).powi(2)).sum::<f64>() / (n.max(2) - 1) as f64)
        .sum::<f64>()
        / hole.len() as f64;
    [psnr(mse(&mean)), psnr(best), variance.sqrt() / range]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_by_hand() {
        // Two pixels known, two hidden; two samples that miss by 0.2 up and down on the first hidden pixel.
        let (truth, known) = ([0.0, 0.5, -0.5, 1.0], [1.0, 1.0, 0.0, 0.0]);
        let samples = [9.0, 9.0, -0.3, 1.0, 9.0, 9.0, -0.7, 1.0];
        let [mean, best, diversity] = measure(&samples, &truth, &known, 2.0);
        assert!(mean > 100.0, "the mean is exact: {mean}");
        assert!((best - 10.0 * (4.0f64 / 0.02).log10()).abs() < 1e-4, "{best}");
        // variance 0.08 on one of two pixels: sqrt(0.04) / 2
        assert!((diversity - 0.1).abs() < 1e-6, "{diversity}");
    }
}
