//! Networks as denoisers.

use burn::tensor::Tensor;
use vipaint_core::prior::{Condition, Denoiser, Head, per_sample};
use vipaint_core::{Error, Level, Result};

use crate::Network;

/// The preconditioning of Karras et al. (2022), table 1, at noise level `sigma` of `x + sigma eps`:
/// `D(x) = c_skip x + c_out F(c_in x, c_noise)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdmScales {
    /// `c_skip`; EDM's is `s_d^2 / (sigma^2 + s_d^2)`.
    pub skip: f64,
    /// `c_out`; EDM's is `sigma s_d / sqrt(sigma^2 + s_d^2)`.
    pub out: f64,
    /// `c_in`; EDM's is `1 / sqrt(sigma^2 + s_d^2)`.
    pub input: f64,
    /// `c_noise`, the network's time input; EDM's is `ln(sigma) / 4`.
    pub noise: f64,
}

impl EdmScales {
    /// EDM's at `sigma > 0`, for data of standard deviation `sigma_data`.
    pub fn new(sigma: f64, sigma_data: f64) -> Self {
        let total = sigma * sigma + sigma_data * sigma_data;
        Self {
            skip: sigma_data * sigma_data / total,
            out: sigma * sigma_data / total.sqrt(),
            input: 1.0 / total.sqrt(),
            noise: sigma.ln() / 4.0,
        }
    }
}

/// The columns of the same table: what the four factors are at a noise level.
#[derive(Debug, Clone, PartialEq)]
pub enum Preconditioning {
    /// EDM's own, [`EdmScales::new`].
    Edm {
        /// The data's standard deviation the network was trained with.
        sigma_data: f64,
    },
    /// VP (Song et al., 2021): the noise is predicted at `x / sqrt(1 + sigma^2)` and at the time
    /// `(steps - 1) t`, with `1 + sigma^2 = exp(beta_d t^2 / 2 + beta_min t)`.
    Vp {
        /// Extent of the slope of `beta(t) = beta_d t + beta_min`.
        beta_d: f64,
        /// Slope at the start.
        beta_min: f64,
        /// Timesteps the network counts.
        steps: f64,
    },
    /// VE (Song et al., 2021): minus the noise is predicted at `x` and at `ln(sigma / 2)`.
    Ve,
    /// iDDPM (Nichol and Dhariwal, 2021): the noise is predicted at `x / sqrt(1 + sigma^2)` and at an integer timestep, that
    /// of the noise level of this table which is nearest.
    Iddpm {
        /// Falling noise levels, the last zero.
        table: Vec<f64>,
    },
}

impl Preconditioning {
    /// iDDPM's table of `steps + 1` noise levels `u`, by table 1's `u_(j-1) = sqrt((u_j^2 + 1) / max(a_(j-1) / a_j, c_1) - 1)`
    /// from `u_steps = 0` and `a_j = sin(pi/2 j / (steps (c_2 + 1)))^2`.
    pub fn iddpm(c_1: f64, c_2: f64, steps: usize) -> Self {
        let a = |j: usize| (std::f64::consts::FRAC_PI_2 * j as f64 / steps as f64 / (c_2 + 1.0)).sin().powi(2);
        let mut table = vec![0.0; steps + 1];
        for j in (1..=steps).rev() {
            table[j - 1] = ((table[j] * table[j] + 1.0) / (a(j - 1) / a(j)).max(c_1) - 1.0).sqrt();
        }
        Self::Iddpm { table }
    }

    /// At `sigma > 0`.
    pub fn scales(&self, sigma: f64) -> EdmScales {
        let input = 1.0 / (sigma * sigma + 1.0).sqrt();
        match self {
            Self::Edm { sigma_data } => EdmScales::new(sigma, *sigma_data),
            Self::Vp { beta_d, beta_min, steps } => {
                let root = (beta_min * beta_min + 2.0 * beta_d * (sigma * sigma).ln_1p()).sqrt();
                let t = (root - beta_min) / beta_d;
                EdmScales { skip: 1.0, out: -sigma, input, noise: (steps - 1.0) * t }
            }
            Self::Ve => EdmScales { skip: 1.0, out: sigma, input: 1.0, noise: (0.5 * sigma).ln() },
            Self::Iddpm { table } => {
                let distance = |i: &usize| (table[*i] - sigma).abs();
                let nearest = (0..table.len()).min_by(|i, j| distance(i).total_cmp(&distance(j))).unwrap_or(0);
                EdmScales { skip: 1.0, out: -sigma, input, noise: table.len() as f64 - 2.0 - nearest as f64 }
            }
        }
    }
}

impl Preconditioning {
    /// The noise level at which the network's time input is this; not a number if there is none.
    pub fn sigma(&self, noise: f64) -> f64 {
        match self {
            Self::Edm { .. } => (4.0 * noise).exp(),
            Self::Vp { beta_d, beta_min, steps } => {
                let t = noise / (steps - 1.0);
                (0.5 * beta_d * t * t + beta_min * t).exp_m1().sqrt()
            }
            Self::Ve => 2.0 * noise.exp(),
            Self::Iddpm { table } => {
                let index = table.len() as f64 - 2.0 - noise.round();
                if index >= 0.0 { table.get(index as usize).copied().unwrap_or(f64::NAN) } else { f64::NAN }
            }
        }
    }
}

/// A network trained under a [`Preconditioning`], under any schedule: `z / alpha` has noise level `sigma / alpha`.
#[derive(Debug)]
pub struct Edm<N> {
    network: N,
    preconditioning: Preconditioning,
}

impl<N: Network> Edm<N> {
    /// Wraps a network trained with EDM's own preconditioning on data of standard deviation `sigma_data`.
    pub fn new(network: N, sigma_data: f64) -> Self {
        Self::preconditioned(network, Preconditioning::Edm { sigma_data })
    }

    /// Wraps a network trained with any.
    pub fn preconditioned(network: N, preconditioning: Preconditioning) -> Self {
        Self { network, preconditioning }
    }
}

impl<N: Network> Denoiser for Edm<N> {
    fn shape(&self) -> [usize; 3] {
        self.network.shape()
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let scales = |l: &Level| self.preconditioning.scales(l.ratio());
        let input = z.clone() * per_sample(levels, &z, |l| scales(l).input / l.alpha);
        let time: Vec<f64> = levels.iter().map(|l| scales(l).noise).collect();
        let raw = call(&self.network, input, &time, condition)?;
        let skip = per_sample(levels, &z, |l| scales(l).skip / l.alpha);
        let out = per_sample(levels, &z, |l| scales(l).out);
        Ok(z * skip + raw * out)
    }

    fn recompute(&self, on: bool) {
        self.network.recompute(on);
    }
}

/// A network whose raw output is a [`Head`] at `z`, and whose time input is the schedule's own time.
#[derive(Debug)]
pub struct Headed<N> {
    network: N,
    head: Head,
}

impl<N: Network> Headed<N> {
    /// Wraps a network that predicts `head`.
    pub fn new(network: N, head: Head) -> Self {
        Self { network, head }
    }
}

impl<N: Network> Denoiser for Headed<N> {
    fn shape(&self) -> [usize; 3] {
        self.network.shape()
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let time: Vec<f64> = levels.iter().map(|l| l.t).collect();
        let raw = call(&self.network, z.clone(), &time, condition)?;
        Ok(self.head.x0_hat(raw, z, levels))
    }

    fn recompute(&self, on: bool) {
        self.network.recompute(on);
    }
}

/// The raw call, after checking what a network itself takes for granted; without what else it puts out.
fn call<N: Network>(network: &N, input: Tensor<4>, time: &[f64], condition: &Condition) -> Result<Tensor<4>> {
    let [c, h, w] = network.shape();
    let (expected, got) = ([time.len(), c, h, w], input.dims());
    if expected != got {
        return Err(Error::Shape { what: "denoiser input", expected: expected.to_vec(), got: got.to_vec() });
    }
    if let Some(class) = condition.class
        && class >= network.classes()
    {
        return Err(Error::option("class", format!("{class} is out of range; the prior has {}", network.classes())));
    }
    let conditions = vec![condition.clone(); time.len()];
    network.check(&conditions).map_err(Error::Denoiser)?;
    let raw = network.forward(input, time, &conditions);
    // A learned variance comes after the prediction.
    Ok(if raw.dims()[1] > c { raw.narrow(1, 0, c) } else { raw })
}
