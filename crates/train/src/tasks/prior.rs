//! A diffusion prior in pixel space.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use vipaint_core::noise::stream;
use vipaint_nn::layers::weights::{self, Entry};
use vipaint_zoo::unet::{self, UNet};
use vipaint_zoo::{Family, HEADER_FORMAT, Header};

use super::{Shown, Task};
use crate::data::{DataSet, Images};
use crate::log::Record;
use crate::objective::Loss;
use crate::picture::grid_png;
use crate::{Error, Recipe, Result, class_samples, held_out_errors};

/// Purpose number of noise and class dropout.
const EXAMPLE: u64 = 0x0a02;
/// Levels of the sampler that draws the grid.
const GRID_STEPS: usize = 18;

pub(super) struct PixelPrior<'a> {
    recipe: &'a Recipe,
    config: &'a unet::Config,
    data: &'a DataSet,
    network: UNet,
    loss: Loss,
    header: Header,
}

impl<'a> PixelPrior<'a> {
    pub(super) fn new(recipe: &'a Recipe, config: &'a unet::Config, data: &'a DataSet) -> Result<Self> {
        if config.classes != 0 && config.classes != data.classes.len() {
            return Err(Error::recipe(
                "network.classes",
                format!("must be 0 or {}, as many as the data have", data.classes.len()),
            ));
        }
        let loss = recipe.objective.loss()?;
        let header = Header {
            format: HEADER_FORMAT,
            name: recipe.name.clone(),
            network: Family::Unet(config.clone()),
            schedule: loss.schedule.clone(),
            parameterization: loss.parameterization,
            data_std: data.train.moments().1,
            classes: if config.classes == 0 { Vec::new() } else { data.classes.clone() },
            value_range: (-1.0, 1.0),
            autoencoder: None,
        };
        Ok(Self { recipe, config, data, network: config.blank(&Device::flex())?, loss, header })
    }
}

impl Task for PixelPrior<'_> {
    fn entries(&self) -> Vec<Entry> {
        weights::entries(&self.network)
    }

    fn init(&self) -> Result<Vec<f32>> {
        Ok(weights::gather(&self.config.init(&Device::flex(), self.recipe.seed)?))
    }

    fn multiply_adds(&self) -> u64 {
        self.config.multiply_adds()
    }

    fn header(&self) -> String {
        self.header.to_json()
    }

    fn loss_and_gradient(&self, shown: &[Shown], weights: &[f32], share: f64) -> (f64, Vec<f32>) {
        Batch::new(self.recipe, self.config.classes, &self.loss, &self.data.train, shown).loss_and_gradient(
            self.network.clone(),
            weights,
            share,
        )
    }

    fn draw(&self, weights: &[f32], folder: &Path, images: u64) -> Result<(PathBuf, Record)> {
        let network = weights::scatter(self.network.clone(), weights, &Device::flex());
        let prior = vipaint_zoo::prior(self.header.clone(), network);
        let (threads, seed, output) = (self.recipe.optimizer.pieces, self.recipe.seed, &self.recipe.output);
        let samples = class_samples(&prior, output.samples, GRID_STEPS, seed, threads)?;
        let path = folder.join(format!("samples-{images:08}.png"));
        grid_png(&path, &samples, self.recipe.shape(), output.samples, 2)?;
        let errors = held_out_errors(&prior, &self.data.test, output.held_out, seed, threads)?;
        Ok((path, Record::HeldOut { images, errors }))
    }
}

/// The prior's file.
pub(super) fn export(config: &unet::Config, header: &str, weights: &[f32]) -> Result<Vec<u8>> {
    let entries = weights::entries(&config.blank(&Device::flex())?);
    Ok(vipaint_zoo::encode(&Header::from_json(header)?, &entries, weights)?)
}

/// A piece of a batch.
struct Batch {
    shape: [usize; 4],
    input: Vec<f32>,
    target: Vec<f32>,
    time: Vec<f64>,
    classes: Vec<Option<usize>>,
}

impl Batch {
    /// With noise and class dropout keyed by (seed, number).
    fn new(recipe: &Recipe, classes: usize, loss: &Loss, data: &Images, shown: &[Shown]) -> Self {
        let [c, h, w] = data.shape;
        let shape = [shown.len(), c, h, w];
        let mut batch = Self { shape, input: Vec::new(), target: Vec::new(), time: Vec::new(), classes: Vec::new() };
        for (number, picture) in shown {
            let mut rng = stream(recipe.seed, EXAMPLE, *number);
            let hidden = rng.random::<f64>() < recipe.optimizer.class_dropout || classes == 0;
            let x0: Vec<f32> = data.values(*picture).collect();
            let example = loss.example(&x0, &mut rng);
            batch.input.extend(example.input);
            batch.target.extend(example.target);
            batch.time.push(example.time);
            batch.classes.push((!hidden).then(|| data.labels[*picture]));
        }
        batch
    }

    /// `share` times the mean squared error, and its gradient.
    fn loss_and_gradient(self, network: UNet, values: &[f32], share: f64) -> (f64, Vec<f32>) {
        let device = Device::flex().autodiff();
        let network = weights::scatter(network, values, &device);
        let input = Tensor::<4>::from_data(TensorData::new(self.input, self.shape), &device);
        let target = Tensor::<4>::from_data(TensorData::new(self.target, self.shape), &device);
        let raw = network.forward(input, &self.time, &self.classes);
        let loss = (raw - target).square().mean() * share;
        let value = loss.clone().into_scalar::<f32>();
        (f64::from(value), weights::gradients(&network, &mut loss.backward()))
    }
}
