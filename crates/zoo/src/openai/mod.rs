//! The U-Net of guided diffusion (Dhariwal and Nichol, 2021), and with spatial transformers that of latent diffusion
//! (Rombach et al., 2022) and Stable Diffusion. Tensor names are those of the original code.

mod blocks;
mod build;
mod network;
mod transformer;

use serde::{Deserialize, Serialize};
use vipaint_core::prior::Context;

pub use network::UNet;

use crate::limits::{fail, within};
use crate::{Inventory, Loader, Result};

/// Hyperparameters, named as in the original code where they exist there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
// The original's switches, each on its own.
#[allow(clippy::struct_excessive_bools)]
pub struct Config {
    /// Side of `z`.
    pub image_size: usize,
    /// Channels of `z`.
    pub in_channels: usize,
    /// Channels of the output: twice `in_channels` where a variance is learned, which is not used.
    pub out_channels: usize,
    /// Channels at multiplier one.
    pub model_channels: usize,
    /// Residual blocks of a level on the way down; there is one more on the way up.
    pub num_res_blocks: usize,
    /// Channel multipliers of the levels, the finest first; each level halves the side.
    pub channel_mult: Vec<f64>,
    /// Factors of downsampling (not sides) at which residual blocks are followed by attention.
    pub attention_resolutions: Vec<usize>,
    /// Attention heads, unless `num_head_channels` is given.
    pub num_heads: usize,
    /// Channels of a head.
    pub num_head_channels: Option<usize>,
    /// Heads on the way up, if other than `num_heads`; without effect where `num_head_channels` is given.
    pub num_heads_upsample: Option<usize>,
    /// Number of classes, whose embedding is added to that of the time; 0 for none.
    pub num_classes: usize,
    /// Time and class scale and shift the normalised features, instead of being added before.
    pub use_scale_shift_norm: bool,
    /// Residual blocks change the resolution, instead of convolutions (or plain resampling).
    pub resblock_updown: bool,
    /// Changes of resolution have convolutions.
    pub conv_resample: bool,
    /// Queries, keys and values come one after another in the tensors, instead of head by head.
    pub use_new_attention_order: bool,
    /// Attention is by transformers that read a context.
    pub transformer: Option<Transformer>,
    /// Width of a vector that is embedded and added to the time embedding (SDXL's `adm_in_channels`); 0 for none.
    pub adm_in_channels: usize,
}

/// Spatial transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transformer {
    /// Width of the context.
    pub context_dim: usize,
    /// Blocks of a transformer at each level; the last also in the middle.
    pub depth: Vec<usize>,
    /// The maps in and out of a transformer are kept as linear maps, not as 1x1 convolutions.
    pub use_linear: bool,
    /// Rows of the table that embeds a class as a context of length one; the last stands for no class. 0 if the context is
    /// a text.
    pub n_classes: usize,
}

impl Default for Transformer {
    fn default() -> Self {
        Self { context_dim: 768, depth: vec![1], use_linear: false, n_classes: 0 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image_size: 64,
            in_channels: 3,
            out_channels: 3,
            model_channels: 128,
            num_res_blocks: 2,
            channel_mult: vec![1.0, 2.0, 3.0, 4.0],
            attention_resolutions: Vec::new(),
            num_heads: 1,
            num_head_channels: None,
            num_heads_upsample: None,
            num_classes: 0,
            use_scale_shift_norm: false,
            resblock_updown: false,
            conv_resample: true,
            use_new_attention_order: false,
            transformer: None,
            adm_in_channels: 0,
        }
    }
}

/// Tokens of a text, for counting and measuring: what the encoders of Stable Diffusion read.
const TOKENS: usize = 77;
/// Channels are normalised in as many groups.
const GROUPS: usize = 32;

impl Config {
    /// Checks that the network can be built, with sizes that no honest checkpoint exceeds.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        within("in_channels", self.in_channels, 1..=32)?;
        within("model_channels", self.model_channels, 1..=4096)?;
        within("num_res_blocks", self.num_res_blocks, 1..=16)?;
        within("num_classes", self.num_classes, 0..=100_000)?;
        within("adm_in_channels", self.adm_in_channels, 0..=65_536)?;
        if self.out_channels != self.in_channels && self.out_channels != 2 * self.in_channels {
            return fail("out_channels", "must be in_channels, or twice as many where a variance is learned");
        }
        let levels = self.channel_mult.len();
        within("channel_mult", levels, 1..=10)?;
        let channels = |mult: &f64| *mult > 0.0 && mult * self.model_channels as f64 <= 16_384.0;
        if !self.channel_mult.iter().all(channels) {
            return fail("channel_mult", "each must be positive, and make at most 16384 channels");
        }
        if !(0..levels).all(|level| self.width(level) >= GROUPS && self.width(level).is_multiple_of(GROUPS)) {
            return fail("channel_mult", "each must make a multiple of 32 channels");
        }
        within("image_size", self.image_size, 1..=2048)?;
        if !self.image_size.is_multiple_of(1 << (levels - 1)) {
            return fail("image_size", "must be a multiple of 2^(levels - 1)");
        }
        for (key, heads) in [("num_heads", Some(self.num_heads)), ("num_heads_upsample", self.num_heads_upsample)] {
            let divides = |heads: usize| heads > 0 && self.attending().all(|c| c.is_multiple_of(heads));
            if self.num_head_channels.is_none() && !heads.is_none_or(divides) {
                return fail(key, "must divide the channels of each level with attention, and of the last");
            }
        }
        if self.num_head_channels.is_some_and(|d| d == 0 || self.attending().any(|c| !c.is_multiple_of(d))) {
            return fail("num_head_channels", "must divide the channels of each level with attention, and of the last");
        }
        match &self.transformer {
            Some(transformer) => transformer.validate(levels),
            None => Ok(()),
        }
    }

    /// Number of classes it knows.
    pub fn classes(&self) -> usize {
        match &self.transformer {
            Some(transformer) if transformer.n_classes > 0 => transformer.n_classes - 1,
            _ => self.num_classes,
        }
    }

    /// A text that says nothing, if it reads texts.
    pub(crate) fn example_text(&self) -> Option<Context> {
        let width = self.transformer.as_ref().filter(|t| t.n_classes == 0)?.context_dim;
        let (tokens, pooled) = (vec![0.1; TOKENS * width], vec![0.1; self.adm_in_channels]);
        Some(Context { tokens, shape: [TOKENS, width], pooled })
    }

    /// Channels of a level.
    fn width(&self, level: usize) -> usize {
        (self.channel_mult[level] * self.model_channels as f64) as usize
    }

    /// Channels that attention meets.
    fn attending(&self) -> impl Iterator<Item = usize> {
        let levels = self.channel_mult.len();
        let attends = move |level: &usize| *level == levels - 1 || self.attention_resolutions.contains(&(1 << level));
        (0..levels).filter(attends).map(|level| self.width(level))
    }

    /// What the network reads, and what a call costs.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn inventory(&self) -> Result<Inventory> {
        Inventory::of(|loader| self.build(loader))
    }

    /// The network, frozen. Its tensors are below `model.diffusion_model`, as in checkpoints of latent diffusion, if it has
    /// transformers, and at the root, as in those of guided diffusion, if not.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn build(&self, loader: &Loader<'_>) -> Result<UNet> {
        self.validate()?;
        build::network(self, loader)
    }
}

impl Transformer {
    fn validate(&self, levels: usize) -> Result<()> {
        within("context_dim", self.context_dim, 1..=16_384)?;
        within("n_classes", self.n_classes, 0..=100_000)?;
        if !(self.depth.len() == 1 || self.depth.len() == levels) || self.depth.iter().any(|n| !(0..=16).contains(n)) {
            return fail("depth", "must be one number of blocks, 0 to 16, or one for each level");
        }
        Ok(())
    }

    /// Blocks of the transformers of a level.
    fn depth(&self, level: usize) -> usize {
        self.depth.get(level).or(self.depth.last()).copied().unwrap_or(1)
    }
}
