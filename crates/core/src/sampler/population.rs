//! Samples that come from populations of particles.
//!
//! Particles of a population depend on each other, so a population has a fixed size, whatever is asked for: sample `i` is
//! member `i mod size` of population `i / size`, and populations have random streams of their own. A sample therefore depends on
//! (seed, index) alone, at the price that a whole population is worked out for any one of its members.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Draw, Samples};
use crate::event::{Event, Observer};
use crate::noise::stream;
use crate::posterior::{PURPOSE_PARTICLE, PURPOSE_RESAMPLE, Problem};
use crate::{Error, Level, Noise, Result};

/// Called after every step.
pub(super) type Tick<'a> = dyn FnMut() -> ControlFlow<()> + 'a;

/// One population's surroundings.
pub(super) struct Population<'a> {
    pub problem: &'a Problem,
    /// A stream for each particle, `paths` of them.
    pub noise: Noise,
    /// The stream of what concerns all of them: resampling.
    pub picks: ChaCha8Rng,
    /// Indices of the particles' streams.
    pub indices: Vec<usize>,
    batch: usize,
}

impl Population<'_> {
    /// `x0_hat`, a batch at a time.
    pub fn denoise(&self, z: Tensor<4>, level: Level) -> Result<Tensor<4>> {
        self.in_chunks(z, |z| self.problem.prior.x0_hat_at(z, level, &self.problem.guidance))
    }

    /// Applies what works on each particle by itself, a batch at a time.
    pub fn in_chunks(&self, z: Tensor<4>, mut f: impl FnMut(Tensor<4>) -> Result<Tensor<4>>) -> Result<Tensor<4>> {
        let n = z.dims()[0];
        if n <= self.batch {
            return f(z);
        }
        let starts = (0..n).step_by(self.batch);
        let parts = starts.map(|i| f(z.clone().slice_dim(0, i..(i + self.batch).min(n)))).collect::<Result<_>>()?;
        Ok(Tensor::cat(parts, 0))
    }

    /// Standard normal noise for the first `n` particles.
    pub fn normal(&mut self) -> Tensor<4> {
        self.noise.normal(self.problem.prior.shape(), &self.problem.device())
    }
}

/// Draws population after population: each has `paths` streams, and `run` returns its `size` members `[size, c, h, w]` in `z`. With
/// one path a member, members that are `alone` (nothing ties them to the others) are worked out only if they are asked for.
pub(super) fn in_populations(
    problem: &Problem,
    draw: &Draw,
    (size, paths, alone): (usize, usize, bool),
    steps_each: usize,
    observer: &mut Observer,
    mut run: impl FnMut(&mut Population, &mut Tick) -> Result<Tensor<4>>,
) -> Result<Samples> {
    let mut samples = Samples::default();
    if draw.indices.is_empty() {
        return Ok(samples);
    }
    let populations = draw.indices.start / size..(draw.indices.end - 1) / size + 1;
    let (mut step, steps) = (0, steps_each * populations.len());
    let mut images = Vec::new();
    for population in populations {
        let first = draw.indices.start.max(population * size);
        let end = draw.indices.end.min((population + 1) * size);
        let (streams, kept) = if alone && paths == size {
            (first..end, 0..end - first)
        } else {
            (population * paths..(population + 1) * paths, first - population * size..end - population * size)
        };
        let indices: Vec<usize> = streams.collect();
        let mut around = Population {
            problem,
            noise: Noise::new(draw.seed, PURPOSE_PARTICLE, indices.iter().copied()),
            picks: stream(draw.seed, PURPOSE_RESAMPLE, population as u64),
            indices,
            batch: draw.batch.max(1),
        };
        let mut tick = || {
            step += 1;
            observer(&Event::Step { step, steps, calls: problem.prior.calls() })
        };
        match run(&mut around, &mut tick) {
            Ok(z) => {
                images.push(problem.prior.autoencoder.decode(z.slice_dim(0, kept)));
            }
            Err(Error::Interrupted) => {
                samples.interrupted = true;
                break;
            }
            Err(e) => return Err(e),
        }
    }
    samples.images = (!images.is_empty()).then(|| Tensor::cat(images, 0));
    Ok(samples)
}

/// Normalised weights from logarithms.
fn normalised(log_weights: &[f64]) -> Vec<f64> {
    let top = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log_weights.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// The effective sample size `(sum w)^2 / sum w^2` (Kong et al., 1994) over the number of weights, in (0, 1].
pub(super) fn effective(log_weights: &[f64]) -> f64 {
    let weights = normalised(log_weights);
    1.0 / (weights.iter().map(|w| w * w).sum::<f64>() * weights.len() as f64)
}

/// Systematic resampling (Kitagawa, 1996): `n` ancestors, each particle chosen `n` times its weight, rounded up or down.
pub(super) fn systematic(log_weights: &[f64], n: usize, picks: &mut ChaCha8Rng) -> Vec<usize> {
    let offset: f64 = picks.random();
    ancestors(log_weights, (0..n).map(|i| (i as f64 + offset) / n as f64), picks)
}

/// Multinomial resampling: `n` independent ancestors.
pub(super) fn multinomial(log_weights: &[f64], n: usize, picks: &mut ChaCha8Rng) -> Vec<usize> {
    let mut at: Vec<f64> = (0..n).map(|_| picks.random()).collect();
    at.sort_by(f64::total_cmp);
    ancestors(log_weights, at.into_iter(), picks)
}

/// The particles at increasing positions of the cumulated weights, shuffled: any part of a population is as good as the rest.
fn ancestors(log_weights: &[f64], positions: impl Iterator<Item = f64>, picks: &mut ChaCha8Rng) -> Vec<usize> {
    let weights = normalised(log_weights);
    let (mut index, mut cumulated) = (0, weights[0]);
    let mut chosen: Vec<usize> = positions
        .map(|position| {
            while position >= cumulated && index + 1 < weights.len() {
                index += 1;
                cumulated += weights[index];
            }
            index
        })
        .collect();
    chosen.shuffle(picks);
    chosen
}

/// The rows `ancestors` of a tensor.
pub(super) fn rows(z: &Tensor<4>, ancestors: &[usize]) -> Tensor<4> {
    let indices: Vec<i64> = ancestors.iter().map(|a| *a as i64).collect();
    let indices: Tensor<1, Int> = Tensor::from_data(TensorData::new(indices, [ancestors.len()]), &z.device());
    z.clone().select(0, indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resampling_follows_the_weights() {
        let logs: Vec<f64> = [0.1f64, 0.0, 0.6, 0.3].iter().map(|w| (w * 7.0).ln()).collect();
        let count = |picked: &[usize]| (0..4).map(|i| picked.iter().filter(|p| **p == i).count()).collect::<Vec<_>>();
        let mut picks = stream(0, 1, 2);
        for _ in 0..50 {
            // n w = 1.5, 0, 9, 4.5: rounded up or down.
            let picked = count(&systematic(&logs, 15, &mut picks));
            assert!((1..=2).contains(&picked[0]) && picked[1] == 0 && (9 - 1..=9 + 1).contains(&picked[2]));
            assert!((4..=5).contains(&picked[3]));
        }
        let picked = count(&multinomial(&logs, 10_000, &mut picks));
        // Binomial standard deviations are 30, 49, 46; five of them.
        assert!(picked[0].abs_diff(1000) < 150 && picked[1] == 0 && picked[2].abs_diff(6000) < 245, "{picked:?}");
        assert!((effective(&[3.0; 8]) - 1.0).abs() < 1e-12 && effective(&[0.0, -900.0]) - 0.5 < 1e-12);
    }
}
