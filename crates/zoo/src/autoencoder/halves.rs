//! Encoder and decoder.

use burn::tensor::Tensor;
use vipaint_nn::layers::frozen::{Conv2d, GroupNorm, Padding};

use super::Config;
use super::blocks::{Level, Middle, norm};
use crate::Result;
use crate::loader::{Loader, Shape};

/// Pictures to moments of latents, before the last 1x1 convolution.
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    /// `side` is that of the latents.
    pub fn load(config: &Config, loader: &Loader<'_>, side: usize, c_out: usize) -> Result<Self> {
        let mut sides = [side * config.factor(); 2];
        let conv_in = loader.conv("conv_in", Shape::same(config.in_channels, config.ch, 3, sides))?;
        let mut c = config.ch;
        let mut levels = Vec::new();
        for (level, mult) in config.ch_mult.iter().enumerate() {
            let at = loader.at("down").at(level);
            let width = config.ch * mult;
            let attention = config.attention(config.attn_resolutions.contains(&(config.resolution >> level)));
            let halves = level + 1 < config.ch_mult.len();
            let shape = Shape { c_in: width, c_out: width, kernel: 3, stride: 2, padding: Padding::End, sides };
            let resize = halves.then(|| at.conv("downsample.conv", shape)).transpose()?;
            levels.push(Level::load(&at, [c, width], config.num_res_blocks, attention, sides, resize)?);
            c = width;
            if halves {
                sides = sides.map(|side| side / 2);
            }
        }
        Ok(Self {
            conv_in,
            levels,
            middle: Middle::load(&loader.at("mid"), c, config.attention(config.mid_attention), sides)?,
            norm_out: norm(loader, "norm_out", c)?,
            conv_out: loader.conv("conv_out", Shape::same(c, c_out, 3, sides))?,
        })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.levels.iter().fold(self.conv_in.forward(x), |h, level| {
            let h = level.forward(h);
            match &level.resize {
                Some(halve) => halve.forward(h),
                None => h,
            }
        });
        self.conv_out.forward(self.norm_out.forward_silu(self.middle.forward(h)))
    }
}

/// Latents, after the first 1x1 convolution, to pictures.
#[derive(Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    middle: Middle,
    /// The coarsest first.
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    /// `side` is that of the latents.
    pub fn load(config: &Config, loader: &Loader<'_>, side: usize) -> Result<Self> {
        let mut sides = [side; 2];
        let last = config.ch_mult.len() - 1;
        let mut c = config.ch * config.ch_mult[last];
        let conv_in = loader.conv("conv_in", Shape::same(config.z_channels, c, 3, sides))?;
        let middle = Middle::load(&loader.at("mid"), c, config.attention(config.mid_attention), sides)?;
        let mut levels = Vec::new();
        for level in (0..=last).rev() {
            let at = loader.at("up").at(level);
            let width = config.ch * config.ch_mult[level];
            let attention = config.attention(config.attn_resolutions.contains(&(config.resolution >> level)));
            let doubled = sides.map(|side| 2 * side);
            let conv = || at.conv_after_upsampling("upsample.conv", Shape::same(width, width, 3, doubled));
            let resize = (level > 0).then(conv).transpose()?;
            levels.push(Level::load(&at, [c, width], config.num_res_blocks + 1, attention, sides, resize)?);
            c = width;
            if level > 0 {
                sides = doubled;
            }
        }
        let norm_out = norm(loader, "norm_out", c)?;
        let conv_out = loader.conv("conv_out", Shape::same(c, config.in_channels, 3, sides))?;
        Ok(Self { conv_in, middle, levels, norm_out, conv_out })
    }

    pub fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let h = self.middle.forward(self.conv_in.forward(z));
        let h = self.levels.iter().fold(h, |h, level| {
            let h = level.forward(h);
            match &level.resize {
                Some(conv) => conv.forward(h),
                None => h,
            }
        });
        self.conv_out.forward(self.norm_out.forward_silu(h))
    }
}
