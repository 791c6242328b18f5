//! Importance weights of drawn paths.

use std::f64::consts::PI;
use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::bound::{marginal, sum_elements};
use super::{Fit, PURPOSE_WEIGHT, Problem};
use crate::chain::{forward, reverse};
use crate::operator::values;
use crate::prior::Guidance;
use crate::{Error, Noise, Result};

/// `log p(y | z_{t_1}) + sum log p_theta - sum log q` along whole paths from T to `t_1`, in nats, one for each path.
///
/// `path` is what [`super::Posterior::draw`] returned under the problem's guidance; `p_theta` is guided as while fitting. `indices`
/// are the samples' indices: the part of the path above the top keypoint is drawn here, from their streams, by running the
/// forward diffusion from `z_{t_K}`, which is how `q` is defined there. Costs one network call for each step of the fine grid and
/// each keypoint below the top, and one for the likelihood; where paths were drawn with another guidance strength than that of
/// the fit, one more for each keypoint below the top. Ticks [`weight_steps`] times.
///
/// # Errors
/// Those of the denoiser, and [`Error::Interrupted`] when `tick` breaks.
pub fn log_weights(
    fit: &Fit,
    problem: &Problem,
    path: &[Tensor<4>],
    indices: &[usize],
    tick: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Vec<f64>> {
    let (q, bound, prior) = (&fit.posterior, &fit.bound, &problem.prior);
    let guidance = Guidance { cfg_scale: fit.options.fit_cfg_scale, ..problem.guidance.clone() };
    let mut tick = || if tick().is_break() { Err(Error::Interrupted) } else { Ok(()) };
    let mut log_weight = vec![0.0; indices.len()];
    let mut add = |terms: Tensor<1>, sign: f64| {
        log_weight.iter_mut().zip(values(&terms)).for_each(|(w, t)| *w += sign * t as f64);
    };

    // Between keypoints: q and the prior share the network call if they are guided alike.
    let mut x0_hat = prior.x0_hat_at(path[0].clone(), q.top().level, &guidance)?;
    for k in 1..q.keypoints.len() {
        let (above, level) = (path[k - 1].clone(), q.keypoints[k - 1].level);
        let hop = q.hop(k, above.clone(), x0_hat);
        let mean = if guidance.cfg_scale.to_bits() == problem.guidance.cfg_scale.to_bits() {
            hop.mean
        } else {
            q.hop(k, above.clone(), prior.x0_hat_at(above, level, &problem.guidance)?).mean
        };
        let variance = (q.keypoints[k].log_tau.clone() * 2.0).exp();
        let prior_variance = variance.full_like(hop.prior_std.powi(2));
        add(log_normal(path[k].clone() - hop.prior_mean, prior_variance), 1.0);
        add(log_normal(path[k].clone() - mean, variance), -1.0);
        tick()?;
        x0_hat = prior.x0_hat_at(path[k].clone(), q.keypoints[k].level, &guidance)?;
    }
    add(bound.nll(problem, &guidance, &path[path.len() - 1], x0_hat, q.bottom().level)?, -1.0);
    tick()?;

    // Above the top keypoint, upwards: z_t | z_s is the forward diffusion, and log q(z_s | z_t) follows from Bayes' rule:
    // log q(z_s | z_t) = log q(z_s) + log q(z_t | z_s) - log q(z_t), so the marginals telescope over the whole path.
    let mut noise = Noise::new(fit.seed, PURPOSE_WEIGHT, indices.iter().copied());
    let mut z = path[0].clone();
    let (mean, variance) = marginal(q, &[q.top().level]);
    add(log_normal(z.clone() - mean, variance), -1.0);
    for pair in bound.grid.windows(2).rev() {
        let (t, s) = (pair[0], pair[1]);
        let (alpha, var) = forward(s, t);
        let step = noise.normal(q.shape(), &z.device()) * var.sqrt();
        let z_t = z.clone() * alpha + step.clone();
        add(log_normal(step, z.full_like(var)), -1.0);
        let p = reverse(t, s, 1.0);
        let x0_hat = prior.x0_hat_at(z_t.clone(), t, &guidance)?;
        add(log_normal(z.clone() - z_t.clone() * p.z - x0_hat * p.x0, z.full_like(p.std.powi(2))), 1.0);
        z = z_t;
        tick()?;
    }
    add(log_normal(z.clone(), z.full_like(prior.schedule.start_std().powi(2))), 1.0);
    Ok(log_weight)
}

/// How often [`log_weights`] ticks: once for each keypoint and each step of the fine grid.
pub fn weight_steps(fit: &Fit) -> usize {
    fit.posterior.keypoints.len() + fit.bound.grid.len() - 1
}

/// `log N(gap; 0, variance)` summed over elements: `[batch]`.
fn log_normal(gap: Tensor<4>, variance: Tensor<4>) -> Tensor<1> {
    sum_elements((gap.square() / variance.clone() + variance.log() + (2.0 * PI).ln()) * -0.5)
}
