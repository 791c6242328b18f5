//! The real binary, on good and bad input.

mod bad;
mod bench;
mod check;
mod checkpoints;
mod exec;
mod good;
mod pictures;
mod pixel_checkpoints;
mod portraits;
mod restore;
mod resume;

mod setup;
mod stable_diffusion;
mod training;
