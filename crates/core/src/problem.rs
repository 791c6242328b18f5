//! What is asked.

use burn::tensor::Device;

use crate::measurement::Measurement;
use crate::prior::{Guidance, Prior};
use crate::{Error, Result};

/// What is asked: a prior, a measurement, a condition.
#[derive(Clone)]
pub struct Problem {
    /// The diffusion prior.
    pub prior: Prior,
    /// `y` and how it was measured.
    pub measurement: Measurement,
    /// The condition and its strength while sampling.
    pub guidance: Guidance,
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
        Ok(Self { prior, measurement, guidance })
    }

    /// The device of the measurement, without gradients.
    pub fn device(&self) -> Device {
        self.measurement.y.device().without_autodiff()
    }
}
