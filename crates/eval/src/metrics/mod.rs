//! Metrics, one file each.
//!
//! Pictures that are compared pixel by pixel are slices of values, row by row, channels last, in [0, 1]; those that networks
//! look at are tensors `[batch, 3, height, width]` in [-1, 1].

pub mod coverage;
pub mod diversity;
mod eigen;
mod features;
pub mod frechet;
pub mod kid;
pub mod lpips;
pub mod mobilenet;
pub mod psnr;
pub mod ssim;
mod trunk;

pub use coverage::{Coverage, Intervals, central, intervals};
pub use diversity::spread;
pub use features::Features;
pub use frechet::frechet;
pub use kid::{Kid, kid};
pub use lpips::{Lpips, LpipsKind, LpipsWeights};
pub use mobilenet::MobileNet;
pub use psnr::psnr;
pub use ssim::ssim;
