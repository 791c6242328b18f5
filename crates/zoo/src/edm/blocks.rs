//! The U-Net's block, `UNetBlock` in the original code.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::Tensor;

use super::Config;
use crate::blocks::{AttentionBlock, Change, Form, Names, ResBlock, group_norm};
use crate::loader::{Loader, self_attention};
use crate::{Error, Result};

const NAMES: Names = Names { norms: ["norm0", "norm1"], convs: ["conv0", "conv1"], embed: "affine", skip: "skip" };

/// Groups of a normalisation, as many as leave four channels to each, at most 32.
pub(super) fn groups(channels: usize) -> usize {
    (channels / 4).min(32)
}

/// What a block is for.
pub(super) struct Role {
    pub channels: [usize; 2],
    pub change: Change,
    /// Height and width of the input.
    pub sides: [usize; 2],
    pub attention: bool,
}

/// A residual block and, maybe, attention.
#[derive(Debug)]
pub(super) struct Block {
    residual: ResBlock,
    attention: Option<AttentionBlock>,
}

impl Block {
    pub fn load(config: &Config, loader: &Loader<'_>, role: Role) -> Result<Self> {
        let Role { channels: [c_in, c], change, sides, attention } = role;
        let song = config.is_song();
        let resamples = !matches!(change, Change::None);
        let after = change.sides(sides);
        let (eps, scale) = if song { (1e-6, FRAC_1_SQRT_2) } else { (1e-5, 1.0) };
        let form = Form {
            channels: [c_in, c],
            embedding: config.embedding(),
            change,
            sides,
            scale_shift: !song,
            groups: [groups(c_in), groups(c)],
            eps,
            project: c_in != c || song && resamples,
            scale,
        };
        if resamples {
            loader.at("conv0").unused("resample_filter");
            loader.at("skip").unused("resample_filter");
        }
        let residual = ResBlock::load(loader, &NAMES, form)?;
        let heads = if attention { config.heads(c) } else { 0 };
        let attention = (heads > 0).then(|| self::attention(loader, c, heads, after, (eps, scale))).transpose()?;
        Ok(Self { residual, attention })
    }

    /// `embedding` is `[batch, embedding]`, after its activation.
    pub fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        let x = self.residual.forward(x, embedding);
        match &self.attention {
            Some(attention) => attention.forward(x),
            None => x,
        }
    }
}

fn attention(
    loader: &Loader<'_>,
    c: usize,
    heads: usize,
    sides: [usize; 2],
    (eps, scale): (f64, f64),
) -> Result<AttentionBlock> {
    if !c.is_multiple_of(heads) {
        let problem = format!("makes {c} channels, which {heads} heads of attention do not divide");
        return Err(Error::Config { key: "channel_mult", problem });
    }
    let (cells, d) = (sides[0] * sides[1], c / heads);
    // Rows of the tensor: [head][d][part].
    let row = |part: usize| move |i: usize| i / d * 3 * d + i % d * 3 + part;
    let maps = loader.split([c, c], 2, cells, "qkv", [&row(0), &row(1), &row(2)])?;
    loader.count_attention(cells, cells, c);
    let out = loader.pointwise("proj", [c, c], 2, cells)?;
    let norm = Some(group_norm(loader, "norm2", c, groups(c), eps)?);
    Ok(AttentionBlock { norm, attention: self_attention(maps, out, heads), scale })
}
