//! Closed-form Gaussian algebra of a diffusion chain.
//!
//! For `s < t`: `z_t | z_s ~ N(alpha_ts z_s, var_ts)` with `alpha_ts = alpha_t / alpha_s` and
//! `var_ts = sigma_t^2 - alpha_ts^2 sigma_s^2`.

use crate::schedule::Level;

/// The forward transition from level `s` to a noisier level `t`: `(alpha_ts, var_ts)`.
pub fn forward(s: Level, t: Level) -> (f64, f64) {
    let alpha = t.alpha / s.alpha;
    (alpha, (t.sigma.powi(2) - alpha.powi(2) * s.sigma.powi(2)).max(0.0))
}

/// A reverse step `z_s | z_t, x0 ~ N(z * z_t + x0 * x0, std^2)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reverse {
    /// Weight of `z_t` in the mean.
    pub z: f64,
    /// Weight of `x0_hat` in the mean.
    pub x0: f64,
    /// Standard deviation.
    pub std: f64,
}

/// The reverse step from `t` to `s` of the `eta` family (Song et al., 2021, eq. 12 and 16): the ancestral standard
/// deviation `sqrt(var_ts) sigma_s / sigma_t` times `eta`, and the mean `alpha_s x0 + sqrt(sigma_s^2 - std^2) eps_hat`.
/// At `eta = 1` this is `q(z_s | z_t, x0)`.
pub fn reverse(t: Level, s: Level, eta: f64) -> Reverse {
    let (_, var) = forward(s, t);
    let std = eta * (var.sqrt() * s.sigma / t.sigma).min(s.sigma);
    let z = (s.sigma.powi(2) - std.powi(2)).max(0.0).sqrt() / t.sigma;
    Reverse { z, x0: s.alpha - z * t.alpha, std }
}
