//! What a network is before it becomes a denoiser.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Result, unet};

/// A network's raw call.
pub trait Network: Send + Sync {
    /// Shape `[channels, height, width]` in and out.
    fn shape(&self) -> [usize; 3];

    /// Number of classes it knows; 0 if it is unconditional.
    fn classes(&self) -> usize;

    /// The raw output at `x` `[batch, channels, height, width]`, with the network's own time input and a class (none:
    /// the null class) for each sample.
    fn forward(&self, x: Tensor<4>, time: &[f64], classes: &[Option<usize>]) -> Tensor<4>;
}

/// A network family with its hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum Family {
    /// [`unet::UNet`].
    Unet(unet::Config),
}

impl Family {
    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Unet(config) => config.validate(),
        }
    }

    /// A network whose weights are loaded later, on `device`.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn blank(&self, device: &Device) -> Result<unet::UNet> {
        match self {
            Self::Unet(config) => config.blank(device),
        }
    }

    /// Multiply-adds of a forward call on one picture.
    pub fn multiply_adds(&self) -> u64 {
        match self {
            Self::Unet(config) => config.multiply_adds(),
        }
    }
}
