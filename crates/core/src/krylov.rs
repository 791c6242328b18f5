//! What a denoiser knows about any number of measurements, from a few directions.
//!
//! As for [`crate::moments`], the measurement's covariance given `z_t` is `C = sigma_y^2 I + (sigma_t^2 / alpha_t) A J A^T`. Where there
//! are too many measurements for all of it, `C^-1 b` is found in the space of `b, C b, C^2 b, ..` by Lanczos' process, one
//! directional derivative (a forward call) for each dimension. Rozet, Andry, Lanusse and Louppe (2024, section 4.2) solve the same
//! system by conjugate gradients with vector-Jacobian products; the Ritz values of Lanczos' process give the determinant too.

use burn::tensor::{Tensor, TensorData};

use crate::moments::STEP;
use crate::operator::{Linear, Shape3, symmetric_eigen, values};
use crate::problem::Problem;
use crate::{Error, Level, Result};

/// The measurements of a problem.
pub struct Krylov<'a> {
    linear: &'a dyn Linear,
    y: Tensor<4>,        // [1, ..output_shape]
    measured: Tensor<4>, // 1 where something is measured, else 0, [1, ..output_shape]
    variance: f64,
    dimensions: usize,
}

/// `C^-1 b` for each sample.
pub struct Solution {
    /// `C^-1 b`, `[batch, ..output_shape]`.
    pub solution: Tensor<4>,
    /// `Cov(z_0, A z_0 | z_t) C^-1 b`, `[batch, c, h, w]`: how `x0` moves when the measurement is `b` away from what was predicted.
    pub gain: Tensor<4>,
    /// `-1/2 (b^T C^-1 b + log det C)`, `[batch]`, where directions outside the space, about which nothing is known, count
    /// `sigma_y^2` for all samples: a log-likelihood up to a constant.
    pub log_likelihood: Vec<f64>,
}

/// Denoises `[batch, c, h, w]`.
pub type Denoise<'a> = dyn Fn(Tensor<4>) -> Result<Tensor<4>> + 'a;

impl<'a> Krylov<'a> {
    /// Of a problem's operator, with so many directions at most.
    ///
    /// # Errors
    /// When the operator is not linear, the prior is not one on pictures, or the noise is not Gaussian.
    pub fn new(problem: &'a Problem, dimensions: usize) -> Result<Self> {
        let measurement = &problem.measurement;
        let linear = measurement.operator.linear().filter(|_| problem.prior.autoencoder.is_identity());
        let gaussian = measurement.likelihood.family == crate::measurement::Family::Gaussian;
        let Some(linear) = linear.filter(|_| gaussian) else {
            let text = "krylov needs a linear operator, Gaussian noise and a pixel prior; use isotropic";
            return Err(Error::option("widen", text));
        };
        // Only masks have entries that measure nothing, and they do not rotate.
        let rotates = values(&linear.rotate(measurement.y.clone())) != values(&measurement.y);
        let spectrum = linear.spectrum();
        let measured = if rotates { spectrum.ones_like() } else { spectrum.greater_elem(0.0).float() };
        let variance = measurement.likelihood.sigma_y.powi(2);
        Ok(Self { linear, y: measurement.y.clone() * measured.clone(), measured, variance, dimensions })
    }

    /// Shape of the measurement.
    pub fn shape(&self) -> Shape3 {
        self.linear.output_shape()
    }

    /// `y - A x`, `[batch, ..output_shape]`.
    pub fn residual(&self, x: Tensor<4>) -> Tensor<4> {
        self.y.clone() - self.apply(x)
    }

    /// `A x` where something is measured.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        self.linear.apply(x) * self.measured.clone()
    }

    /// Solves for `b` `[batch, ..output_shape]` at `z`, where `denoise` gives `x0_hat`. Costs a further call of it for each dimension.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn solve(
        &self,
        z: &Tensor<4>,
        x0_hat: &Tensor<4>,
        level: Level,
        b: &Tensor<4>,
        denoise: &Denoise,
    ) -> Result<Solution> {
        let batch = z.dims()[0];
        let b = b.clone() * self.measured.clone();
        let size = norms(&b);
        let mut basis = vec![b.clone() * inverse(&size, &b)];
        let mut columns = Vec::new(); // Cov(z_0, A z_0) v for each v of the basis
        let mut diagonal: Vec<Vec<f64>> = Vec::new();
        let mut beside: Vec<Vec<f64>> = Vec::new();
        loop {
            let v = basis[basis.len() - 1].clone();
            let back = self.linear.adjoint(v.clone());
            // Where v has ended (see below) nothing moves.
            let column = covariance(z, x0_hat, level, back, denoise)?;
            let mut next = self.apply(column.clone()) + v.clone() * self.variance;
            columns.push(column);
            diagonal.push(inner(&next, &v).into_iter().map(|a| a.max(self.variance)).collect());
            if basis.len() == self.dimensions {
                break;
            }
            // Against all directions, twice: a derivative by differences is not accurate enough for the two-term recurrence.
            for e in basis.iter().chain(&basis) {
                let along = inner(&next, e);
                next = next.clone() - e.clone() * each(&along, &next);
            }
            let left = norms(&next);
            let ends = |i: usize| left[i] < 1e-4 * diagonal[diagonal.len() - 1][i];
            let left: Vec<f64> = (0..batch).map(|i| if ends(i) { 0.0 } else { left[i] }).collect();
            basis.push(next.clone() * inverse(&left, &next));
            beside.push(left);
        }
        let k = basis.len();
        let (mut weights, mut log_likelihood) = (vec![vec![0.0; batch]; k], Vec::with_capacity(batch));
        for i in 0..batch {
            let mut t = vec![0.0; k * k];
            for j in 0..k {
                // Where the process has ended before, `C` does no more than scale: what is left is as the last direction.
                let ended = (0..j).find(|l| beside[*l][i] == 0.0);
                t[j * k + j] = diagonal[ended.unwrap_or(j)][i];
            }
            for (j, b) in beside.iter().enumerate() {
                (t[j * k + j + 1], t[(j + 1) * k + j]) = (b[i], b[i]);
            }
            let (eigenvalues, vectors) = symmetric_eigen(t, k);
            // A network's Jacobian need not be positive, the covariance is.
            let eigenvalues: Vec<f64> = eigenvalues.iter().map(|e| e.max(self.variance)).collect();
            let share = |e: usize| size[i] * vectors[e] / eigenvalues[e]; // vectors are columns: this is the first row
            for (j, w) in weights.iter_mut().enumerate() {
                w[i] = (0..k).map(|e| vectors[j * k + e] * share(e)).sum();
            }
            let quadratic: f64 = (0..k).map(|e| size[i] * vectors[e] * share(e)).sum();
            log_likelihood.push(-0.5 * (quadratic + eigenvalues.iter().map(|e| e.ln()).sum::<f64>()));
        }
        let combine = |vectors: &[Tensor<4>], like: &Tensor<4>| {
            let terms = vectors.iter().zip(&weights).map(|(v, w)| v.clone() * each(w, like));
            terms.fold(like.zeros_like(), |a, b| a + b)
        };
        Ok(Solution { solution: combine(&basis, &b), gain: combine(&columns, z), log_likelihood })
    }

    /// `-log_likelihood` for each sample, differentiable in `x0_hat`; `solved` is the solution for its residual, the covariance a
    /// constant. `[batch, c, h, w]` to `[batch]`.
    pub fn nll(&self, x0_hat: Tensor<4>, solved: &Solution) -> Tensor<1> {
        let [batch, c, h, w] = solved.solution.dims();
        let product =
            |r: Tensor<4>| (r * solved.solution.clone()).reshape([batch, c * h * w]).sum_dim(1).reshape([batch]);
        // The gradient of b^T C^-1 b / 2 is that of b^T w with w = C^-1 b held fixed; its value is put right.
        let tracked = product(self.residual(x0_hat));
        let value = if tracked.is_autodiff() { tracked.clone().inner() } else { tracked.clone() };
        let target: Vec<f32> = solved.log_likelihood.iter().map(|l| -*l as f32).collect();
        tracked + (Tensor::from_data(TensorData::new(target, [batch]), &value.device()) - value)
    }
}

/// `Cov(z_0 | z_t) v = (sigma^2 / alpha) J v` for each sample, `J` the denoiser's Jacobian at `z`, where it gives `x0_hat`: a difference
/// quotient, one further call. All are `[batch, c, h, w]`.
///
/// # Errors
/// Those of the denoiser.
pub(crate) fn covariance(
    z: &Tensor<4>,
    x0_hat: &Tensor<4>,
    level: Level,
    v: Tensor<4>,
    denoise: &Denoise,
) -> Result<Tensor<4>> {
    let length = norms(&v);
    let to_step = inverse(&length, &v) * (STEP * level.sigma);
    let moved = denoise(z.clone() + v * to_step)? - x0_hat.clone();
    let scale: Vec<f64> = length.iter().map(|l| l * level.sigma / (level.alpha * STEP)).collect();
    Ok(moved * each(&scale, z))
}

/// `<a, b>` for each sample.
pub(crate) fn inner(a: &Tensor<4>, b: &Tensor<4>) -> Vec<f64> {
    let [n, c, h, w] = a.dims();
    let product = (a.clone() * b.clone()).reshape([n, c * h * w]).sum_dim(1);
    values(&product).into_iter().map(f64::from).collect()
}

fn norms(a: &Tensor<4>) -> Vec<f64> {
    inner(a, a).into_iter().map(f64::sqrt).collect()
}

/// A number for each sample, `[batch, 1, 1, 1]`.
fn each(numbers: &[f64], like: &Tensor<4>) -> Tensor<4> {
    let numbers: Vec<f32> = numbers.iter().map(|n| *n as f32).collect();
    let n = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [n, 1, 1, 1]), &like.device())
}

/// Inverse numbers, 0 for 0.
fn inverse(numbers: &[f64], like: &Tensor<4>) -> Tensor<4> {
    let inverse: Vec<f64> = numbers.iter().map(|n| if *n > 0.0 { 1.0 / n } else { 0.0 }).collect();
    each(&inverse, like)
}
