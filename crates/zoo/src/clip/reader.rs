//! From prompts to what a U-Net of Stable Diffusion reads.

use burn::tensor::Device;
use vipaint_core::prior::{Context, ReadText, TextEncoder};
use vipaint_nn::layers::sinusoids;

use super::{Config, Embedded, Tokenizer, Weights, encode};
use crate::limits::fail;
use crate::{Error, Loader, Result};

/// A text encoder with its tokenizer and its weights.
pub struct Part {
    /// Hyperparameters.
    pub config: Config,
    /// Where its tensors are.
    pub weights: Weights,
    /// From texts to its tokens.
    pub tokenizer: Tokenizer,
}

/// SDXL's conditions on the picture (Podell et al., 2023, section 2.2): its original size, where it was cropped and its size,
/// each number in sinusoids, after the embedding of the text as a whole. Pictures are asked for as whole ones of their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures {
    /// Side in pixels.
    pub side: usize,
    /// Width of a number's embedding.
    pub width: usize,
}

/// One encoder, or two whose embeddings of a token are put side by side.
pub struct Reader {
    parts: Vec<Part>,
    pictures: Option<Pictures>,
    nothing: Context,
}

impl Reader {
    /// `zeros` says what the prior takes for no text: zeros (SDXL), or the embedding of the empty text.
    ///
    /// # Errors
    /// [`Error::Config`] for encoders that do not fit each other or their tokenizers, and those of the weights.
    pub fn new(parts: Vec<Part>, pictures: Option<Pictures>, zeros: bool) -> Result<Self> {
        let lengths: Vec<usize> = parts.iter().map(|part| part.config.max_position_embeddings).collect();
        if lengths.windows(2).any(|two| two[0] != two[1]) {
            return fail("max_position_embeddings", "must be the same for both text encoders");
        }
        let mut reader = Self { parts, pictures, nothing: Context::default() };
        let mut nothing = reader.embed("")?.context;
        if zeros {
            let text = nothing.pooled.len() - 6 * pictures.map_or(0, |pictures| pictures.width);
            nothing.tokens.fill(0.0);
            nothing.pooled[..text].fill(0.0);
        }
        reader.nothing = nothing;
        Ok(reader)
    }

    /// What the prior takes for no text.
    pub fn nothing(&self) -> &Context {
        &self.nothing
    }

    fn embed(&self, text: &str) -> Result<ReadText> {
        let (mut parts, mut cut, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
        for Part { config, weights, tokenizer } in &self.parts {
            let tokens = tokenizer.tokenize(text);
            let mut embedded = encode(config, &Loader::new(weights, &Device::flex()), &tokens)?;
            cut = tokens.cut;
            pooled.append(&mut embedded.pooled);
            parts.push(embedded);
        }
        if let Some(Pictures { side, width }) = self.pictures {
            let numbers = [side, side, 0, 0, side, side].map(|number| number as f64);
            pooled.extend(sinusoids(&numbers, width, &Device::flex()).to_data().iter::<f32>());
        }
        let width = parts.iter().map(|part| part.width).sum();
        let length = self.parts.first().map_or(0, |part| part.config.max_position_embeddings);
        let row =
            |i: usize| parts.iter().flat_map(move |Embedded { tokens, width, .. }| &tokens[i * width..][..*width]);
        let tokens = (0..length).flat_map(row).copied().collect();
        Ok(ReadText { context: Context { tokens, shape: [length, width], pooled }, unknown: Vec::new(), cut })
    }
}

impl TextEncoder for Reader {
    fn read(&self, text: &str) -> vipaint_core::Result<ReadText> {
        if text.trim().is_empty() {
            return Ok(ReadText { context: self.nothing.clone(), ..ReadText::default() });
        }
        self.embed(text).map_err(|error: Error| vipaint_core::Error::Denoiser(format!("text encoder: {error}")))
    }
}
