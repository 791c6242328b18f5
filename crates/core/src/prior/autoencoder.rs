//! Between a denoiser's space and pictures.

use burn::tensor::Tensor;

use crate::Result;

/// An autoencoder; [`Identity`] for pixel priors.
pub trait Autoencoder: Send + Sync {
    /// Pictures from latents, differentiable.
    fn decode(&self, z: Tensor<4>) -> Tensor<4>;

    /// Latents (means) from pictures.
    fn encode(&self, x: Tensor<4>) -> Tensor<4>;

    /// Shape `[channels, height, width]` of the pictures that latents of shape `z` stand for.
    fn image_shape(&self, z: [usize; 3]) -> [usize; 3];

    /// Whether the two spaces are the same.
    fn is_identity(&self) -> bool {
        false
    }

    /// What failed in an earlier call, whose result is NaN then.
    ///
    /// # Errors
    /// That failure.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The autoencoder of a pixel prior.
#[derive(Debug, Clone, Copy)]
pub struct Identity;

impl Autoencoder for Identity {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        z
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        x
    }

    fn image_shape(&self, z: [usize; 3]) -> [usize; 3] {
        z
    }

    fn is_identity(&self) -> bool {
        true
    }
}
