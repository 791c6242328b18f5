//! What a path holds: a checkpoint, or a folder with several, and what is said about them beside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::stated::Stated;
use crate::Result;
use crate::formats::{Checkpoint, Folder, Layout, layout};

/// A file or a folder of checkpoints, open.
pub struct Opened {
    path: PathBuf,
    class: Option<String>,
    parts: BTreeMap<String, Part>,
    pub(super) stated: Stated,
}

/// A checkpoint of a folder, or the only one.
pub struct Part {
    /// Its tensors.
    pub checkpoint: Checkpoint,
    /// Its `config.json`, if it has one.
    pub config: Option<Value>,
}

impl Part {
    /// Whose names its tensors have.
    pub fn layout(&self) -> Option<Layout> {
        layout(self.checkpoint.names())
    }
}

/// The name of the only part of a file.
pub const WHOLE: &str = "";

impl Opened {
    /// Opens a file, a folder with weights, or a diffusers pipeline, whose parts that hold no weights are left out.
    ///
    /// # Errors
    /// [`crate::Error`] says what cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let mut parts = BTreeMap::new();
        let mut class = None;
        if let Ok(Folder::Pipeline { class: pipeline, parts: listed }) = Folder::open(path) {
            class = Some(pipeline);
            for name in listed.into_keys() {
                let folder = path.join(&name);
                let config = config(&folder);
                // Schedulers and tokenizers have no weights.
                if crate::formats::weights_file(&folder).is_ok() {
                    parts.insert(name, Part { checkpoint: Checkpoint::open(&folder)?, config });
                }
            }
        }
        // Pipelines as of 2022 have their only model beside their index.
        let beside = || parts.is_empty() && crate::formats::weights_file(path).is_ok();
        if class.is_none() || beside() {
            let config = path.is_dir().then(|| config(path)).flatten();
            parts.insert(WHOLE.to_owned(), Part { checkpoint: Checkpoint::open(path)?, config });
        }
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        Ok(Self { path: path.to_path_buf(), class, parts, stated: Stated::beside(folder)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pipeline's class, such as `StableDiffusionPipeline`, if it is one.
    pub fn class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    /// A part by the name of its subfolder.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.get(name)
    }

    /// The only part, if it is no pipeline.
    pub fn whole(&self) -> Option<&Part> {
        self.part(WHOLE)
    }

    /// The names of the parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// A JSON file in the folder, such as `scheduler/scheduler_config.json`.
    pub fn json(&self, name: &str) -> Option<Value> {
        json(&self.path.join(name))
    }

    /// What it may be called: the file's name without its ending.
    pub(super) fn stem(&self) -> String {
        let stem = if self.path.is_dir() { self.path.file_name() } else { self.path.file_stem() };
        stem.unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn config(folder: &Path) -> Option<Value> {
    json(&folder.join("config.json"))
}

/// A small JSON file; what is absent or damaged is as if it were not there, since tensors tell the rest or it is missed.
fn json(path: &Path) -> Option<Value> {
    const MOST: u64 = 1 << 20;
    let size = std::fs::metadata(path).ok()?.len();
    (size <= MOST).then(|| serde_json::from_slice(&std::fs::read(path).ok()?).ok()).flatten()
}
