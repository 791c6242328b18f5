//! What a network is before it becomes a denoiser.

use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use vipaint_core::prior::Condition;

use crate::diffusers::unet2d;
use crate::{Inventory, Loader, Result, edm, openai, unet};

/// A network's raw call.
pub trait Network: Send + Sync {
    /// Shape `[channels, height, width]` of its input.
    fn shape(&self) -> [usize; 3];

    /// Number of classes it knows; 0 if it is unconditional.
    fn classes(&self) -> usize;

    /// Says what is wrong with the conditions of a call, beyond a class out of range.
    ///
    /// # Errors
    /// What the network lacks or cannot read, in words.
    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        if conditions.iter().any(|condition| condition.context.is_some()) {
            Err("the prior reads no text".into())
        } else {
            Ok(())
        }
    }

    /// The raw output at `x` `[batch, channels, height, width]`, with the network's own time input and a condition for each
    /// sample, all of which passed [`Self::check`]. There may be more output than input channels, the prediction first.
    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4>;

    /// Whether its blocks are to be computed again when a gradient is taken, instead of holding their features; a network that
    /// cannot do so ignores it. Results are the same.
    fn recompute(&self, _on: bool) {}
}

impl<N: Network + ?Sized> Network for Arc<N> {
    fn shape(&self) -> [usize; 3] {
        (**self).shape()
    }

    fn classes(&self) -> usize {
        (**self).classes()
    }

    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        (**self).check(conditions)
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        (**self).forward(x, time, conditions)
    }

    fn recompute(&self, on: bool) {
        (**self).recompute(on);
    }
}

/// A network family with its hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum Family {
    /// [`unet::UNet`], which can be trained.
    Unet(unet::Config),
    /// [`openai::UNet`].
    Openai(openai::Config),
    /// [`edm::UNet`].
    Edm(edm::Config),
    /// [`unet2d::UNet`].
    Unet2d(unet2d::Config),
}

impl Family {
    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Unet(config) => config.validate(),
            Self::Openai(config) => config.validate(),
            Self::Edm(config) => config.validate(),
            Self::Unet2d(config) => config.validate(),
        }
    }

    /// Number of classes the network knows.
    pub fn classes(&self) -> usize {
        match self {
            Self::Unet(config) => config.classes,
            Self::Openai(config) => config.classes(),
            Self::Edm(config) => config.label_dim,
            Self::Unet2d(config) => config.classes(),
        }
    }

    /// Channels and side of `z`.
    pub fn shape(&self) -> [usize; 3] {
        let (channels, side) = match self {
            Self::Unet(config) => (config.channels, config.size),
            Self::Openai(config) => (config.in_channels, config.image_size),
            Self::Edm(config) => (config.img_channels, config.img_resolution),
            Self::Unet2d(config) => (config.in_channels, config.sample_size),
        };
        [channels, side, side]
    }

    /// The same network for `z` of another side.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        match &mut self {
            Self::Unet(config) => config.size = side,
            Self::Openai(config) => config.image_size = side,
            Self::Edm(config) => config.img_resolution = side,
            Self::Unet2d(config) => config.sample_size = side,
        }
        self
    }

    /// The network, frozen, its tensors named as in the original checkpoints.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn build(&self, loader: &Loader<'_>) -> Result<Arc<dyn Network>> {
        Ok(match self {
            Self::Unet(config) => Arc::new(config.load(loader)?),
            Self::Openai(config) => Arc::new(config.build(loader)?),
            Self::Edm(config) => Arc::new(config.build(loader)?),
            Self::Unet2d(config) => Arc::new(config.build(loader)?),
        })
    }

    /// A condition that the network accepts, for measuring: class 0, or a text of 77 tokens that says nothing.
    pub fn example_condition(&self) -> Condition {
        let class = (self.classes() > 0).then_some(0);
        let context = match self {
            Self::Openai(config) => config.example_text().map(Arc::new),
            Self::Unet(_) | Self::Edm(_) | Self::Unet2d(_) => None,
        };
        Condition { class, context }
    }

    /// What the network reads, and what a call costs.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn inventory(&self) -> Result<Inventory> {
        Inventory::of(|loader| self.build(loader))
    }

    /// Multiply-adds of a forward call on one picture.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn multiply_adds(&self) -> Result<u64> {
        Ok(match self {
            Self::Unet(config) => config.multiply_adds(),
            Self::Openai(_) | Self::Edm(_) | Self::Unet2d(_) => self.inventory()?.multiply_adds,
        })
    }
}
