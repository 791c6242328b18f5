//! Why a checkpoint cannot be read.

use std::path::PathBuf;

/// Why a checkpoint, or a tensor of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are of no kind known here.
    #[error("neither a safetensors file nor a torch file (.ckpt, .pt, .pth)")]
    Unknown,
    /// A safetensors file that is damaged.
    #[error("not a whole safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A torch file's zip archive that is damaged or made to deceive.
    #[error("zip archive: {0}")]
    Archive(String),
    /// A torch file's pickle that is damaged.
    #[error("pickle, byte {at}: {problem}")]
    Pickle {
        /// Offset in the pickle.
        at: usize,
        /// What is wrong there.
        problem: String,
    },
    /// An instruction that state dicts do not need.
    #[error("pickle, byte {at}: instruction {opcode:#04x} is not needed by weights and is refused")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// Offset in the pickle.
        at: usize,
    },
    /// The file asks to run something; it is probably hostile.
    #[error("asks to run {global} when it is loaded: it is not to be trusted, and no program should load it")]
    Hostile {
        /// What it asks to run.
        global: String,
    },
    /// The file is a Python object, not a dictionary of tensors.
    #[error(
        "is a pickled {global}, not a dictionary of weights; convert it (for EDM's pickles: scripts/edm_to_safetensors.py)"
    )]
    Object {
        /// The object's class, or what makes it.
        global: String,
    },
    /// A tensor that is not one of plain numbers.
    #[error("tensor {name}: is made by {global}, which is not supported")]
    Depends {
        /// The tensor.
        name: String,
        /// The type, or the Python function, it depends on.
        global: String,
    },
    /// Something is larger than any checkpoint needs.
    #[error("{what} beyond {limit}, more than any checkpoint needs")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Written on a big-endian machine.
    #[error("was written with big-endian numbers; save it again on a little-endian machine")]
    BigEndian,
    /// A tensor that is absent.
    #[error("has no tensor {0}")]
    NoTensor(String),
    /// No tensors at all.
    #[error("holds no tensors by name")]
    Empty,
    /// A tensor that reaches beyond its data, or is of an unsuitable type.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder without usable weights, or an index or a configuration that is wrong.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A result with [`FormatError`].
pub type Result<T, E = FormatError> = std::result::Result<T, E>;
