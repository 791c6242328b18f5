//! The errors of this crate.

use std::path::PathBuf;

/// Why a prior could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are no safetensors file.
    #[error("not a safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// The file's description of the prior is missing or wrong.
    #[error("prior description (metadata key `vipaint.prior`): {0}")]
    Header(String),
    /// Weights that the network has and the file lacks.
    #[error("missing tensors: {}", list(.0))]
    Missing(Vec<String>),
    /// Weights that the file has and the network lacks.
    #[error("unexpected tensors: {}", list(.0))]
    Unexpected(Vec<String>),
    /// A weight of the wrong shape.
    #[error("tensor {name}: expected shape {expected:?}, the file has {got:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The network's shape.
        expected: Vec<usize>,
        /// The file's shape.
        got: Vec<usize>,
    },
    /// A weight of a type that is neither f32 nor f16 nor bf16.
    #[error("tensor {name}: type {dtype} is not supported; use F32, F16 or BF16")]
    Dtype {
        /// The tensor.
        name: String,
        /// The file's type.
        dtype: String,
    },
    /// A weight that is infinite or not a number.
    #[error("tensor {0}: has values that are not finite")]
    NotFinite(String),
    /// A checkpoint that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] crate::formats::FormatError),
    /// A network description outside the supported range.
    #[error("network: {key}: {problem}")]
    Config {
        /// The field.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

const SHOWN: usize = 8;

fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
