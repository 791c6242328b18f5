//! Priors whose denoisers are exact: Gaussian, Gaussian mixture, and data set (a mixture with a small Gaussian on each
//! image). They make the true posterior known, see the tests and the benchmarks.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::{Condition, Denoiser, per_sample};
use crate::operator::Shape3;
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
#[derive(Debug, Clone)]
pub struct Mixture {
    means: Tensor<2>,      // [components, c h w]
    squared: Tensor<2>,    // ||mean||^2, [1, components]
    log_weights: Vec<f64>, // normalised
    classes: Vec<usize>,   // of each component; empty without classes
    variance: f64,
    shape: Shape3,
}

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
        let squared = means.chunks(n).map(|m| m.iter().map(|x| x * x).sum::<f32>()).collect::<Vec<f32>>();
        Ok(Self {
            means: Tensor::from_data(TensorData::new(means, [weights.len(), n]), device),
            squared: Tensor::from_data(TensorData::new(squared, [1, weights.len()]), device),
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

impl Denoiser for Mixture {
    fn shape(&self) -> Shape3 {
        self.shape
    }

    /// With `v = alpha^2 s^2 + sigma^2` and responsibilities `r_m ~ w_m N(z; alpha mean_m, v I)`:
    /// `alpha s^2 / v z + sigma^2 / v sum_m r_m mean_m`.
    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let [b, c, h, w] = z.dims();
        let components = self.log_weights.len();
        let s2 = self.variance;
        let v = |l: &Level| l.alpha.powi(2) * s2 + l.sigma.powi(2);
        let column = |f: &dyn Fn(&Level) -> f64| per_sample(levels, &z, f).reshape([b, 1, 1]);
        // One row at a time (a batched product), so that a sample does not depend on its batch.
        let means = self.means.clone().unsqueeze::<3>().expand([b, components, c * h * w]);
        let dot = z.clone().reshape([b, 1, c * h * w]).matmul(means.clone().swap_dims(1, 2)); // [b, 1, components]
        let log_weights = TensorData::new(self.log_weights(condition.class), [1, 1, components]);
        let logits = dot * column(&|l| l.alpha / v(l))
            - self.squared.clone().unsqueeze::<3>() * column(&|l| l.alpha.powi(2) / (2.0 * v(l)))
            + Tensor::<3>::from_data(log_weights, &z.device());
        let mean = activation::softmax(logits, 2).matmul(means).reshape([b, c, h, w]);
        let on_z = per_sample(levels, &z, |l| l.alpha * s2 / v(l));
        let on_mean = per_sample(levels, &z, |l| l.sigma.powi(2) / v(l));
        Ok(z * on_z + mean * on_mean)
    }
}
