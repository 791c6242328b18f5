//! Training of diffusion priors and autoencoders: data, losses, optimiser, checkpoints that resume exactly, and what is shown on the way.
//!
//! Everything random is a function of (seed, index), so a resumed run equals an uninterrupted one bit by bit.

mod adam;
mod checkpoint;
mod classifier;
pub mod data;
mod error;
mod heldout;
mod log;
mod objective;
mod order;
mod parallel;
mod picture;
mod recipe;
mod run;
mod sample;
mod tasks;

pub use classifier::{ClassifierSettings, train_classifier};
pub use error::{Error, Result};
pub use heldout::{NoiseLevelError, held_out_errors};
pub use objective::Objective;
pub use picture::grid_png;
pub use recipe::{Model, Optimizer, Output, Recipe};
pub use run::{Event, Options, Outcome, export, train};
pub use sample::{class_samples, guided_heun, heun};
