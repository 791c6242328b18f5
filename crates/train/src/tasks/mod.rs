//! What is trained: one file for each kind.

mod autoencoder;
mod prior;
mod reader;
mod text_prior;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_nn::layers::weights::Entry;

use crate::data::{DataSet, Images};
use crate::log::Record;
use crate::recipe::Model;
use crate::{Recipe, Result};

/// A picture that is shown: its number in the whole run, which keys everything random, and its place in the data.
pub(crate) type Shown = (u64, usize);

/// What the training loop needs to know.
pub(crate) trait Task: Sync {
    /// Names and shapes of the weights.
    fn entries(&self) -> Vec<Entry>;

    /// Random weights to start from.
    fn init(&self) -> Result<Vec<f32>>;

    /// Weights to start from, out of the bytes of an exported file.
    fn read(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        Ok(vipaint_zoo::read_weights(bytes, &self.entries())?)
    }

    /// Multiply-adds of a forward call on one picture.
    fn multiply_adds(&self) -> u64;

    /// What the exported file says about the weights.
    fn header(&self) -> String;

    /// `share` times the mean loss over some pictures, and its gradient.
    fn loss_and_gradient(&self, shown: &[Shown], weights: &[f32], share: f64) -> (f64, Vec<f32>);

    /// Pictures that show what `weights` have learnt, in `folder`, and held-out figures, after `images` pictures.
    fn draw(&self, weights: &[f32], folder: &Path, images: u64) -> Result<(PathBuf, Record)>;
}

/// The task of a recipe over its data.
pub(crate) fn task<'a>(recipe: &'a Recipe, data: &'a DataSet) -> Result<Box<dyn Task + 'a>> {
    Ok(match &recipe.network {
        Model::Unet(config) => Box::new(prior::PixelPrior::new(recipe, config, data)?),
        Model::TextUnet { network, autoencoder, .. } => {
            Box::new(text_prior::TextPrior::new(recipe, network, autoencoder, data)?)
        }
        Model::Reader(config) => Box::new(reader::Reading::new(recipe, config, data)?),
        Model::Autoencoder(config) => Box::new(autoencoder::Reconstruction::new(recipe, config, data)?),
    })
}

/// The file of trained weights, from what a checkpoint holds.
pub(crate) fn export(recipe: &Recipe, header: &str, weights: &[f32]) -> Result<Vec<u8>> {
    match &recipe.network {
        Model::Unet(config) => prior::export(config, header, weights),
        Model::TextUnet { autoencoder, .. } => text_prior::export(autoencoder, header, weights),
        Model::Reader(_) => reader::export(header, weights),
        Model::Autoencoder(config) => autoencoder::export(config, header, weights),
    }
}

/// Pictures as a tensor. // [pictures, channels, height, width]
fn pictures(images: &Images, numbers: impl Iterator<Item = usize>, device: &Device) -> Tensor<4> {
    let [c, h, w] = images.shape;
    let values: Vec<f32> = numbers.flat_map(|i| images.values(i)).collect();
    let count = values.len() / (c * h * w);
    Tensor::from_data(TensorData::new(values, [count, c, h, w]), device)
}

/// The pictures of a tensor `[pictures, channels, height, width]`, one by one.
fn split(x: Tensor<4>) -> Vec<Vec<f32>> {
    let size: usize = x.dims()[1..].iter().product();
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks_exact(size).map(<[f32]>::to_vec).collect()
}
