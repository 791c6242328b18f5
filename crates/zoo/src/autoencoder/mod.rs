//! The autoencoders of latent diffusion (Rombach et al., 2022; Esser et al., 2021): with a Gaussian code (KL) or a codebook
//! (VQ). Tensor names are those of the original code, below `first_stage_model`.

mod blocks;
mod codebook;
mod halves;
mod tiled;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use vipaint_core::prior;
use vipaint_nn::layers::frozen::Conv2d;

use crate::limits::{fail, within};
use crate::loader::{Loader, Shape};
use crate::{Inventory, Result};
use codebook::Codebook;
use halves::{Decoder, Encoder};
pub use tiled::Tiled;

/// Hyperparameters, named as in the original code where they exist there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Side of the pictures it was trained on, to which `attn_resolutions` refer.
    pub resolution: usize,
    /// Channels of pictures.
    pub in_channels: usize,
    /// Channels at multiplier one.
    pub ch: usize,
    /// Channel multipliers of the levels, the finest first; each level halves the side.
    pub ch_mult: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Sides at which residual blocks are followed by attention.
    pub attn_resolutions: Vec<usize>,
    /// The middle has attention.
    pub mid_attention: bool,
    /// Channels between encoder and decoder.
    pub z_channels: usize,
    /// Channels of latents.
    pub embed_dim: usize,
    /// A 1x1 convolution lies between them on each way; without, `embed_dim` is `z_channels`.
    pub quant_conv: bool,
    /// The maps of attention are kept as linear maps, not as 1x1 convolutions.
    pub linear_attention: bool,
    /// Entries of the codebook; 0 for a Gaussian code.
    pub n_embed: usize,
    /// Latents are multiplied with this before a denoiser sees them.
    pub scale_factor: f64,
    /// Subtracted from latents before.
    pub shift_factor: f64,
    /// Side of the tiles in which larger latents are decoded, to need less memory; without, they are decoded as a whole.
    pub tile: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolution: 256,
            in_channels: 3,
            ch: 128,
            ch_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_resolutions: Vec::new(),
            mid_attention: true,
            z_channels: 4,
            embed_dim: 4,
            quant_conv: true,
            linear_attention: false,
            n_embed: 0,
            scale_factor: 1.0,
            shift_factor: 0.0,
            tile: None,
        }
    }
}

impl Config {
    /// Checks that the autoencoder can be built, with sizes that no honest checkpoint exceeds.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        within("in_channels", self.in_channels, 1..=16)?;
        within("ch_mult", self.ch_mult.len(), 1..=8)?;
        if !self.ch_mult.iter().all(|mult| (1..=64).contains(mult)) {
            return fail("ch_mult", "each must be 1 to 64");
        }
        within("ch", self.ch, 32..=1024)?;
        if !self.ch.is_multiple_of(32) {
            return fail("ch", "must be a multiple of 32");
        }
        within("num_res_blocks", self.num_res_blocks, 1..=16)?;
        within("z_channels", self.z_channels, 1..=256)?;
        within("embed_dim", self.embed_dim, 1..=256)?;
        if !self.quant_conv && self.embed_dim != self.z_channels {
            return fail("embed_dim", "must be z_channels without a quant_conv");
        }
        within("tile", self.tile.unwrap_or(8), 8..=4096)?;
        within("n_embed", self.n_embed, 0..=1_000_000)?;
        within("resolution", self.resolution, 1..=4096)?;
        if !(self.scale_factor.is_finite() && self.scale_factor > 0.0 && self.shift_factor.is_finite()) {
            return fail("scale_factor", "must be positive, and shift_factor finite");
        }
        Ok(())
    }

    /// The dimensions of size one that the maps of attention have besides, where there is attention.
    fn attention(&self, has: bool) -> Option<usize> {
        has.then_some(if self.linear_attention { 0 } else { 2 })
    }

    /// How many pixels on a side make one of a latent.
    pub fn factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }

    /// Shape `[channels, height, width]` of the pictures for latents of shape `z`.
    pub fn image_shape(&self, [_, h, w]: [usize; 3]) -> [usize; 3] {
        [self.in_channels, h * self.factor(), w * self.factor()]
    }

    /// What the autoencoder reads, and what encoding and decoding cost, for latents with this side.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn inventory(&self, side: usize) -> Result<Inventory> {
        Inventory::of(|loader| self.build(loader, side))
    }

    /// The autoencoder, frozen, for latents with this side.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn build(&self, loader: &Loader<'_>, side: usize) -> Result<Autoencoder> {
        let decoder = self.build_decoder(loader, side)?;
        let at = loader.at("first_stage_model");
        // A Gaussian code has a log-variance for each mean.
        let double = if self.n_embed == 0 { 2 } else { 1 };
        let [z, e] = [self.z_channels, self.embed_dim].map(|c| double * c);
        let encoder = Encoder::load(self, &at.at("encoder"), side, z)?;
        let conv = || at.conv("quant_conv", Shape::same(z, e, 1, [side; 2]));
        let quant = self.quant_conv.then(conv).transpose()?;
        Ok(Autoencoder { config: self.clone(), encoder, quant, decoder })
    }

    /// Its decoder alone.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn build_decoder(&self, loader: &Loader<'_>, side: usize) -> Result<LatentDecoder> {
        self.validate()?;
        within("side", side, 1..=4096)?;
        Ok(match self.tile.filter(|tile| *tile < side) {
            Some(tile) => LatentDecoder::Tiled(Tiled::new(self.whole_decoder(loader, tile)?, tile, side)),
            None => LatentDecoder::Whole(Box::new(self.whole_decoder(loader, side)?)),
        })
    }

    fn whole_decoder(&self, loader: &Loader<'_>, side: usize) -> Result<WholeDecoder> {
        let at = loader.at("first_stage_model");
        let (z, e) = (self.z_channels, self.embed_dim);
        let codebook = match self.n_embed {
            0 => None,
            n => Some(Codebook::new(at.tensor("quantize.embedding.weight", [n, e])?)),
        };
        let conv = || at.conv("post_quant_conv", Shape::same(e, z, 1, [side; 2]));
        let post_quant = self.quant_conv.then(conv).transpose()?;
        let decoder = Decoder::load(self, &at.at("decoder"), side)?;
        Ok(WholeDecoder { config: self.clone(), codebook, post_quant, decoder })
    }
}

/// The decoder of latent diffusion, from a denoiser's `z` to pictures, frozen, for pictures of one size.
#[derive(Debug)]
pub enum LatentDecoder {
    /// All at once.
    Whole(Box<WholeDecoder>),
    /// Tile by tile.
    Tiled(Tiled),
}

impl LatentDecoder {
    /// Pictures.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Whole(decoder) => decoder.decode(z),
            Self::Tiled(tiled) => tiled.decode(z),
        }
    }
}

/// A decoder for latents of one size.
#[derive(Debug)]
pub struct WholeDecoder {
    config: Config,
    codebook: Option<Codebook>,
    post_quant: Option<Conv2d>,
    decoder: Decoder,
}

impl WholeDecoder {
    /// Pictures. A codebook's nearest entry replaces each latent; its gradient passes as if it had not (straight through).
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let h = (z / self.config.scale_factor + self.config.shift_factor).permute([0, 2, 3, 1]);
        let h = match &self.codebook {
            Some(codebook) => codebook.quantise(h),
            None => h,
        };
        let h = match &self.post_quant {
            Some(conv) => conv.forward(h),
            None => h,
        };
        self.decoder.forward(h).permute([0, 3, 1, 2])
    }
}

/// An autoencoder of latent diffusion, frozen, for pictures of one size.
#[derive(Debug)]
pub struct Autoencoder {
    config: Config,
    encoder: Encoder,
    quant: Option<Conv2d>,
    decoder: LatentDecoder,
}

impl prior::Autoencoder for Autoencoder {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder.decode(z)
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let config = &self.config;
        let moments = self.encoder.forward(x.permute([0, 2, 3, 1]));
        let moments = match &self.quant {
            Some(conv) => conv.forward(moments),
            None => moments,
        };
        let mean = moments.narrow(3, 0, config.embed_dim).permute([0, 3, 1, 2]);
        (mean - config.shift_factor) * config.scale_factor
    }

    fn image_shape(&self, z: [usize; 3]) -> [usize; 3] {
        self.config.image_shape(z)
    }
}
