//! The text encoders of a diffusers folder.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::options::Options;
use crate::clip::{Activation, Config, Naming, Padding, Part, Pictures, Reader, Tokenizer, Weights};
use crate::formats::{Checkpoint, FormatError};
use crate::{Error, Result};

/// `side` is that of pictures, `added` the width of the vector that SDXL's U-Net reads besides: the embedding of the whole text and
/// six numbers. With it there are two encoders, both read before their last block.
pub(super) fn reader(folder: &Path, side: usize, added: usize) -> Result<Reader> {
    if added == 0 {
        let part = part(folder, ["text_encoder", "tokenizer"], |config| Config { projection_dim: 0, ..config })?;
        return Reader::new(vec![part], None, false);
    }
    let first = |config: Config| Config { projection_dim: 0, ..config.penultimate() };
    let parts = vec![
        part(folder, ["text_encoder", "tokenizer"], first)?,
        part(folder, ["text_encoder_2", "tokenizer_2"], Config::penultimate)?,
    ];
    let mut index = Options::open(&folder.join("model_index.json"))?;
    let zeros = index.or("force_zeros_for_empty_prompt", true)?;
    let numbers = added.saturating_sub(parts[1].config.projection_dim);
    if numbers == 0 || !numbers.is_multiple_of(12) {
        return Err(index.wrong("text_encoder_2: its projection_dim does not fit the U-Net's added conditions"));
    }
    Reader::new(parts, Some(Pictures { side, width: numbers / 6 }), zeros)
}

/// An encoder with its tokenizer; `read` says how the family reads it.
fn part(folder: &Path, parts: [&str; 2], read: impl Fn(Config) -> Config) -> Result<Part> {
    let [encoder, tokenizer] = parts.map(|part| folder.join(part));
    let config = read(describe(&encoder.join("config.json"))?);
    let checkpoint = Arc::new(Checkpoint::open(&encoder)?);
    let nested = checkpoint.names().any(|name| name.starts_with("text_model."));
    let weights = Weights::new(checkpoint, Naming::Transformers { root: String::new(), nested });
    let path = tokenizer;
    let tokenizer = Tokenizer::open(&path, padding(&path)?, config.max_position_embeddings)?;
    if tokenizer.size() > config.vocab_size {
        let problem = format!("has {} tokens, the encoder only {}", tokenizer.size(), config.vocab_size);
        return Err(FormatError::Folder { path, problem }.into());
    }
    Ok(Part { config, weights, tokenizer })
}

/// A `config.json` of the transformers library. It notes every default of every model, so options that are not known are not
/// refused.
fn describe(path: &Path) -> Result<Config> {
    let mut options = Options::open(path)?;
    options.fixed(&[("model_type", "clip_text_model".into()), ("layer_norm_eps", 1e-5.into())])?;
    let activation: Value = options.or("hidden_act", "quick_gelu".into())?;
    let config = Config {
        vocab_size: options.or("vocab_size", 49408)?,
        max_position_embeddings: options.or("max_position_embeddings", 77)?,
        hidden_size: options.or("hidden_size", 512)?,
        intermediate_size: options.or("intermediate_size", 2048)?,
        num_hidden_layers: options.or("num_hidden_layers", 12)?,
        num_attention_heads: options.or("num_attention_heads", 8)?,
        hidden_act: serde_json::from_value::<Activation>(activation.clone())
            .map_err(|_| options.wrong(format!("hidden_act: {activation} is not supported")))?,
        skip: 0,
        final_norm: true,
        projection_dim: options.or("projection_dim", 512)?,
    };
    config.validate()?;
    Ok(config)
}

/// What the tokenizer fills up with: the older file comes first, as the transformers library reads them.
fn padding(folder: &Path) -> Result<Padding> {
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.join(file);
        if !path.is_file() {
            continue;
        }
        let token: Option<Value> = Options::open(&path)?.take("pad_token")?;
        let content = token.as_ref().map(|token| token.get("content").unwrap_or(token));
        match content.and_then(Value::as_str) {
            None => {}
            Some("<|endoftext|>") => return Ok(Padding::End),
            Some("!") => return Ok(Padding::Zero),
            Some(other) => {
                let problem = format!("pad_token: {other:?} is not supported, only <|endoftext|> and !");
                return Err(Error::from(FormatError::Folder { path, problem }));
            }
        }
    }
    Ok(Padding::End)
}
