//! The errors of this crate.

use std::path::{Path, PathBuf};

/// Why a training run could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The recipe cannot be parsed; the message shows the line and the key.
    #[error("recipe: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value of the recipe is outside its domain.
    #[error("recipe: {key}: {problem}")]
    Recipe {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A data file is not what it should be.
    #[error("data: {}: {problem}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A checkpoint does not belong to the recipe, or is damaged.
    #[error("checkpoint {}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The loss is not finite.
    #[error("the loss is not finite after {images} images; lower optimizer.lr or optimizer.clip")]
    Diverged {
        /// Images seen.
        images: u64,
    },
    /// The system refuses a thread.
    #[error("a thread cannot be started ({0}); lower optimizer.pieces, or raise the limit on processes (ulimit -u)")]
    Threads(String),
    /// A plot cannot be drawn.
    #[error("plot: {0}")]
    Plot(String),
    /// The network description is wrong, or an export failed.
    #[error(transparent)]
    Zoo(#[from] vipaint_zoo::Error),
    /// The denoiser failed.
    #[error(transparent)]
    Core(#[from] vipaint_core::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn data(path: &Path, problem: impl Into<String>) -> Self {
        Self::Data { path: path.to_path_buf(), problem: problem.into() }
    }

    pub(crate) fn recipe(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Recipe { key, problem: problem.into() }
    }
}
