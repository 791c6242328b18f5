//! The method of VIPaint's Stable Diffusion 3 release, as its code computes it (github.com/jimin-heo/VIPaintStableDiffusion,
//! `VIPaint.py`), for comparison with published results: inpainting under a flow-matching prior.
//!
//! There is no Gaussian at the top keypoint: `z_T` is noise of standard deviation `sigmoid(sigma_T)`, and one hop leads from T to
//! the first keypoint. A hop to `t_k` has the mean of the ancestral step to `x0 = sigmoid(gamma) x0_hat + mu`, and `sigmoid(tau)`
//! times its standard deviation. The loss is no bound: its terms are means over elements, above the first keypoint `mu` is taken
//! for the mean of `z_{t_K}` and `z_t` has the standard deviation `sigmoid(sigma_t)`, and the data term is a weighted sum of squares.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData, activation};

use super::mean_elements;
use crate::chain::reverse;
use crate::operator::values;
use crate::posterior::bound::kl;
use crate::posterior::step::{Part, Shares};
use crate::posterior::{FitOptions, Keypoint, Objective, PURPOSE_INIT, Posterior, Problem};
use crate::prior::{Guidance, Prior, per_sample};
use crate::schedule::Schedule;
use crate::{Error, Level, Noise, Result};

/// Levels of the grid.
const TIMES: usize = 1000;

/// The release's grid: flow matching's shift is applied to times that are evenly spaced from 1 to the shifted end of a grid of as
/// many.
///
/// # Errors
/// A schedule that is not flow matching's.
pub fn grid(schedule: &Schedule) -> Result<Vec<Level>> {
    let Schedule::Flow { shift } = schedule else {
        return Err(Error::option("objective", "sd3 needs a prior with a flow-matching schedule"));
    };
    let shifted = |u: f64| shift * u / (1.0 + (shift - 1.0) * u);
    let end = shifted(1.0 / TIMES as f64);
    let u = |i: usize| 1.0 + (end - 1.0) * i as f64 / (TIMES - 1) as f64;
    Ok((0..TIMES).map(|i| schedule.level(shifted(u(i)))).collect())
}

/// What is known, in pictures and in latents.
#[derive(Debug, Clone)]
pub struct Target {
    /// 1 where known. // [1, c, h, w]
    known: Tensor<4>,
    /// The known pixels, values from 0 to 1, 0 where hidden.
    y: Tensor<4>,
    /// The value of a latent's upper left pixel in `known`. // [1, 1, h, w]
    known_latent: Tensor<4>,
    /// The latents of the picture with its hole filled with grey.
    latent: Tensor<4>,
}

impl Target {
    /// Of a problem.
    ///
    /// # Errors
    /// When its operator is not a mask.
    pub fn new(problem: &Problem) -> Result<Self> {
        let operator = problem.measurement.operator.as_ref();
        let Some(mask) = operator.linear().filter(|_| operator.kind() == "mask") else {
            return Err(Error::option("objective", "sd3 is for inpainting only"));
        };
        let prior = &problem.prior;
        let known = mask.spectrum();
        let (low, high) = prior.value_range;
        let hidden = known.clone() * -1.0 + 1.0;
        let grey = problem.measurement.y.clone() * known.clone() + hidden * ((low + high) / 2.0);
        let latent = prior.autoencoder.encode(grey);
        let ([_, _, height, width], [_, _, rows, columns]) = (known.dims(), latent.dims());
        let all = values(&known);
        let at = |i: usize| all[i / columns * height / rows * width + i % columns * width / columns];
        let small: Vec<f32> = (0..rows * columns).map(at).collect();
        let known_latent = Tensor::from_data(TensorData::new(small, [1, 1, rows, columns]), &problem.device());
        let y = unit(prior, problem.measurement.y.clone()) * known.clone();
        Ok(Self { known, y, known_latent, latent })
    }
}

/// A picture with values from 0 to 1, clipped.
fn unit(prior: &Prior, x: Tensor<4>) -> Tensor<4> {
    let (low, high) = prior.value_range;
    ((x - low) / (high - low)).clamp(0.0, 1.0)
}

/// The parameters before a fit: `mu` the latents of the picture with its hole filled with grey, disturbed.
///
/// # Errors
/// Keypoints that are not in order, or an operator that is not a mask.
pub(in crate::posterior) fn initial(
    problem: &Problem,
    options: &FitOptions,
    levels: &[Level],
    seed: u64,
) -> Result<Posterior> {
    let latent = Target::new(problem)?.latent;
    let filled = |value: f64| latent.full_like(value);
    let keypoints = levels.iter().enumerate().map(|(k, level)| {
        let noise = Noise::new(seed, PURPOSE_INIT, [k]).normal(problem.prior.shape(), &problem.device());
        Keypoint {
            level: *level,
            mu: latent.clone() + noise * options.init_noise,
            log_tau: filled(options.init_tau),
            gamma_logit: Some(filled(options.init_gamma)),
        }
    });
    let posterior = Posterior { keypoints: keypoints.collect(), eta: options.eta, form: Objective::Sd3 };
    if levels.is_empty() || levels.windows(2).any(|w| w[0].sigma <= w[1].sigma) {
        return Err(Error::option("keypoints", "give at least one time, noisiest first, each one once"));
    }
    Ok(posterior)
}

/// A step to a keypoint: mean and standard deviation under `q` and under the prior.
struct Hop {
    mean: Tensor<4>,
    std: Tensor<4>,
    prior_mean: Tensor<4>,
    prior_std: f64,
}

/// The hop to keypoint `k` from `z` and `x0_hat` at the level above.
fn hop(q: &Posterior, k: usize, above: Level, z: Tensor<4>, x0_hat: Tensor<4>) -> Hop {
    let here = &q.keypoints[k];
    let step = reverse(above, here.level, q.eta);
    let gamma = here.gamma_logit.clone().map(activation::sigmoid);
    let own = gamma.map_or_else(|| here.mu.clone(), |gamma| gamma * x0_hat.clone() + here.mu.clone());
    let on_z = z * step.z;
    Hop {
        mean: on_z.clone() + own * step.x0,
        std: activation::sigmoid(here.log_tau.clone()) * step.std,
        prior_mean: on_z + x0_hat * step.x0,
        prior_std: step.std,
    }
}

/// Standard deviation of `z_T`.
fn start_std(top: Level) -> f64 {
    1.0 / (1.0 + (-top.sigma).exp())
}

/// `KL(q(z_T) || p(z_T))`, a mean over elements, which depends on nothing.
pub(in crate::posterior) fn start(prior: &Prior) -> f64 {
    let std = start_std(prior.schedule.top());
    0.5 * (std * std - 1.0) - std.ln()
}

/// The levels that hops start from, and the keypoints they lead to.
fn hops<'a>(q: &'a Posterior, prior: &Prior) -> impl Iterator<Item = (usize, Level)> + use<'a> {
    let above = [prior.schedule.top()].into_iter().chain(q.keypoints.iter().map(|k| k.level));
    above.take(q.keypoints.len()).enumerate()
}

/// Draws `z` at every keypoint.
pub(in crate::posterior) fn draw(
    q: &Posterior,
    prior: &Prior,
    guidance: &Guidance,
    noise: &mut Noise,
) -> Result<Vec<Tensor<4>>> {
    let device = q.top().mu.device().without_autodiff();
    let mut z = noise.normal(q.shape(), &device) * start_std(prior.schedule.top());
    let mut path = Vec::new();
    for (k, above) in hops(q, prior) {
        let x0_hat = prior.x0_hat_at(z.clone(), above, guidance)?;
        let Hop { mean, std, .. } = hop(q, k, above, z, x0_hat);
        z = mean + std * noise.normal(q.shape(), &device);
        path.push(z.clone());
    }
    Ok(path)
}

/// The random numbers of an estimate.
#[derive(Debug, Clone)]
pub struct Draws {
    /// For `z_T`, `[samples, c, h, w]`.
    pub start: Tensor<4>,
    /// For each keypoint, as many.
    pub below: Vec<Tensor<4>>,
    /// For `z_t` above the first keypoint, `[times - 1, c, h, w]`.
    pub upper: Tensor<4>,
    /// Numbers of the grid, rising. The first is drawn and not used.
    pub times: Vec<usize>,
}

/// The terms of each path: the data term and the one between keypoints, `[samples]`, differentiable in `q`, before the KL weights.
///
/// # Errors
/// Those of the denoiser.
pub fn paths(
    q: &Posterior,
    problem: &Problem,
    guidance: &Guidance,
    (options, target): (&FitOptions, &Target),
    draws: &Draws,
) -> Result<[Tensor<1>; 2]> {
    let prior = &problem.prior;
    let mut z = draws.start.clone() * start_std(prior.schedule.top());
    let mut hierarchy = mean_elements(z.zeros_like());
    for (k, above) in hops(q, prior) {
        let x0_hat = prior.x0_hat_at(z.clone(), above, guidance)?;
        let Hop { mean, std, prior_mean, prior_std } = hop(q, k, above, z, x0_hat);
        let prior_variance = std.full_like(prior_std.powi(2));
        let size = mean.dims()[1..].iter().product::<usize>() as f64;
        hierarchy = hierarchy + kl(mean.clone() - prior_mean, std.clone().square(), prior_variance) / size;
        z = mean + std * draws.below[k].clone();
    }
    let Level { alpha, sigma, .. } = q.bottom().level;
    let x0_hat = prior.x0_hat_at(z, q.bottom().level, guidance)?;
    let weight = (alpha / 2.0 * 2.0 * (alpha * alpha - alpha)).powi(2) * (sigma / alpha).powi(2);
    let gap = (x0_hat.clone() - target.latent.clone()) * target.known_latent.clone();
    let x_hat = unit(prior, prior.autoencoder.decode(x0_hat)) * target.known.clone();
    let squares = mean_elements((x_hat - target.y.clone()).square());
    Ok([squares * options.l2 + mean_elements(gap.square()) * (options.latent * weight), hierarchy])
}

/// The term above the first keypoint at some of the times, `[which]`: `which` are counted from the second on.
///
/// `mu` of the first keypoint is taken for the mean of `z_{t_K}`. Of its own signal `z_t` has what is left since another level, that
/// of one of the random times, which the original finds in the keypoint's place in its list.
///
/// # Errors
/// Those of the denoiser, and a keypoint with too few times above.
pub fn above(
    q: &Posterior,
    problem: &Problem,
    guidance: &Guidance,
    draws: &Draws,
    which: std::ops::Range<usize>,
) -> Result<Tensor<1>> {
    let (prior, top) = (&problem.prior, q.top());
    let grid = grid(&prior.schedule)?;
    let list: Vec<usize> = draws.times.iter().flat_map(|t| [t - 1, *t]).collect();
    let misread = grid[list[draws.times.len()]];
    let levels = |offset: usize| which.clone().map(|i| grid[list[2 * (i + 1) + offset]]).collect::<Vec<_>>();
    let (from, to) = (levels(0), levels(1));
    let like = draws.upper.clone().slice_dim(0, which.clone());
    let column = |levels: &[Level], f: &dyn Fn(&Level) -> f64| per_sample(levels, &like, f);
    let left = column(&from, &|l| l.alpha / misread.alpha);
    let z = top.mu.clone() * left + like.clone() * column(&from, &|l| start_std(*l));
    let x0_hat = prior.x0_hat(z, &from, guidance)?;
    // Both steps have the same variance, and the same part of z in their means.
    let steps: Vec<f64> = from.iter().zip(&to).map(|(t, s)| reverse(*t, *s, 1.0)).map(|r| r.x0 / r.std).collect();
    let steps: Vec<f32> = steps.into_iter().map(|x| x as f32).collect();
    let steps = Tensor::from_data(TensorData::new(steps, [which.len(), 1, 1, 1]), &like.device());
    let gap = (top.mu.clone() / top.level.alpha - x0_hat) * steps;
    let beyond = (TIMES - noisier(&grid, top.level)) as f64;
    Ok(mean_elements(gap.square()) * (0.5 * beyond))
}

/// Levels of the grid with more noise.
fn noisier(grid: &[Level], level: Level) -> usize {
    grid.iter().filter(|l| l.sigma > level.sigma * (1.0 + 1e-9)).count()
}

/// What a part's samples add to the terms.
pub(in crate::posterior) fn shares(
    q: [&Posterior; 2],
    problem: &Problem,
    guidance: &Guidance,
    (options, target): (&FitOptions, &Target),
    (seed, purpose): (u64, u64),
    part: &Part,
) -> Result<Shares> {
    let device = problem.device();
    let shape = problem.prior.shape();
    let (samples, steps) = (options.mc_samples, options.prior_steps);
    let mut noise = Noise::new(seed, purpose, part.paths.clone());
    let start = noise.normal(shape, &device);
    let below = q[0].keypoints.iter().map(|_| noise.normal(shape, &device)).collect();
    let upper = Noise::new(seed, purpose, samples..samples + steps).normal(shape, &device);
    let last = noisier(&grid(&problem.prior.schedule)?, q[0].top().level);
    let draws = Draws { start, below, upper, times: times(last, steps, (seed, purpose))? };
    let mut shares = Shares::default();
    if !part.paths.is_empty() {
        let terms = paths(q[0], problem, guidance, (options, target), &draws)?;
        let [data, hierarchy] = terms.map(|term| term / samples as f64);
        (shares.reconstruction, shares.hierarchy) = (Some(data * -1.0), Some(hierarchy));
    }
    if !part.upper.is_empty() {
        shares.prior = Some(above(q[1], problem, guidance, &draws, part.upper.clone())? / steps as f64);
    }
    Ok(shares)
}

/// `steps + 1` different numbers of the grid from 2 up to `last`, excluded, rising.
fn times(last: usize, steps: usize, (seed, purpose): (u64, u64)) -> Result<Vec<usize>> {
    use rand::RngExt;
    if last < steps + 3 {
        let problem = format!("leave {last} of {TIMES} times above the first, too few for prior_steps={steps}");
        return Err(Error::option("keypoints", problem));
    }
    let mut rng = crate::noise::stream(seed, purpose, u64::MAX);
    let mut left: Vec<usize> = (2..last).collect();
    let mut times: Vec<usize> = (0..=steps).map(|_| left.swap_remove(rng.random_range(0..left.len()))).collect();
    times.sort_unstable();
    Ok(times)
}

/// The original's refinement from `z` at the first level of `grid` to `x0_hat` at the last: at each level but the last `z` is moved by
/// `zeta` times the gradient of `l1 mean|y - x_hat| + lpips LPIPS`, denoised again, and taken a step of the ancestral chain.
///
/// Both distances are of known pixels and of values from 0 to 1, although LPIPS expects them from -1 to 1, and features of
/// LPIPS count as much as is known of their place.
///
/// # Errors
/// Those of the denoiser, a missing network for LPIPS, and [`Error::Interrupted`] when `tick` breaks.
pub fn refine(
    problem: &Problem,
    (options, target): (&FitOptions, &Target),
    grid: &[Level],
    mut z: Tensor<4>,
    zeta: f64,
    normal: &mut dyn FnMut() -> Tensor<4>,
    tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Tensor<4>> {
    let prior = &problem.prior;
    for pair in grid.windows(2) {
        let leaf = z.clone().autodiff().require_grad();
        let x0_hat = prior.x0_hat_at(leaf.clone(), pair[0], &problem.guidance)?;
        let x_hat = unit(prior, prior.autoencoder.decode(x0_hat)) * target.known.clone();
        let mut loss = mean_elements((x_hat.clone() - target.y.clone()).abs()) * options.l1;
        if options.lpips > 0.0 {
            let seen = problem.perceptual()?.where_known(x_hat, target.y.clone(), target.known.clone());
            loss = loss + seen * options.lpips;
        }
        let mut gradients = loss.sum().backward();
        prior.check()?;
        let gradient = leaf.grad_remove(&mut gradients).unwrap_or_else(|| z.zeros_like());
        z = z - gradient * zeta;
        let x0_hat = prior.x0_hat_at(z.clone(), pair[0], &problem.guidance)?;
        let step = reverse(pair[0], pair[1], 1.0);
        z = z * step.z + x0_hat * step.x0 + normal() * step.std;
        if tick() == ControlFlow::Break(()) {
            return Err(Error::Interrupted);
        }
    }
    let last = grid.last().copied().unwrap_or_else(|| prior.schedule.bottom());
    let x0_hat = prior.x0_hat_at(z, last, &problem.guidance)?;
    let _ = tick();
    Ok(x0_hat)
}
