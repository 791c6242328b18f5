//! Folders as diffusers and transformers write them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::error::{FormatError, Result};

/// What a folder holds, by its `model_index.json` or `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum Folder {
    /// A pipeline: parts in subfolders.
    Pipeline {
        /// The pipeline's class, such as `StableDiffusionPipeline`.
        class: String,
        /// The parts that are there, by the name of their subfolder.
        parts: BTreeMap<String, Part>,
    },
    /// A single model, with its configuration.
    Model {
        /// Its class, such as `UNet2DModel`.
        class: String,
        /// The whole of `config.json`.
        config: Value,
    },
}

/// A part of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `diffusers` or `transformers`.
    pub library: String,
    /// Its class.
    pub class: String,
}

/// Names of weights files, the best first.
const WEIGHTS: [&str; 10] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
];
/// Larger than any index or configuration.
const MAX_JSON: u64 = 16 << 20;
/// More shards than any checkpoint has.
const MAX_SHARDS: usize = 4096;

impl Folder {
    /// Reads what a folder holds.
    ///
    /// # Errors
    /// [`FormatError::Folder`] when it has neither file, or a damaged one.
    pub fn open(path: &Path) -> Result<Self> {
        let index = path.join("model_index.json");
        let class = |value: &Value, file: &Path| {
            let class = value.get("_class_name").or_else(|| value.get("architectures")?.get(0));
            class.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| wrong(file, "names no class"))
        };
        if index.is_file() {
            let value = json(&index)?;
            let rows = value.as_object().into_iter().flatten();
            let parts = rows.filter_map(|(name, row)| {
                let part = Part { library: row.get(0)?.as_str()?.into(), class: row.get(1)?.as_str()?.into() };
                Some((name.clone(), part))
            });
            return Ok(Self::Pipeline { class: class(&value, &index)?, parts: parts.collect() });
        }
        let config = path.join("config.json");
        if config.is_file() {
            let value = json(&config)?;
            return Ok(Self::Model { class: class(&value, &config)?, config: value });
        }
        Err(wrong(path, "has neither model_index.json nor config.json"))
    }
}

/// The file with the weights in a model's folder: safetensors rather than torch's, full precision rather than half.
///
/// # Errors
/// [`FormatError::Folder`] when there is none.
pub fn weights_file(folder: &Path) -> Result<PathBuf> {
    let found = WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let parts = folder.join("model_index.json").is_file();
        wrong(folder, if parts { "is a pipeline; its weights are in its subfolders" } else { "has no weights file" })
    })
}

/// The files of a sharded checkpoint, from its index.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<PathBuf>> {
    let value = json(index)?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong(index, "has no weight_map"))?;
    let folder = index.parent().unwrap_or(Path::new(""));
    let mut files = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().map(Path::new).filter(|name| {
            // A name inside the folder: an index must not make us read other files.
            let mut parts = name.components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        });
        files.insert(folder.join(name.ok_or_else(|| wrong(index, &format!("names a shard {file}")))?));
        if files.len() > MAX_SHARDS {
            return Err(FormatError::Limit { what: "shards", limit: MAX_SHARDS });
        }
    }
    if files.is_empty() { Err(FormatError::Empty) } else { Ok(files) }
}

pub(crate) fn json(path: &Path) -> Result<Value> {
    let failed = |source| FormatError::Io { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_JSON {
        return Err(FormatError::Limit { what: "bytes of JSON", limit: MAX_JSON as usize });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(path, &format!("is not JSON ({error})")))
}

fn wrong(path: &Path, problem: &str) -> FormatError {
    FormatError::Folder { path: path.to_path_buf(), problem: problem.to_owned() }
}
