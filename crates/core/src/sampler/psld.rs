//! Posterior sampling with latent diffusion (Rout, Raoof, Daras, Caramanis, Dimakis, Shakkottai, NeurIPS 2023, algorithm 2):
//! DPS with a second term that glues the latent to the encoding of the picture in which known pixels are as measured.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::posterior::Problem;
use crate::{Error, Level, Result};

/// Options of PSLD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PsldOptions {
    /// Network calls for each sample (the paper: 1000).
    pub steps: usize,
    /// Scale of the gradient of `||y - A Dec(x0_hat)||` (`eta` in the paper, `omega` in the authors' code, 1).
    pub omega: f64,
    /// Scale of the gradient of `||x0_hat - Enc(A^T y + (I - A^T A) Dec(x0_hat))||` (the authors' code: 0.1).
    pub gamma: f64,
    /// Scale of the noise added in each step (the authors' code: 0, DDIM).
    pub eta: f64,
}

impl Default for PsldOptions {
    fn default() -> Self {
        Self { steps: 100, omega: 1.0, gamma: 0.1, eta: 0.0 }
    }
}

/// PSLD.
pub struct Psld {
    options: PsldOptions,
}

impl Psld {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: PsldOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::in_unit("eta", options.eta)?;
        for (name, value) in [("omega", options.omega), ("gamma", options.gamma)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be at least 0 and finite, got {value}")));
            }
        }
        Ok(Self { options })
    }

    /// `x0_hat` at `z`, and the gradient of both errors' weighted sum with respect to `z`.
    fn denoise(&self, problem: &Problem, z: &Tensor<4>, level: Level) -> Result<(Tensor<4>, Tensor<4>)> {
        let (prior, measurement) = (&problem.prior, &problem.measurement);
        if level.alpha == 0.0 {
            let x0_hat = prior.x0_hat_at(z.clone(), level, &problem.guidance)?; // there is no signal to correct yet
            let none = x0_hat.zeros_like();
            return Ok((x0_hat, none));
        }
        let leaf = z.clone().autodiff().require_grad();
        let x0_hat = prior.x0_hat_at(leaf.clone(), level, &problem.guidance)?;
        let x_hat = prior.autoencoder.decode(x0_hat.clone());
        let mut error = measurement.residual_norm(x_hat.clone()) * self.options.omega;
        if self.options.gamma > 0.0 {
            let known = glued(problem, x_hat)?;
            error = error + norm(prior.autoencoder.encode(known) - x0_hat.clone()) * self.options.gamma;
        }
        let mut grads = error.sum().backward();
        prior.check()?;
        let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| z.zeros_like());
        Ok((x0_hat.inner(), grad))
    }
}

/// `A^T y + (I - A^T A) x`: `x` with what is measured as it was measured.
fn glued(problem: &Problem, x: Tensor<4>) -> Result<Tensor<4>> {
    let measurement = &problem.measurement;
    let Some(linear) = measurement.operator.linear() else {
        return Err(Error::option("method", "psld needs a linear operator; use vipaint or dps"));
    };
    Ok(x.clone() + linear.adjoint(measurement.operator.apply(x) * -1.0 + measurement.y.clone()))
}

/// The norm of each sample, `[batch]`; the small constant keeps the gradient finite at 0.
fn norm(x: Tensor<4>) -> Tensor<1> {
    let [b, c, h, w] = x.dims();
    (x.square().reshape([b, c * h * w]).sum_dim(1).reshape([b]) + 1e-12).sqrt()
}

pub(super) const METHOD: Method = Method {
    name: "psld",
    about: "posterior sampling with latent diffusion (Rout et al., 2023)",
    defaults: || to_map(&PsldOptions::default()),
    build: |map| Ok(Box::new(Psld::new(from_map(map)?)?)),
};

impl Sampler for Psld {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let prior = &problem.prior;
        let grid = prior.schedule.full_grid(self.options.steps);
        in_batches(problem, draw, grid.len(), observer, |_, noise, tick| {
            let (shape, device) = (prior.shape(), problem.device());
            let mut z: Tensor<4> = noise.normal(shape, &device) * prior.schedule.start_std();
            for (i, from) in grid.iter().enumerate() {
                let (x0_hat, grad) = self.denoise(problem, &z, *from)?;
                z = match grid.get(i + 1) {
                    None => x0_hat - grad,
                    Some(to) => {
                        let step = reverse(*from, *to, self.options.eta);
                        z * step.z + x0_hat * step.x0 + noise.normal(shape, &device) * step.std - grad
                    }
                };
                if tick().is_break() && i + 1 < grid.len() {
                    return Err(Error::Interrupted);
                }
            }
            Ok(z)
        })
    }
}
