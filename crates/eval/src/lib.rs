//! How well methods do: metrics, benchmarks, and judges.

pub mod attributes;
pub mod calibration;
pub mod classifier;
pub mod dataset;
pub mod gate;
pub mod gmm;
pub mod importance;
pub mod masks;
pub mod metrics;
pub mod operators;
pub mod reader;
mod sheet;
pub mod stats;

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The method or the prior failed.
    #[error(transparent)]
    Core(#[from] vipaint_core::Error),
    /// A network's weights cannot be read.
    #[error(transparent)]
    Zoo(#[from] vipaint_zoo::Error),
    /// The declared distribution of attributes cannot be used.
    #[error("the table of attributes: {0}")]
    World(String),
    /// A network cannot look at pictures this small.
    #[error("pictures of {width}x{height} are too small for this network")]
    TooSmall {
        /// Their height.
        height: usize,
        /// Their width.
        width: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
