//! The real binary, on good and bad input.

mod bad;
mod bench;
mod check;
mod checkpoints;
#[cfg(feature = "wgpu")]
mod device;
mod eval;
mod exec;
mod good;
#[cfg(feature = "hub")]
mod hub;
mod memory;
mod pictures;
mod pixel_checkpoints;
mod portraits;
mod restore;
mod resume;

mod setup;
mod stable_diffusion;
mod training;
