//! ReSample (Song, Kwon, Zhang, Hu, Qu, Shen, ICLR 2024, algorithm 1): latent diffusion with hard data consistency. Every few steps
//! `x0_hat` is optimised until it explains the data, in pixels while there is much noise and in latents later, and brought back
//! to the level by *stochastic resampling*.
//!
//! What the paper leaves open is as in the authors' code: no optimisation in the first third of the steps, a look ahead of five
//! steps for the start of each, a DPS step in between, and a last optimisation of the result. Their AdamW's decay, which shrinks
//! what is not measured, is left out.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::operator::values;
use crate::posterior::{Adam, Problem};
use crate::{Error, Level, Result};

/// Options of ReSample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResampleOptions {
    /// Steps from T to 0 (the paper: 500).
    pub steps: usize,
    /// Scale of the noise added in each step (the paper: 0, DDIM).
    pub eta: f64,
    /// Steps between optimisations (the paper: 10).
    pub interval: usize,
    /// Network calls that look ahead before each of them (the authors' code: 5).
    pub ahead: usize,
    /// `gamma`: the variance of resampling over that of an ancestral step (the paper: 40).
    pub gamma: f64,
    /// Scale of the gradient of `||y - A Dec(x0_hat)||` in each step, times `alpha^2` (the authors' code: 0.5).
    pub zeta: f64,
    /// Most iterations of Adam in pixels (the authors' code: 2000), in the second third of the steps.
    pub pixel_iterations: usize,
    /// Most iterations of Adam in latents (the authors' code: 500), in the last third and at the end.
    pub latent_iterations: usize,
    /// Adam's rate in pixels (the authors' code: 0.01).
    pub lr_pixel: f64,
    /// Adam's rate in latents (the authors' code: 0.005).
    pub lr_latent: f64,
    /// Root mean square residual at which an optimisation stops (the authors' code: 0.001); never below the noise, which is not to
    /// be fitted (section 3.2 of the paper).
    pub tolerance: f64,
}

impl Default for ResampleOptions {
    fn default() -> Self {
        Self {
            steps: 500,
            eta: 0.0,
            interval: 10,
            ahead: 5,
            gamma: 40.0,
            zeta: 0.5,
            pixel_iterations: 2000,
            latent_iterations: 500,
            lr_pixel: 0.01,
            lr_latent: 0.005,
            tolerance: 1e-3,
        }
    }
}

/// ReSample.
pub struct Resample {
    options: ResampleOptions,
}

/// What is optimised.
#[derive(Clone, Copy, PartialEq)]
enum Space {
    Pixels,
    Latents,
}

impl Resample {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: ResampleOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::at_least_one("interval", options.interval)?;
        super::in_unit("eta", options.eta)?;
        for (name, value) in [
            ("gamma", options.gamma),
            ("lr_pixel", options.lr_pixel),
            ("lr_latent", options.lr_latent),
            ("tolerance", options.tolerance),
        ] {
            super::positive(name, value)?;
        }
        if !(options.zeta >= 0.0 && options.zeta.is_finite()) {
            return Err(Error::option("zeta", format!("must be at least 0 and finite, got {}", options.zeta)));
        }
        Ok(Self { options })
    }

    /// Whether `x0_hat` is optimised after step `i` of `n`, and where: every `interval` steps of the last two thirds, in pixels
    /// first.
    fn consistent(&self, i: usize, n: usize) -> Option<Space> {
        let (left, third) = (n - i - 1, n / 3);
        let chosen = left > 0 && left <= n - third && left.is_multiple_of(self.options.interval);
        chosen.then_some(if left >= third { Space::Pixels } else { Space::Latents })
    }

    /// Network calls without a gradient that look ahead in all, a sample.
    pub fn looks(&self) -> usize {
        let n = self.options.steps;
        let chosen = (0..n).filter(|i| self.consistent(*i, n).is_some());
        chosen.map(|i| self.options.ahead.min(n - 1 - i)).sum()
    }

    /// `x0_hat` at `z` and the gradient of `||y - A Dec(x0_hat)||` with respect to `z`.
    fn denoise(&self, problem: &Problem, z: &Tensor<4>, level: Level) -> Result<(Tensor<4>, Tensor<4>)> {
        let prior = &problem.prior;
        if level.alpha == 0.0 || self.options.zeta == 0.0 {
            let x0_hat = prior.x0_hat_at(z.clone(), level, &problem.guidance)?;
            let none = x0_hat.zeros_like();
            return Ok((x0_hat, none));
        }
        let leaf = z.clone().autodiff().require_grad();
        let x0_hat = prior.x0_hat_at(leaf.clone(), level, &problem.guidance)?;
        let norm = problem.measurement.residual_norm(prior.autoencoder.decode(x0_hat.clone()));
        let mut grads = norm.sum().backward();
        prior.check()?;
        let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| z.zeros_like());
        Ok((x0_hat.inner(), grad * (self.options.zeta * level.alpha.powi(2))))
    }

    /// `x0_hat` a few DDIM steps further down the grid.
    fn ahead(&self, problem: &Problem, mut z: Tensor<4>, grid: &[Level], mut x0_hat: Tensor<4>) -> Result<Tensor<4>> {
        for (i, level) in grid.iter().take(self.options.ahead).enumerate() {
            x0_hat = problem.prior.x0_hat_at(z.clone(), *level, &problem.guidance)?;
            if let Some(next) = grid.get(i + 1) {
                let step = reverse(*level, *next, 0.0);
                z = z * step.z + x0_hat.clone() * step.x0;
            }
        }
        Ok(x0_hat)
    }

    /// Hard data consistency: minimises `||y - A Dec(z)||^2` from `x0_hat` until it is small enough, each sample by itself.
    fn optimise(&self, problem: &Problem, x0_hat: Tensor<4>, space: Space) -> Result<Tensor<4>> {
        let (measurement, autoencoder) = (&problem.measurement, &problem.prior.autoencoder);
        let (iterations, lr) = match space {
            Space::Pixels => (self.options.pixel_iterations, self.options.lr_pixel),
            Space::Latents => (self.options.latent_iterations, self.options.lr_latent),
        };
        let predict = |x: Tensor<4>| if space == Space::Pixels { x } else { autoencoder.decode(x) };
        let mut x = if space == Space::Pixels { autoencoder.decode(x0_hat) } else { x0_hat };
        let measured = match measurement.operator.linear() {
            Some(linear) => values(&linear.spectrum()).iter().filter(|s| **s > 0.0).count(),
            None => measurement.y.dims().iter().product(),
        };
        let enough = measured as f64 * self.options.tolerance.max(measurement.likelihood.sigma_y).powi(2);
        let mut adam = Adam::new(&x);
        let mut moving = vec![1.0f32; x.dims()[0]];
        for iteration in 1..=iterations {
            let leaf = x.clone().autodiff().require_grad();
            let norm = measurement.residual_norm(predict(leaf.clone()));
            let errors = values(&norm.clone().inner());
            moving.iter_mut().zip(errors).for_each(|(m, e)| *m *= f32::from(u8::from(f64::from(e).powi(2) > enough)));
            if moving.iter().all(|m| *m == 0.0) {
                break;
            }
            let mut grads = norm.square().sum().backward();
            problem.prior.check()?;
            let Some(grad) = leaf.grad_remove(&mut grads) else { break };
            let moves = Tensor::<4>::from_data(TensorData::new(moving.clone(), [moving.len(), 1, 1, 1]), &x.device());
            x = x.clone() + (adam.step(x.clone(), grad, (lr, Adam::BETA2), iteration) - x) * moves;
        }
        let x = if space == Space::Pixels { autoencoder.encode(x) } else { x };
        problem.prior.check()?;
        Ok(x)
    }
}

/// Stochastic resampling (proposition 1): `z_s` given `z'_s = z_s + N(0, variance)` and `x0`, where `z_s` given `x0` is the
/// forward diffusion: mean as weights of `x0` and `z'`, and standard deviation.
fn resampling(level: Level, variance: f64) -> (f64, f64, f64) {
    let noise = level.sigma.powi(2);
    let total = variance + noise;
    (variance * level.alpha / total, noise / total, (variance * noise / total).sqrt())
}

pub(super) const METHOD: Method = Method {
    name: "resample",
    about: "ReSample (Song et al., 2024): latent diffusion with hard data consistency",
    defaults: || to_map(&ResampleOptions::default()),
    build: |map| Ok(Box::new(Resample::new(from_map(map)?)?)),
};

impl Sampler for Resample {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let prior = &problem.prior;
        let grid = prior.schedule.full_grid(self.options.steps);
        in_batches(problem, draw, grid.len(), observer, |_, noise, tick| {
            let (shape, device) = (prior.shape(), problem.device());
            let mut z: Tensor<4> = noise.normal(shape, &device) * prior.schedule.start_std();
            for (i, from) in grid.iter().enumerate() {
                let (x0_hat, shift) = self.denoise(problem, &z, *from)?;
                let Some(to) = grid.get(i + 1) else {
                    z = x0_hat - shift;
                    tick().is_break(); // nothing is left to be stopped
                    break;
                };
                let step = reverse(*from, *to, self.options.eta);
                let eps = noise.normal(shape, &device);
                z = z * step.z + x0_hat.clone() * step.x0 + eps * step.std - shift;
                if let Some(space) = self.consistent(i, grid.len()) {
                    let start = self.ahead(problem, z.clone(), &grid[i + 1..], x0_hat)?;
                    let x0 = self.optimise(problem, start, space)?;
                    let (on_x0, on_z, std) = resampling(*to, self.options.gamma * reverse(*from, *to, 1.0).std.powi(2));
                    z = x0 * on_x0 + z * on_z + noise.normal(shape, &device) * std;
                }
                if tick().is_break() {
                    return Err(Error::Interrupted);
                }
            }
            self.optimise(problem, z, Space::Latents)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bayes' rule on a grid of values of `z_s`: `N(z_s; alpha x0, sigma^2) N(z'; z_s, variance)`.
    #[test]
    fn resampling_is_bayes_rule() {
        let level = Level { t: 1.0, alpha: 0.8, sigma: 0.6 };
        let (x0, z, variance) = (1.3, -0.4, 0.2);
        let (on_x0, on_z, std) = resampling(level, variance);
        let weight =
            |s: f64| (-(s - level.alpha * x0).powi(2) / (2.0 * 0.36) - (s - z).powi(2) / (2.0 * variance)).exp();
        let grid = || (-4000..4000).map(|i| f64::from(i) * 1e-3);
        let total: f64 = grid().map(weight).sum();
        let mean = grid().map(|s| s * weight(s)).sum::<f64>() / total;
        let spread = (grid().map(|s| (s - mean).powi(2) * weight(s)).sum::<f64>() / total).sqrt();
        assert!((on_x0 * x0 + on_z * z - mean).abs() < 1e-9, "{mean}");
        assert!((std - spread).abs() < 1e-9, "{spread}");
    }

    #[test]
    fn optimisations_are_where_the_authors_place_them() {
        let resample = Resample::new(ResampleOptions::default()).expect("they are valid");
        let chosen: Vec<usize> = (0..500).filter(|i| resample.consistent(*i, 500).is_some()).collect();
        // index = 499 - i is a multiple of 10 from 330 (500 - 166 = 334) down to 10, in pixels from 166 on.
        assert_eq!((chosen.len(), chosen[0], chosen[32]), (33, 169, 489));
        assert!(
            resample.consistent(329, 500) == Some(Space::Pixels)
                && resample.consistent(339, 500) == Some(Space::Latents)
        );
        assert_eq!(resample.looks(), 33 * 5);
    }
}
