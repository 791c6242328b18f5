//! From prompts to conditions.

use super::Context;
use crate::Result;

/// What a text encoder made of a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadText {
    /// For [`super::Condition::context`].
    pub context: Context,
    /// Words that the encoder does not know, and did not read.
    pub unknown: Vec<String>,
    /// Known words at the end that were too many, and were not read.
    pub cut: Vec<String>,
}

/// Tokenizer and text encoder of a text-conditioned prior.
pub trait TextEncoder: Send + Sync {
    /// Reads a text; the empty one is what the prior takes for no text.
    ///
    /// # Errors
    /// [`crate::Error::Denoiser`] when the encoder's weights cannot be read.
    fn read(&self, text: &str) -> Result<ReadText>;
}
