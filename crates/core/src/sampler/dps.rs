//! Diffusion posterior sampling (Chung, Kim, Mccann, Klasky, Ye, ICLR 2023, algorithm 1).

use serde::{Deserialize, Serialize};

use super::{Correction, Draw, Method, Sampler, Samples, Walk, from_map, in_batches, to_map};
use crate::event::Observer;
use crate::posterior::Problem;
use crate::{Error, Result};

/// Options of DPS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpsOptions {
    /// Network calls for each sample (the paper: 1000).
    pub steps: usize,
    /// Step size `zeta` on the gradient of `||y - A x0_hat||` (the paper: 0.3 to 1, scaled by the residual's norm).
    pub zeta: f64,
    /// Scale of the noise added in each step: 1 is ancestral sampling.
    pub eta: f64,
}

impl Default for DpsOptions {
    fn default() -> Self {
        Self { steps: 100, zeta: 1.0, eta: 1.0 }
    }
}

/// DPS.
pub struct Dps {
    options: DpsOptions,
}

impl Dps {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: DpsOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::in_unit("eta", options.eta)?;
        if !(options.zeta >= 0.0 && options.zeta.is_finite()) {
            return Err(Error::option("zeta", format!("must be at least 0 and finite, got {}", options.zeta)));
        }
        Ok(Self { options })
    }
}

pub(super) const METHOD: Method = Method {
    name: "dps",
    about: "diffusion posterior sampling (Chung et al., 2023)",
    defaults: || to_map(&DpsOptions::default()),
    build: |map| Ok(Box::new(Dps::new(from_map(map)?)?)),
};

impl Sampler for Dps {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let DpsOptions { steps, zeta, eta } = self.options;
        let schedule = &problem.prior.schedule;
        let walk =
            Walk { grid: schedule.full_grid(steps), correction: Correction::After, zeta, eta, order: 1, directions: 0 };
        in_batches(problem, draw, steps, observer, |_, noise, tick| {
            let z = noise.normal(problem.prior.shape(), &problem.device()) * schedule.start_std();
            walk.run(problem, z, noise, tick)
        })
    }
}
