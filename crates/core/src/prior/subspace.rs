//! A few means that lie in a subspace of few dimensions: they are compared with a sample inside it, which is accurate and costs as
//! much as reading the sample.

use burn::tensor::{Device, Tensor, TensorData};

use crate::operator::values;

/// Largest number of means for which a subspace is looked for, and its largest dimension.
const LARGEST: (usize, usize) = (64, 8);

/// Partial sums that a product is added up in, so that they can be added side by side.
const LANES: usize = 16;

/// Means by their coordinates in the subspace that they span.
#[derive(Debug, Clone)]
pub(super) struct Subspace {
    basis: Vec<Vec<f32>>,  // orthonormal
    rows: Tensor<2>,       // the same, [dimension, n]
    coordinates: Vec<f32>, // of the means, [components, dimension]
}

/// What a denoiser at a sample's level is made of: `on_z z + on_mean sum_m r_m mean_m` with `r_m ~ w_m N(z; alpha mean_m, v I)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gains {
    pub alpha: f64,
    pub v: f64,
    pub on_z: f64,
    pub on_mean: f64,
}

impl Subspace {
    /// Of means `[components, n]`; `None` if there are many, or they span many dimensions.
    pub fn of(means: &[f32], n: usize, device: &Device) -> Option<Self> {
        if means.len() / n > LARGEST.0 {
            return None;
        }
        let means: Vec<Vec<f64>> = means.chunks(n).map(|m| m.iter().map(|v| f64::from(*v)).collect()).collect();
        let basis = span(&means).filter(|basis| !basis.is_empty())?;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let coordinates = means.iter().flat_map(|m| basis.iter().map(move |e| dot(m, e) as f32)).collect();
        let basis: Vec<Vec<f32>> = basis.iter().map(|e| e.iter().map(|v| *v as f32).collect()).collect();
        let rows = Tensor::from_data(TensorData::new(basis.concat(), [basis.len(), n]), device);
        Some(Self { basis, rows, coordinates })
    }

    /// The denoiser at `z` `[batch, n]`, differentiable once: its Jacobian `on_z I + on_mean (alpha / v) Cov_r(mean)` is known.
    pub fn x0_hat(&self, z: Tensor<2>, gains: &[Gains], log_weights: &[f32]) -> Tensor<2> {
        let [batch, n] = z.dims();
        let fixed = if z.is_autodiff() { z.clone().inner() } else { z.clone() };
        let device = fixed.device();
        let (value, covariance) = self.evaluate(values(&fixed), n, gains, log_weights, z.is_autodiff());
        let value = Tensor::<2>::from_data(TensorData::new(value, [batch, n]), &device);
        if !z.is_autodiff() {
            return value;
        }
        let d = self.basis.len();
        let on_z: Vec<f32> = gains.iter().map(|g| g.on_z as f32).collect();
        let on_z = Tensor::<2>::from_data(TensorData::new(on_z, [batch, 1]), &device);
        let covariance = Tensor::<3>::from_data(TensorData::new(covariance, [batch, d, d]), &device);
        let tangent = |z: Tensor<2>| {
            let along: Vec<Tensor<2>> =
                (0..d).map(|j| (z.clone() * self.rows.clone().slice_dim(0, j..j + 1)).sum_dim(1)).collect();
            let moved = (covariance.clone() * Tensor::cat(along, 1).reshape([batch, 1, d])).sum_dim(2);
            let moved = moved.reshape([batch, d]);
            let terms = (0..d).map(|j| moved.clone().slice_dim(1, j..j + 1) * self.rows.clone().slice_dim(0, j..j + 1));
            terms.fold(z * on_z.clone(), |sum, term| sum + term)
        };
        // The tangent differs from itself by nothing, but has the gradient.
        value + (tangent(z) - tangent(fixed))
    }

    /// The denoiser of every sample of `z`, `[batch, n]`, and if asked for `on_mean (alpha / v) Cov_r` in the subspace's coordinates,
    /// `[batch, dimension, dimension]`.
    fn evaluate(
        &self,
        mut z: Vec<f32>,
        n: usize,
        gains: &[Gains],
        log_weights: &[f32],
        derivative: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let d = self.basis.len();
        let mut covariance = Vec::new();
        let mut shares = vec![0.0f32; log_weights.len()];
        for (z, g) in z.chunks_exact_mut(n).zip(gains) {
            let along: Vec<f32> = self.basis.iter().map(|e| dot(z, e)).collect();
            let (alpha, half) = (g.alpha as f32, (-0.5 / g.v) as f32);
            let mut top = f32::NEG_INFINITY;
            for ((share, w), mean) in shares.iter_mut().zip(log_weights).zip(self.coordinates.chunks_exact(d)) {
                let gap: f32 = along.iter().zip(mean).map(|(a, m)| (a - alpha * m).powi(2)).sum();
                *share = gap * half + w;
                top = top.max(*share);
            }
            for share in &mut shares {
                *share = (*share - top).exp();
            }
            let sum: f32 = shares.iter().sum();
            let mut mean = vec![0.0f32; d];
            for (share, at) in shares.iter_mut().zip(self.coordinates.chunks_exact(d)) {
                *share /= sum;
                mean.iter_mut().zip(at).for_each(|(mean, at)| *mean += *share * at);
            }
            if derivative {
                let scale = (g.on_mean * g.alpha / g.v) as f32;
                for (i, j) in (0..d * d).map(|k| (k / d, k % d)) {
                    let each = shares.iter().zip(self.coordinates.chunks_exact(d));
                    let entry: f32 = each.map(|(s, at)| s * (at[i] - mean[i]) * (at[j] - mean[j])).sum();
                    covariance.push(scale * entry);
                }
            }
            let on_z = g.on_z as f32;
            for z in z.iter_mut() {
                *z *= on_z;
            }
            for (e, m) in self.basis.iter().zip(&mean) {
                let m = g.on_mean as f32 * m;
                z.iter_mut().zip(e).for_each(|(z, e)| *z += m * e);
            }
        }
        (z, covariance)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        (0..LANES).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f32>() + rest
}

/// An orthonormal basis of the rows' span by Gram-Schmidt, twice for stability; `None` if it has too many dimensions.
fn span(rows: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = rows.iter().map(|r| norm(r)).fold(0.0, f64::max);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for row in rows {
        let mut rest = row.clone();
        for e in basis.iter().chain(&basis) {
            let along: f64 = rest.iter().zip(e).map(|(r, e)| r * e).sum();
            rest.iter_mut().zip(e).for_each(|(r, e)| *r -= along * e);
        }
        let left = norm(&rest);
        // What rounding to f32 leaves is not a direction.
        if left > 1e-5 * largest {
            if basis.len() == LARGEST.1 {
                return None;
            }
            basis.push(rest.into_iter().map(|r| r / left).collect());
        }
    }
    Some(basis)
}
