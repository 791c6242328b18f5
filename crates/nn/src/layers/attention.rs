//! Self-attention over the positions of a picture.

use burn::module::Module;
use burn::tensor::Tensor;

use super::packing::Packing;
use super::{GroupNorm, Init, Linear};
use crate::ops::{self, FusedAttention, GroupNormTail};

/// `x + W_o attention(W_q n, W_k n, W_v n)` with `n = group_norm(x)`; `W_o` starts at zero.
#[derive(Module, Debug)]
pub struct AttentionBlock {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    fused: Packing<Option<FusedAttention>>,
}

impl AttentionBlock {
    /// `heads` and `groups` must divide `channels`.
    pub fn new(channels: usize, heads: usize, groups: usize, init: &mut Init) -> Self {
        Self {
            norm: GroupNorm::new(channels, groups, init),
            query: Linear::new(channels, channels, init),
            key: Linear::new(channels, channels, init),
            value: Linear::new(channels, channels, init),
            out: Linear::zero(channels, channels, init),
            heads,
            fused: Packing::default(),
        }
    }

    /// See [`super::Conv2d::pack`].
    pub fn pack(&mut self) {
        for linear in [&mut self.query, &mut self.key, &mut self.value, &mut self.out] {
            linear.pack();
        }
        self.fused = Packing::frozen();
    }

    /// The block as one operation, from the packed weights.
    fn fuse(&self, pixels: usize) -> Option<FusedAttention> {
        let maps = [self.query.packed()?, self.key.packed()?, self.value.packed()?];
        FusedAttention::new(self.norm.weights(), maps.each_ref(), &self.out.packed()?, self.heads, pixels)
    }

    /// Shape in and out: `[batch, height, width, channels]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let fused = self.fused.get([h, w], || self.fuse(h * w)).flatten();
        if let Some(y) = fused.and_then(|fused| fused.forward(&x)) {
            return y;
        }
        let n = self.norm.forward(x.clone(), GroupNormTail::default()).reshape([b, h * w, c]);
        let (q, k) = (self.query.forward_sequence(n.clone()), self.key.forward_sequence(n.clone()));
        let v = self.value.forward_sequence(n);
        let y = ops::attention(q, k, v, self.heads);
        self.out.forward_onto(y, x.reshape([b, h * w, c])).reshape([b, h, w, c])
    }
}
