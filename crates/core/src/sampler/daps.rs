//! Decoupled annealing posterior sampling, DAPS (Zhang, Chu, Berner, Meng, Anandkumar, Song, CVPR 2025, algorithm 1): at every level
//! the diffusion's ODE is solved down to `x0_hat`, Langevin dynamics bring it to the data, and noise of the next level is added
//! afresh, so that levels are not tied to each other by small steps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::measurement::Family;
use crate::operator::Spectral;
use crate::posterior::Problem;
use crate::{Error, Level, Noise, Result};

/// Options of DAPS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DapsOptions {
    /// Noise levels (the paper: 200).
    pub steps: usize,
    /// Euler steps of the ODE at each, one network call each (the paper: 5).
    pub ode_steps: usize,
    /// Langevin steps at each level, without the network (the paper: 100).
    pub langevin_steps: usize,
    /// Length of a Langevin step over the inverse of the largest curvature, at the first level. The paper tunes an absolute length
    /// for each task; this is scale-free, and stable below 2.
    pub step: f64,
    /// Its ratio at the last level, linear in between (the paper: 0.01).
    pub last: f64,
    /// Largest and smallest level, `sigma / alpha` (the paper: 100 and 0.1).
    pub sigma_max: f64,
    /// See `sigma_max`.
    pub sigma_min: f64,
}

impl Default for DapsOptions {
    fn default() -> Self {
        let (sigma_max, sigma_min) = (100.0, 0.1);
        Self { steps: 100, ode_steps: 5, langevin_steps: 100, step: 0.5, last: 0.01, sigma_max, sigma_min }
    }
}

/// DAPS.
pub struct Daps {
    options: DapsOptions,
}

impl Daps {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: DapsOptions) -> Result<Self> {
        super::at_least_one("steps", options.steps)?;
        super::at_least_one("ode_steps", options.ode_steps)?;
        super::in_unit("last", options.last)?;
        for (name, value) in
            [("step", options.step), ("sigma_max", options.sigma_max), ("sigma_min", options.sigma_min)]
        {
            super::positive(name, value)?;
        }
        if options.step >= 2.0 {
            return Err(Error::option("step", format!("must be below 2, got {}", options.step)));
        }
        if options.sigma_min >= options.sigma_max {
            return Err(Error::option("sigma_min", "must be below sigma_max"));
        }
        Ok(Self { options })
    }

    /// Levels even in `ratio^(1/7)` (Karras et al., 2022), as the authors place both the annealing and the ODE.
    fn levels(problem: &Problem, from: f64, to: f64, n: usize) -> Vec<Level> {
        let at = |i: usize| {
            let u = i as f64 / (n.max(2) - 1) as f64;
            (from.powf(1.0 / 7.0) * (1.0 - u) + to.powf(1.0 / 7.0) * u).powi(7)
        };
        (0..n).map(|i| problem.prior.schedule.level_at_ratio(at(i))).collect()
    }

    /// `x0_hat(z)`: the probability-flow ODE by Euler's rule down to the cleanest level, and `D` there.
    fn solve(&self, problem: &Problem, mut z: Tensor<4>, level: Level) -> Result<Tensor<4>> {
        let bottom = problem.prior.schedule.bottom().ratio().min(level.ratio());
        let grid = Self::levels(problem, level.ratio(), bottom, self.options.ode_steps);
        for (i, level) in grid.iter().enumerate() {
            let x0_hat = problem.prior.x0_hat_at(z.clone(), *level, &problem.guidance)?;
            z = match grid.get(i + 1) {
                None => x0_hat,
                Some(next) => {
                    let step = reverse(*level, *next, 0.0);
                    z * step.z + x0_hat * step.x0
                }
            };
        }
        Ok(z)
    }

    /// Langevin dynamics on `log p(y | x) - ||x - x0_hat||^2 / (2 r^2)` with `r` the level's ratio (eq. 8 and 9), `x` in the prior's space.
    fn langevin(&self, problem: &Problem, x0_hat: Tensor<4>, level: Level, step: f64, noise: &mut Noise) -> Tensor<4> {
        let (measurement, r2) = (&problem.measurement, level.ratio().powi(2));
        let precision = measurement.likelihood.sigma_y.powi(-2);
        let shape = problem.prior.shape();
        if let Some(spectral) =
            Spectral::new(problem, METHOD.name).ok().filter(|_| measurement.likelihood.family == Family::Gaussian)
        {
            let largest = spectral.singular.iter().fold(0.0, |a: f64, s| a.max(*s)).powi(2);
            let eta = step / (1.0 / r2 + largest * precision);
            let eps = noise.normal(shape, &x0_hat.device());
            return self.langevin_at_once(&spectral, x0_hat, (r2, precision, eta), eps);
        }
        let eta = step / (1.0 / r2 + precision);
        let mut x = x0_hat.clone();
        for _ in 0..self.options.langevin_steps {
            let leaf = x.clone().autodiff().require_grad();
            let nll = measurement.nll(problem.prior.autoencoder.decode(leaf.clone()), &vec![0.0; x.dims()[0]]);
            let mut grads = nll.sum().backward();
            let data = leaf.grad_remove(&mut grads).unwrap_or_else(|| x.zeros_like());
            let eps = noise.normal(shape, &x.device());
            x = x.clone() - (data + (x - x0_hat.clone()) / r2) * eta + eps * (2.0 * eta).sqrt();
        }
        x
    }

    /// All Langevin steps in one draw. For a linear operator and Gaussian noise they are an autoregression in each singular
    /// direction, `x <- m + rho (x - m) + sqrt(2 eta) eps` with `rho = 1 - eta (1 / r^2 + s^2 / sigma_y^2)`, whose state after any number
    /// of steps is Gaussian in closed form.
    fn langevin_at_once(
        &self,
        spectral: &Spectral,
        x0_hat: Tensor<4>,
        (r2, precision, eta): (f64, f64, f64),
        eps: Tensor<4>,
    ) -> Tensor<4> {
        let n = i32::try_from(self.options.langevin_steps).unwrap_or(i32::MAX);
        let total = |s: f64| 1.0 / r2 + s * s * precision;
        let rho = |s: f64| 1.0 - eta * total(s);
        let std = |s: f64| (2.0 * eta * (1.0 - rho(s).powi(2).powi(n)) / (1.0 - rho(s).powi(2))).sqrt();
        // From x0_hat towards m = x0_hat + s^2 / (sigma_y^2 total) (y - x0_hat), as far as the steps go.
        let towards = spectral.each(|s| s * s * precision / total(s) * (1.0 - rho(s).powi(n)));
        let gap = spectral.y.clone() - spectral.coordinates(x0_hat.clone());
        let more = spectral.coordinates(eps.clone()) * spectral.each(|s| std(s) - std(0.0));
        x0_hat + eps * std(0.0) + spectral.picture(gap * towards + more)
    }
}

pub(super) const METHOD: Method = Method {
    name: "daps",
    about: "decoupled annealing posterior sampling (Zhang et al., 2025)",
    defaults: || to_map(&DapsOptions::default()),
    build: |map| Ok(Box::new(Daps::new(from_map(map)?)?)),
};

impl Sampler for Daps {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let DapsOptions { steps, step, last, sigma_max, sigma_min, .. } = self.options;
        let prior = &problem.prior;
        // Flow matching's top has no finite ratio: the paper's largest level is used there.
        let grid = Self::levels(problem, sigma_max.min(prior.schedule.top().ratio()), sigma_min, steps);
        in_batches(problem, draw, steps, observer, |_, noise, tick| {
            let mut z = noise.normal(prior.shape(), &problem.device()) * grid[0].sigma;
            for (i, level) in grid.iter().enumerate() {
                let x0_hat = self.solve(problem, z, *level)?;
                let decay = 1.0 + (last - 1.0) * i as f64 / steps as f64;
                let x = self.langevin(problem, x0_hat.clone(), *level, step * decay, noise);
                z = match grid.get(i + 1) {
                    // The authors return the last ODE's solution.
                    None => x0_hat,
                    Some(next) => x * next.alpha + noise.normal(prior.shape(), &problem.device()) * next.sigma,
                };
                if tick().is_break() && i + 1 < grid.len() {
                    return Err(Error::Interrupted);
                }
            }
            Ok(z)
        })
    }
}
