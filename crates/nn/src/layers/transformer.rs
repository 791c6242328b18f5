//! The block of text encoders.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{GroupNorm, Init, Linear};
use crate::ops::{self, GroupNormTail};

/// Layer normalisation of the last dimension: [`GroupNorm`] of every position by itself, in one group.
#[derive(Module, Debug)]
pub struct LayerNorm {
    norm: GroupNorm,
}

impl LayerNorm {
    /// Of `width` channels.
    pub fn new(width: usize, init: &Init) -> Self {
        Self { norm: GroupNorm::new(width, 1, init) }
    }

    /// Shape in and out: `[batch, length, width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        self.norm.forward(x.reshape([b * l, 1, 1, c]), GroupNormTail::default()).reshape([b, l, c])
    }
}

/// Pre-normalised transformer block (Vaswani et al., 2017; Xiong et al., 2020): `h = x + W_o attention(W_q n, W_k n, W_v n)`
/// with `n = layer_norm(x)`, then `h + W_2 silu(W_1 layer_norm(h))`, four times as wide inside; `W_o` and `W_2` start at
/// zero.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    #[module(skip)]
    heads: usize,
}

impl TransformerBlock {
    /// `heads` must divide `width`.
    pub fn new(width: usize, heads: usize, init: &mut Init) -> Self {
        Self {
            attention_norm: LayerNorm::new(width, init),
            query: Linear::new(width, width, init),
            key: Linear::new(width, width, init),
            value: Linear::new(width, width, init),
            out: Linear::zero(width, width, init),
            mlp_norm: LayerNorm::new(width, init),
            mlp_in: Linear::new(width, 4 * width, init),
            mlp_out: Linear::zero(4 * width, width, init),
            heads,
        }
    }

    /// Shape in and out: `[batch, length, width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let n = self.attention_norm.forward(x.clone());
        let (q, k) = (self.query.forward_sequence(n.clone()), self.key.forward_sequence(n.clone()));
        let v = self.value.forward_sequence(n);
        let h = x + self.out.forward_sequence(ops::attention(q, k, v, self.heads));
        let inner = ops::silu(self.mlp_in.forward_sequence(self.mlp_norm.forward(h.clone())));
        h + self.mlp_out.forward_sequence(inner)
    }
}
