//! What is asked.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use crate::measurement::Measurement;
use crate::prior::{Guidance, Prior};
use crate::{Error, Result};

/// How unlike pictures look, by a network: a term that data may have beside their likelihood, differentiable in both.
pub trait Perceptual: Send + Sync {
    /// Distances, one by one, of values measured by the operator: `[batch, c, h, w]` and `[1, c, h, w]` to `[batch]`.
    fn distance(&self, predicted: Tensor<4>, y: Tensor<4>) -> Tensor<1>;

    /// Distances of pictures whose values are taken as the network's own input, each place of its features counting as much as is
    /// `known` of it (`[1, c, h, w]`, 1 where known, the same in all channels).
    fn where_known(&self, predicted: Tensor<4>, y: Tensor<4>, known: Tensor<4>) -> Tensor<1>;
}

/// What is asked: a prior, a measurement, a condition.
#[derive(Clone)]
pub struct Problem {
    /// The diffusion prior.
    pub prior: Prior,
    /// `y` and how it was measured.
    pub measurement: Measurement,
    /// The condition and its strength while sampling.
    pub guidance: Guidance,
    /// The network that the option `lpips` of a fit weighs.
    pub perceptual: Option<Arc<dyn Perceptual>>,
}

impl Problem {
    /// Puts the three together.
    ///
    /// # Errors
    /// When the operator's input is not the prior's picture.
    pub fn new(prior: Prior, measurement: Measurement, guidance: Guidance) -> Result<Self> {
        let image = prior.autoencoder.image_shape(prior.shape());
        let input = measurement.operator.input_shape();
        if image != input {
            return Err(Error::Shape { what: "operator input", expected: image.to_vec(), got: input.to_vec() });
        }
        Ok(Self { prior, measurement, guidance, perceptual: None })
    }

    /// The network that compares pictures.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn perceptual(&self) -> Result<&dyn Perceptual> {
        self.perceptual.as_deref().ok_or_else(|| Error::option("lpips", "needs a network that compares pictures"))
    }

    /// The device of the measurement, without gradients.
    pub fn device(&self) -> Device {
        self.measurement.y.device().without_autodiff()
    }
}
