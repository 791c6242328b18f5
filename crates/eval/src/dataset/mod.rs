//! The benchmark on real pictures whose posterior is known exactly: distance to it, coverage and spread, at equal cost.

mod page;
mod world;

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vipaint_core::operator::Protocol;
use vipaint_core::sampler::Draw;

pub use page::{Summary, markdown, summarise};
pub use world::{Case, World};

use crate::Result;
use crate::calibration;
use crate::gmm::{Slices, Stop};
use crate::masks::{Budget, Contender};

/// Directions of the distance.
const SLICES: usize = 256;

/// Exact samples for each sample that they are compared with.
const EXACT: usize = 16;

/// Mass of the credible intervals.
pub const MASS: f64 = 0.9;

/// What is compared on.
pub struct Benchmark<'a> {
    /// The prior.
    pub world: &'a World,
    /// Draws of it under each mask.
    pub cases: usize,
    /// The masks.
    pub masks: &'a [&'static Protocol],
    /// The methods.
    pub contenders: &'a [Contender],
    /// Samples for each case.
    pub samples: usize,
    /// Cost of each sample in forward calls.
    pub cost: u64,
    /// The measurement's noise.
    pub sigma_y: f64,
    /// The seed of everything.
    pub seed: u64,
}

/// One method on one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Index of the case.
    pub case: usize,
    /// The mask protocol.
    pub mask: String,
    /// The contender's name; `exact` samples the posterior, `prior` the prior.
    pub method: String,
    /// Sliced Wasserstein-1 distance of hidden values to exact samples.
    pub distance: f64,
    /// Share of hidden values inside their credible interval.
    pub coverage: f64,
    /// Root mean variance of hidden values over the exact one.
    pub spread: f64,
    /// Ranks of the truth among the samples, by the mean over hidden values and over each quarter of them, see
    /// [`crate::calibration`].
    pub ranks: Vec<usize>,
    /// How many pictures share the exact posterior.
    pub effective: f64,
    /// Forward calls a sample.
    pub calls: f64,
    /// Vector-Jacobian products a sample.
    pub vjps: f64,
    /// Seconds.
    pub seconds: f64,
    /// The truth, what is measured of it, and a few samples where it is hidden, as bytes `[2 + samples, c, h, w]`; only of
    /// cases that the page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<u8>,
}

impl Benchmark<'_> {
    /// Runs what is missing in `earlier`, and returns all rows in order, see [`crate::masks::Benchmark::run`].
    ///
    /// # Errors
    /// The first error of a method, or [`vipaint_core::Error::Interrupted`].
    pub fn run(
        &self,
        earlier: &[Row],
        done: &(dyn Fn(&Row) -> ControlFlow<()> + Sync),
        tick: &Stop,
    ) -> Result<Vec<Row>> {
        let cases: Vec<_> = (0..self.cases)
            .flat_map(|case| self.masks.iter().map(move |mask| (case, *mask)))
            .flat_map(|(case, mask)| self.names().map(move |name| (case, mask, name)))
            .collect();
        (cases.into_par_iter().with_max_len(1))
            .map(|(case, mask, name)| {
                let same = |r: &&Row| r.case == case && r.mask == mask.name && r.method == name;
                if let Some(row) = earlier.iter().find(same) {
                    return Ok(row.clone());
                }
                let row = self.row(case, mask, name, tick)?;
                if done(&row).is_break() {
                    return Err(vipaint_core::Error::Interrupted.into());
                }
                Ok(row)
            })
            .collect()
    }

    /// Names of the rows for each case, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        ["exact", "prior"].into_iter().chain(self.contenders.iter().map(|c| c.name.as_str()))
    }

    fn row(&self, index: usize, mask: &Protocol, name: &str, tick: &Stop) -> Result<Row> {
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        let (case, n) = (self.world.case(mask, self.sigma_y, seed), self.samples);
        let started = std::time::Instant::now();
        let (mut calls, mut vjps) = (0.0, 0.0);
        let set = match self.contenders.iter().find(|c| c.name == name) {
            // Another seed: independent of the reference.
            None if name == "exact" => case.exact(n, !seed),
            None => case.prior_samples(n, seed),
            Some(contender) => {
                let problem = case.problem()?;
                let sampler =
                    contender.sampler(&Budget { cost: self.cost * n as u64, samples: n as u64, guided: false })?;
                let drawn = sampler.sample(&problem, &Draw { seed, indices: 0..n, batch: n }, &mut |_| tick())?;
                if drawn.interrupted {
                    return Err(vipaint_core::Error::Interrupted.into());
                }
                let spent = problem.prior.calls();
                (calls, vjps) = (spent.denoiser as f64 / n as f64, spent.vjp as f64 / n as f64);
                let values = drawn.images.and_then(|i| i.try_into_vec_as::<f32>().ok()).unwrap_or_default();
                let hidden = |x: &[f32]| case.hidden.iter().map(|i| f64::from(x[*i])).collect();
                values.chunks(case.truth.len()).map(hidden).collect()
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let slices = Slices::new(SLICES, case.hidden.len(), seed);
        let truth: Vec<f64> = case.hidden.iter().map(|i| case.truth[*i]).collect();
        Ok(Row {
            case: index,
            mask: mask.name.into(),
            method: name.to_owned(),
            distance: slices.project(&set).distance(&slices.project(&case.exact(n * EXACT, seed))),
            coverage: coverage(&set, &truth),
            spread: spread(&set) / case.exact_std(),
            ranks: ranks(&set, &truth),
            effective: case.effective(),
            calls,
            vjps,
            seconds,
            images: if index < page::SHOWN { case.pictures(&set[..page::SAMPLES.min(n)]) } else { Vec::new() },
        })
    }
}

/// Ranks of the truth by the mean over all values, and over each quarter of them.
fn ranks(set: &[Vec<f64>], truth: &[f64]) -> Vec<usize> {
    let n = truth.len();
    let parts = std::iter::once(0..n).chain((0..4).map(|q| q * n / 4..(q + 1) * n / 4));
    let rank = |part: std::ops::Range<usize>| {
        let sums: Vec<f64> = set.iter().map(|x| x[part.clone()].iter().sum()).collect();
        calibration::rank(&sums, truth[part].iter().sum())
    };
    parts.map(rank).collect()
}

/// The share of values of `truth` between the samples' quantiles at `(1 - MASS) / 2` and `(1 + MASS) / 2`. Quantiles are placed at
/// `p (n + 1)`, so that an independent further draw lies between them with the stated probability (Hyndman and Fan, 1996, type 6).
fn coverage(set: &[Vec<f64>], truth: &[f64]) -> f64 {
    let inside = |i: usize| {
        let mut values: Vec<f64> = set.iter().map(|x| x[i]).collect();
        values.sort_by(f64::total_cmp);
        let quantile = |p: f64| {
            let at = (p * (values.len() + 1) as f64 - 1.0).clamp(0.0, (values.len() - 1) as f64);
            let (low, part) = (at.floor() as usize, at.fract());
            values[low] + part * (values[(low + 1).min(values.len() - 1)] - values[low])
        };
        (quantile(0.5 * (1.0 - MASS))..=quantile(0.5 * (1.0 + MASS))).contains(&truth[i])
    };
    (0..truth.len()).filter(|i| inside(*i)).count() as f64 / truth.len() as f64
}

/// Root mean variance over values.
fn spread(set: &[Vec<f64>]) -> f64 {
    let (n, values) = (set.len() as f64, set.first().map_or(0, Vec::len));
    let variance = |i: usize| {
        let mean = set.iter().map(|x| x[i]).sum::<f64>() / n;
        set.iter().map(|x| (x[i] - mean).powi(2)).sum::<f64>() / (n - 1.0)
    };
    ((0..values).map(variance).sum::<f64>() / values as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use vipaint_core::noise::stream;

    /// Intervals of exact samples have the stated coverage, also with few samples.
    #[test]
    fn exact_samples_are_calibrated() {
        let mut rng = stream(1, 2, 3);
        let mut draw = |n: usize| -> Vec<f64> { StandardNormal.sample_iter(&mut rng).take(n).collect() };
        let values = 20_000;
        let set: Vec<Vec<f64>> = (0..39).map(|_| draw(values)).collect();
        let truth = draw(values);
        // Binomial standard deviation .002; five of them.
        let got = coverage(&set, &truth);
        assert!((got - MASS).abs() < 0.011, "{got}");
        // Standard error .5 / sqrt(38 x 20,000) of a variance's root: far below a per cent.
        assert!((spread(&set) - 1.0).abs() < 0.01);
        let narrow: Vec<Vec<f64>> = set.iter().map(|x| x.iter().map(|v| 0.5 * v).collect()).collect();
        assert!(coverage(&narrow, &truth) < 0.7 && (spread(&narrow) - 0.5).abs() < 0.01);
    }
}
