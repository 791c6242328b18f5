//! Denoising error on pictures the network has not seen.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use vipaint_core::Noise;
use vipaint_core::prior::{Condition, Guidance, Prior, per_sample};

use crate::Result;
use crate::data::Images;
use crate::parallel::Pieces;

/// Purpose number of this noise.
const PURPOSE: u64 = 0x4e1d;
/// Noise-to-signal ratios that are looked at.
pub(crate) const RATIOS: [f64; 9] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0];
const BATCH: usize = 25;

/// Mean squared error a value of `x0_hat`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseLevelError {
    /// `sigma / alpha`.
    pub sigma: f64,
    /// Mean over pictures and values of `(x0_hat - x0)^2`.
    pub mse: f64,
}

/// The error of the first `count` pictures at several noise levels, given their classes, with noise keyed by `seed` and
/// the picture's number.
///
/// # Errors
/// Those of the denoiser.
pub fn held_out_errors(
    prior: &Prior,
    images: &Images,
    count: usize,
    seed: u64,
    threads: usize,
) -> Result<Vec<NoiseLevelError>> {
    let count = count.min(images.len());
    let classes = prior.classes.len().max(1);
    let mut jobs = Vec::new();
    for ratio in RATIOS {
        for class in 0..classes {
            let of_class = |i: &usize| prior.classes.is_empty() || images.labels[*i] == class;
            let numbers: Vec<usize> = (0..count).filter(of_class).collect();
            jobs.extend(numbers.chunks(BATCH).map(|chunk| (ratio, class, chunk.to_vec())));
        }
    }
    let sums = Pieces::new(threads)?.map(&jobs, |(ratio, class, numbers)| {
        let condition = if prior.classes.is_empty() { Condition::default() } else { Condition::class(*class) };
        squared_error(prior, images, numbers, *ratio, condition, seed)
    });
    let sums = sums.into_iter().collect::<Result<Vec<f64>>>()?;
    let values = (count * prior.shape().iter().product::<usize>()) as f64;
    let total = |ratio: f64| jobs.iter().zip(&sums).filter(|(job, _)| job.0 == ratio).map(|(_, s)| s).sum::<f64>();
    Ok(RATIOS.into_iter().map(|sigma| NoiseLevelError { sigma, mse: total(sigma) / values }).collect())
}

/// Sum over pictures and values.
fn squared_error(
    prior: &Prior,
    images: &Images,
    numbers: &[usize],
    ratio: f64,
    condition: Condition,
    seed: u64,
) -> Result<f64> {
    let [c, h, w] = prior.shape();
    let device = Device::flex();
    let values: Vec<f32> = numbers.iter().flat_map(|i| images.values(*i)).collect();
    let x0 = Tensor::<4>::from_data(TensorData::new(values, [numbers.len(), c, h, w]), &device);
    let eps = Noise::new(seed, PURPOSE, numbers.iter().copied()).normal([c, h, w], &device);
    let levels = vec![prior.schedule.level_at_ratio(ratio); numbers.len()];
    let z = x0.clone() * per_sample(&levels, &x0, |l| l.alpha) + eps * per_sample(&levels, &x0, |l| l.sigma);
    let x0_hat = prior.x0_hat(z, &levels, &Guidance::new(condition, 1.0))?;
    let error = (x0_hat - x0).into_data();
    Ok(error.iter::<f32>().map(|e| f64::from(e).powi(2)).sum())
}
