//! Text: a word-level tokenizer and a small transformer encoder, trained together with the denoiser that reads it.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use vipaint_nn::layers::{Init, LayerNorm, Linear, TransformerBlock};

use crate::{Error, Result};

/// Token of the start, which carries what is true of the whole.
const START: usize = 0;
/// Token after the end.
const PAD: usize = 1;
/// Tokens that are no words.
const SPECIAL: usize = 2;

/// Hyperparameters and vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Tokens that are read: one for the start, the others for words; shorter texts are filled up.
    pub length: usize,
    /// Width of an embedding.
    pub width: usize,
    /// Transformer blocks.
    pub blocks: usize,
    /// Attention heads of each.
    pub heads: usize,
    /// Known words, in lower case; a recipe leaves them out, and training takes those of the captions.
    #[serde(default)]
    pub words: Vec<String>,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// [`Config::length`] numbers below [`Config::tokens`].
    pub ids: Vec<usize>,
    /// Words that are not in the vocabulary, in the order of the text; they are not among the tokens.
    pub unknown: Vec<String>,
    /// Known words at the end for which there was no room.
    pub cut: Vec<String>,
}

/// The words of a text: runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

impl Config {
    /// Checks that the encoder can be built, with sizes that no honest file exceeds.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        let fail = |key, problem: &str| Err(Error::Config { key, problem: problem.to_string() });
        if !(2..=1024).contains(&self.length) {
            return fail("text.length", "must be 2 to 1024");
        }
        if !(1..=4096).contains(&self.width) {
            return fail("text.width", "must be 1 to 4096");
        }
        if !(1..=64).contains(&self.blocks) {
            return fail("text.blocks", "must be 1 to 64");
        }
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            return fail("text.heads", "must divide text.width");
        }
        if self.words.len() > 100_000 || !self.words.is_sorted() {
            return fail("text.words", "must be sorted, at most 100000");
        }
        Ok(())
    }

    /// Number of different tokens.
    pub fn tokens(&self) -> usize {
        SPECIAL + self.words.len()
    }

    /// The tokens of a text.
    pub fn tokenize(&self, text: &str) -> Tokens {
        let mut tokens = Tokens { ids: vec![START], unknown: Vec::new(), cut: Vec::new() };
        for word in words(text) {
            match self.words.binary_search(&word) {
                Err(_) => tokens.unknown.push(word),
                Ok(_) if tokens.ids.len() >= self.length => tokens.cut.push(word),
                Ok(position) => tokens.ids.push(SPECIAL + position),
            }
        }
        tokens.ids.resize(self.length, PAD);
        tokens
    }

    /// Multiply-adds of one text.
    pub fn multiply_adds(&self) -> u64 {
        let (l, w) = (self.length as u64, self.width as u64);
        l * (self.tokens() as u64 + l) * w + self.blocks as u64 * (12 * l * w * w + 2 * l * l * w)
    }

    pub(crate) fn build(&self, init: &mut Init) -> Result<Encoder> {
        self.validate()?;
        Ok(Encoder {
            table: Linear::table(self.tokens() + self.length, self.width, init),
            blocks: (0..self.blocks).map(|_| TransformerBlock::new(self.width, self.heads, init)).collect(),
            norm: LayerNorm::new(self.width, init),
            tokens: self.tokens(),
        })
    }
}

/// `layer_norm(blocks(word + position))`, without a mask: what follows the end is a token too.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Embeddings of the tokens, then of the positions.
    table: Linear,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    #[module(skip)]
    tokens: usize,
}

impl Encoder {
    /// Embeddings of texts of equal length, given as tokens. // [texts, length, width]
    ///
    /// # Panics
    /// If a token is out of range, the lengths differ or there is no text.
    pub fn forward(&self, texts: &[Vec<usize>], device: &Device) -> Tensor<3> {
        let length = texts[0].len();
        let rows = self.tokens + length;
        let mut hot = vec![0f32; texts.len() * length * rows];
        for (i, row) in hot.chunks_exact_mut(rows).enumerate() {
            row[texts[i / length][i % length]] = 1.0;
            row[self.tokens + i % length] = 1.0;
        }
        let hot = Tensor::<2>::from_data(TensorData::new(hot, [texts.len() * length, rows]), device);
        let x = self.table.forward(hot);
        let width = x.dims()[1];
        let x = x.reshape([texts.len(), length, width]);
        self.norm.forward(self.blocks.iter().fold(x, |x, block| block.forward(x)))
    }
}
