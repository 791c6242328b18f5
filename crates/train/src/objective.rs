//! What the network is taught.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use vipaint_core::Schedule;
use vipaint_core::prior::Head;
use vipaint_core::schedule::Betas;
use vipaint_zoo::{EdmScales, Parameterization};

use crate::{Error, Result};

/// A loss; each is the mean squared error of the raw output against a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// Karras et al. (2022), table 1: `ln sigma ~ N(p_mean, p_std^2)` and the loss weight `1 / c_out^2`, under which the
    /// raw output `F` is compared with `(x0 - c_skip x) / c_out`.
    Edm {
        /// Standard deviation of the data that the preconditioning assumes.
        sigma_data: f64,
        /// Mean of `ln sigma`.
        p_mean: f64,
        /// Standard deviation of `ln sigma`.
        p_std: f64,
        /// Smallest noise level of the exported prior.
        sigma_min: f64,
        /// Largest noise level of the exported prior.
        sigma_max: f64,
        /// Curvature of its grids.
        rho: f64,
    },
    /// `v = alpha eps - sigma x0` under a VP schedule at uniform timesteps (Salimans and Ho, 2022).
    V {
        /// The schedule.
        schedule: Betas,
    },
    /// Of an autoencoder (Kingma and Welling, 2014): mean squared error, plus `l1` times the mean absolute error, plus `kl`
    /// times the mean divergence, a value of a latent, of its posterior from a standard Gaussian.
    Reconstruction {
        /// Weight of the absolute error.
        l1: f64,
        /// Weight of the divergence.
        kl: f64,
    },
    /// Of a reader: cross-entropy, added up over the attributes, of pictures with noise.
    Attributes {
        /// Standard deviation of the noise.
        noise: f64,
    },
}

/// One training example, `[c, h, w]` each.
pub(crate) struct Example {
    pub input: Vec<f32>,
    pub target: Vec<f32>,
    pub time: f64,
}

/// A diffusion objective with its schedule tabulated.
pub(crate) struct Loss {
    objective: Objective,
    pub schedule: Schedule,
    pub parameterization: Parameterization,
}

impl Objective {
    /// The loss of a diffusion prior.
    ///
    /// # Errors
    /// [`Error::Recipe`] for an objective that is none.
    pub(crate) fn loss(&self) -> Result<Loss> {
        let (schedule, parameterization) = match self {
            Self::Edm { sigma_data, sigma_min, sigma_max, rho, .. } => (
                Schedule::Ve { sigma_min: *sigma_min, sigma_max: *sigma_max, rho: *rho },
                Parameterization::Edm { sigma_data: *sigma_data },
            ),
            Self::V { schedule } => (Schedule::vp(schedule.clone()), Parameterization::Head { head: Head::V }),
            Self::Reconstruction { .. } | Self::Attributes { .. } => {
                return Err(Error::recipe("objective.kind", "must be edm or v for a diffusion prior"));
            }
        };
        Ok(Loss { objective: self.clone(), schedule, parameterization })
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        match self {
            Self::Edm { sigma_data, p_mean, p_std, sigma_min, sigma_max, rho } => {
                if !(positive(*sigma_data) && p_mean.is_finite() && positive(*p_std) && positive(*rho)) {
                    return Err(Error::recipe("objective", "sigma_data, p_std and rho must be positive"));
                }
                if !(positive(*sigma_min) && positive(*sigma_max) && sigma_min < sigma_max) {
                    return Err(Error::recipe("objective.sigma_min", "must be positive and below sigma_max"));
                }
                Ok(())
            }
            Self::V { schedule } => {
                let steps = match schedule {
                    Betas::Linear { steps, .. } | Betas::ScaledLinear { steps, .. } | Betas::Cosine { steps } => *steps,
                    Betas::Table { alphas_cumprod } => alphas_cumprod.len(),
                };
                if !(2..=100_000).contains(&steps) {
                    return Err(Error::recipe("objective.schedule", "needs 2 to 100000 timesteps"));
                }
                let schedule = Schedule::vp(schedule.clone());
                let ends = [schedule.bottom(), schedule.top()];
                if ends.iter().any(|l| !(l.alpha > 0.0 && l.sigma > 0.0)) || ends[0].ratio() >= ends[1].ratio() {
                    return Err(Error::recipe("objective.schedule", "betas must be in (0, 1)"));
                }
                Ok(())
            }
            Self::Attributes { noise } => {
                if !(noise.is_finite() && *noise >= 0.0) {
                    return Err(Error::recipe("objective.noise", "must not be negative"));
                }
                Ok(())
            }
            Self::Reconstruction { l1, kl } => {
                if [l1, kl].iter().any(|x| !(x.is_finite() && **x >= 0.0)) {
                    return Err(Error::recipe("objective", "l1 and kl must not be negative"));
                }
                Ok(())
            }
        }
    }
}

impl Loss {
    /// The example made of a picture with noise, and a noise level, from `rng`.
    pub(crate) fn example(&self, x0: &[f32], rng: &mut ChaCha8Rng) -> Example {
        let mut example = Example { input: Vec::new(), target: Vec::new(), time: 0.0 };
        if let Objective::Edm { sigma_data, p_mean, p_std, .. } = &self.objective {
            let draw: f64 = StandardNormal.sample(rng);
            let sigma = (p_mean + p_std * draw).exp();
            let scales = EdmScales::new(sigma, *sigma_data);
            example.time = scales.noise;
            for (x0, eps) in x0.iter().zip(StandardNormal.sample_iter(rng)) {
                let (x0, eps): (f64, f64) = (f64::from(*x0), eps);
                let x = x0 + sigma * eps;
                example.input.push((scales.input * x) as f32);
                example.target.push(((x0 - scales.skip * x) / scales.out) as f32);
            }
        } else {
            example.time = rng.random_range(0.0..=self.schedule.top().t);
            let level = self.schedule.level(example.time);
            for (x0, eps) in x0.iter().zip(StandardNormal.sample_iter(rng)) {
                let (x0, eps): (f64, f64) = (f64::from(*x0), eps);
                example.input.push((level.alpha * x0 + level.sigma * eps) as f32);
                example.target.push((level.alpha * eps - level.sigma * x0) as f32);
            }
        }
        example
    }
}
