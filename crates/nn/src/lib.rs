//! Differentiable network operations and layers.
//!
//! Images are `[batch, height, width, channels]` (NHWC) inside a network and are converted once, at its edge, from and
//! to the `[batch, channels, height, width]` of the rest of the workspace.
//!
//! [`ops`] holds the operations (fast kernels on the CPU backend, Burn's own operations elsewhere), [`layers`] the
//! modules built from them, [`device`] what they run on.

pub mod device;
pub mod layers;
pub mod ops;
