//! A measurement `y = A(x) + noise` and its likelihood.

use std::f64::consts::PI;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rand_distr::{Distribution, Poisson, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::noise::{Noise, stream};
use crate::operator::{Operator, values};
use crate::{Error, Result, total};

/// The noise's distribution, independent for each measured value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Normal with standard deviation `sigma_y`.
    #[default]
    Gaussian,
    /// Laplace with standard deviation `sigma_y` (scale `sigma_y / sqrt(2)`): an L1 data term.
    Laplace,
    /// Photons: `P (y - black) / (white - black)` is a Poisson number of the mean `P (A x - black) / (white - black)`, where
    /// `P = ((white - black) / sigma_y)^2` is the peak, the mean number at white; `sigma_y` is the noise at white.
    ///
    /// Its likelihood is the normal distribution of the same mean and variance, `sigma_y^2 (A x - black) / (white - black)`,
    /// with the variance of at least one photon: the heteroscedastic Gaussian that is usual (Foi et al., 2008; DPS, eq. 18,
    /// which takes `y` for the mean in the variance). Unlike the exact probability of the counts it is defined where
    /// `x_hat` is darker than black, and it can be widened.
    Poisson {
        /// The value of `y` without light.
        black: f64,
        /// The value of `y` at which the peak's number of photons is counted on average.
        white: f64,
    },
}

/// How `y` arises from a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The noise's distribution.
    pub family: Family,
    /// Its standard deviation (of [`Family::Poisson`] at white), in the units of `y`, positive.
    pub sigma_y: f64,
}

impl Likelihood {
    fn check(&self) -> Result<()> {
        if !(self.sigma_y > 0.0 && self.sigma_y.is_finite()) {
            return Err(Error::option("noise", format!("must be positive and finite, got {}", self.sigma_y)));
        }
        match self.family {
            Family::Poisson { black, white } if !(black.is_finite() && white.is_finite() && white > black) => {
                Err(Error::option("noise", format!("white must be above black, got {white} and {black}")))
            }
            _ => Ok(()),
        }
    }

    /// `y` as it might be measured where `clean` would be without noise, `[1, c, h, w]`.
    fn corrupt(&self, clean: Tensor<4>, seed: u64) -> Tensor<4> {
        let [_, c, h, w] = clean.dims();
        let device = clean.device();
        match self.family {
            Family::Gaussian => {
                let eps = Noise::new(seed, PURPOSE_SIMULATE, [0]).normal([c, h, w], &device);
                clean + eps * self.sigma_y
            }
            Family::Laplace => {
                let mut rng = stream(seed, PURPOSE_SIMULATE, 0);
                let scale = self.sigma_y / 2.0f64.sqrt();
                // A normal variable times the root of twice an exponential one is a Laplace variable.
                let noise: Vec<f32> = (0..c * h * w)
                    .map(|_| {
                        let (normal, u): (f64, f64) = (StandardNormal.sample(&mut rng), rng.random());
                        (scale * normal * (-2.0 * (1.0 - u).ln()).sqrt()) as f32
                    })
                    .collect();
                clean + Tensor::from_data(TensorData::new(noise, [1, c, h, w]), &device)
            }
            Family::Poisson { black, white } => {
                let mut rng = stream(seed, PURPOSE_SIMULATE, 0);
                let photon = self.sigma_y.powi(2) / (white - black);
                let counted = |value: f32| {
                    let mean = (f64::from(value) - black) / photon;
                    let count = Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(&mut rng));
                    (black + photon * count) as f32
                };
                let y: Vec<f32> = values(&clean).into_iter().map(counted).collect();
                Tensor::from_data(TensorData::new(y, [1, c, h, w]), &device)
            }
        }
    }
}

/// Random streams, as in [`crate::posterior`].
const PURPOSE_SIMULATE: u64 = 4;

/// `y`, the operator it was measured with, and the noise.
#[derive(Clone)]
pub struct Measurement {
    /// `A`.
    pub operator: Arc<dyn Operator>,
    /// The measured values, `[1, ..output_shape]`.
    pub y: Tensor<4>,
    /// The noise.
    pub likelihood: Likelihood,
    /// How `x`'s uncertainty reaches `y`.
    widening: Widening,
}

/// Variances of `U^T A x` for white `x` of variance 1.
#[derive(Clone)]
struct Widening {
    /// `[1, ..output_shape]`; 0 where nothing is measured.
    spectrum: Tensor<4>,
    /// Whether `U` is the operator's, in which they are exact; otherwise it is the identity, and they are bounds.
    rotates: bool,
}

impl Measurement {
    /// Puts the three together.
    ///
    /// # Errors
    /// When `y` has not the operator's output shape or `sigma_y` is not positive.
    pub fn new(operator: Arc<dyn Operator>, y: Tensor<4>, likelihood: Likelihood) -> Result<Self> {
        let [c, h, w] = operator.output_shape();
        if y.dims() != [1, c, h, w] {
            return Err(Error::Shape { what: "y", expected: vec![1, c, h, w], got: y.dims().to_vec() });
        }
        likelihood.check()?;
        let widening = Widening::of(operator.as_ref(), likelihood.family, &y);
        Ok(Self { operator, y, likelihood, widening })
    }

    /// What might be measured of the picture `x`, `[1, ..input_shape]`: noise from the seed is added to `A(x)`.
    ///
    /// # Errors
    /// As [`Self::new`], and when `x` has not the operator's input shape.
    pub fn simulate(operator: Arc<dyn Operator>, x: Tensor<4>, likelihood: Likelihood, seed: u64) -> Result<Self> {
        let [c, h, w] = operator.input_shape();
        if x.dims() != [1, c, h, w] {
            return Err(Error::Shape { what: "x", expected: vec![1, c, h, w], got: x.dims().to_vec() });
        }
        likelihood.check()?;
        let y = likelihood.corrupt(operator.apply(x), seed);
        Self::new(operator, y, likelihood)
    }

    /// `-log p(y | x_hat)` in nats for each sample, normalised: `[batch, ..input_shape]` to `[batch]`.
    ///
    /// `spread` has one standard deviation `r` for each sample: what `x_hat` does not know of `x`. The noise's
    /// covariance becomes `sigma_y^2 I + r^2 A A^T` (the widened likelihood; 0 is the plug-in form), exactly where the
    /// operator's singular values are known and the noise is the same everywhere. Else, for compositions, non-linear
    /// operators (with the `J` of their gradient) and [`Family::Poisson`], `A A^T` is replaced by its largest eigenvalue times
    /// the identity: never less uncertain than it should be in any direction.
    pub fn nll(&self, x_hat: Tensor<4>, spread: &[f64]) -> Tensor<1> {
        let batch = x_hat.dims()[0];
        let predicted = self.operator.apply(x_hat);
        let [_, c, h, w] = predicted.dims();
        let noise = self.noise_variance(&predicted);
        let residual = predicted * -1.0 + self.y.clone();
        let residual = match self.operator.linear().filter(|_| self.widening.rotates) {
            Some(linear) => linear.rotate(residual),
            None => residual,
        };
        let r2: Vec<f32> = spread.iter().map(|r| (r * r) as f32).collect();
        let r2: Tensor<4> = Tensor::from_data(TensorData::new(r2, [batch, 1, 1, 1]), &self.y.device());
        let spectrum = self.widening.spectrum.clone();
        let observed = spectrum.clone().greater_elem(0.0).float();
        let variance = spectrum * r2 + noise;
        let terms = match self.likelihood.family {
            Family::Gaussian | Family::Poisson { .. } => {
                (residual.square() / variance.clone() + variance.log() + (2.0 * PI).ln()) * 0.5
            }
            Family::Laplace => {
                let scale = (variance * 0.5).sqrt();
                residual.abs() / scale.clone() + (scale * 2.0).log()
            }
        };
        (terms * observed).reshape([batch, c * h * w]).sum_dim(1).reshape([batch])
    }

    /// The noise's variance where `A(x_hat)` is `predicted`; it broadcasts over it.
    pub(crate) fn noise_variance(&self, predicted: &Tensor<4>) -> Tensor<4> {
        let s2 = self.likelihood.sigma_y.powi(2);
        match self.likelihood.family {
            Family::Gaussian | Family::Laplace => Tensor::full([1, 1, 1, 1], s2, &self.y.device()),
            Family::Poisson { black, white } => {
                let peak = (white - black).powi(2) / s2;
                ((predicted.clone() - black) / (white - black)).clamp_min(1.0 / peak) * s2
            }
        }
    }

    /// `||y - A x_hat||` over the measured values, for each sample: `[batch]`.
    pub fn residual_norm(&self, x_hat: Tensor<4>) -> Tensor<1> {
        let batch = x_hat.dims()[0];
        let residual = self.operator.apply(x_hat) * -1.0 + self.y.clone();
        let [_, c, h, w] = residual.dims();
        // The small constant keeps the gradient finite when everything fits.
        (residual.square().reshape([batch, c * h * w]).sum_dim(1).reshape([batch]) + 1e-12).sqrt()
    }
}

impl Widening {
    fn of(operator: &dyn Operator, family: Family, y: &Tensor<4>) -> Self {
        // Noise that differs from place to place is diagonal only in places.
        let uniform = !matches!(family, Family::Poisson { .. });
        match operator.linear() {
            Some(linear) if uniform => Self { spectrum: linear.spectrum(), rotates: true },
            linear => {
                let [c, h, w] = operator.input_shape();
                let device = y.device().without_autodiff();
                let probe = Noise::new(0, PURPOSE_SIMULATE, [1]).normal([c, h, w], &device);
                let largest = match linear {
                    Some(linear) => values(&linear.spectrum()).into_iter().fold(0.0, f32::max),
                    None => largest_eigenvalue(operator, probe.clone()),
                };
                // A place that no pixel reaches answers nothing at all to a random picture.
                let reached = operator.tangent(probe).abs().greater_elem(0.0).float();
                Self { spectrum: reached * largest, rotates: false }
            }
        }
    }
}

/// The largest eigenvalue of `L L^T`, `L` the operator's [`Operator::tangent`], by power iteration from a random picture.
fn largest_eigenvalue(operator: &dyn Operator, mut x: Tensor<4>) -> f32 {
    // Rayleigh quotients come from below, and are within a few per cent after so many steps from a random start
    // (Kuczynski and Wozniakowski, 1992: the expected error is below .9 ln(n) / steps relative, .2 for n = 1000); what is
    // missing is missing in directions that are measured nearly as well.
    const STEPS: usize = 40;
    let mut largest = 0.0f32;
    for _ in 0..STEPS {
        let norm = total::sum(x.clone().square()).sqrt().clamp_min(f32::MIN_POSITIVE);
        let leaf = (x / norm.reshape([1, 1, 1, 1])).autodiff().require_grad();
        let measured = total::sum(operator.tangent(leaf.clone()).square());
        largest = largest.max(measured.clone().inner().into_scalar::<f32>());
        let mut gradients = (measured * 0.5).backward();
        match leaf.grad_remove(&mut gradients) {
            Some(next) => x = next,
            None => break,
        }
    }
    largest
}
