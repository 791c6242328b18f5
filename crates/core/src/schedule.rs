//! Noise schedules, as data: `q(z_t | z_0) = N(alpha_t z_0, sigma_t^2 I)`.

use serde::{Deserialize, Serialize};

/// One point of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Time in the schedule's own unit: timestep 0..T-1 (VP), sigma (VE), or t in (0, 1] (flow matching).
    pub t: f64,
    /// Signal scale.
    pub alpha: f64,
    /// Noise standard deviation.
    pub sigma: f64,
}

impl Level {
    /// Noise-to-signal ratio `sigma / alpha`; infinite where the signal is gone.
    pub fn ratio(&self) -> f64 {
        self.sigma / self.alpha
    }

    /// Standard deviation of `z_0` given `z_t` for isotropic Gaussian data of standard deviation `data_std`:
    /// `r^2 = s_d^2 sigma^2 / (alpha^2 s_d^2 + sigma^2)`.
    pub fn posterior_std(&self, data_std: f64) -> f64 {
        let (signal, noise) = ((self.alpha * data_std).powi(2), self.sigma.powi(2));
        (data_std.powi(2) * noise / (signal + noise)).sqrt()
    }
}

/// How the variances `beta_i`, i = 0..T-1, of a discrete VP diffusion run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "betas", rename_all = "kebab-case")]
pub enum Betas {
    /// Linear in beta (Ho et al., 2020: 1e-4 to 0.02 over 1000 steps).
    Linear {
        /// beta_0.
        start: f64,
        /// beta_{T-1}.
        end: f64,
        /// T.
        steps: usize,
    },
    /// Linear in sqrt(beta) (latent diffusion; called "linear" by CompVis).
    ScaledLinear {
        /// beta_0.
        start: f64,
        /// beta_{T-1}.
        end: f64,
        /// T.
        steps: usize,
    },
    /// Cosine (Nichol and Dhariwal, 2021), betas capped at 0.999.
    Cosine {
        /// T.
        steps: usize,
    },
    /// The products `prod (1 - beta_i)` themselves.
    Table {
        /// `alphas_cumprod`, decreasing in (0, 1).
        alphas_cumprod: Vec<f64>,
    },
}

impl Betas {
    fn alphas_cumprod(&self) -> Vec<f64> {
        let cumulate = |betas: Vec<f64>| {
            let mut product = 1.0;
            betas
                .into_iter()
                .map(|beta| {
                    product *= 1.0 - beta;
                    product
                })
                .collect()
        };
        let linspace = |a: f64, b: f64, n: usize| -> Vec<f64> {
            (0..n).map(|i| a + (b - a) * i as f64 / (n.max(2) - 1) as f64).collect()
        };
        match self {
            Self::Linear { start, end, steps } => cumulate(linspace(*start, *end, *steps)),
            Self::ScaledLinear { start, end, steps } => {
                cumulate(linspace(start.sqrt(), end.sqrt(), *steps).into_iter().map(|b| b * b).collect())
            }
            Self::Cosine { steps } => {
                let bar = |u: f64| ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let n = *steps as f64;
                cumulate(
                    (0..*steps).map(|i| (1.0 - bar((i as f64 + 1.0) / n) / bar(i as f64 / n)).min(0.999)).collect(),
                )
            }
            Self::Table { alphas_cumprod } => alphas_cumprod.clone(),
        }
    }
}

/// A variance-preserving schedule, `alpha^2 + sigma^2 = 1`, tabulated at integer timesteps and linear in log-SNR between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Betas", into = "Betas")]
pub struct Vp {
    betas: Betas,
    /// `log(alpha / sigma)` at integer timesteps, decreasing.
    log_ratio: Vec<f64>,
}

impl From<Betas> for Vp {
    fn from(betas: Betas) -> Self {
        let log_ratio = betas.alphas_cumprod().iter().map(|a| 0.5 * (a / (1.0 - a)).ln()).collect();
        Self { betas, log_ratio }
    }
}

impl From<Vp> for Betas {
    fn from(vp: Vp) -> Self {
        vp.betas
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Schedule {
    /// Variance preserving; time is the timestep in `[0, T - 1]`.
    Vp(Vp),
    /// Variance exploding (Karras et al., 2022): `alpha = 1`, time is sigma; grids are even in `sigma^(1/rho)`.
    Ve {
        /// Smallest noise level.
        sigma_min: f64,
        /// Largest noise level.
        sigma_max: f64,
        /// Curvature of grids, 7 by custom.
        rho: f64,
    },
    /// Flow matching: `alpha = 1 - t`, `sigma = t`; grids are even in `u`, `t = shift u / (1 + (shift - 1) u)`.
    Flow {
        /// Time shift of grids (Esser et al., 2024); 1 is none.
        shift: f64,
    },
}

/// Flow matching's cleanest level on grids (its time 0 has no noise left to remove).
const FLOW_T_MIN: f64 = 1e-3;

impl Schedule {
    /// The VP schedule of some betas.
    pub fn vp(betas: Betas) -> Self {
        Self::Vp(betas.into())
    }

    /// The level at time `t`, clamped to the schedule's range.
    pub fn level(&self, t: f64) -> Level {
        match self {
            Self::Vp(vp) => {
                let last = vp.log_ratio.len() - 1;
                let t = t.clamp(0.0, last as f64);
                let (i, f) = (t.floor() as usize, t.fract());
                let log_ratio = vp.log_ratio[i] * (1.0 - f) + vp.log_ratio[(i + 1).min(last)] * f;
                let sigma2 = 1.0 / (1.0 + (2.0 * log_ratio).exp());
                Level { t, alpha: (1.0 - sigma2).sqrt(), sigma: sigma2.sqrt() }
            }
            Self::Ve { sigma_min, sigma_max, .. } => {
                let t = t.clamp(*sigma_min, *sigma_max);
                Level { t, alpha: 1.0, sigma: t }
            }
            Self::Flow { .. } => {
                let t = t.clamp(0.0, 1.0);
                Level { t, alpha: 1.0 - t, sigma: t }
            }
        }
    }

    /// The level whose `sigma / alpha` is `ratio`, clamped to the schedule's range.
    pub fn level_at_ratio(&self, ratio: f64) -> Level {
        match self {
            Self::Vp(vp) => {
                let target = -ratio.ln();
                let after = vp.log_ratio.partition_point(|l| *l > target);
                if after == 0 || after == vp.log_ratio.len() {
                    return self.level(after as f64);
                }
                let (a, b) = (vp.log_ratio[after - 1], vp.log_ratio[after]);
                self.level((after - 1) as f64 + (a - target) / (a - b))
            }
            Self::Ve { .. } => self.level(ratio),
            Self::Flow { .. } => self.level(if ratio.is_finite() { ratio / (1.0 + ratio) } else { 1.0 }),
        }
    }

    /// The noisiest level, T.
    pub fn top(&self) -> Level {
        match self {
            Self::Vp(vp) => self.level((vp.log_ratio.len() - 1) as f64),
            Self::Ve { sigma_max, .. } => self.level(*sigma_max),
            Self::Flow { .. } => self.level(1.0),
        }
    }

    /// The cleanest level a network is called at.
    pub fn bottom(&self) -> Level {
        match self {
            Self::Vp(_) => self.level(0.0),
            Self::Ve { sigma_min, .. } => self.level(*sigma_min),
            Self::Flow { .. } => self.level(FLOW_T_MIN),
        }
    }

    /// Standard deviation of the chain's start `p(z_T)`: 1 where the data are scaled away (VP, flow), `sigma_max` for VE.
    pub fn start_std(&self) -> f64 {
        match self {
            Self::Vp(_) | Self::Flow { .. } => 1.0,
            Self::Ve { sigma_max, .. } => *sigma_max,
        }
    }

    /// `steps + 1` levels from time `from` down to time `to`, spaced as this kind of schedule is customarily spaced.
    pub fn grid(&self, from: f64, to: f64, steps: usize) -> Vec<Level> {
        let warp = |t: f64| match self {
            Self::Vp(_) => t,
            Self::Ve { rho, .. } => t.powf(1.0 / rho),
            Self::Flow { shift } => t / (shift - (shift - 1.0) * t),
        };
        let unwarp = |u: f64| match self {
            Self::Vp(_) => u,
            Self::Ve { rho, .. } => u.powf(*rho),
            Self::Flow { shift } => shift * u / (1.0 + (shift - 1.0) * u),
        };
        let (a, b) = (warp(from), warp(to));
        (0..=steps)
            .map(|i| match i {
                0 => self.level(from),
                i if i == steps => self.level(to),
                i => self.level(unwarp(a + (b - a) * i as f64 / steps as f64)),
            })
            .collect()
    }

    /// `steps` levels, at least two, of a whole sampling run, from [`Self::top`] to [`Self::bottom`].
    pub fn full_grid(&self, steps: usize) -> Vec<Level> {
        self.grid(self.top().t, self.bottom().t, steps.max(2) - 1)
    }
}
