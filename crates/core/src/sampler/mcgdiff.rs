//! MCGDiff (Cardoso, Janati El Idrissi, Le Corff, Moulines, ICLR 2024): a particle filter in the operator's singular basis.
//!
//! A coordinate measured with relative noise `sigma_y / s_i` is as noisy as the diffusion at the level `tau_i` where
//! `sigma / alpha = sigma_y / s_i`: there `z_tau` has to equal `alpha_tau y_i`, and above it the forward diffusion of that value is
//! known (section 3.2). Weights and proposals are those of algorithm 2; as in the authors' code, resampling is multinomial in each
//! step, the constraint at `tau_i` has a small variance, and below the last `tau_i` particles follow the prior. (That code divides by
//! the constraint again below `tau_i`, where several coordinates have different ones, which undoes it; here it stays.)

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::population::{Population, Tick, in_populations, multinomial, rows};
use super::{Draw, Method, Sampler, Samples, from_map, to_map};
use crate::chain::{forward, reverse};
use crate::event::Observer;
use crate::operator::{Spectral, values};
use crate::posterior::Problem;
use crate::{Error, Level, Result};

/// Options of MCGDiff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McgDiffOptions {
    /// Network calls for each particle (the paper: 100).
    pub steps: usize,
    /// Particles of a filter; all of them are samples (the paper: 64 for images, 1000 and more for mixtures).
    pub particles: usize,
    /// Scale of the noise added in each step (the paper: 1).
    pub eta: f64,
    /// Variance `kappa` of the constraint at `tau_i` (the authors' code: 1e-4).
    pub kappa: f64,
}

impl Default for McgDiffOptions {
    fn default() -> Self {
        Self { steps: 100, particles: 64, eta: 1.0, kappa: 1e-4 }
    }
}

/// MCGDiff.
pub struct McgDiff {
    options: McgDiffOptions,
}

impl McgDiff {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: McgDiffOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::at_least_one("particles", options.particles)?;
        super::in_unit("eta", options.eta)?;
        super::positive("kappa", options.kappa)?;
        Ok(Self { options })
    }
}

pub(super) const METHOD: Method = Method {
    name: "mcgdiff",
    about: "Monte-Carlo guided diffusion (Cardoso et al., 2024), for linear operators",
    defaults: || to_map(&McgDiffOptions::default()),
    build: |map| Ok(Box::new(McgDiff::new(from_map(map)?)?)),
};

/// The filter's constants for one problem.
struct Filter<'a> {
    spectral: Spectral<'a>,
    grid: Vec<Level>,
    /// The level `tau_i` of each entry of `y`, as an index into the grid; `None` if nothing is measured.
    tau: Vec<Option<usize>>,
    options: &'a McgDiffOptions,
}

impl<'a> Filter<'a> {
    fn new(problem: &'a Problem, options: &'a McgDiffOptions) -> Result<Self> {
        let spectral = Spectral::new(problem, METHOD.name)?;
        let grid = problem.prior.schedule.full_grid(options.steps);
        let sigma_y = problem.measurement.likelihood.sigma_y;
        // The nearest level, as the authors choose it: by the gap between alpha sigma_y and sigma s.
        let gap = |level: &Level, s: f64| ((level.alpha * sigma_y).powi(2) - (level.sigma * s).powi(2)).abs();
        let nearest = |s: f64| (0..grid.len()).min_by(|a, b| gap(&grid[*a], s).total_cmp(&gap(&grid[*b], s)));
        let tau = spectral.singular.iter().map(|s| if *s > 0.0 { nearest(*s) } else { None }).collect();
        Ok(Self { spectral, grid, tau, options })
    }

    /// For every entry of `y` the mean's factor on `y_i` and the variance of the constraint at grid level `at`; 0 below `tau_i`.
    fn constraint(&self, at: usize) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let of = |f: &dyn Fn(f64, f64) -> f64| {
            self.spectral.listed(|i| match self.tau[i].filter(|tau| at <= *tau) {
                None => 0.0,
                Some(tau) => {
                    let (alpha, var) = forward(self.grid[tau], self.grid[at]);
                    f(alpha * self.grid[tau].alpha, var + self.options.kappa * alpha.powi(2))
                }
            })
        };
        (of(&|mean, _| mean) * self.spectral.y.clone(), of(&|_, var| var), of(&|_, _| 1.0))
    }

    /// `log N(c; mean, var)` over the entries that are constrained (without constants, equal for all particles), for each particle.
    fn log_normal(c: Tensor<4>, mean: Tensor<4>, var: Tensor<4>, on: Tensor<4>) -> Vec<f64> {
        let [n, a, b, d] = c.dims();
        let safe = var + (on.clone() * -1.0 + 1.0);
        let terms = (c - mean).square() / safe * on * -0.5;
        values(&terms.reshape([n, a * b * d]).sum_dim(1)).into_iter().map(f64::from).collect()
    }

    fn run(&self, population: &mut Population, tick: &mut Tick) -> Result<Tensor<4>> {
        let mut z: Tensor<4> = population.normal() * population.problem.prior.schedule.start_std();
        let filtered = self.tau.iter().flatten().copied().max().unwrap_or(0);
        for (i, level) in self.grid.iter().enumerate() {
            let x0_hat = population.denoise(z.clone(), *level)?;
            let Some(next) = self.grid.get(i + 1) else {
                z = x0_hat;
                break;
            };
            let step = reverse(*level, *next, self.options.eta);
            let mut mean = z.clone() * step.z + x0_hat * step.x0;
            let eps = population.normal();
            z = if i < filtered {
                let (target, var, on) = self.constraint(i + 1);
                let before = self.constraint(i);
                let c = self.spectral.coordinates(mean.clone());
                let now = Self::log_normal(c, target.clone(), var.clone() + step.std.powi(2), on.clone());
                // A coordinate past its tau keeps the weight that the constraint gave it there.
                let then = Self::log_normal(self.spectral.coordinates(z), before.0, before.1, on.clone());
                let logs: Vec<f64> = now.iter().zip(then).map(|(now, then)| now - then).collect();
                mean = rows(&mean, &multinomial(&logs, logs.len(), &mut population.picks));
                // In constrained coordinates the product of the step and the constraint, elsewhere the step.
                let gain = (var.clone() + step.std.powi(2)).recip() * step.std.powi(2) * on.clone();
                let shift = (target - self.spectral.coordinates(mean.clone())) * gain.clone();
                let noise = (gain * var).sqrt() - on * step.std;
                let moved = shift + self.spectral.coordinates(eps.clone()) * noise;
                mean + eps * step.std + self.spectral.picture(moved)
            } else {
                mean + eps * step.std
            };
            if tick().is_break() {
                return Err(Error::Interrupted);
            }
        }
        let _ = tick(); // the population is complete: stopping is up to the next one
        Ok(z)
    }
}

impl Sampler for McgDiff {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let filter = Filter::new(problem, &self.options)?;
        let n = self.options.particles;
        in_populations(problem, draw, (n, n, false), filter.grid.len(), observer, |population, tick| {
            filter.run(population, tick)
        })
    }
}
