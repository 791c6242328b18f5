//! Denoising diffusion null-space models (Wang, Yu, Zhang, ICLR 2023): DDNM (algorithm 1) without noise, DDNM+ (algorithm 3, with
//! eq. 17 to 19 in the operator's singular values) with it. Time travel is RePaint's, and not repeated here.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::{Reverse, reverse};
use crate::event::Observer;
use crate::operator::Spectral;
use crate::posterior::Problem;
use crate::{Error, Result};

/// Options of DDNM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DdnmOptions {
    /// Network calls for each sample (the paper: 100).
    pub steps: usize,
    /// Scale of the noise added in each step (the paper: 0.85).
    pub eta: f64,
    /// Whether the measurement's noise is allowed for (DDNM+); if not, samples agree with `y` exactly (DDNM).
    pub noisy: bool,
}

impl Default for DdnmOptions {
    fn default() -> Self {
        Self { steps: 100, eta: 0.85, noisy: true }
    }
}

/// DDNM.
pub struct Ddnm {
    options: DdnmOptions,
}

impl Ddnm {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: DdnmOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::in_unit("eta", options.eta)?;
        Ok(Self { options })
    }
}

pub(super) const METHOD: Method = Method {
    name: "ddnm",
    about: "null-space diffusion, DDNM and DDNM+ (Wang et al., 2023), for linear operators",
    defaults: || to_map(&DdnmOptions::default()),
    build: |map| Ok(Box::new(Ddnm::new(from_map(map)?)?)),
};

/// How far a measured coordinate goes to `y`, and the noise that it still gets, for noise `std_y` in that coordinate: `lambda = 1`
/// if what comes with `y` is no more than the step's own noise, else as much as makes them equal (eq. 18 and 19).
fn balance(step: Reverse, std_y: f64) -> (f64, f64) {
    let lambda = if step.x0 * std_y <= step.std { 1.0 } else { step.std / (step.x0 * std_y) };
    (lambda, (step.std.powi(2) - (step.x0 * lambda * std_y).powi(2)).max(0.0).sqrt())
}

impl Sampler for Ddnm {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let DdnmOptions { steps, eta, noisy } = self.options;
        let (prior, spectral) = (&problem.prior, Spectral::new(problem, METHOD.name)?);
        let sigma_y = if noisy { problem.measurement.likelihood.sigma_y } else { 0.0 };
        let grid = prior.schedule.full_grid(steps);
        in_batches(problem, draw, grid.len(), observer, |_, noise, tick| {
            let shape = prior.shape();
            let mut z: Tensor<4> = noise.normal(shape, &problem.device()) * prior.schedule.start_std();
            for (i, level) in grid.iter().enumerate() {
                let x0_hat = prior.x0_hat_at(z.clone(), *level, &problem.guidance)?;
                let step = match grid.get(i + 1) {
                    Some(next) => reverse(*level, *next, eta),
                    // The last step adds no noise; the one that brings the data along is the estimate's own.
                    None => Reverse { z: 0.0, x0: 1.0, std: 0.0 },
                };
                let last = i + 1 == grid.len();
                let lambda = spectral.each(|s| {
                    if last {
                        1.0 / (1.0 + (sigma_y / (s * level.ratio())).powi(2))
                    } else {
                        balance(step, sigma_y / s).0
                    }
                });
                // x0 - V lambda (V^T x0 - y): eq. 17, eq. 13 with lambda = 1.
                let gap = spectral.coordinates(x0_hat.clone()) - spectral.y.clone();
                let x0 = x0_hat - spectral.picture(gap * lambda);
                z = if last {
                    x0
                } else {
                    let eps = noise.normal(shape, &problem.device());
                    let less = spectral.each(|s| balance(step, sigma_y / s).1 - step.std);
                    let added = eps.clone() * step.std + spectral.picture(spectral.coordinates(eps) * less);
                    z * step.z + x0 * step.x0 + added
                };
                if tick().is_break() && !last {
                    return Err(Error::Interrupted);
                }
            }
            Ok(z)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defining equation of DDNM+: noise that comes with `y` and noise that is added make up the step's variance, unless
    /// there is too much of the first, which then fills it alone.
    #[test]
    fn noise_is_balanced() {
        let step = Reverse { z: 0.4, x0: 0.5, std: 0.2 };
        for std_y in [0.0, 0.1, 0.39, 0.41, 3.0] {
            let (lambda, left) = balance(step, std_y);
            let total = (lambda * step.x0 * std_y).powi(2) + left * left;
            assert!((total - step.std.powi(2)).abs() < 1e-12, "{std_y}: {total}");
            assert_eq!(lambda == 1.0, std_y <= 0.4);
        }
    }
}
