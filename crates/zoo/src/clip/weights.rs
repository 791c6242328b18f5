//! The names under which checkpoints keep text encoders.

use std::sync::Arc;

use crate::{Result, Source, Values};

/// Whose names a checkpoint uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// The transformers library's, below `root`: `text_model.encoder.layers...`, or, as its version 5 writes an encoder
    /// without a projection, `encoder.layers...`.
    Transformers {
        /// What all names begin with, ending in a dot or empty.
        root: String,
        /// Whether `text_model.` follows.
        nested: bool,
    },
    /// OpenCLIP's, below `root`: `transformer.resblocks...`.
    OpenClip {
        /// What all names begin with, ending in a dot or empty.
        root: String,
    },
}

/// The tensors of a text encoder, by the names of the transformers library.
#[derive(Clone)]
pub struct Weights {
    source: Arc<dyn Source + Send + Sync>,
    naming: Naming,
}

impl Weights {
    /// Those of a checkpoint.
    pub fn new(source: Arc<dyn Source + Send + Sync>, naming: Naming) -> Self {
        Self { source, naming }
    }
}

impl Source for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.values(name, shape).map(Values::into_vec)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Values<'_>> {
        match &self.naming {
            Naming::Transformers { root, nested } => {
                let name = if *nested { name } else { name.strip_prefix("text_model.").unwrap_or(name) };
                self.source.values(&format!("{root}{name}"), shape)
            }
            Naming::OpenClip { root } => self.open_clip(root, name, shape),
        }
    }
}

/// A part of a name, OpenCLIP's.
const PARTS: [(&str, &str); 9] = [
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.", ".attn."),
];

impl Weights {
    fn open_clip(&self, root: &str, name: &str, shape: &[usize]) -> Result<Values<'_>> {
        let renamed = PARTS.iter().fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1));
        let renamed = format!("{root}{renamed}");
        if name == "text_projection.weight" && shape.len() == 2 {
            // Kept as the factor on the right, `x P`.
            let (rows, columns) = (shape[0], shape[1]);
            let values = self.source.tensor(&format!("{root}text_projection"), &[columns, rows])?;
            let turned = (0..rows * columns).map(|i| values[i % columns * rows + i / columns]);
            return Ok(Values::from(turned.collect::<Vec<_>>()));
        }
        // Queries, keys and values come one after another in one tensor.
        for (part, map) in ["q_proj.", "k_proj.", "v_proj."].into_iter().enumerate() {
            if let Some((block, kind)) = renamed.split_once(map) {
                let all = [&[3 * shape[0]], &shape[1..]].concat();
                let values = self.source.values(&format!("{block}in_proj_{kind}"), &all)?;
                let count: usize = shape.iter().product();
                return Ok(values.part(part * count..(part + 1) * count));
            }
        }
        self.source.values(&renamed, shape)
    }
}
