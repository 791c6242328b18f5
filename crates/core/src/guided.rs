//! Guided reverse diffusion: a reverse step with a correction by the data's gradient through the denoiser. VIPaint's
//! refinement from `t_1` to 0, and DPS from T to 0, are this walk.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::chain::reverse;
use crate::decoded::Decoded;
use crate::krylov::covariance;
use crate::problem::Problem;
use crate::{Error, Level, Noise, Result};

/// How the data's gradient enters a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Correction {
    /// After the step, subtract `zeta grad ||y - A x0_hat||` (DPS, Chung et al., 2023, algorithm 1; VIPaint's latent
    /// diffusion release).
    After,
    /// Before the step, subtract it from `z`, and denoise again at the corrected point (VIPaint's SD3 release).
    Before,
    /// In the step, replace `x0_hat` by `x0_hat - zeta (sigma^2 / alpha) grad_z[-log p(y | z)]` with the likelihood widened by
    /// what the denoiser does not know (as PiGDM, Song et al., 2023): with `zeta = 1` Tweedie's formula for the posterior score,
    /// which has no scale to tune where the widening is right. Under a latent prior the likelihood knows the decoder, and the
    /// step's length is searched for.
    Inside,
    /// As `inside`, with two differences. The length of `x0_hat`'s move is searched for in the linear model of the measurement (see
    /// `zeta`), since a likelihood that is widened as if the prior were white gives its direction well but not its length. And
    /// the estimate of the noise in `z` is kept (the last line of PiGDM's algorithm 1): the next sample moves by `alpha` times as much as
    /// `x0_hat`, not only by its weight in the reverse step. Fewer steps reach the data, and more make the samples too alike: it is
    /// for few steps where the data tell nearly all.
    Search,
    /// As `search`, with the covariance of `z_0` that the denoiser's Jacobian gives (see [`crate::krylov`]) in place of a white one, in a
    /// few [directions](Walk::directions). What is hidden then moves as it depends on what is known, a step costs one forward
    /// call and one more for each direction, and no gradient of the network is taken.
    Krylov,
}

impl Correction {
    /// What a step costs in forward calls, a vector-Jacobian product counting as two more.
    pub fn cost(self, directions: usize) -> usize {
        match self {
            Self::After | Self::Inside | Self::Search => 3,
            Self::Before => 4,
            Self::Krylov => 1 + directions,
        }
    }

    /// Whether the estimate of the noise in `z` is kept: the next sample moves by `alpha` times as much as `x0_hat`.
    pub(crate) fn keeps_noise(self) -> bool {
        matches!(self, Self::Search | Self::Krylov)
    }
}

/// What the data change in a step.
struct Corrected {
    /// The `x0_hat` that the reverse step is taken with.
    x0_hat: Tensor<4>,
    /// How `x0_hat` moves beside that, the estimate of the noise being kept.
    shift: Option<Tensor<4>>,
    /// What is subtracted after the step.
    after: Option<Tensor<4>>,
}

impl Corrected {
    fn inside(x0_hat: Tensor<4>) -> Self {
        Self { x0_hat, shift: None, after: None }
    }
}

/// A walk down a grid of levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// Levels where the network is called, noisiest first.
    pub grid: Vec<Level>,
    /// The correction's form.
    pub correction: Correction,
    /// Scale of the correction's gradient (not under a latent prior with [`Correction::Inside`]), or of the move that is searched for.
    pub zeta: f64,
    /// Scale of the noise added in each step, see [`reverse`].
    pub eta: f64,
    /// 1 takes `x0_hat` as constant in a step, as published; 2 goes on with its change over the last step, see [`Walk::ahead`].
    pub order: usize,
    /// Directions of [`Correction::Krylov`], one more call each.
    pub directions: usize,
}

impl Walk {
    /// From `z` `[batch, c, h, w]` at the first level to `x0_hat` at the last. `tick` is called after every step.
    ///
    /// # Errors
    /// Those of the denoiser, and [`Error::Interrupted`] when `tick` breaks.
    pub fn run(
        &self,
        problem: &Problem,
        mut z: Tensor<4>,
        noise: &mut Noise,
        tick: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Tensor<4>> {
        let shape = problem.prior.shape();
        let last = self.grid.len() - 1;
        let mut before = None;
        for (i, level) in self.grid.iter().enumerate() {
            let Corrected { x0_hat, shift, after } = self.correct(problem, &mut z, *level)?;
            let next = self.grid.get(i + 1);
            z = match next {
                None => x0_hat,
                Some(next) => {
                    let step = reverse(*level, *next, self.eta);
                    let eps = noise.normal(shape, &z.device());
                    let ahead = self.ahead(x0_hat.clone(), before.take(), i);
                    before = (self.order == 2).then_some(x0_hat);
                    z * step.z + ahead * step.x0 + eps * step.std
                }
            };
            if let Some(shift) = shift {
                z = z + shift * next.map_or(1.0, |next| next.alpha);
            }
            if let Some(after) = after {
                z = z - after;
            }
            if tick() == ControlFlow::Break(()) && i < last {
                return Err(Error::Interrupted);
            }
        }
        Ok(z)
    }

    /// What stands for `x0_hat` in the step from level `i`: at the second order `x0_hat + h / (2 h_last) (x0_hat - x0_hat_last)`,
    /// with `h` and `h_last` the lengths of this step and the last one in `log(alpha / sigma)` (Lu et al., 2022, DPM-Solver++,
    /// algorithm 2, `2M`, and its form with noise, `SDE-2M`). It costs no call.
    fn ahead(&self, x0_hat: Tensor<4>, before: Option<Tensor<4>>, i: usize) -> Tensor<4> {
        let log = |i: usize| -self.grid[i].ratio().ln();
        let Some(before) = before else { return x0_hat };
        let share = (log(i + 1) - log(i)) / (2.0 * (log(i) - log(i - 1)));
        if !share.is_finite() {
            return x0_hat; // a level without signal or without noise
        }
        x0_hat.clone() + (x0_hat - before) * share
    }

    /// The correction at `z`, which is moved if the form says so.
    ///
    /// Without signal (`alpha = 0`, where flow matching starts) data say nothing about `z`, and nothing is corrected.
    fn correct(&self, problem: &Problem, z: &mut Tensor<4>, level: Level) -> Result<Corrected> {
        let prior = &problem.prior;
        if level.alpha == 0.0 {
            return Ok(Corrected::inside(prior.x0_hat_at(z.clone(), level, &problem.guidance)?));
        }
        if self.correction == Correction::Krylov {
            let x0_hat = prior.x0_hat_at(z.clone(), level, &problem.guidance)?;
            let shift = explained(problem, z, &x0_hat, level, self.directions)? * self.zeta;
            return Ok(Corrected { x0_hat, shift: Some(shift), after: None });
        }
        let leaf = z.clone().autodiff().require_grad();
        let tracked = prior.x0_hat_at(leaf.clone(), level, &problem.guidance)?;
        let x0_hat = tracked.clone().inner();
        let through_decoder = self.correction == Correction::Inside && !prior.autoencoder.is_identity();
        if through_decoder {
            return Ok(Corrected::inside(x0_hat + searched(problem, &leaf, tracked, level)?));
        }
        if self.correction == Correction::Search {
            let shift = searched(problem, &leaf, tracked, level)? * self.zeta;
            return Ok(Corrected { x0_hat, shift: Some(shift), after: None });
        }
        let grad = self.gradient(problem, leaf, tracked, level);
        prior.check()?;
        Ok(match self.correction {
            Correction::Before => {
                *z = z.clone() - grad * self.zeta;
                Corrected::inside(prior.x0_hat_at(z.clone(), level, &problem.guidance)?)
            }
            Correction::After => Corrected { x0_hat, shift: None, after: Some(grad * self.zeta) },
            Correction::Inside | Correction::Search | Correction::Krylov => {
                Corrected::inside(x0_hat - grad * (self.zeta * level.sigma.powi(2) / level.alpha))
            }
        })
    }

    /// The data term's gradient with respect to `z`, `[batch, c, h, w]`.
    fn gradient(&self, problem: &Problem, leaf: Tensor<4>, x0_hat: Tensor<4>, level: Level) -> Tensor<4> {
        let batch = leaf.dims()[0];
        let x_hat = problem.prior.autoencoder.decode(x0_hat);
        let loss = match self.correction {
            Correction::Inside | Correction::Search | Correction::Krylov => {
                problem.measurement.nll(x_hat, &vec![problem.prior.spread(level); batch])
            }
            Correction::After | Correction::Before => problem.measurement.residual_norm(x_hat),
        };
        let mut grads = loss.sum().backward();
        leaf.grad_remove(&mut grads).unwrap_or_else(|| leaf.inner().zeros_like())
    }
}

/// How the data move `x0_hat`, tracked from the leaf `z`, by a step whose length is searched for: see [`Decoded`].
///
/// # Errors
/// Those of the prior's backward pass.
pub(crate) fn searched(problem: &Problem, leaf: &Tensor<4>, x0_hat: Tensor<4>, level: Level) -> Result<Tensor<4>> {
    let decoded = Decoded::new(problem, x0_hat.clone().inner());
    let pull = decoded.pull(level)?;
    let mut grads = (x0_hat * pull.clone()).sum().backward();
    let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| pull.zeros_like());
    problem.prior.check()?;
    Ok(decoded.shift(grad * (level.sigma.powi(2) / level.alpha), pull))
}

/// How the data move `x0_hat` at `z` with the prior's own covariance, in so many directions: see [`Decoded::explain`].
///
/// # Errors
/// Those of the denoiser.
pub(crate) fn explained(
    problem: &Problem,
    z: &Tensor<4>,
    x0_hat: &Tensor<4>,
    level: Level,
    directions: usize,
) -> Result<Tensor<4>> {
    let denoise = |z| problem.prior.x0_hat_at(z, level, &problem.guidance);
    Decoded::new(problem, x0_hat.clone()).explain(directions, |v| covariance(z, x0_hat, level, v, &denoise))
}
