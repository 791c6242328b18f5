//! The hierarchical variational posterior of VIPaint (section 4 of the paper).
//!
//! `q` is a Markov chain from T down to `t_1`: Gaussian at the top keypoint `t_K`, the forward diffusion of it above, and
//! below, at every other keypoint,
//! `q(z_k | z_{k+1}) = N(gamma_k m_theta(z_{k+1}) + (1 - gamma_k) alpha_k mu_k, tau_k^2)` with `m_theta` the mean of the
//! prior's own reverse step. Its parameters `lambda = {mu, tau, gamma}` have one value for each element of `z`.

mod adam;
mod bound;
mod file;
mod fit;
mod options;
pub mod published;
mod step;
mod weight;

use burn::tensor::{Tensor, activation};

pub use adam::Adam;
pub use bound::{Bound, Terms};
pub use file::Stored;
pub use fit::{Fit, Together};
pub use options::{FitOptions, Objective};
pub use weight::{log_weights, weight_steps};

pub use crate::problem::{Perceptual, Problem};

use crate::chain::{Reverse, reverse};
use crate::operator::Shape3;
use crate::prior::{Guidance, Prior};
use crate::{Error, Level, Noise, Result};

/// `lambda` at one keypoint; each tensor is `[1, channels, height, width]`.
#[derive(Debug, Clone)]
pub struct Keypoint {
    /// Where in the schedule.
    pub level: Level,
    /// `mu`, in units of `z_0`.
    pub mu: Tensor<4>,
    /// `log tau`; under [`Objective::Sd3`] the logit of tau over the ancestral standard deviation.
    pub log_tau: Tensor<4>,
    /// `gamma = sigmoid(gamma_logit)`; the top keypoint has none, but under [`Objective::Sd3`].
    pub gamma_logit: Option<Tensor<4>>,
}

/// The variational posterior.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Keypoints `t_K > ... > t_1`, the noisiest first.
    pub keypoints: Vec<Keypoint>,
    /// Scale of the prior's reverse standard deviation between keypoints, see [`reverse`].
    pub eta: f64,
    /// Whose it is: the top's mean is `sqrt(1 - tau^2) mu` under [`Objective::Ldm`] instead of `alpha mu`, and all is as
    /// [`published::sd3`] has it under [`Objective::Sd3`].
    pub form: Objective,
}

/// A hop to the next keypoint: `q` says `N(mean, tau^2)` where the prior says `N(prior_mean, prior_std^2)`.
#[derive(Debug, Clone)]
pub struct Hop {
    /// Mean under `q`, `[batch, c, h, w]`.
    pub mean: Tensor<4>,
    /// Mean under the prior, `m_theta`.
    pub prior_mean: Tensor<4>,
    /// Standard deviation under the prior.
    pub prior_std: f64,
}

impl Posterior {
    /// The parameters before a fit, from what is believed of `z_0`: `mu` its mean everywhere, `tau_K^2` at the top the
    /// variance of `z_{t_K}` that follows from its variance, lower `tau` the prior's own standard deviation times
    /// `init.tau`, `gamma` as given.
    ///
    /// # Errors
    /// When `levels` is empty or not strictly decreasing in noise.
    pub fn initial(levels: &[Level], eta: f64, init: &Init) -> Result<Self> {
        if levels.is_empty() || levels.windows(2).any(|w| w[0].ratio() <= w[1].ratio()) {
            return Err(Error::option("keypoints", "give at least one time, noisiest first, each one once"));
        }
        let mut keypoints = Vec::with_capacity(levels.len());
        for (k, level) in levels.iter().enumerate() {
            let (tau, gamma_logit) = match k.checked_sub(1) {
                None => ((init.variance.clone() * level.alpha.powi(2) + level.sigma.powi(2)).sqrt(), None),
                Some(above) => {
                    let std = reverse(levels[above], *level, eta).std * init.tau;
                    (init.mean.full_like(std), Some(init.mean.full_like(init.gamma_logit)))
                }
            };
            if level.sigma <= 0.0 {
                return Err(Error::option("keypoints", format!("no noise is left at time {}", level.t)));
            }
            keypoints.push(Keypoint { level: *level, mu: init.mean.clone(), log_tau: tau.log(), gamma_logit });
        }
        Ok(Self { keypoints, eta, form: Objective::Bound })
    }

    /// Shape of `z`.
    pub fn shape(&self) -> Shape3 {
        let [_, c, h, w] = self.top().mu.dims();
        [c, h, w]
    }

    /// The noisiest keypoint, `t_K`.
    pub fn top(&self) -> &Keypoint {
        &self.keypoints[0]
    }

    /// The cleanest keypoint, `t_1`.
    pub fn bottom(&self) -> &Keypoint {
        &self.keypoints[self.keypoints.len() - 1]
    }

    /// `z_{t_K} ~ N(alpha_{t_K} mu_K, tau_K^2)`, one for each stream of `noise`.
    pub fn draw_top(&self, noise: &mut Noise) -> Tensor<4> {
        let top = self.top();
        let eps = noise.normal(self.shape(), &top.mu.device().without_autodiff());
        let tau = top.log_tau.clone().exp();
        if self.form == Objective::Ldm {
            return (tau.clone().square() * -1.0 + 1.0).clamp_min(0.0).sqrt() * top.mu.clone() + tau * eps;
        }
        top.mu.clone() * top.level.alpha + tau * eps
    }

    /// The hop to keypoint `k` (an index into [`Self::keypoints`], not the top) from the sample `z` at the keypoint above
    /// and `x0_hat` there.
    pub fn hop(&self, k: usize, z: Tensor<4>, x0_hat: Tensor<4>) -> Hop {
        let (above, here) = (&self.keypoints[k - 1], &self.keypoints[k]);
        let Reverse { z: on_z, x0: on_x0, std } = reverse(above.level, here.level, self.eta);
        let prior_mean = z * on_z + x0_hat * on_x0;
        let own = here.mu.clone() * here.level.alpha;
        let mean = match &here.gamma_logit {
            Some(logit) => own.clone() + activation::sigmoid(logit.clone()) * (prior_mean.clone() - own),
            None => own,
        };
        Hop { mean, prior_mean, prior_std: std }
    }

    /// A sample at keypoint `k` from the hop's mean under `q`.
    pub fn land(&self, k: usize, mean: Tensor<4>, noise: &mut Noise) -> Tensor<4> {
        let eps = noise.normal(self.shape(), &mean.device().without_autodiff());
        mean + self.keypoints[k].log_tau.clone().exp() * eps
    }

    /// Draws `z` at `t_1` by walking down the keypoints, with the path's samples, noisiest first.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn draw(&self, prior: &Prior, guidance: &Guidance, noise: &mut Noise) -> Result<Vec<Tensor<4>>> {
        if self.form == Objective::Sd3 {
            return published::sd3::draw(self, prior, guidance, noise);
        }
        let mut path = vec![self.draw_top(noise)];
        for k in 1..self.keypoints.len() {
            let z = path[k - 1].clone();
            let x0_hat = prior.x0_hat_at(z.clone(), self.keypoints[k - 1].level, guidance)?;
            let hop = self.hop(k, z, x0_hat);
            path.push(self.land(k, hop.mean, noise));
        }
        Ok(path)
    }
}

/// Start values of a fit.
#[derive(Debug, Clone)]
pub struct Init {
    /// Mean of `z_0`, `[1, c, h, w]`.
    pub mean: Tensor<4>,
    /// Its variance, `[1, c, h, w]`.
    pub variance: Tensor<4>,
    /// Lower keypoints' `tau` over the prior's reverse standard deviation.
    pub tau: f64,
    /// `gamma` before the sigmoid.
    pub gamma_logit: f64,
}

/// Random streams: what a seed is used for, see [`Noise::new`].
pub(crate) const PURPOSE_INIT: u64 = 1;
pub(crate) const PURPOSE_SAMPLE: u64 = 2;
pub(crate) const PURPOSE_WEIGHT: u64 = 3;
pub(crate) const PURPOSE_PARTICLE: u64 = 5;
pub(crate) const PURPOSE_RESAMPLE: u64 = 6;
/// Fit iteration `i` uses `PURPOSE_FIT + i`.
pub(crate) const PURPOSE_FIT: u64 = 1 << 32;
