//! Priors whose denoisers are exact: Gaussian, Gaussian mixture, and data set (a mixture with a small Gaussian on each
//! image). They make the true posterior known, see the tests and the benchmarks.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::subspace::{Gains, Subspace};
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
    Subspace(Subspace),
}

/// Samples that are compared with many means at once: the more, the less often these come from memory.
const BLOCK: usize = 40;

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
        if let Some(subspace) = Subspace::of(&means, n, device) {
            return Self::Subspace(subspace);
        }
        let components = means.len() / n;
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

    /// `on_z z + on_mean sum_m r_m mean_m` for `z` `[batch, n]`, see [`Gains`].
    fn x0_hat(&self, z: Tensor<2>, gains: &[Gains], log_weights: Vec<f32>) -> Tensor<2> {
        let (centre, means, squared) = match self {
            Self::Subspace(subspace) => return subspace.x0_hat(z, gains, &log_weights),
            Self::Direct { centre, means, squared } => (centre, means, squared),
        };
        let column = |f: &dyn Fn(&Gains) -> f64| {
            let values: Vec<f32> = gains.iter().map(|g| f(g) as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [gains.len(), 1]), &centre.device())
        };
        let alpha = column(&|g| g.alpha);
        let dot = in_blocks::<BLOCK>(z.clone() - centre.clone() * alpha.clone(), &means.clone().transpose());
        let components = log_weights.len();
        let log_weights = Tensor::<2>::from_data(TensorData::new(log_weights, [1, components]), &centre.device());
        let logits = (dot - squared.clone() * alpha * 0.5) * column(&|g| g.alpha / g.v) + log_weights;
        let mean = in_blocks::<BLOCK>(activation::softmax(logits, 1), means) + centre.clone();
        z * column(&|g| g.on_z) + mean * column(&|g| g.on_mean)
    }
}

impl Denoiser for Mixture {
    fn shape(&self) -> Shape3 {
        self.shape
    }

    /// With `v = alpha^2 s^2 + sigma^2` and responsibilities `r_m ~ w_m N(z; alpha mean_m, v I)`:
    /// `alpha s^2 / v z + sigma^2 / v sum_m r_m mean_m`.
    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let ([b, c, h, w], s2) = (z.dims(), self.variance);
        let gains = |l: &Level| {
            let v = l.alpha.powi(2) * s2 + l.sigma.powi(2);
            Gains { alpha: l.alpha, v, on_z: l.alpha * s2 / v, on_mean: l.sigma.powi(2) / v }
        };
        let gains: Vec<Gains> = levels.iter().map(gains).collect();
        let log_weights = self.log_weights(condition.class);
        Ok(self.comparison.x0_hat(z.reshape([b, c * h * w]), &gains, log_weights).reshape([b, c, h, w]))
    }
}
