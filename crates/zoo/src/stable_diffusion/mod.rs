//! Stable Diffusion 1, 2 and XL (Rombach et al., 2022; Podell et al., 2023): what surrounds the U-Net and the autoencoder, which
//! are those of [`crate::openai`] and [`crate::autoencoder`]. A model is a diffusers folder, or a single file with the names
//! of the original code.

mod folder;
mod options;
mod scheduler;
mod single;
mod text;
mod unet;
mod vae;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;
use vipaint_core::prior::{Condition, Denoiser, Prior};
use vipaint_core::{Level, Result as CoreResult};

pub use folder::{Model, is_folder};
pub use single::read_texts;

use crate::Result;
use crate::clip::Reader;

/// Makes a prior read texts: from now on it has the reader's condition where it is given none.
pub fn attach(prior: &mut Prior, reader: Reader) {
    let nothing = Condition { class: None, context: Some(Arc::new(reader.nothing().clone())) };
    prior.denoiser = Arc::new(WithNothing { denoiser: prior.denoiser.clone(), nothing });
    prior.text = Some(Arc::new(reader));
}

/// Reads a diffusers folder.
///
/// # Errors
/// [`crate::Error`] names the file, and what in it is missing or not supported.
pub fn open(folder: &Path) -> Result<Prior> {
    Model::open(folder)?.prior()
}

/// A denoiser that needs a text, with what it reads when there is none.
struct WithNothing {
    denoiser: Arc<dyn Denoiser>,
    nothing: Condition,
}

impl Denoiser for WithNothing {
    fn shape(&self) -> [usize; 3] {
        self.denoiser.shape()
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> CoreResult<Tensor<4>> {
        let condition = if condition.context.is_some() { condition } else { &self.nothing };
        self.denoiser.x0_hat(z, levels, condition)
    }

    fn check(&self) -> CoreResult<()> {
        self.denoiser.check()
    }
}
