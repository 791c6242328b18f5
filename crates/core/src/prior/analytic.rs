//! Priors whose denoisers are exact: Gaussian, Gaussian mixture, and data set (a mixture with a small Gaussian on each
//! image). They make the true posterior known, see the tests and the benchmarks.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::{Condition, Denoiser, per_sample};
use crate::operator::{Shape3, in_blocks};
use crate::{Error, Level, Result};

/// `x ~ N(mean, diag(variance))`.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: Tensor<4>,     // [1, c, h, w]
    variance: Tensor<4>, // [1, c, h, w]
    shape: Shape3,
}

impl Gaussian {
    /// `mean` and `variance` in `[c, h, w]` order.
    ///
    /// # Errors
    /// When a length does not fit the shape or a variance is not positive.
    pub fn new(mean: &[f32], variance: &[f32], shape: Shape3, device: &Device) -> Result<Self> {
        let [c, h, w] = shape;
        for (what, values) in [("mean", mean), ("variance", variance)] {
            if values.len() != c * h * w {
                return Err(Error::Shape { what, expected: shape.to_vec(), got: vec![values.len()] });
            }
        }
        if variance.iter().any(|v| v.is_nan() || *v <= 0.0) {
            return Err(Error::option("variance", "must be positive"));
        }
        let tensor = |v: &[f32]| Tensor::from_data(TensorData::new(v.to_vec(), [1, c, h, w]), device);
        Ok(Self { mean: tensor(mean), variance: tensor(variance), shape })
    }
}

impl Denoiser for Gaussian {
    fn shape(&self) -> Shape3 {
        self.shape
    }

    /// `mean + alpha v / (alpha^2 v + sigma^2) (z - alpha mean)`.
    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], _: &Condition) -> Result<Tensor<4>> {
        let alpha = per_sample(levels, &z, |l| l.alpha);
        let sigma2 = per_sample(levels, &z, |l| l.sigma.powi(2));
        let v = self.variance.clone();
        let gain = alpha.clone() * v.clone() / (alpha.clone().square() * v + sigma2);
        Ok(self.mean.clone() + gain * (z - alpha * self.mean.clone()))
    }
}

/// `x ~ sum_m w_m N(mean_m, std^2 I)`. With one component for each image of a set it is the data-set prior.
///
/// Classes, if given, restrict the sum to the components of the class asked for.
///
/// A few means that lie in a low-dimensional subspace are compared with a sample inside it, which is accurate and cheap. Others are
/// kept relative to their average: logits are differences of squared norms, which cancel in f32 otherwise.
#[derive(Debug, Clone)]
pub struct Mixture {
    comparison: Comparison,
    log_weights: Vec<f64>, // normalised
    classes: Vec<usize>,   // of each component; empty without classes
    variance: f64,
    shape: Shape3,
}

/// How a sample is compared with the means.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // there is one for each prior
enum Comparison {
    /// By inner products with all of them, relative to their average.
    Direct {
        centre: Tensor<2>,  // the average, [1, c h w]
        means: Tensor<2>,   // relative to it, [components, c h w]
        squared: Tensor<2>, // ||mean||^2, [1, components]
    },
    /// By distances in the subspace that they span.
    Subspace {
        basis: Vec<Tensor<2>>,  // orthonormal, [1, c h w] each
        coordinates: Tensor<3>, // of the means, [1, components, dimension]
    },
}

/// Samples that are compared with many means at once: the more, the less often these come from memory.
const BLOCK: usize = 40;

/// Largest number of components for which a subspace is looked for, and its largest dimension.
const SUBSPACE: (usize, usize) = (64, 8);

impl Mixture {
    /// `means` in `[components, c, h, w]` order, `weights` positive (normalised here), `std` positive.
    ///
    /// # Errors
    /// When a length does not fit, or weights or `std` are not positive.
    pub fn new(means: Vec<f32>, weights: &[f64], std: f64, shape: Shape3, device: &Device) -> Result<Self> {
        let n = shape.iter().product::<usize>();
        if weights.is_empty() || means.len() != weights.len() * n {
            let expected = [&[weights.len()], &shape[..]].concat();
            return Err(Error::Shape { what: "means", expected, got: vec![means.len()] });
        }
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if !positive(std) || !weights.iter().all(|w| positive(*w)) {
            return Err(Error::option("weights", "weights and std must be positive and finite"));
        }
        let total: f64 = weights.iter().sum();
        Ok(Self {
            comparison: Comparison::of(means, n, device),
            log_weights: weights.iter().map(|w| (w / total).ln()).collect(),
            classes: Vec::new(),
            variance: std * std,
            shape,
        })
    }

    /// The class of every component.
    ///
    /// # Errors
    /// When there are not as many as components.
    pub fn with_classes(mut self, classes: Vec<usize>) -> Result<Self> {
        if classes.len() != self.log_weights.len() {
            let expected = vec![self.log_weights.len()];
            return Err(Error::Shape { what: "classes", expected, got: vec![classes.len()] });
        }
        self.classes = classes;
        Ok(self)
    }

    fn log_weights(&self, class: Option<usize>) -> Vec<f32> {
        let keep = |i: usize| class.is_none_or(|c| self.classes.get(i).is_none_or(|k| *k == c));
        // -1e30 instead of -inf: infinities times zero would be NaN in the softmax's gradient.
        self.log_weights.iter().enumerate().map(|(i, w)| if keep(i) { *w as f32 } else { -1e30 }).collect()
    }
}

impl Comparison {
    /// `means` is `[components, n]`.
    fn of(mut means: Vec<f32>, n: usize, device: &Device) -> Self {
        let components = means.len() / n;
        if components <= SUBSPACE.0 {
            let rows: Vec<Vec<f64>> = means.chunks(n).map(|m| m.iter().map(|v| f64::from(*v)).collect()).collect();
            if let Some(basis) = span(&rows) {
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let coordinates: Vec<f32> =
                    rows.iter().flat_map(|m| basis.iter().map(move |b| dot(m, b) as f32)).collect();
                let row = |b: &Vec<f64>| {
                    let values: Vec<f32> = b.iter().map(|v| *v as f32).collect();
                    Tensor::from_data(TensorData::new(values, [1, n]), device)
                };
                let shape = [1, components, basis.len()];
                let coordinates = Tensor::from_data(TensorData::new(coordinates, shape), device);
                return Self::Subspace { basis: basis.iter().map(row).collect(), coordinates };
            }
        }
        let average =
            |i: usize| means.iter().skip(i).step_by(n).map(|m| f64::from(*m)).sum::<f64>() / components as f64;
        let centre: Vec<f32> = (0..n).map(|i| average(i) as f32).collect();
        means.chunks_mut(n).flat_map(|m| m.iter_mut().zip(&centre)).for_each(|(m, c)| *m -= c);
        let squared = means.chunks(n).map(|m| m.iter().map(|x| x * x).sum::<f32>()).collect::<Vec<f32>>();
        Self::Direct {
            centre: Tensor::from_data(TensorData::new(centre, [1, n]), device),
            means: Tensor::from_data(TensorData::new(means, [components, n]), device),
            squared: Tensor::from_data(TensorData::new(squared, [1, components]), device),
        }
    }

    /// `sum_m r_m mean_m` with responsibilities `r_m ~ exp(log_weight_m) N(z; alpha mean_m, v I)`: `z` is `[batch, n]`,
    /// `alpha` and `v` are `[batch, 1, 1]`, `log_weights` is `[1, 1, components]`.
    fn mean(&self, z: Tensor<2>, alpha: Tensor<3>, v: Tensor<3>, log_weights: Tensor<3>) -> Tensor<2> {
        let b = z.dims()[0];
        match self {
            Self::Direct { centre, means, squared } => {
                let (alpha, v): (Tensor<2>, Tensor<2>) = (alpha.reshape([b, 1]), v.reshape([b, 1]));
                let dot = in_blocks::<BLOCK>(z - centre.clone() * alpha.clone(), &means.clone().transpose()); // [b, components]
                let log_weights: Tensor<2> = log_weights.reshape([1, means.dims()[0]]);
                let logits = (dot - squared.clone() * alpha.clone() * 0.5) * (alpha / v) + log_weights;
                in_blocks::<BLOCK>(activation::softmax(logits, 1), means) + centre.clone()
            }
            Self::Subspace { basis, coordinates } => {
                let [_, components, dimension] = coordinates.dims();
                let along: Vec<Tensor<2>> = basis.iter().map(|e| (z.clone() * e.clone()).sum_dim(1)).collect();
                let gap = Tensor::cat(along, 1).reshape([b, 1, dimension]) - coordinates.clone() * alpha;
                let logits = gap.square().sum_dim(2).reshape([b, 1, components]) / (v * -2.0) + log_weights;
                let r = activation::softmax(logits, 2).reshape([b, components, 1]);
                let mean = (r * coordinates.clone()).sum_dim(1).reshape([b, dimension]);
                let terms = basis.iter().enumerate().map(|(j, e)| mean.clone().slice_dim(1, j..j + 1) * e.clone());
                terms.reduce(|a, b| a + b).unwrap_or_else(|| z.zeros_like())
            }
        }
    }
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
            if basis.len() == SUBSPACE.1 {
                return None;
            }
            basis.push(rest.into_iter().map(|r| r / left).collect());
        }
    }
    Some(basis)
}

impl Denoiser for Mixture {
    fn shape(&self) -> Shape3 {
        self.shape
    }

    /// With `v = alpha^2 s^2 + sigma^2` and responsibilities `r_m ~ w_m N(z; alpha mean_m, v I)`:
    /// `alpha s^2 / v z + sigma^2 / v sum_m r_m mean_m`.
    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let [b, c, h, w] = z.dims();
        let s2 = self.variance;
        let v = |l: &Level| l.alpha.powi(2) * s2 + l.sigma.powi(2);
        let column = |f: &dyn Fn(&Level) -> f64| per_sample(levels, &z, f).reshape([b, 1, 1]);
        let log_weights = TensorData::new(self.log_weights(condition.class), [1, 1, self.log_weights.len()]);
        let log_weights = Tensor::<3>::from_data(log_weights, &z.device());
        let (alpha, variance) = (column(&|l| l.alpha), column(&v));
        let mean = self.comparison.mean(z.clone().reshape([b, c * h * w]), alpha, variance, log_weights);
        let mean = mean.reshape([b, c, h, w]);
        let on_z = per_sample(levels, &z, |l| l.alpha * s2 / v(l));
        let on_mean = per_sample(levels, &z, |l| l.sigma.powi(2) / v(l));
        Ok(z * on_z + mean * on_mean)
    }
}
