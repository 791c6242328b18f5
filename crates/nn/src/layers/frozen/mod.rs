//! Layers with constant weights: packed when they are made, and kept in that form only. They are differentiable in their
//! inputs, as priors and decoders need it, and cannot be trained.
//!
//! Weights are given as PyTorch lays them out, on the plain device; inputs may be on its autodiff twin.

mod attention;
mod conv;
mod feed_forward;
mod linear;
mod norm;
mod residual;

pub use attention::Attention;
pub use conv::{Conv2d, Padding};
pub use feed_forward::FeedForward;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use residual::Residual;
