//! The residual block of autoencoders.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Conv2d, GroupNorm, Init};
use crate::ops::GroupNormTail;

/// Residual block without an embedding (Rombach et al., 2022, appendix E): `h = conv(silu(gn(x)))`,
/// `y = skip(x) + conv(silu(gn(h)))`, where the last convolution starts at zero, and `skip` is a 1x1 convolution where the
/// widths differ.
#[derive(Module, Debug)]
pub struct PlainBlock {
    norm_in: GroupNorm,
    conv_in: Conv2d,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    skip: Option<Conv2d>,
}

impl PlainBlock {
    /// `c_in` to `c_out` channels, both multiples of `group_width`, the channels normalised together.
    pub fn new(c_in: usize, c_out: usize, group_width: usize, init: &mut Init) -> Self {
        Self {
            norm_in: GroupNorm::new(c_in, c_in / group_width, init),
            conv_in: Conv2d::new(c_in, c_out, 3, 1, init),
            norm_out: GroupNorm::new(c_out, c_out / group_width, init),
            conv_out: Conv2d::zero(c_out, c_out, 3, init),
            skip: (c_in != c_out).then(|| Conv2d::new(c_in, c_out, 1, 1, init)),
        }
    }

    /// See [`Conv2d::pack`].
    pub fn pack(&mut self) {
        self.conv_in.pack();
        self.conv_out.pack();
        if let Some(skip) = &mut self.skip {
            skip.pack();
        }
    }

    /// `[batch, height, width, c_in]` to `[batch, height, width, c_out]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let tail = || GroupNormTail { modulation: None, silu: true };
        let h = self.conv_in.forward(self.norm_in.forward(x.clone(), tail()));
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv_out.forward_onto(self.norm_out.forward(h, tail()), x)
    }
}
