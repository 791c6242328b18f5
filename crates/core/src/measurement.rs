//! A measurement `y = A(x) + noise` and its likelihood.

use std::f64::consts::PI;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::operator::Operator;
use crate::{Error, Result};

/// The noise's distribution, independent for each measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Normal with standard deviation `sigma_y`.
    #[default]
    Gaussian,
    /// Laplace with standard deviation `sigma_y` (scale `sigma_y / sqrt(2)`): an L1 data term.
    Laplace,
}

/// How `y` arises from a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The noise's distribution.
    pub family: Family,
    /// Its standard deviation, in the units of `y`, positive.
    pub sigma_y: f64,
}

/// `y`, the operator it was measured with, and the noise.
#[derive(Clone)]
pub struct Measurement {
    /// `A`.
    pub operator: Arc<dyn Operator>,
    /// The measured values, `[1, ..output_shape]`.
    pub y: Tensor<4>,
    /// The noise.
    pub likelihood: Likelihood,
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
        if !(likelihood.sigma_y > 0.0 && likelihood.sigma_y.is_finite()) {
            return Err(Error::option("noise", format!("must be positive and finite, got {}", likelihood.sigma_y)));
        }
        Ok(Self { operator, y, likelihood })
    }

    /// `-log p(y | x_hat)` in nats for each sample, normalised: `[batch, ..input_shape]` to `[batch]`.
    ///
    /// `spread` has one standard deviation `r` for each sample: what `x_hat` does not know of `x`. The noise's
    /// covariance becomes `sigma_y^2 I + r^2 A A^T` (the widened likelihood; 0 is the plug-in form). A non-linear
    /// operator is never widened.
    pub fn nll(&self, x_hat: Tensor<4>, spread: &[f64]) -> Tensor<1> {
        let batch = x_hat.dims()[0];
        let residual = self.operator.apply(x_hat) * -1.0 + self.y.clone();
        let [_, c, h, w] = residual.dims();
        let s2 = self.likelihood.sigma_y.powi(2);
        let (residual, variance, observed) = match self.operator.linear() {
            Some(linear) => {
                let spectrum = linear.spectrum();
                let r2: Vec<f32> = spread.iter().map(|r| (r * r) as f32).collect();
                let r2: Tensor<4> = Tensor::from_data(TensorData::new(r2, [batch, 1, 1, 1]), &self.y.device());
                let observed = spectrum.clone().greater_elem(0.0).float();
                (linear.rotate(residual), spectrum * r2 + s2, observed)
            }
            None => (residual, Tensor::full([batch, 1, 1, 1], s2, &self.y.device()), self.y.ones_like()),
        };
        let terms = match self.likelihood.family {
            Family::Gaussian => (residual.square() / variance.clone() + variance.log() + (2.0 * PI).ln()) * 0.5,
            Family::Laplace => {
                let scale = (variance * 0.5).sqrt();
                residual.abs() / scale.clone() + (scale * 2.0).log()
            }
        };
        (terms * observed).reshape([batch, c * h * w]).sum_dim(1).reshape([batch])
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
