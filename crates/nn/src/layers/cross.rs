//! Attention from the positions of a picture to the tokens of a text.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{GroupNorm, Init, Linear};
use crate::ops::{self, GroupNormTail};

/// `x + W_o attention(W_q n, W_k c, W_v c)` with `n = group_norm(x)` and the tokens `c` (Rombach et al., 2022, section
/// 3.3); `W_o` starts at zero.
#[derive(Module, Debug)]
pub struct CrossAttentionBlock {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    #[module(skip)]
    heads: usize,
}

impl CrossAttentionBlock {
    /// `heads` and `groups` must divide `channels`; tokens have `context` values.
    pub fn new(channels: usize, context: usize, heads: usize, groups: usize, init: &mut Init) -> Self {
        Self {
            norm: GroupNorm::new(channels, groups, init),
            query: Linear::new(channels, channels, init),
            key: Linear::new(context, channels, init),
            value: Linear::new(context, channels, init),
            out: Linear::zero(channels, channels, init),
            heads,
        }
    }

    /// See [`super::Conv2d::pack`].
    pub fn pack(&mut self) {
        for linear in [&mut self.query, &mut self.key, &mut self.value, &mut self.out] {
            linear.pack();
        }
    }

    /// `x` `[batch, height, width, channels]` and tokens `[batch, length, context]` to the shape of `x`.
    pub fn forward(&self, x: Tensor<4>, tokens: Tensor<3>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let n = self.norm.forward(x.clone(), GroupNormTail::default()).reshape([b, h * w, c]);
        let q = self.query.forward_sequence(n);
        let (k, v) = (self.key.forward_sequence(tokens.clone()), self.value.forward_sequence(tokens));
        let y = ops::attention(q, k, v, self.heads);
        self.out.forward_onto(y, x.reshape([b, h * w, c])).reshape([b, h, w, c])
    }
}
