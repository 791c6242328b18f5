//! Pseudo-inverse guided diffusion, PiGDM (Song, Vahdat, Mardani, Kautz, ICLR 2023, algorithm 1).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::posterior::Problem;
use crate::{Error, Level, Result};

/// Options of PiGDM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PiGdmOptions {
    /// Network calls for each sample (the paper: 20 to 100).
    pub steps: usize,
    /// Scale of the noise added in each step (the paper: 1).
    pub eta: f64,
    /// Scale of the guidance (the paper: 1).
    pub scale: f64,
}

impl Default for PiGdmOptions {
    fn default() -> Self {
        Self { steps: 100, eta: 1.0, scale: 1.0 }
    }
}

/// PiGDM.
pub struct PiGdm {
    options: PiGdmOptions,
}

impl PiGdm {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: PiGdmOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::in_unit("eta", options.eta)?;
        super::positive("scale", options.scale)?;
        Ok(Self { options })
    }

    /// `x0_hat` and the guidance `r^2 grad_z log p(y | z)` with `p(y | z) = N(A x0_hat, r^2 A A^T + sigma_y^2 I)` (eq. 7 and 8), the
    /// weight `r^2` being the paper's adaptive one (section 3.3). The paper's `r^2 = sigma^2 / (1 + sigma^2)` is that of data of
    /// unit spread; here it follows from the prior's spread, see [`crate::prior::Prior::spread`].
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn guidance(problem: &Problem, z: Tensor<4>, level: Level) -> Result<(Tensor<4>, Tensor<4>)> {
        let prior = &problem.prior;
        if level.alpha == 0.0 {
            let x0_hat = prior.x0_hat_at(z, level, &problem.guidance)?;
            return Ok((x0_hat.clone(), x0_hat.zeros_like()));
        }
        let (batch, r) = (z.dims()[0], prior.spread(level));
        let leaf = z.autodiff().require_grad();
        let tracked = prior.x0_hat_at(leaf.clone(), level, &problem.guidance)?;
        let x0_hat = tracked.clone().inner();
        let nll = problem.measurement.nll(prior.autoencoder.decode(tracked), &vec![r; batch]);
        let mut grads = nll.sum().backward();
        let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| leaf.inner().zeros_like());
        Ok((x0_hat, grad * -r.powi(2)))
    }
}

pub(super) const METHOD: Method = Method {
    name: "pigdm",
    about: "pseudo-inverse guided diffusion (Song et al., 2023)",
    defaults: || to_map(&PiGdmOptions::default()),
    build: |map| Ok(Box::new(PiGdm::new(from_map(map)?)?)),
};

impl Sampler for PiGdm {
    /// `z_s = alpha_s x0_hat + c1 eps + c2 eps_hat + alpha_s alpha_t g`: the last line of algorithm 1, with the `alpha_s` that the
    /// authors' later code has on the guidance as on `x0_hat`.
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let PiGdmOptions { steps, eta, scale } = self.options;
        let prior = &problem.prior;
        let grid = prior.schedule.full_grid(steps);
        in_batches(problem, draw, grid.len(), observer, |_, noise, tick| {
            let mut z = noise.normal(prior.shape(), &problem.device()) * prior.schedule.start_std();
            for (i, level) in grid.iter().enumerate() {
                let (x0_hat, guidance) = Self::guidance(problem, z.clone(), *level)?;
                let guidance = guidance * (scale * level.alpha);
                z = match grid.get(i + 1) {
                    None => x0_hat + guidance,
                    Some(next) => {
                        let step = reverse(*level, *next, eta);
                        let eps = noise.normal(prior.shape(), &problem.device());
                        z * step.z + x0_hat * step.x0 + eps * step.std + guidance * next.alpha
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
