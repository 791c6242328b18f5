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
    /// A tensor with another number of dimensions than its place in a network has.
    #[error("tensor {name}: has shape {got:?}, but should have {expected} dimensions")]
    Dimensions {
        /// The tensor.
        name: String,
        /// Dimensions it should have.
        expected: usize,
        /// The file's shape.
        got: Vec<usize>,
    },
    /// A checkpoint of an unknown family; what it holds instead.
    #[error("of no known family: {0}")]
    Unrecognised(String),
    /// A checkpoint whose blocks are not those of its family.
    #[error("the layers are not those of a known network: {0}")]
    Structure(String),
    /// What neither the tensors nor a preset tell.
    #[error(
        "neither its tensors nor a preset that fits them tell {}; add ,preset=NAME to its path (see `vipaint prior list`), \
         or state them in a prior.toml beside it", list(.0)
    )]
    Untold(Vec<String>),
    /// Several presets have these tensors.
    #[error(
        "may be {}, which differ in {}; add ,preset=NAME to its path, or state them in a prior.toml beside it",
        presets.join(" or "), list(fields)
    )]
    Ambiguous {
        /// The presets.
        presets: Vec<String>,
        /// The fields in which they differ.
        fields: Vec<String>,
    },
    /// A description beside a checkpoint, or options for it, that cannot be used.
    #[error("{0}")]
    Stated(String),
    /// Tensors that differ from those of the network.
    #[error("differs from its network: {0}")]
    Mismatch(crate::formats::Mismatch),
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
