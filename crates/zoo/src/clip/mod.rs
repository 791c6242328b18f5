//! The text encoders of Stable Diffusion: CLIP's (Radford et al., 2021) and OpenCLIP's (Cherti et al., 2023) transformers.
//!
//! They run a few times before the work starts and not at all during it, so nothing of them is kept: each layer is read from
//! the checkpoint (which is mapped into memory), applied and dropped. A text costs the time of reading the weights once, and
//! no more memory than the largest tensor.

mod encoder;
mod reader;
mod tokenizer;
mod weights;

use serde::{Deserialize, Serialize};

pub use encoder::{Embedded, encode};
pub use reader::{Part, Pictures, Reader};
pub use tokenizer::{Padding, Tokenizer, Tokens};
pub use weights::{Naming, Weights};

use crate::limits::{fail, within};
use crate::{Inventory, Loader, Result};

/// The nonlinearity of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x sigmoid(1.702 x)`, OpenAI's.
    QuickGelu,
    /// `x Phi(x)`.
    Gelu,
}

/// Hyperparameters, named as in the configurations of the transformers library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of different tokens.
    pub vocab_size: usize,
    /// Tokens of a text, with its marks of start and end and what fills it up.
    pub max_position_embeddings: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks of the checkpoint.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// The nonlinearity.
    pub hidden_act: Activation,
    /// Blocks at the end that the tokens' embeddings are taken before.
    pub skip: usize,
    /// The last normalisation is applied to the tokens' embeddings. The embedding of the whole always has it.
    pub final_norm: bool,
    /// Width of the embedding of the whole text, the projection of its end mark after all blocks; 0 for none.
    pub projection_dim: usize,
}

impl Config {
    /// CLIP ViT-L/14, as Stable Diffusion 1 reads it.
    pub fn clip_l() -> Self {
        Self {
            vocab_size: 49408,
            max_position_embeddings: 77,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            hidden_act: Activation::QuickGelu,
            skip: 0,
            final_norm: true,
            projection_dim: 0,
        }
    }

    /// OpenCLIP ViT-H/14, as Stable Diffusion 2 reads it: before the last block, then normalised.
    pub fn open_clip_h() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            hidden_act: Activation::Gelu,
            skip: 1,
            ..Self::clip_l()
        }
    }

    /// OpenCLIP ViT-bigG/14, as SDXL reads it: before the last block, not normalised, with the embedding of the whole.
    pub fn open_clip_big_g() -> Self {
        Self {
            hidden_size: 1280,
            intermediate_size: 5120,
            num_hidden_layers: 32,
            num_attention_heads: 20,
            final_norm: false,
            projection_dim: 1280,
            ..Self::open_clip_h()
        }
    }

    /// The same encoder as SDXL reads it.
    #[must_use]
    pub fn penultimate(self) -> Self {
        Self { skip: 1, final_norm: false, ..self }
    }

    /// Checks that the encoder can be built, with sizes that no honest checkpoint exceeds.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        within("vocab_size", self.vocab_size, 3..=1 << 20)?;
        within("max_position_embeddings", self.max_position_embeddings, 3..=1024)?;
        within("hidden_size", self.hidden_size, 1..=8192)?;
        within("intermediate_size", self.intermediate_size, 1..=65_536)?;
        within("num_hidden_layers", self.num_hidden_layers, 1..=128)?;
        within("num_attention_heads", self.num_attention_heads, 1..=128)?;
        within("skip", self.skip, 0..=self.num_hidden_layers)?;
        within("projection_dim", self.projection_dim, 0..=8192)?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fail("num_attention_heads", "must divide hidden_size");
        }
        Ok(())
    }

    /// What the encoder reads, with the names of the transformers library. Blocks that nothing needs are not among it.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn inventory(&self) -> Result<Inventory> {
        self.validate()?;
        Inventory::of(|loader: &Loader<'_>| encoder::list(self, loader))
    }
}
