//! The blocks of the U-Net.

use burn::tensor::Tensor;
use vipaint_nn::layers::frozen::{Attention, Conv2d, GroupNorm, Linear, Padding};
use vipaint_nn::ops::{GroupNormTail, average_pool2, upsample2};

use super::{Config, GROUPS};
use crate::Result;
use crate::loader::{Loader, Shape, self_attention};

const EPS: f64 = 1e-5;

/// A change of resolution inside a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Up,
    Down,
}

impl Change {
    fn apply(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => x,
            Self::Up => upsample2(x),
            Self::Down => average_pool2(x),
        }
    }

    fn sides(self, sides: [usize; 2]) -> [usize; 2] {
        match self {
            Self::None => sides,
            Self::Up => sides.map(|side| 2 * side),
            Self::Down => sides.map(|side| side / 2),
        }
    }
}

/// `y = skip(change(x)) + conv(silu(gn(h + e)))` with `h = conv(change(silu(gn(x))))` and `e` affine in the embedding; with
/// scale and shift, `silu(gn(h) (1 + scale) + shift)` instead.
#[derive(Debug)]
pub(super) struct ResBlock {
    change: Change,
    norm_in: GroupNorm,
    conv_in: Conv2d,
    embed: Linear,
    scale_shift: bool,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    skip: Option<Conv2d>,
}

impl ResBlock {
    /// `sides` are those of the input.
    pub fn load(
        config: &Config,
        loader: &Loader<'_>,
        [c_in, c_out]: [usize; 2],
        change: Change,
        sides: [usize; 2],
    ) -> Result<Self> {
        let sides = change.sides(sides);
        let scale_shift = config.use_scale_shift_norm;
        let embedding = [4 * config.model_channels, if scale_shift { 2 * c_out } else { c_out }];
        let skip = if c_in == c_out {
            None
        } else {
            Some(loader.conv("skip_connection", Shape::same(c_in, c_out, 1, sides))?)
        };
        Ok(Self {
            change,
            norm_in: loader.group_norm("in_layers.0", c_in, GROUPS, EPS)?,
            conv_in: loader.conv("in_layers.2", Shape::same(c_in, c_out, 3, sides))?,
            embed: loader.linear("emb_layers.1", embedding, true, 1)?,
            scale_shift,
            norm_out: loader.group_norm("out_layers.0", c_out, GROUPS, EPS)?,
            conv_out: loader.conv("out_layers.3", Shape::same(c_out, c_out, 3, sides))?,
            skip,
        })
    }

    /// `embedding` is `[batch, embedding]`, after its activation.
    pub fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        let h = self.conv_in.forward(self.change.apply(self.norm_in.forward_silu(x.clone())));
        let x = self.change.apply(x);
        let e = self.embed.forward(embedding.clone());
        let h = if self.scale_shift {
            let c = h.dims()[3];
            let modulation = Some((e.clone().narrow(1, 0, c), e.narrow(1, c, c)));
            self.norm_out.forward(h, GroupNormTail { modulation, silu: true })
        } else {
            self.norm_out.forward_shifted_silu(h, e)
        };
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv_out.forward_onto(h, x)
    }
}

/// Self-attention over the positions of a picture, `x + W_o attention(W gn(x))`.
#[derive(Debug)]
pub(super) struct AttentionBlock {
    norm: GroupNorm,
    attention: Attention,
}

impl AttentionBlock {
    pub fn load(
        config: &Config,
        loader: &Loader<'_>,
        channels: usize,
        heads: usize,
        sides: [usize; 2],
    ) -> Result<Self> {
        let (cells, d) = (sides[0] * sides[1], channels / heads);
        // Rows of the tensor: [part][head][d], or in the legacy order [head][part][d].
        let row = |part: usize| {
            move |i: usize| {
                if config.use_new_attention_order { part * channels + i } else { (i / d * 3 + part) * d + i % d }
            }
        };
        let maps = loader.split([channels; 2], 1, cells, "qkv", [&row(0), &row(1), &row(2)])?;
        loader.count_attention(cells, cells, channels);
        let out = loader.pointwise("proj_out", [channels; 2], 1, cells)?;
        let norm = loader.group_norm("norm", channels, GROUPS, EPS)?;
        Ok(Self { norm, attention: self_attention(maps, out, heads) })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let n = self.norm.forward(x.clone(), GroupNormTail::default()).reshape([b, h * w, c]);
        self.attention.forward(n, None, x.reshape([b, h * w, c])).reshape([b, h, w, c])
    }
}

/// Halves the sides: a convolution, or means.
pub(super) fn down(config: &Config, loader: &Loader<'_>, c: usize, sides: [usize; 2]) -> Result<Option<Conv2d>> {
    let shape = Shape { c_in: c, c_out: c, kernel: 3, stride: 2, padding: Padding::Same, sides };
    config.conv_resample.then(|| loader.conv("op", shape)).transpose()
}

/// Doubles the sides, with or without a convolution; `sides` are those of the input.
pub(super) fn up(config: &Config, loader: &Loader<'_>, c: usize, sides: [usize; 2]) -> Result<Option<Conv2d>> {
    let shape = Shape::same(c, c, 3, Change::Up.sides(sides));
    config.conv_resample.then(|| loader.conv_after_upsampling("conv", shape)).transpose()
}
