//! Samples of the prior itself; the measurement is ignored.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::posterior::Problem;
use crate::prior::{Guidance, Prior};
use crate::{Error, Level, Noise, Result};

/// How a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// Stochastic, `eta = 1` (Ho et al., 2020).
    Ancestral,
    /// Deterministic, first order (Song et al., 2021).
    Ddim,
    /// Deterministic, second order (Karras et al., 2022, algorithm 1); two calls a step but the last.
    Heun,
}

/// Options of unconditional sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnconditionalOptions {
    /// Levels visited.
    pub steps: usize,
    /// How a step is taken.
    pub update: Update,
}

impl Default for UnconditionalOptions {
    fn default() -> Self {
        Self { steps: 25, update: Update::Heun }
    }
}

/// Unconditional sampling.
pub struct Unconditional {
    options: UnconditionalOptions,
}

impl Unconditional {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: UnconditionalOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        Ok(Self { options })
    }

    /// Draws `z_0` from a prior, one for each stream of `noise`; the streams also give the start.
    ///
    /// # Errors
    /// Those of the denoiser, and [`Error::Interrupted`] when `tick` breaks.
    pub fn draw(
        &self,
        prior: &Prior,
        guidance: &Guidance,
        start: Tensor<4>,
        noise: &mut Noise,
        tick: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Tensor<4>> {
        let grid = prior.schedule.full_grid(self.options.steps);
        let mut z = start;
        for (i, level) in grid.iter().enumerate() {
            let x0_hat = prior.x0_hat_at(z.clone(), *level, guidance)?;
            let Some(next) = grid.get(i + 1) else {
                z = x0_hat;
                let _ = tick(); // There is nothing left to stop.
                break;
            };
            z = match self.options.update {
                Update::Ancestral => {
                    let eps = noise.normal(prior.shape(), &z.device());
                    let step = reverse(*level, *next, 1.0);
                    z * step.z + x0_hat * step.x0 + eps * step.std
                }
                Update::Ddim => ddim(z, x0_hat, *level, *next),
                Update::Heun => {
                    let euler = ddim(z.clone(), x0_hat.clone(), *level, *next);
                    let again = prior.x0_hat_at(euler, *next, guidance)?;
                    heun(z, x0_hat, again, *level, *next)
                }
            };
            if tick() == ControlFlow::Break(()) {
                return Err(Error::Interrupted);
            }
        }
        Ok(z)
    }
}

fn ddim(z: Tensor<4>, x0_hat: Tensor<4>, t: Level, s: Level) -> Tensor<4> {
    let step = reverse(t, s, 0.0);
    z * step.z + x0_hat * step.x0
}

/// Heun's rule in the variables of Karras et al. (2022): with `x = z / alpha` and `r = sigma / alpha`,
/// `dx/dr = (x - x0_hat) / r`, averaged over both ends of the step.
fn heun(z: Tensor<4>, x0_hat: Tensor<4>, again: Tensor<4>, t: Level, s: Level) -> Tensor<4> {
    if t.alpha == 0.0 {
        return ddim(z, x0_hat, t, s); // flow matching's first step starts where the ratio is infinite
    }
    let (rt, rs) = (t.ratio(), s.ratio());
    let x = z / t.alpha;
    let slope = (x.clone() - x0_hat) / rt;
    let euler = x.clone() + slope.clone() * (rs - rt);
    let slope_end = (euler - again) / rs;
    (x + (slope + slope_end) * (0.5 * (rs - rt))) * s.alpha
}

pub(super) const METHOD: Method = Method {
    name: "unconditional",
    about: "samples of the prior, whatever was measured (ancestral, ddim, heun)",
    defaults: || to_map(&UnconditionalOptions::default()),
    build: |map| Ok(Box::new(Unconditional::new(from_map(map)?)?)),
};

impl Sampler for Unconditional {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let prior = &problem.prior;
        in_batches(problem, draw, self.options.steps, observer, |_, noise, tick| {
            let start = noise.normal(prior.shape(), &problem.device()) * prior.schedule.start_std();
            self.draw(prior, &problem.guidance, start, noise, tick)
        })
    }
}
