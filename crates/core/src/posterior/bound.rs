//! The variational bound, section 4 of the paper, as a differentiable Monte-Carlo estimate:
//!
//! ```text
//! log p~(y) >= E_q[log p(y | z_{t_1})]                                             reconstruction
//!            - sum_k E_q KL( q(z_{t_k} | z_{t_{k+1}}) || p_theta(. | z_{t_{k+1}}) )   hierarchy
//!            - sum_{(t, s) above t_K} E_q KL( q(z_s | z_t) || p_theta(z_s | z_t) )    prior
//!            - KL( q(z_T) || p(z_T) )                                                 start
//! ```
//!
//! It bounds the evidence `log p~(y)` of this generative chain: a fine grid above `t_K`, one hop between keypoints and the
//! one-step likelihood at `t_1`. That is not `log p(y)` of the data model, and values are not comparable across numbers of
//! keypoints, eta, or likelihoods.

use std::ops::Range;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::step::{Part, Shares, Sums, scalar};
use super::{Posterior, Problem};
use crate::chain::{forward, reverse};
use crate::krylov::Krylov;
use crate::moments::{Rows, Widen};
use crate::prior::{Guidance, per_sample};
use crate::{Level, Noise, Result};

/// The bound's terms in nats, each a Monte-Carlo mean. `total` is what bounds the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// `E log p(y | z_{t_1})`.
    pub reconstruction: f64,
    /// The KL terms between keypoints.
    pub hierarchy: f64,
    /// The KL terms above the top keypoint.
    pub prior: f64,
    /// `KL(q(z_T) || p(z_T))`.
    pub start: f64,
}

impl Terms {
    /// The bound.
    pub fn total(&self) -> f64 {
        self.reconstruction - self.hierarchy - self.prior - self.start
    }
}

/// How the bound is estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The fine grid from T to `t_K`, noisiest first, both ends included.
    pub grid: Vec<Level>,
    /// Paths drawn from `q`.
    pub mc_samples: usize,
    /// Strata of the fine grid: one random step is taken in each.
    pub prior_steps: usize,
    /// Samples for each such step.
    pub prior_samples: usize,
    /// How the likelihood is widened by what the denoiser does not know at `t_1`.
    pub widen: Widen,
    /// Directions of [`Widen::Krylov`].
    pub directions: usize,
    /// Weight of the LPIPS distance that is added to the negative log-likelihood (0 for a bound).
    pub lpips: f64,
}

/// `KL(N(m1, v1) || N(m2, v2)) = 1/2 [log(v2 / v1) + (v1 + (m1 - m2)^2) / v2 - 1]`, summed over elements: `[batch]`.
pub(super) fn kl(mean_gap: Tensor<4>, v1: Tensor<4>, v2: Tensor<4>) -> Tensor<1> {
    let ratio = v1 / v2.clone();
    sum_elements((mean_gap.square() / v2 + ratio.clone() - ratio.log() - 1.0) * 0.5)
}

/// Sum over everything but the batch: `[batch, c, h, w]` to `[batch]`.
pub(super) fn sum_elements(x: Tensor<4>) -> Tensor<1> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c * h * w]).sum_dim(1).reshape([b])
}

impl Bound {
    /// An unbiased estimate of the terms. `streams` are the seed and purpose of its random numbers.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn estimate(&self, q: &Posterior, problem: &Problem, guidance: &Guidance, seed: u64) -> Result<Terms> {
        let part = Part { paths: 0..self.mc_samples, upper: 0..self.upper() };
        let shares = self.shares([q, q], problem, guidance, (seed, super::PURPOSE_FIT - 1), &part)?;
        let mut sums = Sums::default();
        sums.extend(&shares);
        Ok(Terms { start: scalar(&self.start(q, problem)), ..sums.terms() })
    }

    /// What a part's samples add to the terms: of its paths under `q[0]`, of its steps above the top keypoint under `q[1]`
    /// (parameters of one sample, or of as many as there are).
    pub(super) fn shares(
        &self,
        q: [&Posterior; 2],
        problem: &Problem,
        guidance: &Guidance,
        (seed, purpose): (u64, u64),
        part: &Part,
    ) -> Result<Shares> {
        let prior = &problem.prior;
        let steps = self.upper_steps(q[1], (seed, purpose), part.upper.clone());
        let upper = |x0_hat: Tensor<4>, steps: &UpperSteps| steps.kl(x0_hat, q[1], self.prior_samples);
        if part.paths.is_empty() {
            let Some(steps) = &steps else { return Ok(Shares::default()) };
            let x0_hat = prior.x0_hat(steps.z.clone(), &steps.from, guidance)?;
            return Ok(Shares { prior: Some(upper(x0_hat, steps)), ..Shares::default() });
        }
        let q = q[0];
        let mut noise = Noise::new(seed, purpose, part.paths.clone());

        // The top keypoint and the steps above it depend on nothing but lambda: one network call for all.
        let mut z = q.draw_top(&mut noise);
        let top = vec![q.top().level; part.paths.len()];
        let (mut x0_hat, prior_share) = match &steps {
            None => (prior.x0_hat(z.clone(), &top, guidance)?, None),
            Some(steps) => {
                let levels = [top, steps.from.clone()].concat();
                let both = prior.x0_hat(Tensor::cat(vec![z.clone(), steps.z.clone()], 0), &levels, guidance)?;
                let (s, all) = (part.paths.len(), levels.len());
                (both.clone().slice_dim(0, 0..s), Some(upper(both.slice_dim(0, s..all), steps)))
            }
        };

        let mut hierarchy = sum_elements(z.zeros_like());
        for k in 1..q.keypoints.len() {
            let hop = q.hop(k, z, x0_hat);
            let variance = (q.keypoints[k].log_tau.clone() * 2.0).exp();
            let prior_variance = variance.full_like(hop.prior_std.powi(2));
            hierarchy = hierarchy + kl(hop.mean.clone() - hop.prior_mean, variance, prior_variance);
            z = q.land(k, hop.mean, &mut noise);
            x0_hat = prior.x0_hat_at(z.clone(), q.keypoints[k].level, guidance)?;
        }
        let mut nll = self.nll(problem, guidance, &z, x0_hat.clone(), q.bottom().level)?;
        if self.lpips > 0.0 {
            let predicted = problem.measurement.operator.apply(prior.autoencoder.decode(x0_hat));
            nll = nll + problem.perceptual()?.distance(predicted, problem.measurement.y.clone()) * self.lpips;
        }
        let share = 1.0 / self.mc_samples as f64;
        Ok(Shares { reconstruction: Some(nll * -share), hierarchy: Some(hierarchy * share), prior: prior_share })
    }

    /// `-log p(y | z_{t_1})`, `[batch]`, from `z` and `x0_hat` there.
    pub(super) fn nll(
        &self,
        problem: &Problem,
        guidance: &Guidance,
        z: &Tensor<4>,
        x0_hat: Tensor<4>,
        level: Level,
    ) -> Result<Tensor<1>> {
        let prior = &problem.prior;
        let fixed = |t: &Tensor<4>| if t.is_autodiff() { t.clone().inner() } else { t.clone() };
        let denoise = |z: Tensor<4>| prior.x0_hat_at(z, level, guidance);
        let spread = match self.widen {
            Widen::None => 0.0,
            Widen::Isotropic => prior.spread(level),
            Widen::Jacobian => {
                let rows = Rows::new(problem)?;
                let moments = rows.moments(&fixed(z), fixed(&x0_hat), level, &denoise)?;
                return Ok(rows.nll(&x0_hat, &moments));
            }
            Widen::Krylov => {
                let krylov = Krylov::new(problem, self.directions)?;
                let at = fixed(&x0_hat);
                let solved = krylov.solve(&fixed(z), &at, level, &krylov.residual(at.clone()), &denoise)?;
                return Ok(krylov.nll(x0_hat, &solved));
            }
        };
        let batch = z.dims()[0];
        Ok(problem.measurement.nll(prior.autoencoder.decode(x0_hat), &vec![spread; batch]))
    }

    /// Random steps above the top keypoint.
    pub(super) fn upper(&self) -> usize {
        self.prior_steps.min(self.grid.len() - 1) * self.prior_samples
    }

    /// Draws steps above the top keypoint, those with these numbers: stratum by stratum a step of the grid, and `z_t` at its
    /// upper end.
    fn upper_steps(&self, q: &Posterior, (seed, purpose): (u64, u64), which: Range<usize>) -> Option<UpperSteps> {
        let steps = self.grid.len() - 1;
        let strata = self.prior_steps.min(steps);
        if which.is_empty() {
            return None;
        }
        // Streams of random numbers after those of the paths.
        let mut noise = Noise::new(seed, purpose, which.clone().map(|i| self.mc_samples + i));
        let uniform = noise.uniform();
        let mut upper =
            UpperSteps { from: vec![], to: vec![], weight: vec![], z: Tensor::empty([0; 4], &q.top().mu.device()) };
        for (i, u) in which.zip(uniform) {
            let stratum = i / self.prior_samples;
            let (first, end) = (stratum * steps / strata, (stratum + 1) * steps / strata);
            let step = first + (((end - first) as f64 * u) as usize).min(end - first - 1);
            upper.from.push(self.grid[step]);
            upper.to.push(self.grid[step + 1]);
            upper.weight.push((end - first) as f64);
        }
        let top = q.top();
        let (mean, variance) = marginal(q, &upper.from);
        let eps = noise.normal(q.shape(), &top.mu.device().without_autodiff());
        upper.z = mean + variance.sqrt() * eps;
        Some(upper)
    }

    /// `KL(q(z_T) || p(z_T))`, differentiable in `q`: `[1]`.
    pub(super) fn start(&self, q: &Posterior, problem: &Problem) -> Tensor<1> {
        let (mean, variance) = marginal(q, &self.grid[..1]);
        let start = variance.full_like(problem.prior.schedule.start_std().powi(2));
        kl(mean, variance, start)
    }
}

/// Mean and variance of `q(z_t)`, t at or above the top keypoint: `alpha_t mu_K` and `alpha_tK^2 tau_K^2 + var_tK`.
pub(super) fn marginal(q: &Posterior, levels: &[Level]) -> (Tensor<4>, Tensor<4>) {
    let top = q.top();
    let tau2 = (top.log_tau.clone() * 2.0).exp();
    let alpha2 = per_sample(levels, &tau2.clone().inner(), |l| forward(top.level, *l).0.powi(2));
    let var = per_sample(levels, &tau2.clone().inner(), |l| forward(top.level, *l).1);
    let mean = top.mu.clone() * per_sample(levels, &tau2.clone().inner(), |l| l.alpha);
    (mean, tau2 * alpha2 + var)
}

/// Random steps of the fine grid, a batch.
struct UpperSteps {
    from: Vec<Level>,
    to: Vec<Level>,
    /// Steps of the grid that this one stands for.
    weight: Vec<f64>,
    z: Tensor<4>,
}

impl UpperSteps {
    /// What each of these steps adds to the estimate of `sum over steps of KL( q(z_s | z_t) || p_theta(z_s | z_t) )`: `[steps]`.
    fn kl(&self, x0_hat: Tensor<4>, q: &Posterior, samples: usize) -> Tensor<1> {
        let like = self.z.clone().inner();
        let pairs: Vec<(Level, Level)> = self.from.iter().copied().zip(self.to.iter().copied()).collect();
        let column = |f: &dyn Fn(&(Level, Level)) -> f64| {
            let values: Vec<f32> = pairs.iter().map(|p| f(p) as f32).collect();
            Tensor::<4>::from_data(burn::tensor::TensorData::new(values, [pairs.len(), 1, 1, 1]), &like.device())
        };
        let transition = (column(&|(t, s)| forward(*s, *t).0), column(&|(t, s)| forward(*s, *t).1));
        let (q_mean, q_var) = backward(marginal(q, &self.to), transition, self.z.clone());
        let on_z = column(&|(t, s)| reverse(*t, *s, 1.0).z);
        let on_x0 = column(&|(t, s)| reverse(*t, *s, 1.0).x0);
        let p_var = column(&|(t, s)| reverse(*t, *s, 1.0).std.powi(2));
        let p_mean = self.z.clone() * on_z + x0_hat * on_x0;
        let p_var = q_var.zeros_like() + p_var;
        let weight: Vec<f32> = self.weight.iter().map(|w| (*w / samples as f64) as f32).collect();
        let weight = Tensor::<1>::from_data(burn::tensor::TensorData::new(weight, [pairs.len()]), &like.device());
        kl(q_mean - p_mean, q_var, p_var) * weight
    }
}

/// `q(z_s | z_t)` above the top keypoint, mean and variance, from the marginal of `z_s` and the forward transition
/// `(alpha_ts, var_ts)` (conditioning of a joint Gaussian).
fn backward(
    (mean_s, var_s): (Tensor<4>, Tensor<4>),
    (alpha, var_ts): (Tensor<4>, Tensor<4>),
    z_t: Tensor<4>,
) -> (Tensor<4>, Tensor<4>) {
    let total = var_s.clone() * alpha.clone().square() + var_ts.clone();
    let gain = var_s.clone() * alpha.clone() / total.clone();
    let mean = mean_s.clone() + gain * (z_t - mean_s * alpha);
    (mean, var_s * var_ts / total)
}
