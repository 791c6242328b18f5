//! Residual blocks.

use burn::tensor::Tensor;

use super::{Conv2d, GroupNorm, Linear};
use crate::ops::FusedResidual;

/// A residual block of layers that do not change the resolution as one operation, [`FusedResidual`].
#[derive(Clone, Debug)]
pub struct Residual(FusedResidual);

impl Residual {
    /// Of the layers in the order of their use, `embed`, if there is an embedding, before the second norm or, with twice its
    /// channels, scale and shift after it; none where the kernels do not run.
    pub fn new(
        norms: [&GroupNorm; 2],
        convs: [&Conv2d; 2],
        skip: Option<&Conv2d>,
        embed: Option<&Linear>,
    ) -> Option<Self> {
        let (skip, embed) = (skip.map(|skip| &skip.packed), embed.map(|embed| &embed.packed));
        FusedResidual::new(norms.map(GroupNorm::weights), convs.map(|conv| &conv.packed), skip, embed).map(Self)
    }

    /// `x` `[batch, height, width, c_in]` and a constant `embedding` `[batch, embedding]`, if there is one, to
    /// `[batch, height, width, c_out]`; none where the kernels do not run or the embedding has a gradient.
    pub fn forward(&self, x: &Tensor<4>, embedding: Option<&Tensor<2>>) -> Option<Tensor<4>> {
        self.0.forward(x, embedding)
    }
}
