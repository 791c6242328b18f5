//! A class-conditional pixel-space U-Net (Ho et al., 2020; Dhariwal and Nichol, 2021) that works on patches.

mod build;
mod network;
mod outputs;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use vipaint_nn::layers::{Init, weights};

pub use network::UNet;

use crate::{Error, Loader, Result};

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels of a picture.
    pub channels: usize,
    /// Side of a picture.
    pub size: usize,
    /// Side of the patches that become channels at the edge (space to depth); 1 for none.
    pub patch: usize,
    /// Channels at each level, the finest first; each level halves the side.
    pub widths: Vec<usize>,
    /// Residual blocks at each level, on the way down and again on the way up.
    pub blocks: Vec<usize>,
    /// Levels (0 is the finest) whose residual blocks are followed by attention.
    pub attention: Vec<usize>,
    /// Channels of an attention head.
    pub head_width: usize,
    /// Channels normalised together.
    pub group_width: usize,
    /// Width of the embedding of time and class.
    pub embedding: usize,
    /// What the time input is multiplied with before its sinusoids, whose highest frequency is 1.
    pub time_scale: f64,
    /// Number of classes; 0 for an unconditional network. There is one more, the null class.
    pub classes: usize,
    /// Width of the tokens that attention reads a text from, at the levels with attention and the last; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context: usize,
}

/// For serde: descriptions from before there were texts stay as they are.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Config {
    /// Checks that the network can be built, with sizes that no honest file exceeds.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        let fail = |key, problem: &str| Err(Error::Config { key, problem: problem.to_string() });
        let levels = self.widths.len();
        if !(1..=16).contains(&self.channels) {
            return fail("channels", "must be 1 to 16");
        }
        if !(1..=16).contains(&self.patch) {
            return fail("patch", "must be 1 to 16");
        }
        if !(1..=8).contains(&levels) {
            return fail("widths", "must list 1 to 8 levels");
        }
        if !(1..=1024).contains(&self.size) || !self.size.is_multiple_of(self.patch << (levels - 1)) {
            return fail("size", "must be at most 1024 and a multiple of patch * 2^(levels - 1)");
        }
        if !(1..=256).contains(&self.group_width) {
            return fail("group_width", "must be 1 to 256");
        }
        if self.widths.iter().any(|c| !(1..=4096).contains(c) || !c.is_multiple_of(self.group_width)) {
            return fail("widths", "each must be 1 to 4096 and a multiple of group_width");
        }
        if self.blocks.len() != levels || self.blocks.iter().any(|n| !(1..=16).contains(n)) {
            return fail("blocks", "must list 1 to 16 blocks for each of the widths");
        }
        if self.attention.iter().any(|level| *level >= levels) {
            return fail("attention", "names a level that does not exist");
        }
        let attending = self.attention.iter().map(|level| self.widths[*level]).chain(self.widths.last().copied());
        if self.head_width == 0 || attending.into_iter().any(|c| !c.is_multiple_of(self.head_width)) {
            return fail("head_width", "must divide the width of each level with attention, and of the last");
        }
        if !(2..=8192).contains(&self.embedding) || !self.embedding.is_multiple_of(2) {
            return fail("embedding", "must be even, 2 to 8192");
        }
        if !(self.time_scale.is_finite() && self.time_scale > 0.0) {
            return fail("time_scale", "must be positive");
        }
        if self.classes > 100_000 {
            return fail("classes", "must be at most 100000");
        }
        if self.context > 8192 {
            return fail("context", "must be at most 8192");
        }
        Ok(())
    }

    /// A network with random weights that depend on `seed` only.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<UNet> {
        build::network(self, &mut Init::seeded(device, seed))
    }

    /// A network whose weights are loaded later; none is allocated yet.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn blank(&self, device: &Device) -> Result<UNet> {
        build::network(self, &mut Init::blank(device))
    }

    /// The network with its tensors from a source, frozen.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn load(&self, loader: &Loader<'_>) -> Result<UNet> {
        let blank = self.blank(loader.device())?;
        let mut values = Vec::new();
        for entry in weights::entries(&blank) {
            values.extend(loader.values(&entry.name, &entry.shape)?.unwrap_or_default());
        }
        if values.is_empty() {
            loader.outputs(self.outputs());
            return Ok(blank); // only the list is made
        }
        let mut network = weights::scatter(blank, &values, loader.device());
        network.pack();
        Ok(network)
    }

    /// Multiply-adds of a forward call on one picture, in convolutions, linear maps and attention.
    pub fn multiply_adds(&self) -> u64 {
        let e = self.embedding as u64;
        let cells = |level: usize| ((self.size / self.patch) >> level).pow(2) as u64;
        let residual = |a: usize, b: usize, n: u64| {
            let (a, b) = (a as u64, b as u64);
            n * (9 * b * (a + b) + if a == b { 0 } else { a * b }) + e * 2 * b
        };
        let attend = |c: usize, n: u64| 4 * n * (c as u64).pow(2) + 2 * n * n * c as u64;
        let depth = (self.channels * self.patch * self.patch) as u64;
        let mut total = 2 * e * e + 2 * 9 * depth * self.widths[0] as u64 * cells(0);
        let mut c = self.widths[0];
        let mut skips = Vec::new();
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            if level > 0 {
                total += 9 * (c as u64).pow(2) * cells(level);
            }
            for _ in 0..blocks {
                total += residual(c, width, cells(level));
                c = width;
                skips.push(c);
            }
        }
        let last = self.widths.len() - 1;
        total += 2 * residual(c, c, cells(last)) + attend(c, cells(last));
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate().rev() {
            for _ in 0..blocks {
                total += residual(c + skips.pop().unwrap_or(0), width, cells(level));
                c = width;
            }
        }
        for &level in &self.attention {
            total += 2 * self.blocks[level] as u64 * attend(self.widths[level], cells(level));
        }
        total
    }
}
