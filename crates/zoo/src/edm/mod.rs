//! The U-Nets of EDM (Karras et al., 2022): DDPM++ and NCSN++ (Song et al., 2021) as `SongUNet`, and ADM (Dhariwal and
//! Nichol, 2021) as `DhariwalUNet`. Tensor names are those of `NVlabs/edm`, below `model` as its preconditionings keep them.

mod blocks;
mod build;
mod description;
mod network;
mod presets;

use serde::{Deserialize, Serialize};

pub use description::{METADATA_KEY, header};
pub use network::UNet;
pub(crate) use presets::*;

use crate::limits::{fail, within};
use crate::resample::Filter;
use crate::{Loader, Result};

/// Whose U-Net it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelType {
    /// DDPM++ and NCSN++.
    SongUNet,
    /// ADM.
    DhariwalUNet,
}

/// How the noise level is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingType {
    /// Sinusoids of fixed frequencies.
    Positional,
    /// Sinusoids of random frequencies, which the checkpoint has.
    Fourier,
}

/// How the picture itself enters below the finest level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderType {
    /// It does not.
    Standard,
    /// Each level adds a map of the picture, made smaller.
    Skip,
    /// Each level adds a map of what the one above added.
    Residual,
}

/// Where the output is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderType {
    /// At the finest level.
    Standard,
    /// At each level, made larger and added to that of the next.
    Skip,
}

/// Hyperparameters, named as in the original code. Those from `embedding_type` on are read for [`ModelType::SongUNet`] only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose U-Net it is.
    pub model_type: ModelType,
    /// Side of pictures.
    pub img_resolution: usize,
    /// Channels of pictures.
    pub img_channels: usize,
    /// Channels of the output: twice `img_channels` where a variance was learned, which is not used.
    pub out_channels: usize,
    /// Number of classes, 0 for none.
    pub label_dim: usize,
    /// Width of the augmentation labels of training, all zero here; 0 for none.
    pub augment_dim: usize,
    /// Channels at multiplier one.
    pub model_channels: usize,
    /// Channel multipliers of the levels, the finest first; each level halves the side.
    pub channel_mult: Vec<usize>,
    /// Width of the embedding, in `model_channels`.
    pub channel_mult_emb: usize,
    /// Residual blocks of a level on the way down; there is one more on the way up.
    pub num_blocks: usize,
    /// Sides (not factors) at which residual blocks have attention.
    pub attn_resolutions: Vec<usize>,
    /// Share of training without the class; where it is not 0, the network can be called without one.
    pub label_dropout: f64,
    /// How the noise level is embedded.
    pub embedding_type: EmbeddingType,
    /// Width of the noise embedding, in `model_channels`.
    pub channel_mult_noise: usize,
    /// How the picture itself enters below the finest level.
    pub encoder_type: EncoderType,
    /// Where the output is made.
    pub decoder_type: DecoderType,
    /// Filter of changes of resolution.
    pub resample_filter: Vec<f64>,
}

/// Taps of the longest filter anybody uses, and more.
const MAX_TAPS: usize = 16;

impl Config {
    /// `SongUNet` with the defaults of the original code.
    pub fn song(img_resolution: usize) -> Self {
        Self {
            model_type: ModelType::SongUNet,
            img_resolution,
            img_channels: 3,
            out_channels: 3,
            label_dim: 0,
            augment_dim: 0,
            model_channels: 128,
            channel_mult: vec![1, 2, 2, 2],
            channel_mult_emb: 4,
            num_blocks: 4,
            attn_resolutions: vec![16],
            label_dropout: 0.0,
            embedding_type: EmbeddingType::Positional,
            channel_mult_noise: 1,
            encoder_type: EncoderType::Standard,
            decoder_type: DecoderType::Standard,
            resample_filter: vec![1.0, 1.0],
        }
    }

    /// `DhariwalUNet` with the defaults of the original code.
    pub fn dhariwal(img_resolution: usize) -> Self {
        Self {
            model_type: ModelType::DhariwalUNet,
            model_channels: 192,
            channel_mult: vec![1, 2, 3, 4],
            num_blocks: 3,
            attn_resolutions: vec![32, 16, 8],
            ..Self::song(img_resolution)
        }
    }

    /// Checks that the network can be built, with sizes that no honest checkpoint exceeds. Whether groups divide channels is
    /// found out by [`Self::build`].
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        within("img_channels", self.img_channels, 1..=32)?;
        if self.out_channels != self.img_channels && self.out_channels != 2 * self.img_channels {
            return fail("out_channels", "must be img_channels, or twice as many where a variance was learned");
        }
        within("label_dim", self.label_dim, 0..=100_000)?;
        within("augment_dim", self.augment_dim, 0..=1024)?;
        within("model_channels", self.model_channels, 4..=4096)?;
        if !self.model_channels.is_multiple_of(2) {
            return fail("model_channels", "must be even");
        }
        within("channel_mult_emb", self.channel_mult_emb, 1..=64)?;
        within("channel_mult_noise", self.channel_mult_noise, 1..=64)?;
        within("num_blocks", self.num_blocks, 0..=16)?;
        let levels = self.channel_mult.len();
        within("channel_mult", levels, 1..=10)?;
        if self.channel_mult.iter().any(|mult| !(1..=16_384 / self.model_channels).contains(mult)) {
            return fail("channel_mult", "each must be positive, and make at most 16384 channels");
        }
        within("img_resolution", self.img_resolution, 1..=2048)?;
        if !self.img_resolution.is_multiple_of(1 << (levels - 1)) {
            return fail("img_resolution", "must be a multiple of 2^(levels - 1)");
        }
        if !(0.0..=1.0).contains(&self.label_dropout) {
            return fail("label_dropout", "must be 0 to 1");
        }
        within("resample_filter", self.resample_filter.len(), 2..=MAX_TAPS)?;
        match Filter::new(&self.resample_filter) {
            Some(_) => Ok(()),
            None => fail("resample_filter", "must be an even number of taps that do not sum to zero"),
        }
    }

    /// The network, frozen. Its tensors are below `model`.
    ///
    /// # Errors
    /// As [`Self::validate`]; [`crate::Error::Config`] where groups of normalisations or heads do not divide the channels;
    /// those of the source.
    pub fn build(&self, loader: &Loader<'_>) -> Result<UNet> {
        self.validate()?;
        build::network(self, loader)
    }

    fn is_song(&self) -> bool {
        self.model_type == ModelType::SongUNet
    }

    /// The filter of changes of resolution.
    fn filter(&self) -> Filter {
        let filter = Filter::new(&self.resample_filter).filter(|_| self.is_song());
        filter.unwrap_or_else(Filter::nearest) // ADM's; `validate` refuses those that are none
    }

    /// Width of the embedding that blocks read.
    fn embedding(&self) -> usize {
        self.channel_mult_emb * self.model_channels
    }

    /// Width of the noise embedding.
    fn noise(&self) -> usize {
        if self.is_song() { self.channel_mult_noise * self.model_channels } else { self.model_channels }
    }

    /// Heads of attention over so many channels; with none there is no attention.
    fn heads(&self, channels: usize) -> usize {
        if self.is_song() { 1 } else { channels / CHANNELS_PER_HEAD }
    }
}

/// Of ADM's attention heads.
const CHANNELS_PER_HEAD: usize = 64;
