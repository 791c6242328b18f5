//! A text-conditioned latent prior: denoiser and text encoder, over a trained autoencoder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand::seq::IndexedRandom;
use vipaint_core::Noise;
use vipaint_core::noise::stream;
use vipaint_core::prior::{Autoencoder, Condition, Guidance};
use vipaint_nn::layers::weights::{self, Entry};
use vipaint_zoo::kl_autoencoder::{self, KlAutoencoder};
use vipaint_zoo::text_unet::{self, Config, Header, TextUNet};
use vipaint_zoo::{EdmScales, Parameterization};

use super::{Shown, Task, pictures, split};
use crate::data::{DataSet, Images};
use crate::heldout::{self, NoiseLevelError};
use crate::log::Record;
use crate::objective::Loss;
use crate::parallel::Pieces;
use crate::picture::grid_png;
use crate::{Error, Recipe, Result, guided_heun};

/// Purpose number of noise, caption choice and caption dropout.
const EXAMPLE: u64 = 0x0a04;
/// Purpose number of the noise of the held-out errors.
const HELD_OUT: u64 = 0x4e1e;
/// Levels of the sampler that draws the grid.
const GRID_STEPS: usize = 18;
/// Strengths of guidance on the grid, a row each; the row before them is unconditional.
const GRID_SCALES: [f64; 2] = [1.0, 3.0];
/// Pictures encoded at once.
const BATCH: usize = 25;

/// Latents of mean 0 and standard deviation 1, and the tokens of their captions.
struct Latents {
    values: Vec<Vec<f32>>,
    texts: Vec<Vec<Vec<usize>>>,
}

pub(super) struct TextPrior<'a> {
    recipe: &'a Recipe,
    data: &'a DataSet,
    network: TextUNet,
    loss: Loss,
    header: Header,
    /// The autoencoder's weights.
    autoencoder: Vec<f32>,
    train: Latents,
    test: Latents,
    /// See `Header::decoded_error`; measured whenever pictures are drawn.
    decoded_error: Mutex<Vec<(f64, f64)>>,
}

impl<'a> TextPrior<'a> {
    pub(super) fn new(recipe: &'a Recipe, config: &Config, autoencoder: &Path, data: &'a DataSet) -> Result<Self> {
        if data.train.captions.is_empty() {
            return Err(Error::recipe("data.kind", "must be captioned for a prior that reads text"));
        }
        let loss = recipe.objective.loss()?;
        let Parameterization::Edm { sigma_data } = loss.parameterization else {
            return Err(Error::recipe("objective.kind", "must be edm for this family"));
        };
        let mut config = config.clone();
        if config.text.words.is_empty() {
            let captions = data.train.captions.iter().flatten();
            let mut words: Vec<String> = captions.flat_map(|c| vipaint_zoo::text::words(c)).collect();
            words.sort();
            words.dedup();
            config.text.words = words;
        }
        let network = config.blank(&Device::flex())?;

        let bytes = std::fs::read(autoencoder).map_err(Error::io(autoencoder))?;
        let (ae_config, ae_values) = kl_autoencoder::load_bytes(&bytes)?;
        let mut encoder = weights::scatter(ae_config.blank(&Device::flex())?, &ae_values, &Device::flex());
        encoder.pack();
        let pieces = Pieces::new(recipe.optimizer.pieces)?;
        let (mut train, mut test) = (encode(&encoder, &data.train, &pieces), encode(&encoder, &data.test, &pieces));
        let [mean, std] = channel_moments(&train, ae_config.latent_channels);
        for latent in train.iter_mut().chain(&mut test) {
            let size = latent.len() / mean.len();
            for (plane, (mean, std)) in latent.chunks_exact_mut(size).zip(mean.iter().zip(&std)) {
                for v in plane.iter_mut() {
                    *v = ((f64::from(*v) - mean) / std) as f32;
                }
            }
        }
        let tokens = |images: &Images| {
            let of = |captions: &Vec<String>| captions.iter().map(|c| config.text.tokenize(c).ids).collect();
            images.captions.iter().map(of).collect()
        };
        let train = Latents { values: train, texts: tokens(&data.train) };
        let test = Latents { values: test, texts: tokens(&data.test) };
        let header =
            Header::new(recipe.name.clone(), config, ae_config, [mean, std], sigma_data, loss.schedule.clone());
        // The same checks as for a file: the shapes must fit.
        let header = Header::from_json(&header.to_json())?;
        Ok(Self {
            recipe,
            data,
            network,
            loss,
            header,
            autoencoder: ae_values,
            train,
            test,
            decoded_error: Mutex::default(),
        })
    }

    fn shape(&self) -> [usize; 3] {
        self.header.autoencoder.latent_shape()
    }

    fn batch(&self, values: Vec<f32>, device: &Device) -> Tensor<4> {
        let [c, h, w] = self.shape();
        let count = values.len() / (c * h * w);
        Tensor::from_data(TensorData::new(values, [count, c, h, w]), device)
    }

    /// Mean squared errors on held-out pictures, given a caption of each: of `x0_hat`, and of the pictures made of it.
    fn errors(&self, network: &TextUNet, decoder: &dyn Autoencoder) -> Result<[Vec<NoiseLevelError>; 2]> {
        let count = self.recipe.output.held_out.min(self.test.values.len());
        let numbers: Vec<usize> = (0..count).collect();
        let jobs: Vec<(f64, &[usize])> =
            heldout::RATIOS.iter().flat_map(|sigma| numbers.chunks(BATCH).map(|chunk| (*sigma, chunk))).collect();
        let sums = Pieces::new(self.recipe.optimizer.pieces)?.map(&jobs, |(sigma, chunk)| {
            let device = Device::flex();
            let scales = EdmScales::new(*sigma, self.header.sigma_data);
            let x0 = self.batch(chunk.iter().flat_map(|i| self.test.values[*i].clone()).collect(), &device);
            let eps = Noise::new(self.recipe.seed, HELD_OUT, chunk.iter().copied()).normal(self.shape(), &device);
            let x = x0.clone() + eps * *sigma;
            let texts: Vec<Vec<usize>> = chunk.iter().map(|i| self.test.texts[*i][0].clone()).collect();
            let raw = network.forward(x.clone() * scales.input, &vec![scales.noise; chunk.len()], &texts);
            let x0_hat = x * scales.skip + raw * scales.out;
            let truth = pictures(&self.data.test, chunk.iter().copied(), &device);
            let errors = [x0_hat.clone() - x0, decoder.decode(x0_hat) - truth];
            errors.map(|e| f64::from(e.square().mean().into_scalar::<f32>()) * chunk.len() as f64)
        });
        Ok([0, 1].map(|which| {
            let of = |sigma: f64| jobs.iter().zip(&sums).filter(move |(j, _)| j.0 == sigma).map(|(_, s)| s[which]);
            let mean = |sigma: f64| of(sigma).sum::<f64>() / count as f64;
            heldout::RATIOS.into_iter().map(|sigma| NoiseLevelError { sigma, mse: mean(sigma) }).collect()
        }))
    }
}

impl Task for TextPrior<'_> {
    fn entries(&self) -> Vec<Entry> {
        weights::entries(&self.network)
    }

    fn init(&self) -> Result<Vec<f32>> {
        Ok(weights::gather(&self.header.network.init(&Device::flex(), self.recipe.seed)?))
    }

    /// Text encoder and denoiser; the file's autoencoder is left there.
    fn read(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let header = text_unet::header(bytes)?;
        if header.network != self.header.network || header.autoencoder != self.header.autoencoder {
            let problem = "network, vocabulary or autoencoder differ from the recipe's";
            return Err(Error::Zoo(vipaint_zoo::Error::Header(problem.into())));
        }
        let mut values = vipaint_zoo::read_weights(bytes, &header.entries()?)?;
        values.truncate(self.entries().iter().map(Entry::len).sum());
        Ok(values)
    }

    fn multiply_adds(&self) -> u64 {
        self.header.network.multiply_adds()
    }

    fn header(&self) -> String {
        let decoded_error = self.decoded_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Header { decoded_error, ..self.header.clone() }.to_json()
    }

    fn loss_and_gradient(&self, shown: &[Shown], values: &[f32], share: f64) -> (f64, Vec<f32>) {
        let (mut input, mut target, mut time, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let nothing = self.header.network.text.tokenize("").ids;
        for (number, picture) in shown {
            let mut rng = stream(self.recipe.seed, EXAMPLE, *number);
            let hidden = rng.random::<f64>() < self.recipe.optimizer.class_dropout;
            let text = self.train.texts[*picture].choose(&mut rng).filter(|_| !hidden);
            texts.push(text.unwrap_or(&nothing).clone());
            let example = self.loss.example(&self.train.values[*picture], &mut rng);
            input.extend(example.input);
            target.extend(example.target);
            time.push(example.time);
        }
        let device = Device::flex().autodiff();
        let network = weights::scatter(self.network.clone(), values, &device);
        let raw = network.forward(self.batch(input, &device), &time, &texts);
        let loss = (raw - self.batch(target, &device)).square().mean() * share;
        let value = loss.clone().into_scalar::<f32>();
        (f64::from(value), weights::gradients(&network, &mut loss.backward()))
    }

    /// Held-out pictures, unconditional samples, and samples from the captions of those pictures, guided more and more.
    fn draw(&self, values: &[f32], folder: &Path, images: u64) -> Result<(PathBuf, Record)> {
        let prior = self.header.prior(&[values, &self.autoencoder].concat())?;
        let (columns, seed) = (self.recipe.output.samples.min(self.data.test.len()), self.recipe.seed);
        let mut jobs = vec![(usize::MAX, Guidance::default())];
        for cfg_scale in GRID_SCALES {
            for i in 0..columns {
                let read = prior.text.as_ref().map(|text| text.read(&self.data.test.captions[i][0])).transpose()?;
                let context = read.map(|read| Arc::new(read.context));
                jobs.push((i, Guidance::new(Condition { class: None, context }, cfg_scale)));
            }
        }
        let samples = Pieces::new(self.recipe.optimizer.pieces)?.map(&jobs, |(number, guidance)| {
            let numbers: Vec<usize> = if *number == usize::MAX { (0..columns).collect() } else { vec![*number] };
            let z = guided_heun(&prior, guidance, GRID_STEPS, seed, &numbers)?;
            Ok(split(prior.autoencoder.decode(z)))
        });
        let samples = samples.into_iter().collect::<Result<Vec<_>>>()?;
        let mut grid: Vec<Vec<f32>> = (0..columns).map(|i| self.data.test.values(i).collect()).collect();
        grid.extend(samples.into_iter().flatten());
        let path = folder.join(format!("samples-{images:08}.png"));
        grid_png(&path, &grid, self.recipe.shape(), columns, 2)?;
        let network = weights::scatter(self.network.clone(), values, &Device::flex());
        let [errors, decoded] = self.errors(&network, &*prior.autoencoder)?;
        *self.decoded_error.lock().unwrap_or_else(PoisonError::into_inner) =
            decoded.iter().map(|e| (e.sigma, e.mse.sqrt())).collect();
        Ok((path, Record::HeldOut { images, errors }))
    }
}

/// The prior's file; its autoencoder is read again.
pub(super) fn export(autoencoder: &Path, header: &str, values: &[f32]) -> Result<Vec<u8>> {
    let bytes = std::fs::read(autoencoder).map_err(Error::io(autoencoder))?;
    let (config, autoencoder) = kl_autoencoder::load_bytes(&bytes)?;
    let header = Header::from_json(header)?;
    if header.autoencoder != config {
        return Err(Error::recipe("network.autoencoder", "is not the one that training started with"));
    }
    Ok(header.encode(&[values, &autoencoder].concat())?)
}

/// Means of the latents of all pictures.
fn encode(encoder: &KlAutoencoder, images: &Images, pieces: &Pieces) -> Vec<Vec<f32>> {
    let numbers: Vec<usize> = (0..images.len()).collect();
    let chunks: Vec<&[usize]> = numbers.chunks(BATCH).collect();
    let of = |chunk: &&[usize]| split(encoder.posterior(pictures(images, chunk.iter().copied(), &Device::flex())).0);
    pieces.map(&chunks, of).into_iter().flatten().collect()
}

/// Mean and standard deviation of each channel.
fn channel_moments(latents: &[Vec<f32>], channels: usize) -> [Vec<f64>; 2] {
    let (mut sum, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    let mut count = 0usize;
    for latent in latents {
        let size = latent.len() / channels;
        count += size;
        for (c, plane) in latent.chunks_exact(size).enumerate() {
            sum[c] += plane.iter().map(|v| f64::from(*v)).sum::<f64>();
            squares[c] += plane.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        }
    }
    let mean: Vec<f64> = sum.iter().map(|s| s / count as f64).collect();
    let std = squares.iter().zip(&mean).map(|(q, m)| (q / count as f64 - m * m).max(1e-12).sqrt()).collect();
    [mean, std]
}
