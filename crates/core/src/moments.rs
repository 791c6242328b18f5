//! What a denoiser knows about a measurement: mean and covariance of `A z_0` given `z_t`.
//!
//! The covariance of `z_0` given `z_t` is `(sigma_t^2 / alpha_t) J`, with `J` the Jacobian of the exact denoiser (the second-order
//! Tweedie formula; Meng, Song, Li, Ermon, 2021, theorem 1). So `Cov(A z_0) = (sigma_t^2 / alpha_t) A J A^T` needs `J` only along
//! the rows of `A`: practical for a handful of measurements, and exact also where the data are multimodal. `J` is a covariance,
//! hence symmetric, and `J a` is taken as a directional derivative, one forward call for each measurement, not as a
//! vector-Jacobian product.

use std::f64::consts::PI;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::operator::values;
use crate::problem::Problem;
use crate::{Error, Level, Result, total};

/// How a likelihood of `z_t` is widened by what the denoiser does not know of `z_0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Widen {
    /// Not at all: the plug-in form, as published.
    None,
    /// As if the data were white with the prior's `data_std`, see [`Level::posterior_std`].
    Isotropic,
    /// By the denoiser's Jacobian along each measurement: for few measurements.
    Jacobian,
    /// By its Jacobian in a few directions, see [`crate::krylov`]: for any number of measurements.
    Krylov,
}

/// The most measurements whose full covariance is worked with.
const MAX_MEASUREMENTS: usize = 64;

/// Length of the step of a directional derivative, in standard deviations of the noise in `z`: small against the distance over
/// which a denoiser changes, which is that standard deviation; large against rounding.
pub(crate) const STEP: f64 = 0.02;

/// The rows of `A`, for operators with few measurements.
pub struct Rows {
    adjoint: Vec<Tensor<4>>, // A^T e_i, [1, c, h, w] each
    y: Vec<f64>,
    variance: f64,
}

/// Mean and covariance of what is measured, for each sample.
pub struct Moments {
    /// `E[z_0 | z_t]`, `[batch, c, h, w]`.
    pub x0_hat: Tensor<4>,
    /// `Cov(z_0, A z_0 | z_t)`: one column `[batch, c, h, w]` for each measurement.
    pub cross: Vec<Tensor<4>>,
    /// `y - A x0_hat`, `[batch, measurements]`.
    pub residual: Vec<f64>,
    /// `(sigma_y^2 I + Cov(A z_0 | z_t))^-1`, `[batch, measurements, measurements]`.
    pub precision: Vec<f64>,
    /// `log N(y; A x0_hat, sigma_y^2 I + Cov(A z_0 | z_t))`, `[batch]`.
    pub log_likelihood: Vec<f64>,
}

impl Rows {
    /// Of a problem's operator.
    ///
    /// # Errors
    /// When the operator is not linear, the prior is not one on pictures, the noise is not Gaussian, or there are more than 64
    /// measurements.
    pub fn new(problem: &Problem) -> Result<Self> {
        let measurement = &problem.measurement;
        let linear = measurement.operator.linear().filter(|_| problem.prior.autoencoder.is_identity());
        let gaussian = measurement.likelihood.family == crate::measurement::Family::Gaussian;
        let Some(linear) = linear.filter(|_| gaussian) else {
            let text = "jacobian needs a linear operator, Gaussian noise and a pixel prior; use isotropic";
            return Err(Error::option("widen", text));
        };
        let [c, h, w] = linear.output_shape();
        // Only masks have entries that measure nothing, and they do not rotate.
        let spectrum = values(&linear.spectrum());
        let moved = values(&linear.rotate(measurement.y.clone())) != values(&measurement.y);
        let entries: Vec<usize> = (0..c * h * w).filter(|i| moved || spectrum[*i] > 0.0).collect();
        if entries.len() > MAX_MEASUREMENTS {
            let text = format!("jacobian is for at most {MAX_MEASUREMENTS} measurements, not {}", entries.len());
            return Err(Error::option("widen", text));
        }
        let unit = |at: usize| {
            let e: Vec<f32> = (0..c * h * w).map(|i| f32::from(u8::from(i == at))).collect();
            Tensor::from_data(TensorData::new(e, [1, c, h, w]), &problem.device())
        };
        let y = values(&measurement.y);
        Ok(Self {
            adjoint: entries.iter().map(|i| linear.adjoint(unit(*i))).collect(),
            y: entries.iter().map(|i| f64::from(y[*i])).collect(),
            variance: measurement.likelihood.sigma_y.powi(2),
        })
    }

    /// How many measurements there are.
    pub fn len(&self) -> usize {
        self.adjoint.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.adjoint.is_empty()
    }

    /// `A x`, `[batch, measurements]`.
    pub fn apply(&self, x: &Tensor<4>) -> Vec<f64> {
        let columns: Vec<Vec<f32>> = self.adjoint.iter().map(|row| values(&along(x, row))).collect();
        (0..x.dims()[0]).flat_map(|b| columns.iter().map(move |c| f64::from(c[b]))).collect()
    }

    /// The moments at `z`, where `denoise` gives `x0_hat`. Costs as many further calls of it as there are measurements.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn moments(
        &self,
        z: &Tensor<4>,
        x0_hat: Tensor<4>,
        level: Level,
        denoise: &dyn Fn(Tensor<4>) -> Result<Tensor<4>>,
    ) -> Result<Moments> {
        let (batch, m) = (z.dims()[0], self.len());
        let mut cross = Vec::with_capacity(m);
        for row in &self.adjoint {
            let norm = f64::from(total::sum(row.clone().square()).into_scalar::<f32>()).sqrt();
            let step = STEP * level.sigma / norm;
            let moved = denoise(z.clone() + row.clone() * step)?;
            cross.push((moved - x0_hat.clone()) * (level.sigma.powi(2) / (level.alpha * step)));
        }
        let columns: Vec<Vec<f64>> = cross.iter().map(|c| self.apply(c)).collect();
        let predicted = self.apply(&x0_hat);
        let residual: Vec<f64> = predicted.iter().enumerate().map(|(i, p)| self.y[i % m] - p).collect();
        let (mut precision, mut log_likelihood) = (Vec::with_capacity(batch * m * m), Vec::with_capacity(batch));
        for b in 0..batch {
            let r = &residual[b * m..(b + 1) * m];
            let covariance = self.covariance(&columns, b);
            let (inverse, log_det) = self.invert(&covariance);
            let quadratic: f64 = (0..m * m).map(|k| r[k / m] * inverse[k] * r[k % m]).sum();
            log_likelihood.push(-0.5 * (quadratic + log_det + m as f64 * (2.0 * PI).ln()));
            precision.extend(inverse);
        }
        Ok(Moments { x0_hat, cross, residual, precision, log_likelihood })
    }

    /// `-log N(y; A x0_hat, ..)` in nats for each sample, differentiable in `x0_hat`; the covariance is that of `moments`, a
    /// constant. `[batch, c, h, w]` to `[batch]`.
    pub fn nll(&self, x0_hat: &Tensor<4>, moments: &Moments) -> Tensor<1> {
        let (batch, m) = (x0_hat.dims()[0], self.len());
        let device = x0_hat.device();
        let columns: Vec<Tensor<2>> = self.adjoint.iter().map(|row| along(x0_hat, row).reshape([batch, 1])).collect();
        let y: Vec<f32> = self.y.iter().map(|y| *y as f32).collect();
        let residual = Tensor::from_data(TensorData::new(y, [1, m]), &device) - Tensor::cat(columns, 1);
        let precision: Vec<f32> = moments.precision.iter().map(|p| *p as f32).collect();
        let precision = Tensor::<3>::from_data(TensorData::new(precision, [batch, m, m]), &device);
        let pairs = residual.clone().reshape([batch, m, 1]) * precision * residual.reshape([batch, 1, m]);
        let quadratic = pairs.reshape([batch, m * m]).sum_dim(1).reshape([batch]) * 0.5;
        let constant: Vec<f32> =
            (0..batch).map(|b| (-moments.log_likelihood[b] - self.quadratic(moments, b)) as f32).collect();
        quadratic + Tensor::from_data(TensorData::new(constant, [batch]), &device)
    }

    /// `1/2 r^T precision r` of sample `b`.
    fn quadratic(&self, moments: &Moments, b: usize) -> f64 {
        let m = self.len();
        let (r, p) = (&moments.residual[b * m..(b + 1) * m], &moments.precision[b * m * m..(b + 1) * m * m]);
        0.5 * (0..m * m).map(|k| r[k / m] * p[k] * r[k % m]).sum::<f64>()
    }

    /// `sigma_y^2 I + Cov(A z_0)` of sample `b`, made symmetric.
    fn covariance(&self, columns: &[Vec<f64>], b: usize) -> Vec<f64> {
        let m = self.len();
        let entry = |i: usize, j: usize| 0.5 * (columns[j][b * m + i] + columns[i][b * m + j]);
        (0..m * m).map(|k| entry(k / m, k % m) + if k / m == k % m { self.variance } else { 0.0 }).collect()
    }

    /// The inverse and the log-determinant. A network's Jacobian need not be positive: then only the diagonal is kept, and of
    /// it what is positive.
    fn invert(&self, covariance: &[f64]) -> (Vec<f64>, f64) {
        let m = self.len();
        inverse(covariance, m, self.variance).unwrap_or_else(|| {
            let diagonal: Vec<f64> = (0..m).map(|i| covariance[i * m + i].max(self.variance)).collect();
            let inverse = (0..m * m).map(|k| if k / m == k % m { 1.0 / diagonal[k / m] } else { 0.0 });
            (inverse.collect(), diagonal.iter().map(|d| d.ln()).sum())
        })
    }
}

impl Moments {
    /// `sum_i cross_i (precision gap)_i`: how `x0` moves when the measurement is `gap` `[batch, measurements]` away from what was
    /// predicted (the Kalman gain), `[batch, c, h, w]`.
    pub fn gain(&self, gap: &[f64]) -> Tensor<4> {
        let (batch, m) = (self.x0_hat.dims()[0], self.cross.len());
        let weight = |i: usize| {
            let weights: Vec<f32> = (0..batch)
                .map(|b| (0..m).map(|j| self.precision[(b * m + i) * m + j] * gap[b * m + j]).sum::<f64>() as f32)
                .collect();
            Tensor::<4>::from_data(TensorData::new(weights, [batch, 1, 1, 1]), &self.x0_hat.device())
        };
        let terms = self.cross.iter().enumerate().map(|(i, column)| column.clone() * weight(i));
        terms.reduce(|a, b| a + b).unwrap_or_else(|| self.x0_hat.zeros_like())
    }
}

/// `<x, row>` for each sample, `[batch]`.
fn along(x: &Tensor<4>, row: &Tensor<4>) -> Tensor<1> {
    let [b, c, h, w] = x.dims();
    (x.clone() * row.clone()).reshape([b, c * h * w]).sum_dim(1).reshape([b])
}

/// The inverse and the log-determinant of a symmetric `[m, m]` matrix by Cholesky's decomposition; `None` if an eigenvalue is
/// too small (below about half of `least`) or negative.
fn inverse(a: &[f64], m: usize, least: f64) -> Option<(Vec<f64>, f64)> {
    let mut l = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..=i {
            let rest = a[i * m + j] - (0..j).map(|k| l[i * m + k] * l[j * m + k]).sum::<f64>();
            l[i * m + j] = if i == j {
                // A pivot is at least the smallest eigenvalue.
                if rest < 0.5 * least {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / l[j * m + j]
            };
        }
    }
    let mut inverse = vec![0.0; m * m];
    for column in 0..m {
        let mut x = vec![0.0; m];
        for i in 0..m {
            let rest = f64::from(u8::from(i == column)) - (0..i).map(|k| l[i * m + k] * x[k]).sum::<f64>();
            x[i] = rest / l[i * m + i];
        }
        for i in (0..m).rev() {
            x[i] = (x[i] - (i + 1..m).map(|k| l[k * m + i] * x[k]).sum::<f64>()) / l[i * m + i];
        }
        (0..m).for_each(|i| inverse[i * m + column] = x[i]);
    }
    Some((inverse, 2.0 * (0..m).map(|i| l[i * m + i].ln()).sum::<f64>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_of_a_known_matrix() {
        let a = [4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0];
        let (inverse, log_det) = inverse(&a, 3, 0.1).expect("it is positive");
        for i in 0..3 {
            for j in 0..3 {
                let product: f64 = (0..3).map(|k| a[i * 3 + k] * inverse[k * 3 + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        // 4 (6 - .04) - 1 (2 - .1) + .5 (.2 - 1.5)
        assert!((log_det - 21.29f64.ln()).abs() < 1e-12);
        assert!(super::inverse(&[1.0, 2.0, 2.0, 1.0], 2, 0.1).is_none());
    }
}
