//! Adam (Kingma and Ba, 2015) over a few tensors, with its state in the open so that a fit can be stored.

use burn::tensor::Tensor;

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub struct Adam {
    /// First moment.
    pub first: Tensor<4>,
    /// Second moment.
    pub second: Tensor<4>,
}

const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

impl Adam {
    /// Decay of the second moment, unless said otherwise.
    pub const BETA2: f64 = 0.99;

    /// Zero moments for a parameter like this.
    pub fn new(parameter: &Tensor<4>) -> Self {
        Self { first: parameter.zeros_like(), second: parameter.zeros_like() }
    }

    /// The parameter after step number `step` (from 1) with gradient `grad`; `rate` and the decay `beta2` of the second moment.
    pub fn step(&mut self, parameter: Tensor<4>, grad: Tensor<4>, (rate, beta2): (f64, f64), step: usize) -> Tensor<4> {
        self.first = self.first.clone() * BETA1 + grad.clone() * (1.0 - BETA1);
        self.second = self.second.clone() * beta2 + grad.square() * (1.0 - beta2);
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        let first = self.first.clone() / (1.0 - BETA1.powi(step));
        let second = self.second.clone() / (1.0 - beta2.powi(step));
        parameter - first / (second.sqrt() + EPSILON) * rate
    }
}
