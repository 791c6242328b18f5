//! What a fit is told.

use serde::{Deserialize, Serialize};

use super::{Adam, Problem};
use crate::moments::Widen;
use crate::{Error, Level, Result};

/// What a fit minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The negative bound of the paper, with its terms weighted.
    #[default]
    Bound,
    /// The loss of the authors' latent-diffusion code, see [`super::published::ldm`]; one time above the top keypoint for each of
    /// `mc_samples`, so that `grid_steps`, `prior_steps`, `prior_samples` and `widen` say nothing.
    Ldm,
    /// The loss of the authors' Stable Diffusion 3 code, see [`super::published::sd3`]; `grid_steps`, `prior_samples`,
    /// `init_samples` and `widen` say nothing.
    Sd3,
}

/// Hyperparameters of a fit. Times are in the schedule's own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {
    /// Number of keypoints when `keypoints` is empty: they are then placed by [`FitOptions::levels`].
    pub k: usize,
    /// Keypoint times, noisiest first.
    pub keypoints: Vec<f64>,
    /// Optimisation steps.
    pub iterations: usize,
    /// Paths drawn from `q` in each step.
    pub mc_samples: usize,
    /// Steps of the fine grid above the top keypoint.
    pub grid_steps: usize,
    /// Strata of that grid with one random step each.
    pub prior_steps: usize,
    /// Samples for each of those steps.
    pub prior_samples: usize,
    /// Standard deviation of the prior's hops between keypoints over the ancestral one.
    pub eta: f64,
    /// How the likelihood is widened by what the denoiser does not know at the last keypoint.
    pub widen: Widen,
    /// Directions of `widen=krylov`, one more call each.
    pub directions: usize,
    /// Weight of the prior and start terms in the loss (1 for a bound).
    pub beta_prior: f64,
    /// Weight of the hierarchy term in the loss (1 for a bound).
    pub beta_hierarchy: f64,
    /// Adam's rate for `mu`.
    pub lr_mu: f64,
    /// Adam's rate for `log tau`.
    pub lr_tau: f64,
    /// Adam's rate for `gamma`'s logit.
    pub lr_gamma: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Factor on the rates every ten steps.
    pub lr_decay: f64,
    /// Stop when the loss, averaged over this many steps, has not fallen by `min_gain` of its size; 0 never stops early.
    pub patience: usize,
    /// See `patience`.
    pub min_gain: f64,
    /// Guided samples that the start values are taken from (their mean and variance); 0 starts from the measurement
    /// itself, as published.
    pub init_samples: usize,
    /// Network calls for each of them, from T down to the top keypoint.
    pub init_steps: usize,
    /// Noise added to the start value of `mu`, in units of the data's standard deviation; under `objective=ldm` to the top's, and
    /// under `objective=sd3` to all, as it is.
    pub init_noise: f64,
    /// Start value of lower keypoints' `tau` over the prior's standard deviation; under `objective=sd3` of that ratio's logit.
    pub init_tau: f64,
    /// Start value of `gamma`'s logit.
    pub init_gamma: f64,
    /// Guidance strength while fitting.
    pub fit_cfg_scale: f64,
    /// What is minimised.
    pub objective: Objective,
    /// Weight of the LPIPS distance between `y` and `A x_hat` in the data term, in nats under `objective=bound`, and in the
    /// refinement under `objective=sd3`; a positive one needs a network's weights.
    pub lpips: f64,
    /// Weight of `mean|y - A x_hat|` where there is no likelihood: in a fit under `objective=ldm`, in the refinement under
    /// `objective=sd3`.
    pub l1: f64,
    /// Weight of `mean (y - A x_hat)^2`, of values from 0 to 1, in a fit under `objective=sd3`.
    pub l2: f64,
    /// Weight of the term of known latents in a fit under `objective=sd3`.
    pub latent: f64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            k: 2,
            keypoints: Vec::new(),
            iterations: 50,
            mc_samples: 5,
            grid_steps: 30,
            prior_steps: 2,
            prior_samples: 2,
            eta: 1.0,
            widen: Widen::Isotropic,
            directions: 4,
            beta_prior: 1.0,
            beta_hierarchy: 1.0,
            lr_mu: 0.1,
            lr_tau: 0.02,
            lr_gamma: 0.05,
            beta2: Adam::BETA2,
            lr_decay: 0.99,
            patience: 0,
            min_gain: 0.001,
            init_samples: 6,
            init_steps: 12,
            init_noise: 0.0,
            init_tau: 1.0,
            init_gamma: 3.0,
            fit_cfg_scale: 1.0,
            objective: Objective::Bound,
            lpips: 0.0,
            l1: 100.0,
            l2: 250.0,
            latent: 600.0,
        }
    }
}

impl FitOptions {
    /// Checks every value's domain.
    ///
    /// # Errors
    /// Names the option that is out of its domain.
    pub fn validate(&self) -> Result<()> {
        let positive_counts = [
            ("k", self.k.max(self.keypoints.len())),
            ("mc_samples", self.mc_samples),
            ("grid_steps", self.grid_steps),
            ("init_steps", self.init_steps),
            ("directions", self.directions),
        ];
        for (name, value) in positive_counts {
            if value == 0 {
                return Err(Error::option(name, "must be at least 1"));
            }
        }
        // What lists are made of.
        let listed = ["k", "grid_steps", "init_steps", "mc_samples"];
        let listed = listed.map(|name| positive_counts.into_iter().find(|(n, _)| *n == name));
        let others = [
            ("prior_steps", self.prior_steps),
            ("prior_samples", self.prior_samples),
            ("init_samples", self.init_samples),
        ];
        for (name, value) in listed.into_iter().flatten().chain(others) {
            if value > MOST {
                return Err(Error::option(name, format!("must be at most {MOST}, got {value}")));
            }
        }
        if self.prior_steps > 0 && self.prior_samples == 0 {
            return Err(Error::option("prior_samples", "must be at least 1, or set prior_steps=0"));
        }
        let non_negative = [
            ("beta_prior", self.beta_prior),
            ("beta_hierarchy", self.beta_hierarchy),
            ("lr_mu", self.lr_mu),
            ("lr_tau", self.lr_tau),
            ("lr_gamma", self.lr_gamma),
            ("min_gain", self.min_gain),
            ("init_noise", self.init_noise),
            ("lpips", self.lpips),
            ("l1", self.l1),
            ("l2", self.l2),
            ("latent", self.latent),
        ];
        for (name, value) in non_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be at least 0 and finite, got {value}")));
            }
        }
        if !(0.0..1.0).contains(&self.beta2) {
            return Err(Error::option("beta2", format!("must be at least 0 and below 1, got {}", self.beta2)));
        }
        for (name, value) in [("eta", self.eta), ("lr_decay", self.lr_decay), ("init_tau", self.init_tau)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be above 0 and finite, got {value}")));
            }
        }
        if self.eta > 1.0 {
            return Err(Error::option("eta", format!("must be at most 1, got {}", self.eta)));
        }
        for (name, value) in [("init_gamma", self.init_gamma), ("fit_cfg_scale", self.fit_cfg_scale)] {
            if !value.is_finite() {
                return Err(Error::option(name, format!("must be finite, got {value}")));
            }
        }
        Ok(())
    }

    /// The keypoints' levels: those asked for, or `k` of them placed by their noise over the data's spread,
    /// `sigma / (alpha s_d)`: 3 for one; 3 and 1.5 for two; otherwise from 7 down to 0.85 in equal ratios. Under a latent prior
    /// whose decoded error was measured the top one is where nothing that will be seen is decided yet, as far as was measured, and
    /// the others where less and less of that error's variance is left, but more than half: a Gaussian at a level where hair is
    /// of one colour or another already would stand between them.
    ///
    /// # Errors
    /// A time outside the schedule.
    pub fn levels(&self, problem: &Problem) -> Result<Vec<Level>> {
        let (schedule, spread) = (&problem.prior.schedule, problem.prior.data_std);
        if !self.keypoints.is_empty() {
            let (low, high) = (schedule.bottom().t, schedule.top().t);
            return (self.keypoints.iter())
                .map(|t| {
                    let inside = *t > low && *t < high;
                    let problem = || Error::option("keypoints", format!("time {t} is not between {low} and {high}"));
                    inside.then(|| schedule.level(*t)).ok_or_else(problem)
                })
                .collect();
        }
        if let Some(ratios) = problem.prior.ratios_of_error(self.k) {
            return Ok(ratios.into_iter().map(|r| schedule.level_at_ratio(r)).collect());
        }
        let ratios: Vec<f64> = match self.k {
            1 => vec![3.0],
            2 => vec![3.0, 1.5],
            k => (0..k).map(|i| 7.0 * (0.85_f64 / 7.0).powf(i as f64 / (k - 1) as f64)).collect(),
        };
        Ok(ratios.into_iter().map(|r| schedule.level_at_ratio(r * spread)).collect())
    }
}

/// Most levels and steps: more is a slip, and lists of so many would be made.
const MOST: usize = 100_000;
