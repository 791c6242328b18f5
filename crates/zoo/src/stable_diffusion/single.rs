//! The text encoders of a single file with the names of the original code.

use std::path::Path;

use super::folder::shared;
use crate::Result;
use crate::clip::{Config, Naming, Padding, Part, Pictures, Reader, Tokenizer, Weights};
use crate::formats::{TextEncoder, text_encoder};

/// Width of each number's embedding among SDXL's conditions on the picture.
const PICTURE_WIDTH: usize = 256;

/// The text encoders that a file holds, to be attached to a prior for pictures of this side; none if it holds none.
///
/// # Errors
/// [`crate::Error`] names the tensor that cannot be used.
pub fn read_texts(path: &Path, side: usize) -> Result<Option<Reader>> {
    let checkpoint = shared(path)?;
    let part = |config: Config, naming: Naming, padding: Padding| Part {
        tokenizer: Tokenizer::published(padding, config.max_position_embeddings),
        weights: Weights::new(checkpoint.clone(), naming),
        config,
    };
    let clip = |root: &str| Naming::Transformers { root: format!("{root}transformer."), nested: true };
    let open_clip = |root: &str| Naming::OpenClip { root: format!("{root}model.") };
    let (parts, pictures) = match text_encoder(checkpoint.names()) {
        Some(TextEncoder::Clip) => (vec![part(Config::clip_l(), clip("cond_stage_model."), Padding::End)], None),
        Some(TextEncoder::OpenClip) => {
            (vec![part(Config::open_clip_h(), open_clip("cond_stage_model."), Padding::Zero)], None)
        }
        Some(TextEncoder::Both) => {
            let first = part(Config::clip_l().penultimate(), clip("conditioner.embedders.0."), Padding::End);
            let second = part(Config::open_clip_big_g(), open_clip("conditioner.embedders.1."), Padding::Zero);
            (vec![first, second], Some(Pictures { side, width: PICTURE_WIDTH }))
        }
        Some(TextEncoder::Classes | TextEncoder::OpenClipOnly) | None => return Ok(None),
    };
    let zeros = pictures.is_some();
    Reader::new(parts, pictures, zeros).map(Some)
}
