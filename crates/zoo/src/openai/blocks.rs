//! The blocks of the U-Net, under OpenAI's names.

use vipaint_nn::layers::frozen::{Conv2d, Padding};

use super::{Config, GROUPS};
use crate::Result;
use crate::blocks::{AttentionBlock, Change, Form, Names, ResBlock};
use crate::loader::{Loader, Shape, self_attention};

const EPS: f64 = 1e-5;

const NAMES: Names = Names {
    norms: ["in_layers.0", "out_layers.0"],
    convs: ["in_layers.2", "out_layers.3"],
    embed: "emb_layers.1",
    skip: "skip_connection",
};

/// A residual block; `sides` are those of its input.
pub(super) fn residual(
    config: &Config,
    loader: &Loader<'_>,
    [c_in, c_out]: [usize; 2],
    change: Change,
    sides: [usize; 2],
) -> Result<ResBlock> {
    let form = Form {
        channels: [c_in, c_out],
        embedding: 4 * config.model_channels,
        change,
        sides,
        scale_shift: config.use_scale_shift_norm,
        groups: [GROUPS; 2],
        eps: EPS,
        project: c_in != c_out,
        scale: 1.0,
    };
    ResBlock::load(loader, &NAMES, form)
}

/// Self-attention over the positions of a picture.
pub(super) fn attention(
    config: &Config,
    loader: &Loader<'_>,
    channels: usize,
    heads: usize,
    sides: [usize; 2],
) -> Result<AttentionBlock> {
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
    let norm = Some(loader.group_norm("norm", channels, GROUPS, EPS)?);
    Ok(AttentionBlock { norm, attention: self_attention(maps, out, heads), scale: 1.0 })
}

/// Halves the sides: a convolution, or means.
pub(super) fn down(config: &Config, loader: &Loader<'_>, c: usize, sides: [usize; 2]) -> Result<Option<Conv2d>> {
    let shape = Shape { c_in: c, c_out: c, kernel: 3, stride: 2, padding: Padding::Same, sides };
    config.conv_resample.then(|| loader.conv("op", shape)).transpose()
}

/// Doubles the sides, with or without a convolution; `sides` are those of the input.
pub(super) fn up(config: &Config, loader: &Loader<'_>, c: usize, sides: [usize; 2]) -> Result<Option<Conv2d>> {
    let shape = Shape::same(c, c, 3, sides.map(|side| 2 * side));
    config.conv_resample.then(|| loader.conv_after_upsampling("conv", shape)).transpose()
}
