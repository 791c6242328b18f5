//! VIPaint (Agarwal, Hope, Heo, Sudderth, AISTATS 2026): hierarchical variational inference with a frozen diffusion
//! prior, and the samplers it is compared with.
//!
//! Data flows one way: [`operator`] and measurement `y` -> [`prior`] -> [`posterior`] -> [`sampler`]. Nothing in this
//! crate reads a file or prints; loops emit events.
//!
//! Tensors are `[batch, channels, height, width]`.

pub mod chain;
mod decoded;
pub mod error;
pub mod event;
pub mod guided;
pub mod krylov;
pub mod measurement;
pub mod moments;
pub mod noise;
pub mod operator;
pub mod posterior;
pub mod prior;
pub mod problem;
pub mod sampler;
pub mod schedule;
mod total;

pub use error::{Error, Result};
pub use noise::Noise;
pub use schedule::{Level, Schedule};
