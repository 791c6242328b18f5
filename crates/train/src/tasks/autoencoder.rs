//! A KL autoencoder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use vipaint_core::Noise;
use vipaint_nn::layers::weights::{self, Entry};
use vipaint_zoo::kl_autoencoder::{Config, KlAutoencoder};

use super::{Shown, Task, pictures, split};
use crate::data::DataSet;
use crate::log::Record;
use crate::parallel::Pieces;
use crate::picture::grid_png;
use crate::{Error, Objective, Recipe, Result};

/// Purpose number of the posterior's noise.
const POSTERIOR: u64 = 0x0a03;
/// Pictures encoded and decoded at once for the held-out figures.
const BATCH: usize = 25;

pub(super) struct Reconstruction<'a> {
    recipe: &'a Recipe,
    config: &'a Config,
    data: &'a DataSet,
    network: KlAutoencoder,
    l1: f64,
    kl: f64,
}

impl<'a> Reconstruction<'a> {
    pub(super) fn new(recipe: &'a Recipe, config: &'a Config, data: &'a DataSet) -> Result<Self> {
        let Objective::Reconstruction { l1, kl } = recipe.objective else {
            return Err(Error::recipe("objective.kind", "must be reconstruction for an autoencoder"));
        };
        Ok(Self { recipe, config, data, network: config.blank(&Device::flex())?, l1, kl })
    }
}

impl Task for Reconstruction<'_> {
    fn entries(&self) -> Vec<Entry> {
        weights::entries(&self.network)
    }

    fn init(&self) -> Result<Vec<f32>> {
        Ok(weights::gather(&self.config.init(&Device::flex(), self.recipe.seed)?))
    }

    fn multiply_adds(&self) -> u64 {
        self.config.multiply_adds().iter().sum()
    }

    fn header(&self) -> String {
        self.config.to_json()
    }

    fn loss_and_gradient(&self, shown: &[Shown], values: &[f32], share: f64) -> (f64, Vec<f32>) {
        let device = Device::flex().autodiff();
        let network = weights::scatter(self.network.clone(), values, &device);
        let x = pictures(&self.data.train, shown.iter().map(|s| s.1), &device);
        let (mean, log_variance) = network.posterior(x.clone());
        let mut noise = Noise::new(self.recipe.seed, POSTERIOR, shown.iter().map(|s| s.0 as usize));
        let eps = noise.normal(self.config.latent_shape(), &device);
        let variance = log_variance.clone().exp();
        let error = network.decode(mean.clone() + variance.clone().sqrt() * eps) - x;
        // KL(N(mean, variance) || N(0, 1)) a value, Kingma and Welling (2014), appendix B.
        let divergence = (mean.square() + variance - log_variance - 1.0).mean() * 0.5;
        let loss = error.clone().square().mean() + error.abs().mean() * self.l1 + divergence * self.kl;
        let loss = loss * share;
        let value = loss.clone().into_scalar::<f32>();
        (f64::from(value), weights::gradients(&network, &mut loss.backward()))
    }

    /// The first held-out pictures, each above its reconstruction.
    fn draw(&self, values: &[f32], folder: &Path, images: u64) -> Result<(PathBuf, Record)> {
        let mut network = weights::scatter(self.network.clone(), values, &Device::flex());
        network.pack();
        let (test, output) = (&self.data.test, &self.recipe.output);
        let numbers: Vec<usize> = (0..output.held_out.min(test.len())).collect();
        let chunks: Vec<&[usize]> = numbers.chunks(BATCH).collect();
        let done = Pieces::new(self.recipe.optimizer.pieces)?.map(&chunks, |chunk| {
            let x = pictures(test, chunk.iter().copied(), &Device::flex());
            let (mean, log_variance) = network.posterior(x.clone());
            let y = network.decode(mean.clone()).clamp(-1.0, 1.0);
            let sum = |t: Tensor<4>| f64::from(t.mean().into_scalar::<f32>()) * chunk.len() as f64;
            let sums = [(y.clone() - x).square(), mean.square(), log_variance].map(sum);
            (sums, split(y))
        });
        let total = |i: usize| done.iter().map(|(sums, _)| sums[i]).sum::<f64>() / numbers.len() as f64;
        let reconstructions: Vec<Vec<f32>> = done.iter().flat_map(|(_, y)| y.clone()).collect();

        let (shape, columns) = (self.recipe.shape(), output.samples.min(numbers.len()));
        let originals = (0..columns).map(|i| test.values(i).collect());
        let grid: Vec<Vec<f32>> = originals.chain(reconstructions.into_iter().take(columns)).collect();
        let path = folder.join(format!("reconstructions-{images:08}.png"));
        grid_png(&path, &grid, shape, columns, 2)?;
        let figures = BTreeMap::from([
            // Values span 2.
            ("PSNR in dB".to_owned(), 10.0 * (4.0 / total(0)).log10()),
            ("root mean square of the latents".to_owned(), total(1).sqrt()),
            ("typical noise of their posterior".to_owned(), (0.5 * total(2)).exp()),
        ]);
        Ok((path, Record::Figures { images, figures }))
    }
}

/// The autoencoder's file.
pub(super) fn export(config: &Config, header: &str, values: &[f32]) -> Result<Vec<u8>> {
    let entries = weights::entries(&config.blank(&Device::flex())?);
    Ok(vipaint_zoo::write_weights(&entries, values, &[(vipaint_zoo::kl_autoencoder::MAGIC_KEY, header.to_owned())])?)
}
