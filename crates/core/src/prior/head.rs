//! What a network predicts, and how it becomes `x0_hat`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::per_sample;
use crate::Level;

/// A network's prediction target, with `z = alpha x0 + sigma eps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// `x0` itself.
    X0,
    /// The noise `eps` (Ho et al., 2020).
    Eps,
    /// `v = alpha eps - sigma x0` (Salimans and Ho, 2022).
    V,
    /// `grad log q(z) = -E[eps] / sigma` (Song et al., 2021).
    Score,
    /// `u = eps - x0` (flow matching, Lipman et al., 2023).
    Velocity,
}

impl Head {
    /// `x0_hat` from the network's output `raw` at `z`, both `[batch, c, h, w]`, one level for each sample.
    ///
    /// At `alpha = 0` the eps and score heads carry no information about `x0`, and the result is not finite.
    pub fn x0_hat(self, raw: Tensor<4>, z: Tensor<4>, levels: &[Level]) -> Tensor<4> {
        let (on_z, on_raw): (Weight, Weight) = match self {
            Self::X0 => return raw,
            Self::Eps => (|l| 1.0 / l.alpha, |l| -l.sigma / l.alpha),
            Self::V => (|l| l.alpha / norm2(l), |l| -l.sigma / norm2(l)),
            Self::Score => (|l| 1.0 / l.alpha, |l| l.sigma.powi(2) / l.alpha),
            Self::Velocity => (|l| 1.0 / (l.alpha + l.sigma), |l| -l.sigma / (l.alpha + l.sigma)),
        };
        let (on_z, on_raw) = (per_sample(levels, &z, on_z), per_sample(levels, &z, on_raw));
        z * on_z + raw * on_raw
    }
}

/// A factor that depends on the level.
type Weight = fn(&Level) -> f64;

fn norm2(level: &Level) -> f64 {
    level.alpha.powi(2) + level.sigma.powi(2)
}
