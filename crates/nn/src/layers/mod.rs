//! Layers: Burn modules over [`crate::ops`], with weights laid out as PyTorch lays them out.

mod attention;
mod conv;
mod cross;
mod embedding;
pub mod frozen;
mod init;
mod linear;
mod norm;
mod packing;
mod patch;
mod plain;
mod residual;
mod transformer;
pub mod weights;

pub use attention::AttentionBlock;
pub use conv::Conv2d;
pub use cross::CrossAttentionBlock;
pub use embedding::sinusoids;
pub use init::Init;
pub use linear::Linear;
pub use norm::GroupNorm;
pub use patch::{from_patches, to_patches};
pub use plain::PlainBlock;
pub use residual::ResidualBlock;
pub use transformer::{LayerNorm, TransformerBlock};
