//! A small KL autoencoder (Kingma and Welling, 2014; Rombach et al., 2022, section 3.1): residual blocks without attention,
//! on patches.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use vipaint_nn::layers::weights;
use vipaint_nn::layers::{Conv2d, GroupNorm, Init, PlainBlock, from_patches, to_patches};
use vipaint_nn::ops::{GroupNormTail, upsample2};

use crate::{Error, Result, read_weights};

/// Logarithms of variances are kept inside `+-` this; `exp(-20)` is no noise at all.
const MAX_LOG_VARIANCE: f64 = 20.0;

/// The metadata key of the description.
pub const MAGIC_KEY: &str = "vipaint.autoencoder";

/// Description and weights of an autoencoder's file, the latter in the order of its [`weights::entries`].
///
/// # Errors
/// [`Error`] says what the file lacks or has wrong.
pub fn load_bytes(bytes: &[u8]) -> Result<(Config, Vec<f32>)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(MAGIC_KEY));
    let json = json.ok_or_else(|| Error::Header(format!("the metadata key `{MAGIC_KEY}` is missing")))?;
    let config: Config = serde_json::from_str(json).map_err(|e| Error::Header(e.to_string()))?;
    let values = read_weights(bytes, &weights::entries(&config.blank(&Device::flex())?))?;
    Ok((config, values))
}

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels of a picture.
    pub channels: usize,
    /// Side of a picture.
    pub size: usize,
    /// Side of the patches that become channels at the edge (space to depth); 1 for none.
    pub patch: usize,
    /// Channels at each level, the finest first; each level halves the side. Latents have the side of the last.
    pub widths: Vec<usize>,
    /// Residual blocks of the encoder at each level.
    pub encoder_blocks: Vec<usize>,
    /// Residual blocks of the decoder at each level, the finest first too.
    pub decoder_blocks: Vec<usize>,
    /// Channels normalised together.
    pub group_width: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
}

impl Config {
    /// Checks that the network can be built, with sizes that no honest file exceeds.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        let fail = |key, problem: &str| Err(Error::Config { key, problem: problem.to_string() });
        let levels = self.widths.len();
        let small = 1..=16;
        if !small.contains(&self.channels) {
            return fail("channels", "must be 1 to 16");
        }
        if !small.contains(&self.patch) {
            return fail("patch", "must be 1 to 16");
        }
        if !(1..=8).contains(&levels) {
            return fail("widths", "must have 1 to 8 levels");
        }
        if !(1..=4096).contains(&self.size) || !self.size.is_multiple_of(self.patch << (levels - 1)) {
            return fail("size", "must be a multiple of patch times 2 for each level but the first, at most 4096");
        }
        if self.group_width == 0 || self.widths.iter().any(|w| *w == 0 || *w > 8192 || w % self.group_width != 0) {
            return fail("widths", "must be multiples of group_width, at most 8192");
        }
        for (key, blocks) in [("encoder_blocks", &self.encoder_blocks), ("decoder_blocks", &self.decoder_blocks)] {
            if blocks.len() != levels || blocks.iter().any(|n| !small.contains(n)) {
                return fail(key, "must have 1 to 16 for each level");
            }
        }
        if !small.contains(&self.latent_channels) {
            return fail("latent_channels", "must be 1 to 16");
        }
        Ok(())
    }

    /// A network with random weights that depend on `seed` only.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<KlAutoencoder> {
        self.build(&mut Init::seeded(device, seed))
    }

    /// A network whose weights are loaded later; none is allocated yet.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn blank(&self, device: &Device) -> Result<KlAutoencoder> {
        self.build(&mut Init::blank(device))
    }

    /// The description as JSON.
    pub fn to_json(&self) -> String {
        // Plain numbers and lists, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Shape `[channels, height, width]` of pictures.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// Shape `[channels, height, width]` of latents.
    pub fn latent_shape(&self) -> [usize; 3] {
        let side = (self.size / self.patch) >> (self.widths.len() - 1);
        [self.latent_channels, side, side]
    }

    /// Multiply-adds of encoding and of decoding one picture.
    pub fn multiply_adds(&self) -> [u64; 2] {
        let cells = |level: usize| ((self.size / self.patch) >> level).pow(2) as u64;
        let conv = |a: usize, b: usize, level: usize| 9 * (a * b) as u64 * cells(level);
        let block = |a: usize, b: usize, level: usize| {
            conv(a, b, level) + conv(b, b, level) + if a == b { 0 } else { (a * b) as u64 * cells(level) }
        };
        let (depth, last) = (self.channels * self.patch.pow(2), self.widths.len() - 1);
        let (finest, coarsest) = (self.widths[0], self.widths[last]);
        let mut encode = conv(depth, finest, 0) + conv(coarsest, 2 * self.latent_channels, last);
        let mut decode = conv(self.latent_channels, coarsest, last) + conv(finest, depth, 0);
        let (mut c, mut d) = (finest, coarsest);
        for (level, &width) in self.widths.iter().enumerate() {
            if level > 0 {
                encode += conv(c, c, level);
            }
            for _ in 0..self.encoder_blocks[level] {
                encode += block(c, width, level);
                c = width;
            }
        }
        for (level, &width) in self.widths.iter().enumerate().rev() {
            for _ in 0..self.decoder_blocks[level] {
                decode += block(d, width, level);
                d = width;
            }
        }
        [encode, decode]
    }

    /// Values that convolutions put out in a decoding of one latent, and features enlarged, with their gradients.
    pub fn decoder_outputs(&self) -> u64 {
        let cells = |level: usize| ((self.size / self.patch) >> level).pow(2);
        let last = self.widths.len() - 1;
        let mut d = self.widths[last];
        let mut total = d * cells(last) + self.channels * self.patch.pow(2) * cells(0);
        for (level, &width) in self.widths.iter().enumerate().rev() {
            total += if level < last { 2 * d * cells(level) } else { 0 };
            for _ in 0..self.decoder_blocks[level] {
                total += cells(level) * if d == width { 2 * width } else { 3 * width };
                d = width;
            }
        }
        total as u64
    }

    fn build(&self, init: &mut Init) -> Result<KlAutoencoder> {
        self.validate()?;
        let g = self.group_width;
        let (depth, last) = (self.channels * self.patch.pow(2), self.widths.len() - 1);
        let (finest, coarsest) = (self.widths[0], self.widths[last]);
        let stack = |c: &mut usize, width: usize, count: usize, init: &mut Init| {
            let mut blocks = Vec::new();
            for _ in 0..count {
                blocks.push(PlainBlock::new(*c, width, g, init));
                *c = width;
            }
            blocks
        };
        let encoder_in = Conv2d::new(depth, finest, 3, 1, init);
        let mut c = finest;
        let mut down = Vec::new();
        for (level, &width) in self.widths.iter().enumerate() {
            let halve = (level > 0).then(|| Conv2d::new(c, c, 3, 2, init));
            let blocks = stack(&mut c, width, self.encoder_blocks[level], init);
            down.push(Down { halve, blocks });
        }
        let encoder_norm = GroupNorm::new(coarsest, coarsest / g, init);
        let encoder_out = Conv2d::new(coarsest, 2 * self.latent_channels, 3, 1, init);
        let decoder_in = Conv2d::new(self.latent_channels, coarsest, 3, 1, init);
        let mut c = coarsest;
        let mut up = Vec::new();
        for (level, &width) in self.widths.iter().enumerate().rev() {
            up.push(Up { blocks: stack(&mut c, width, self.decoder_blocks[level], init) });
        }
        let decoder_norm = GroupNorm::new(finest, finest / g, init);
        let decoder_out = Conv2d::new(finest, depth, 3, 1, init);
        let config = self.clone();
        Ok(KlAutoencoder {
            encoder_in,
            down,
            encoder_norm,
            encoder_out,
            decoder_in,
            up,
            decoder_norm,
            decoder_out,
            config,
        })
    }
}

#[derive(Module, Debug)]
struct Down {
    halve: Option<Conv2d>,
    blocks: Vec<PlainBlock>,
}

#[derive(Module, Debug)]
struct Up {
    blocks: Vec<PlainBlock>,
}

/// The network.
#[derive(Module, Debug)]
pub struct KlAutoencoder {
    encoder_in: Conv2d,
    down: Vec<Down>,
    encoder_norm: GroupNorm,
    encoder_out: Conv2d,
    decoder_in: Conv2d,
    up: Vec<Up>,
    decoder_norm: GroupNorm,
    decoder_out: Conv2d,
    #[module(skip)]
    config: Config,
}

impl KlAutoencoder {
    /// Its hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on the weights are constants: calls are faster, and only the input's gradient is computed.
    pub fn pack(&mut self) {
        let edges = [&mut self.encoder_in, &mut self.encoder_out, &mut self.decoder_in, &mut self.decoder_out];
        edges.into_iter().chain(self.down.iter_mut().filter_map(|d| d.halve.as_mut())).for_each(Conv2d::pack);
        let down = self.down.iter_mut().flat_map(|d| &mut d.blocks);
        down.chain(self.up.iter_mut().flat_map(|u| &mut u.blocks)).for_each(PlainBlock::pack);
    }

    /// Mean and logarithm of the variance of the latent of pictures `[batch, channels, height, width]`, each
    /// `[batch, latent_channels, side, side]`.
    pub fn posterior(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let mut h = self.encoder_in.forward(to_patches(x, self.config.patch));
        for level in &self.down {
            if let Some(halve) = &level.halve {
                h = halve.forward(h);
            }
            h = level.blocks.iter().fold(h, |h, block| block.forward(h));
        }
        let h = self.encoder_norm.forward(h, GroupNormTail { modulation: None, silu: true });
        let moments = self.encoder_out.forward(h).permute([0, 3, 1, 2]);
        let c = self.config.latent_channels;
        let (mean, log_variance) = (moments.clone().narrow(1, 0, c), moments.narrow(1, c, c));
        (mean, log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE))
    }

    /// Pictures `[batch, channels, height, width]` from latents `[batch, latent_channels, side, side]`.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let mut h = self.decoder_in.forward(z.permute([0, 2, 3, 1]));
        for (i, level) in self.up.iter().enumerate() {
            if i > 0 {
                h = upsample2(h);
            }
            h = level.blocks.iter().fold(h, |h, block| block.forward(h));
        }
        let h = self.decoder_norm.forward(h, GroupNormTail { modulation: None, silu: true });
        from_patches(self.decoder_out.forward(h), self.config.patch)
    }
}
