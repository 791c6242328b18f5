//! The residual block of diffusion U-Nets.

use burn::module::Module;
use burn::tensor::Tensor;

use super::packing::Packing;
use super::{Conv2d, GroupNorm, Init, Linear};
use crate::ops::{FusedResidual, GroupNormTail};

/// Residual block with adaptive group normalisation (Dhariwal and Nichol, 2021):
/// `h = conv(silu(gn(x)))`, `y = skip(x) + conv(silu(gn(h) (1 + scale) + shift))`, where `(scale, shift)` is affine in
/// the embedding, the last convolution starts at zero, and `skip` is a 1x1 convolution where the widths differ.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    norm_in: GroupNorm,
    conv_in: Conv2d,
    modulation: Linear,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    skip: Option<Conv2d>,
    #[module(skip)]
    fused: Packing<Option<FusedResidual>>,
}

impl ResidualBlock {
    /// `c_in` to `c_out` channels, both multiples of `group_width`, the channels normalised together.
    pub fn new(c_in: usize, c_out: usize, embedding: usize, group_width: usize, init: &mut Init) -> Self {
        Self {
            norm_in: GroupNorm::new(c_in, c_in / group_width, init),
            conv_in: Conv2d::new(c_in, c_out, 3, 1, init),
            modulation: Linear::new(embedding, 2 * c_out, init),
            norm_out: GroupNorm::new(c_out, c_out / group_width, init),
            conv_out: Conv2d::zero(c_out, c_out, 3, init),
            skip: (c_in != c_out).then(|| Conv2d::new(c_in, c_out, 1, 1, init)),
            fused: Packing::default(),
        }
    }

    /// See [`Conv2d::pack`].
    pub fn pack(&mut self) {
        self.conv_in.pack();
        self.modulation.pack();
        self.conv_out.pack();
        if let Some(skip) = &mut self.skip {
            skip.pack();
        }
        self.fused = Packing::frozen();
    }

    /// The block as one operation, from the packed weights.
    fn fuse(&self, sides: [usize; 2]) -> Option<FusedResidual> {
        let (conv_in, conv_out) = (self.conv_in.packed(sides)?, self.conv_out.packed(sides)?);
        let skip = self.skip.as_ref().map(|skip| skip.packed(sides));
        let skip = match &skip {
            Some(packed) => Some(packed.as_ref()?),
            None => None,
        };
        let norms = [&self.norm_in, &self.norm_out].map(GroupNorm::weights);
        FusedResidual::new(norms, [&conv_in, &conv_out], skip, Some(&self.modulation.packed()?))
    }

    /// `x` `[batch, height, width, c_in]` and `embedding` `[batch, embedding]` to `[batch, height, width, c_out]`.
    pub fn forward(&self, x: Tensor<4>, embedding: Tensor<2>) -> Tensor<4> {
        let [_, height, width, _] = x.dims();
        let fused = self.fused.get([height, width], || self.fuse([height, width])).flatten();
        if let Some(y) = fused.and_then(|fused| fused.forward(&x, Some(&embedding))) {
            return y;
        }
        let h = self.norm_in.forward(x.clone(), GroupNormTail { modulation: None, silu: true });
        let h = self.conv_in.forward(h);
        let c = h.dims()[3];
        let modulation = self.modulation.forward(embedding);
        let (scale, shift) = (modulation.clone().narrow(1, 0, c), modulation.narrow(1, c, c));
        let h = self.norm_out.forward(h, GroupNormTail { modulation: Some((scale, shift)), silu: true });
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv_out.forward_onto(h, x)
    }
}
