//! An attribute reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData, activation};
use vipaint_core::Noise;
use vipaint_eval::reader::{Attribute, Config, Network, Reader};
use vipaint_nn::layers::Init;
use vipaint_nn::layers::weights::{self, Entry};

use super::{Shown, Task, pictures};
use crate::data::DataSet;
use crate::log::Record;
use crate::picture::grid_png;
use crate::{Error, Objective, Recipe, Result};

/// Purpose number of the noise on the pictures.
const AUGMENT: u64 = 0x0c02;

pub(super) struct Reading<'a> {
    recipe: &'a Recipe,
    data: &'a DataSet,
    config: Config,
    network: Network,
    noise: f64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(recipe: &'a Recipe, config: &Config, data: &'a DataSet) -> Result<Self> {
        let Objective::Attributes { noise } = recipe.objective else {
            return Err(Error::recipe("objective.kind", "must be attributes for a reader"));
        };
        if data.attributes.is_empty() {
            return Err(Error::recipe("data.kind", "must be captioned for a reader of attributes"));
        }
        let mut config = config.clone();
        let known = data.attributes.iter().map(|a| Attribute { name: a.name.clone(), values: a.values.clone() });
        config.attributes = known.collect();
        let network = config.build(&mut Init::blank(&Device::flex()))?;
        Ok(Self { recipe, data, config, network, noise })
    }
}

impl Task for Reading<'_> {
    fn entries(&self) -> Vec<Entry> {
        weights::entries(&self.network)
    }

    fn init(&self) -> Result<Vec<f32>> {
        Ok(weights::gather(&self.config.build(&mut Init::seeded(&Device::flex(), self.recipe.seed))?))
    }

    fn multiply_adds(&self) -> u64 {
        self.config.multiply_adds()
    }

    fn header(&self) -> String {
        self.config.to_json()
    }

    /// Cross-entropy, added up over the attributes.
    fn loss_and_gradient(&self, shown: &[Shown], values: &[f32], share: f64) -> (f64, Vec<f32>) {
        let device = Device::flex().autodiff();
        let network = weights::scatter(self.network.clone(), values, &device);
        let x = pictures(&self.data.train, shown.iter().map(|s| s.1), &device);
        let mut noise = Noise::new(self.recipe.seed, AUGMENT, shown.iter().map(|s| s.0 as usize));
        let x = x + noise.normal(self.config.shape(), &device) * self.noise;
        let logits = network.forward(x);
        let mut first = 0;
        let mut loss = Tensor::<1>::zeros([1], &device);
        for (i, attribute) in self.config.attributes.iter().enumerate() {
            let count = attribute.values.len();
            let mut hot = vec![0f32; shown.len() * count];
            for (row, (_, picture)) in hot.chunks_exact_mut(count).zip(shown) {
                row[self.data.train.attributes[*picture][i]] = 1.0;
            }
            let hot = Tensor::<2>::from_data(TensorData::new(hot, [shown.len(), count]), &device);
            let log = activation::log_softmax(logits.clone().narrow(1, first, count), 1);
            loss = loss - (log * hot).sum() * (share / shown.len() as f64);
            first += count;
        }
        let value = loss.clone().into_scalar::<f32>();
        (f64::from(value), weights::gradients(&network, &mut loss.backward()))
    }

    /// The held-out pictures that were misread, as many as fit on a row, and the share read right of each attribute.
    fn draw(&self, values: &[f32], folder: &Path, images: u64) -> Result<(PathBuf, Record)> {
        let reader = Reader::new(self.config.clone(), values)?;
        let (test, output) = (&self.data.test, &self.recipe.output);
        let count = output.held_out.min(test.len());
        let all: Vec<f32> = (0..count).flat_map(|i| test.values(i).collect::<Vec<f32>>()).collect();
        let read = reader.read(&all);
        let right = |i: usize| read.iter().zip(&test.attributes).filter(|(r, t)| r[i] == t[i]).count();
        let attributes = self.config.attributes.iter().enumerate();
        let figures: BTreeMap<String, f64> = attributes
            .map(|(i, a)| (format!("share read right, {}", a.name), right(i) as f64 / count as f64))
            .collect();
        let wrong = (0..count).filter(|i| read[*i] != test.attributes[*i]).take(output.samples);
        let wrong: Vec<Vec<f32>> = wrong.map(|i| test.values(i).collect()).collect();
        let path = folder.join(format!("misread-{images:08}.png"));
        grid_png(&path, &wrong, self.config.shape(), output.samples, 2)?;
        Ok((path, Record::Figures { images, figures }))
    }
}

/// The reader's file.
pub(super) fn export(header: &str, values: &[f32]) -> Result<Vec<u8>> {
    let fail = |e: serde_json::Error| Error::Zoo(vipaint_zoo::Error::Header(e.to_string()));
    let config: Config = serde_json::from_str(header).map_err(fail)?;
    Ok(Reader::to_bytes(&config, values)?)
}
