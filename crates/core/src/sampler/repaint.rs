//! RePaint (Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool, CVPR 2022, algorithm 1): known pixels are replaced by noised
//! ones at every step, and the walk jumps back up again and again so that the hole can agree with them.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::{forward, reverse};
use crate::event::Observer;
use crate::posterior::Problem;
use crate::{Error, Result};

/// Options of RePaint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RePaintOptions {
    /// Levels visited (the paper: 250).
    pub steps: usize,
    /// Steps that a jump goes back (the paper: 10).
    pub jump_length: usize,
    /// Times each stretch of that length is walked down (the paper: 10).
    pub resamplings: usize,
}

impl Default for RePaintOptions {
    fn default() -> Self {
        Self { steps: 50, jump_length: 5, resamplings: 5 }
    }
}

/// RePaint.
pub struct RePaint {
    options: RePaintOptions,
}

impl RePaint {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: RePaintOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::at_least_one("jump_length", options.jump_length)?;
        super::at_least_one("resamplings", options.resamplings)?;
        Ok(Self { options })
    }

    /// The walk as indices into the grid of levels, from 0 (noisiest) on; a smaller index after a larger one is a jump back.
    /// As the authors' `get_schedule_jump`: after every `jump_length` steps down, back up by as many, `resamplings - 1` times.
    pub fn walk(&self) -> Vec<usize> {
        let RePaintOptions { steps, jump_length, resamplings } = self.options;
        let mut left = vec![0; steps];
        for at in (jump_length..steps.saturating_sub(1)).step_by(jump_length) {
            left[at] = resamplings - 1;
        }
        let (mut i, mut walk) = (0, vec![0]);
        while i + 1 < steps {
            i += 1;
            walk.push(i);
            if left[i] > 0 {
                left[i] -= 1;
                for _ in 0..jump_length {
                    i -= 1;
                    walk.push(i);
                }
            }
        }
        walk
    }
}

pub(super) const METHOD: Method = Method {
    name: "repaint",
    about: "RePaint (Lugmayr et al., 2022), for masks",
    defaults: || to_map(&RePaintOptions::default()),
    build: |map| Ok(Box::new(RePaint::new(from_map(map)?)?)),
};

impl Sampler for RePaint {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let (prior, y) = (&problem.prior, &problem.measurement.y);
        let mask = problem.measurement.operator.linear().filter(|o| o.kind() == "mask");
        let Some(mask) = mask.filter(|_| prior.autoencoder.is_identity()) else {
            return Err(Error::option("method", "repaint needs a mask and a pixel prior; use vipaint or dps"));
        };
        let known = mask.spectrum();
        let hidden = known.clone() * -1.0 + 1.0;
        let grid = prior.schedule.full_grid(self.options.steps);
        let walk = self.walk();
        let calls = walk.windows(2).filter(|w| w[1] > w[0]).count() + 1;
        in_batches(problem, draw, calls, observer, |_, noise, tick| {
            let shape = prior.shape();
            let mut z: Tensor<4> = noise.normal(shape, &problem.device()) * prior.schedule.start_std();
            for hop in walk.windows(2) {
                let (from, to) = (grid[hop[0]], grid[hop[1]]);
                let eps = noise.normal(shape, &problem.device());
                if hop[1] < hop[0] {
                    let (alpha, var) = forward(from, to);
                    z = z * alpha + eps * var.sqrt();
                    continue;
                }
                let x0_hat = prior.x0_hat_at(z.clone(), from, &problem.guidance)?;
                let step = reverse(from, to, 1.0);
                let own = z * step.z + x0_hat * step.x0 + eps * step.std;
                let measured = y.clone() * to.alpha + noise.normal(shape, &problem.device()) * to.sigma;
                z = measured * known.clone() + own * hidden.clone();
                if tick().is_break() {
                    return Err(Error::Interrupted);
                }
            }
            let x0_hat = prior.x0_hat_at(z, grid[grid.len() - 1], &problem.guidance)?;
            let _ = tick(); // the batch is complete: stopping is up to the next one
            Ok(y.clone() * known.clone() + x0_hat * hidden.clone())
        })
    }
}
