//! Stable Diffusion 1, 2 and XL (Rombach et al., 2022; Podell et al., 2023): what surrounds the U-Net and the autoencoder, which
//! are those of [`crate::openai`] and [`crate::autoencoder`]. A model is a diffusers folder, or a single file with the names
//! of the original code.

mod folder;
mod options;
mod single;
mod text;
mod unet;
mod vae;

use std::sync::Arc;

use burn::tensor::Tensor;
use vipaint_core::prior::{Condition, Denoiser, Prior};
use vipaint_core::{Level, Result as CoreResult};

pub use folder::{Described, describe};

use crate::clip::Reader;
use crate::recognise::Opened;
use crate::{Family, Header, Result};

/// Whether a folder holds a pipeline of this family.
pub fn is_folder(opened: &Opened) -> bool {
    opened.class().is_some_and(|class| class.starts_with(folder::PIPELINES))
}

/// What reads texts for a prior, if its files hold CLIP's encoders.
///
/// # Errors
/// [`crate::Error`] names the file or the tensor that cannot be used.
pub fn reader(opened: &Opened, header: &Header) -> Result<Option<Reader>> {
    let (Family::Openai(network), Some(autoencoder)) = (&header.network, &header.autoencoder) else { return Ok(None) };
    if network.transformer.as_ref().is_none_or(|transformer| transformer.n_classes > 0) {
        return Ok(None);
    }
    let [_, side, _] = autoencoder.image_shape(header.network.shape());
    match opened.whole() {
        Some(part) => single::reader(opened.path(), &part.checkpoint, side),
        None if is_folder(opened) => text::reader(opened.path(), side, network.adm_in_channels).map(Some),
        None => Ok(None),
    }
}

/// Makes a prior read texts: from now on it has what the reader takes for no text where it is given none.
pub fn attach(prior: &mut Prior, reader: Reader) {
    let nothing = Condition { class: None, context: Some(Arc::new(reader.nothing().clone())) };
    prior.denoiser = Arc::new(WithNothing { denoiser: prior.denoiser.clone(), nothing });
    prior.text = Some(Arc::new(reader));
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
