//! The loss of VIPaint's latent-diffusion release, as its code computes it (github.com/SakshiAgarwal/VIPaint,
//! `ldm/guided_diffusion/h_posterior.py`), for comparison with published results.
//!
//! It is no bound. The squared gap of two means is multiplied by `scale^2 / 2` where a Gaussian's KL divides it by `2 scale^2`; terms
//! are means over elements instead of sums; `q(z_s | z_t)` above the top keypoint takes `alpha_{s|t_K}` where conditioning asks for
//! `alpha_{t|s}`; and the data term is a weighted sum of distances instead of a likelihood.

use std::ops::{ControlFlow, Range};

use burn::tensor::{Device, Tensor};

use super::mean_elements;
use crate::chain::{forward, reverse};
use crate::operator::values;
use crate::posterior::step::{Part, Shares};
use crate::posterior::{FitOptions, PURPOSE_INIT, Posterior, Problem};
use crate::prior::{Guidance, per_sample};
use crate::schedule::Schedule;
use crate::{Error, Level, Noise, Result};

/// Curvature, ends (in units of T) and number of the grid from which times above the top keypoint are taken.
const RHO: f64 = 7.0;
const ENDS: [f64; 2] = [0.002, 0.999];
const TIMES: usize = 1000;
/// Times next to the top keypoint that are left out.
const MARGIN: usize = 2;

/// The random numbers of an estimate.
#[derive(Debug, Clone)]
pub struct Draws {
    /// For `z_{t_K}`, `[samples, c, h, w]`.
    pub top: Tensor<4>,
    /// For `z_t` above, as many.
    pub upper: Tensor<4>,
    /// For each lower keypoint, as many.
    pub below: Vec<Tensor<4>>,
    /// Where the times above start, in [0, 1).
    pub u: f64,
    /// Which of the samples these are, and of how many.
    pub part: (Range<usize>, usize),
}

impl Draws {
    /// From a seed, for a part of `samples` paths.
    fn new(q: &Posterior, part: Range<usize>, samples: usize, (seed, purpose): (u64, u64)) -> Self {
        let device = q.top().mu.device().without_autodiff();
        let mut noise = Noise::new(seed, purpose, part.clone());
        let mut normal = || noise.normal(q.shape(), &device);
        let (top, upper) = (normal(), normal());
        let below = (1..q.keypoints.len()).map(|_| normal()).collect();
        let u = Noise::new(seed, purpose, [samples]).uniform();
        Self { top, upper, below, u: u.first().copied().unwrap_or_default(), part: (part, samples) }
    }
}

/// The loss's three terms for each path, differentiable in `q`, `[paths]` each and before the KL weights: the data term, the one between
/// keypoints, and the one above the top keypoint. The data term is
/// `options.l1 mean|y - A x_hat| + options.lpips LPIPS(y, A x_hat)` of the one-step estimate `x_hat`.
///
/// # Errors
/// A schedule that is not variance-preserving, a missing network for LPIPS, and those of the denoiser.
pub fn terms(
    q: &Posterior,
    problem: &Problem,
    guidance: &Guidance,
    options: &FitOptions,
    draws: &Draws,
) -> Result<[Tensor<1>; 3]> {
    let prior = &problem.prior;
    let tau = q.top().log_tau.clone().exp();
    let kept = (tau.clone().square() * -1.0 + 1.0).clamp_min(0.0).sqrt();
    let z_top = kept * q.top().mu.clone() + tau * draws.top.clone();
    let above = above(q, problem, guidance, &z_top, draws)?;

    let mut z = z_top;
    let mut hierarchy = mean_elements(z.zeros_like());
    for k in 1..q.keypoints.len() {
        let x0_hat = prior.x0_hat_at(z.clone(), q.keypoints[k - 1].level, guidance)?;
        let hop = q.hop(k, z, x0_hat);
        let std = q.keypoints[k].log_tau.clone().exp();
        let prior_std = std.full_like(hop.prior_std);
        hierarchy = hierarchy + gap(hop.mean.clone() - hop.prior_mean, std.clone(), prior_std);
        z = hop.mean + std * draws.below[k - 1].clone();
    }
    let x_hat = prior.autoencoder.decode(prior.x0_hat_at(z, q.bottom().level, guidance)?);
    Ok([data(problem, options, x_hat)?, hierarchy, above])
}

/// The data term of each picture `[batch, c, h, w]`: `[batch]`.
fn data(problem: &Problem, options: &FitOptions, x_hat: Tensor<4>) -> Result<Tensor<1>> {
    let y = problem.measurement.y.clone();
    let predicted = problem.measurement.operator.apply(x_hat);
    let distance = mean_elements((predicted.clone() - y.clone()).abs()) * options.l1;
    if options.lpips > 0.0 {
        return Ok(distance + problem.perceptual()?.distance(predicted, y) * options.lpips);
    }
    Ok(distance)
}

/// The start values' noise: of the top keypoint's `mu` with standard deviation `top`, of the lower ones' so that `mu` is a sample of
/// `z_t` from the start value, as the original makes it although it multiplies `mu` by `alpha` again where it uses it.
pub(in crate::posterior) fn disturb(q: &mut Posterior, top: f64, seed: u64, device: &Device) {
    let shape = q.shape();
    for (k, keypoint) in q.keypoints.iter_mut().enumerate() {
        let noise = Noise::new(seed, PURPOSE_INIT, [k]).normal(shape, device);
        // The original encodes with noise of one standard deviation, which the latents' scale makes 1.
        let (alpha, std) = if k == 0 { (1.0, top) } else { (keypoint.level.alpha, 1.0) };
        keypoint.mu = keypoint.mu.clone() * alpha + noise * std;
    }
}

/// The original's refinement from `z` at the first level of `grid` to `x0_hat` at the last: after each step `zeta` times the
/// gradient of a sample's data term is subtracted (the original's, of the mean over a batch of 5, is a fifth). The `eta` noise is taken out of the step's direction
/// and, as there, not put back.
pub(crate) fn refine(
    problem: &Problem,
    options: &FitOptions,
    grid: &[Level],
    mut z: Tensor<4>,
    [zeta, eta]: [f64; 2],
    tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Tensor<4>> {
    for (i, level) in grid.iter().enumerate() {
        let leaf = z.clone().autodiff().require_grad();
        let x0_hat = problem.prior.x0_hat_at(leaf.clone(), *level, &problem.guidance)?;
        let mut grads = data(problem, options, problem.prior.autoencoder.decode(x0_hat.clone()))?.sum().backward();
        problem.prior.check()?;
        let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| z.zeros_like());
        let x0_hat = x0_hat.inner();
        let Some(next) = grid.get(i + 1) else { return Ok(x0_hat) };
        let step = reverse(*level, *next, eta);
        z = z * step.z + x0_hat * step.x0 - grad * zeta;
        if tick() == ControlFlow::Break(()) {
            return Err(Error::Interrupted);
        }
    }
    Ok(z)
}

/// What a part's paths add to the terms.
pub(in crate::posterior) fn shares(
    q: &Posterior,
    problem: &Problem,
    guidance: &Guidance,
    options: &FitOptions,
    random: (u64, u64),
    part: &Part,
) -> Result<Shares> {
    let samples = options.mc_samples;
    let draws = Draws::new(q, part.paths.clone(), samples, random);
    let terms = terms(q, problem, guidance, options, &draws)?;
    let [data, hierarchy, prior] = terms.map(|term| term / samples as f64);
    Ok(Shares { reconstruction: Some(data * -1.0), hierarchy: Some(hierarchy), prior: Some(prior) })
}

/// The term above the top keypoint, one random time for each sample.
fn above(q: &Posterior, problem: &Problem, guidance: &Guidance, z_top: &Tensor<4>, draws: &Draws) -> Result<Tensor<1>> {
    let (prior, top) = (&problem.prior, q.top());
    let tau2 = (top.log_tau.clone() * 2.0).exp();
    // Below the schedule's own sigma the original gives NaN.
    let largest = values(&tau2).into_iter().fold(0.0, f32::max).sqrt().max(top.level.sigma as f32);
    let (part, samples) = &draws.part;
    let (from, to) = times(&prior.schedule, f64::from(largest), *samples, draws.u)?;
    let [from, to] = [from, to].map(|levels| levels[part.clone()].to_vec());
    let column = |levels: &[Level], f: &dyn Fn(&Level) -> f64| per_sample(levels, &draws.upper, f);

    // q(z_t | z_{t_K}), the variance at t_K being tau^2 and the signal's scale what is left of 1.
    let kept = (tau2.clone() * -1.0 + 1.0).clamp_min(1e-12).sqrt();
    let transition = |levels: &[Level]| {
        let alpha = column(levels, &|l| l.alpha) / kept.clone();
        let variance = column(levels, &|l| l.sigma.powi(2)) - alpha.clone().square() * tau2.clone();
        (alpha, variance)
    };
    let (alpha, variance) = transition(&from);
    let z = alpha * z_top.clone() + variance.sqrt() * draws.upper.clone();

    // The prior's z_{t_K} from its noise, by the schedule's own transition.
    let x0_hat = prior.x0_hat(z.clone(), &from, guidance)?;
    let eps = (z.clone() - x0_hat * column(&from, &|l| l.alpha)) / column(&from, &|l| l.sigma);
    let own = |l: &Level| forward(top.level, *l);
    let z_hat = (z.clone() - eps * column(&from, &|l| own(l).1.sqrt())) / column(&from, &|l| own(l).0);

    let steps: Vec<(f64, f64)> = from.iter().zip(&to).map(|(t, s)| forward(*s, *t)).collect();
    let step = |f: &dyn Fn(&(f64, f64)) -> f64| {
        let steps = steps.iter().map(|s| f(s) as f32).collect::<Vec<_>>();
        let count = steps.len();
        Tensor::<4>::from_data(burn::tensor::TensorData::new(steps, [count, 1, 1, 1]), &draws.upper.device())
    };
    let (alpha_ts, var_ts) = (step(&|s| s.0), step(&|s| s.1));
    let back = |z_top: Tensor<4>, (alpha, variance): (Tensor<4>, Tensor<4>)| {
        let total = var_ts.clone() + alpha.clone().square() * variance.clone();
        let std2 = var_ts.clone() * variance.clone() / total;
        let mean = (alpha / variance * z_top + alpha_ts.clone() / var_ts.clone() * z.clone()) * std2.clone();
        (mean, std2.sqrt())
    };
    let (mean, std) = back(z_top.clone(), transition(&to));
    let schedule = (column(&to, &|l| own(l).0), column(&to, &|l| own(l).1));
    let (prior_mean, prior_std) = back(z_hat, schedule);
    let prior_std = std.zeros_like() + prior_std;
    let weight = (prior.schedule.top().t + 1.0 - top.level.t) / 2.0;
    Ok(gap(mean - prior_mean, std, prior_std) * weight)
}

/// What the original takes for `KL(N(m1, s1^2) || N(m2, s2^2))`, a mean over elements: `[batch]`.
fn gap(means: Tensor<4>, s1: Tensor<4>, s2: Tensor<4>) -> Tensor<1> {
    let ratio = s1 / s2.clone();
    mean_elements(means.square() * s2.square() * 0.5 - ratio.clone().log() + ratio.square() * 0.5 - 0.5)
}

/// Neighbouring times of the grid above where the noise is `sigma`, one pair in each stratum.
fn times(schedule: &Schedule, sigma: f64, count: usize, u: f64) -> Result<(Vec<Level>, Vec<Level>)> {
    let Schedule::Vp(_) = schedule else {
        return Err(Error::option("objective", "ldm needs a variance-preserving schedule in timesteps"));
    };
    let steps = schedule.top().t + 1.0;
    let [low, high] = ENDS.map(|end| end.powf(1.0 / RHO));
    let grid = (0..TIMES).rev().map(|i| {
        let at = high + i as f64 / (TIMES - 1) as f64 * (low - high);
        schedule.level((at.powf(RHO) * steps).floor())
    });
    let allowed: Vec<Level> = grid.filter(|level| level.sigma > sigma).collect();
    if allowed.len() <= MARGIN {
        return Err(Error::option("keypoints", "leave no time above the first for objective=ldm"));
    }
    let pick = |i: usize| {
        let place = (u + i as f64 / count as f64).fract() * (allowed.len() - MARGIN) as f64;
        (MARGIN + place.floor() as usize).min(allowed.len() - 1)
    };
    Ok((0..count).map(pick).map(|i| (allowed[i], allowed[i - 1])).unzip())
}
