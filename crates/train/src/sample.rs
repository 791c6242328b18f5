//! Deterministic sampling, to see what a prior has learnt.

use burn::tensor::{Device, Tensor};
use vipaint_core::Noise;
use vipaint_core::prior::{Condition, Guidance, Prior};

use crate::Result;

/// Purpose number of these samples' random streams.
const PURPOSE: u64 = 0x5a3b;

/// Samples by Heun's second-order method on the probability-flow ODE `dx/dr = (x - D(x)) / r` in `x = z / alpha`,
/// `r = sigma / alpha` (Karras et al., 2022, algorithm 1). One sample for each of `indices`, which key the noise;
/// `2 steps - 1` calls each. // [samples, channels, height, width]
///
/// # Errors
/// Those of the denoiser.
pub fn heun(prior: &Prior, condition: Condition, steps: usize, seed: u64, indices: &[usize]) -> Result<Tensor<4>> {
    guided_heun(prior, &Guidance::new(condition, 1.0), steps, seed, indices)
}

/// [`heun`] with guidance.
///
/// # Errors
/// Those of the denoiser.
pub fn guided_heun(
    prior: &Prior,
    guidance: &Guidance,
    steps: usize,
    seed: u64,
    indices: &[usize],
) -> Result<Tensor<4>> {
    let levels = prior.schedule.full_grid(steps);
    let top = levels[0];
    let mut noise = Noise::new(seed, PURPOSE, indices.iter().copied());
    let mut x = noise.normal(prior.shape(), &Device::flex()) * (prior.schedule.start_std() / top.alpha);
    for (i, level) in levels.iter().enumerate() {
        let x0 = prior.x0_hat_at(x.clone() * level.alpha, *level, guidance)?;
        let Some(next) = levels.get(i + 1) else { return Ok(x0) };
        let slope = (x.clone() - x0) / level.ratio();
        let dr = next.ratio() - level.ratio();
        let trial = x.clone() + slope.clone() * dr;
        let x0 = prior.x0_hat_at(trial.clone() * next.alpha, *next, guidance)?;
        let slope_there = (trial - x0) / next.ratio();
        x = x + (slope + slope_there) * (0.5 * dr);
    }
    Ok(x)
}

/// `per_class` samples of each class, class by class (or of the unconditional prior), `[c, h, w]` each. Sample `j` of
/// class `k` has the number `k per_class + j`; the work is shared by `threads` threads, on which the result does not
/// depend.
///
/// # Errors
/// Those of the denoiser.
pub fn class_samples(
    prior: &Prior,
    per_class: usize,
    steps: usize,
    seed: u64,
    threads: usize,
) -> Result<Vec<Vec<f32>>> {
    const BATCH: usize = 20;
    let classes = prior.classes.len().max(1);
    let mut jobs = Vec::new();
    for class in 0..classes {
        let condition = if prior.classes.is_empty() { Condition::default() } else { Condition::class(class) };
        let numbers: Vec<usize> = (class * per_class..(class + 1) * per_class).collect();
        jobs.extend(numbers.chunks(BATCH).map(|chunk| (condition.clone(), chunk.to_vec())));
    }
    let size = prior.shape().iter().product();
    let batches = crate::parallel::Pieces::new(threads)?.map(&jobs, |(condition, numbers)| {
        let samples = heun(prior, condition.clone(), steps, seed, numbers)?.into_data();
        let values: Vec<f32> = samples.iter::<f32>().collect();
        Ok(values.chunks_exact(size).map(<[f32]>::to_vec).collect::<Vec<_>>())
    });
    Ok(batches.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
