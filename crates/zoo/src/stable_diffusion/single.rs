//! The text encoders of a single file with the names of the original code. Shapes tell all but the number of heads and the
//! nonlinearity, which OpenAI and OpenCLIP each have in common for all their encoders.

use std::path::Path;
use std::sync::Arc;

use crate::clip::{Activation, Config, Naming, Padding, Part, Pictures, Reader, Tokenizer, Weights};
use crate::formats::{Checkpoint, TextEncoder, text_encoder};
use crate::{Error, Result};

/// Width of each number's embedding among SDXL's conditions on the picture.
const PICTURE_WIDTH: usize = 256;
/// Channels of an attention head.
const HEAD: usize = 64;

/// What reads texts for a prior of pictures with this side, if the file holds encoders.
pub(super) fn reader(path: &Path, checkpoint: &Checkpoint, side: usize) -> Result<Option<Reader>> {
    let Some(kind) = text_encoder(checkpoint.names()) else { return Ok(None) };
    // Opened once more, since it stays open as long as the prior is used.
    let checkpoint = Arc::new(Checkpoint::open(path)?);
    let (parts, pictures) = match kind {
        TextEncoder::Clip => (vec![clip(&checkpoint, "cond_stage_model.", |config| config)?], None),
        TextEncoder::OpenClip => {
            // Before the last block, then normalised.
            let read = |config| Config { skip: 1, projection_dim: 0, ..config };
            (vec![open_clip(&checkpoint, "cond_stage_model.", read)?], None)
        }
        TextEncoder::Both => {
            let first = clip(&checkpoint, "conditioner.embedders.0.", Config::penultimate)?;
            let second = open_clip(&checkpoint, "conditioner.embedders.1.", Config::penultimate)?;
            (vec![first, second], Some(Pictures { side, width: PICTURE_WIDTH }))
        }
        TextEncoder::Classes | TextEncoder::OpenClipOnly => return Ok(None),
    };
    let zeros = pictures.is_some();
    Reader::new(parts, pictures, zeros).map(Some)
}

/// OpenAI's encoder, with the names of the transformers library.
fn clip(file: &Arc<Checkpoint>, root: &str, read: impl Fn(Config) -> Config) -> Result<Part> {
    let root = format!("{root}transformer.");
    let text = format!("{root}text_model.");
    let config = Config {
        intermediate_size: dims(file, &format!("{text}encoder.layers.0.mlp.fc1.weight"))?[0],
        num_hidden_layers: count(file, &format!("{text}encoder.layers.")),
        ..sizes(
            file,
            &format!("{text}embeddings.token_embedding.weight"),
            &format!("{text}embeddings.position_embedding.weight"),
        )?
    };
    Ok(part(file, Naming::Transformers { root, nested: true }, Padding::End, read(config)))
}

fn open_clip(file: &Arc<Checkpoint>, root: &str, read: impl Fn(Config) -> Config) -> Result<Part> {
    let root = format!("{root}model.");
    let config = Config {
        intermediate_size: dims(file, &format!("{root}transformer.resblocks.0.mlp.c_fc.weight"))?[0],
        num_hidden_layers: count(file, &format!("{root}transformer.resblocks.")),
        hidden_act: Activation::Gelu,
        projection_dim: dims(file, &format!("{root}text_projection"))?[1],
        ..sizes(file, &format!("{root}token_embedding.weight"), &format!("{root}positional_embedding"))?
    };
    Ok(part(file, Naming::OpenClip { root }, Padding::Zero, read(config)))
}

fn part(file: &Arc<Checkpoint>, naming: Naming, padding: Padding, config: Config) -> Part {
    let tokenizer = Tokenizer::published(padding, config.max_position_embeddings);
    Part { weights: Weights::new(file.clone(), naming), tokenizer, config }
}

/// What the tables of tokens and positions tell, in OpenAI's encoder.
fn sizes(file: &Checkpoint, tokens: &str, positions: &str) -> Result<Config> {
    let ([vocab_size, hidden_size], [max_position_embeddings, _]) = (dims(file, tokens)?, dims(file, positions)?);
    let num_attention_heads = hidden_size / HEAD;
    Ok(Config { vocab_size, max_position_embeddings, hidden_size, num_attention_heads, ..Config::clip_l() })
}

fn dims(file: &Checkpoint, name: &str) -> Result<[usize; 2]> {
    let shape = file.get(name)?.shape().to_vec();
    shape.as_slice().try_into().map_err(|_| Error::Dimensions { name: name.to_owned(), expected: 2, got: shape })
}

/// The entries of a list.
fn count(file: &Checkpoint, list: &str) -> usize {
    let indices = file.names().filter_map(|name| name.strip_prefix(list)?.split_once('.')?.0.parse::<usize>().ok());
    indices.max().map_or(0, |last| last + 1)
}
