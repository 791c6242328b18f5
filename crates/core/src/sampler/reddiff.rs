//! RED-diff (Mardani, Song, Kautz, Vahdat, ICLR 2024, algorithm 1): a point `mu` is optimised, one for each sample, while a diffusion
//! denoises noised copies of it; it needs no derivative of the network.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::event::Observer;
use crate::posterior::{Adam, Problem};
use crate::{Error, Result};

/// Options of RED-diff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedDiffOptions {
    /// Network calls for each sample (the paper: 100 and 1000).
    pub steps: usize,
    /// Weight `lambda` of the denoising term (the paper: 0.25).
    pub lambda: f64,
    /// Weight of the data term (the paper: 1).
    pub data: f64,
    /// Adam's rate (the paper: 0.1 for images).
    pub lr: f64,
}

impl Default for RedDiffOptions {
    fn default() -> Self {
        Self { steps: 1000, lambda: 0.25, data: 1.0, lr: 0.1 }
    }
}

/// RED-diff.
pub struct RedDiff {
    options: RedDiffOptions,
}

impl RedDiff {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: RedDiffOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        for (name, value) in [("lambda", options.lambda), ("data", options.data), ("lr", options.lr)] {
            super::positive(name, value)?;
        }
        Ok(Self { options })
    }
}

pub(super) const METHOD: Method = Method {
    name: "reddiff",
    about: "RED-diff (Mardani et al., 2024): optimisation with a denoiser",
    defaults: || to_map(&RedDiffOptions::default()),
    build: |map| Ok(Box::new(RedDiff::new(from_map(map)?)?)),
};

impl Sampler for RedDiff {
    /// Minimises `data/2 mean (y - A mu)^2 + lambda (sigma_t / alpha_t) mean sg[eps_hat - eps] mu` with `z_t = alpha_t mu + sigma_t eps`,
    /// t from T down to 0 (means over values, as in the authors' code). `mu` starts at the operator's rough inverse.
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let RedDiffOptions { steps, lambda, data, lr } = self.options;
        let (prior, measurement) = (&problem.prior, &problem.measurement);
        // Where no signal is left there is nothing to denoise.
        let grid: Vec<_> = prior.schedule.full_grid(steps).into_iter().filter(|l| l.alpha > 0.0).collect();
        let start = prior.autoencoder.encode(measurement.operator.rough_inverse(measurement.y.clone()));
        let values = prior.shape().iter().product::<usize>() as f64;
        let measured = measurement.y.dims().iter().product::<usize>() as f64;
        in_batches(problem, draw, grid.len(), observer, |indices, noise, tick| {
            let [_, c, h, w] = start.dims();
            let mut mu: Tensor<4> = start.clone().expand([indices.len(), c, h, w]);
            let mut adam = Adam::new(&mu);
            for (i, level) in grid.iter().enumerate() {
                let eps = noise.normal(prior.shape(), &problem.device());
                let z = mu.clone() * level.alpha + eps * level.sigma;
                let x0_hat = prior.x0_hat_at(z, *level, &problem.guidance)?;
                // eps_hat - eps = alpha / sigma (mu - x0_hat), so the weight sigma / alpha cancels.
                let towards = (mu.clone() - x0_hat) * (lambda / values);
                let leaf = mu.clone().autodiff().require_grad();
                let gap = measurement.operator.apply(prior.autoencoder.decode(leaf.clone())) - measurement.y.clone();
                let mut grads = (gap.square().sum() * (0.5 * data / measured)).backward();
                let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| mu.zeros_like());
                mu = adam.step(mu, grad + towards, (lr, Adam::BETA2), i + 1);
                if tick().is_break() && i + 1 < grid.len() {
                    return Err(Error::Interrupted);
                }
            }
            Ok(mu)
        })
    }
}
