//! The feed-forward layer of transformers.

use burn::tensor::Tensor;

use super::Linear;
use crate::ops;

/// `residual + W_o (W_v x * gelu(W_g x))`, [`ops::geglu`].
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// `W_v`.
    pub value: Linear,
    /// `W_g`.
    pub gate: Linear,
    /// `W_o`.
    pub out: Linear,
}

impl FeedForward {
    /// `x` and `residual` are `[batch, length, channels]`.
    pub fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let (value, gate) = (self.value.forward_sequence(x.clone()), self.gate.forward_sequence(x));
        self.out.forward_onto(ops::geglu(value, gate), residual)
    }
}
