//! CPU kernels of image networks: slices in, slices out.
//!
//! Images are NHWC, so channels fill the SIMD lanes. Every operation has a forward pass and vector-Jacobian products, in a
//! portable version, one for AVX2+FMA and one for AVX-512, chosen at run time ([`Version`]).
//!
//! # Summation order
//!
//! The order in which the terms of an output element are added depends on the layer's shape only (channels, kernel,
//! image side), never on the batch, the number of threads or the place of the element in a block of work. A sample's
//! result is therefore the same bits alone and in any batch. Gradients of parameters are sums over the batch: they are
//! summed in chunks fixed by the layer's shape and the batch size, so they do not depend on the number of threads.
//!
//! Work is shared between the calling thread and rayon's current pool, as many threads as the pool has.

// Functions generic in the instruction set must be inlined where its features are enabled; they count over rows, lanes and
// points of matrices; and a micro-kernel takes what it takes.
#![allow(clippy::inline_always, clippy::needless_range_loop, clippy::too_many_arguments)]

mod amx;
mod attention;
pub mod conv;
mod elementwise;
mod join;
mod layer_norm;
mod memory;
mod norm;
mod parallel;
mod resample;
mod simd;
#[cfg(test)]
mod small_tests;
mod team;
mod tile;
#[cfg(test)]
mod version_tests;

pub use attention::{Attention, attention, attention_vjp};
pub use elementwise::{Activation, activate, activate_vjp, add, geglu, geglu_vjp, silu, silu_vjp};
pub use join::{join, split};
pub use layer_norm::{layer_norm, layer_norm_vjp};
pub use memory::zeros;
pub use norm::{GroupNorm, GroupNormGrads, Moments, Tail, group_norm, group_norm_vjp, group_norm_vjp_onto};
pub use resample::{average_pool2, average_pool2_vjp, upsample2, upsample2_vjp};
pub use simd::Version;
pub use team::{map, threads};
