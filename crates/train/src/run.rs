//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use vipaint_core::noise::stream;
use vipaint_nn::layers::weights;
use vipaint_zoo::unet::UNet;
use vipaint_zoo::{Family, HEADER_FORMAT, Header};

use crate::adam::State;
use crate::checkpoint::{Checkpoint, write_atomically};
use crate::data::{DataSet, Images};
use crate::log::{Log, Record};
use crate::objective::Loss;
use crate::order::Order;
use crate::parallel::{self, Pieces};
use crate::picture::{curves_png, grid_png};
use crate::{Error, NoiseLevelError, Recipe, Result, class_samples, held_out_errors};

/// Purpose number of noise and class dropout.
const EXAMPLE: u64 = 0x0a02;
/// Steps between lines of the log.
const LOG_EVERY: u64 = 25;
/// Levels of the sampler that draws the grid.
const GRID_STEPS: usize = 18;

/// What may end a run early.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Set to true (by a signal handler, say) to finish the step, save and return.
    pub stop: Arc<AtomicBool>,
    /// Time after which to finish the step, save and return.
    pub stop_after: Option<Duration>,
}

/// What happens on the way.
#[derive(Debug, Clone)]
pub enum Event {
    /// Training starts, or goes on.
    Started {
        /// Number of weights.
        parameters: usize,
        /// Multiply-adds of a forward call on one picture.
        multiply_adds: u64,
        /// Pictures seen before.
        images: u64,
    },
    /// Some steps were made; averages over them.
    Step {
        /// Pictures seen.
        images: u64,
        /// Pictures of the whole run.
        of: u64,
        /// Mean squared error of the raw output.
        loss: f64,
        /// Learning rate.
        lr: f64,
        /// Speed.
        images_per_second: f64,
    },
    /// A checkpoint was written.
    Saved {
        /// Its path.
        path: PathBuf,
    },
    /// A grid of samples and the curves were drawn.
    Drawn {
        /// The grid's path.
        path: PathBuf,
    },
    /// Held-out errors of the averaged weights.
    HeldOut {
        /// By noise level.
        errors: Vec<NoiseLevelError>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Whether all pictures of the recipe were shown; if not, the same call goes on from here.
    pub finished: bool,
    /// Pictures seen.
    pub images: u64,
    /// Seconds of training, all sessions together.
    pub seconds: f64,
}

/// Trains as the recipe says, in `folder`, from its checkpoint if it has one.
///
/// The folder gets `checkpoint.ckpt.safetensors`, `log.jsonl`, `curves.png` and `samples-<images>.png`.
///
/// # Errors
/// [`Error`] says what is wrong with the recipe, the data, the folder or the checkpoint.
pub fn train(recipe: &Recipe, folder: &Path, options: &Options, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
    recipe.validate()?;
    let data = recipe.data.load(recipe.shape())?;
    if recipe.network.classes != 0 && recipe.network.classes != data.classes.len() {
        return Err(Error::recipe(
            "network.classes",
            format!("must be 0 or {}, as many as the data have", data.classes.len()),
        ));
    }
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut run = Run::open(recipe, folder, &data)?;
    on(Event::Started {
        parameters: run.checkpoint.state.weights.len(),
        multiply_adds: recipe.network.multiply_adds(),
        images: run.checkpoint.state.images,
    });

    let start = Instant::now();
    let (mut saved, mut drawn) = (Instant::now(), Instant::now());
    let minutes = |m: f64| Duration::from_secs_f64(m * 60.0);
    loop {
        let finished = run.checkpoint.state.images >= recipe.images;
        let stop = options.stop.load(Ordering::Relaxed) || options.stop_after.is_some_and(|t| start.elapsed() >= t);
        if finished || stop || saved.elapsed() >= minutes(recipe.output.checkpoint_minutes) {
            run.save(on)?;
            saved = Instant::now();
        }
        if finished || (!stop && drawn.elapsed() >= minutes(recipe.output.sample_minutes)) {
            run.draw(on)?;
            drawn = Instant::now();
        }
        if finished || stop {
            let State { images, seconds, .. } = run.checkpoint.state;
            return Ok(Outcome { finished, images, seconds });
        }
        run.step(on)?;
    }
}

/// A prior file (f16) of the averaged weights of a run.
///
/// # Errors
/// [`Error`] if the run has no checkpoint or a weight leaves the range of f16.
pub fn export(folder: &Path, file: &Path) -> Result<Outcome> {
    let Checkpoint { recipe, header, state } = Checkpoint::load(&checkpoint_path(folder))?;
    let entries = weights::entries(&recipe.network.blank(&Device::flex())?);
    let count: usize = entries.iter().map(weights::Entry::len).sum();
    if count != state.ema.len() {
        let problem = format!("holds {} weights, its network has {count}", state.ema.len());
        return Err(Error::Checkpoint { path: checkpoint_path(folder), problem });
    }
    write_atomically(file, &vipaint_zoo::encode(&header, &entries, &state.ema)?)?;
    Ok(Outcome { finished: state.images >= recipe.images, images: state.images, seconds: state.seconds })
}

fn checkpoint_path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.ckpt.safetensors")
}

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    folder: &'a Path,
    data: &'a DataSet,
    network: UNet,
    loss: Loss,
    pieces: Pieces,
    checkpoint: Checkpoint,
    log: Log,
    order: Order,
    /// Since the last line of the log: steps, sum of losses, sum of gradient norms, seconds.
    since: (u64, f64, f64, f64),
}

impl<'a> Run<'a> {
    fn open(recipe: &'a Recipe, folder: &'a Path, data: &'a DataSet) -> Result<Self> {
        let network = recipe.network.blank(&Device::flex())?;
        let count: usize = weights::entries(&network).iter().map(weights::Entry::len).sum();
        let path = checkpoint_path(folder);
        let checkpoint = if path.exists() {
            let mut old = Checkpoint::load(&path)?;
            old.check(&path, recipe, count)?;
            old.recipe = recipe.clone();
            old.header = header(recipe, data);
            old
        } else {
            let weights = weights::gather(&recipe.network.init(&Device::flex(), recipe.seed)?);
            Checkpoint { recipe: recipe.clone(), header: header(recipe, data), state: State::new(weights) }
        };
        let log = Log::open(&folder.join("log.jsonl"), checkpoint.state.images)?;
        let order = Order::new(recipe.seed, data.train.len());
        let pieces = Pieces::new(recipe.optimizer.pieces);
        let loss = recipe.objective.loss();
        Ok(Self { recipe, folder, data, network, loss, pieces, checkpoint, log, order, since: (0, 0.0, 0.0, 0.0) })
    }

    fn step(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let start = Instant::now();
        let optimizer = &self.recipe.optimizer;
        let before = self.checkpoint.state.images;
        let numbers: Vec<u64> = (before..before + optimizer.batch as u64).collect();
        let pictures: Vec<usize> = numbers.iter().map(|n| self.order.picture(*n)).collect();
        let size = optimizer.batch / optimizer.pieces;

        let weights = &self.checkpoint.state.weights;
        let (network, loss, data, recipe) = (&self.network, &self.loss, &self.data.train, self.recipe);
        let results = self.pieces.run(|piece| {
            let mine = piece * size..(piece + 1) * size;
            let batch = Batch::new(recipe, loss, data, &numbers[mine.clone()], &pictures[mine]);
            batch.loss_and_gradient(network.clone(), weights, 1.0 / optimizer.pieces as f64)
        });
        let (loss, gradient) = parallel::sum(results);
        if !loss.is_finite() {
            return Err(Error::Diverged { images: before });
        }
        let lr = self.recipe.lr(before);
        let norm = self.checkpoint.state.step(&gradient, lr, optimizer);
        let seconds = start.elapsed().as_secs_f64();
        self.checkpoint.state.seconds += seconds;
        let (n, losses, norms, time) = self.since;
        self.since = (n + 1, losses + loss, norms + norm, time + seconds);
        if self.since.0 >= LOG_EVERY { self.report(lr, on) } else { Ok(()) }
    }

    fn report(&mut self, lr: f64, on: &mut dyn FnMut(Event)) -> Result<()> {
        let (n, losses, norms, time) = std::mem::take(&mut self.since);
        let State { images, seconds, .. } = self.checkpoint.state;
        let count = n as f64;
        let (loss, gradient_norm) = (losses / count, norms / count);
        let images_per_second = count * self.recipe.optimizer.batch as f64 / time;
        self.log.push(Record::Step { images, loss, lr, gradient_norm, images_per_second, seconds })?;
        on(Event::Step { images, of: self.recipe.images, loss, lr, images_per_second });
        Ok(())
    }

    fn save(&self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let path = checkpoint_path(self.folder);
        self.checkpoint.save(&path)?;
        on(Event::Saved { path });
        Ok(())
    }

    /// Sample grid, held-out errors and curves of the averaged weights.
    fn draw(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let state = &self.checkpoint.state;
        let network = weights::scatter(self.network.clone(), &state.ema, &Device::flex());
        let prior = vipaint_zoo::prior(self.checkpoint.header.clone(), network);
        let threads = self.recipe.optimizer.pieces;
        let per_class = self.recipe.output.samples_per_class;

        let samples = class_samples(&prior, per_class, GRID_STEPS, self.recipe.seed, threads)?;
        let path = self.folder.join(format!("samples-{:08}.png", state.images));
        grid_png(&path, &samples, self.recipe.shape(), per_class, 2)?;

        let errors = held_out_errors(&prior, &self.data.test, self.recipe.output.held_out, self.recipe.seed, threads)?;
        self.log.push(Record::HeldOut { images: state.images, errors: errors.clone() })?;
        curves_png(&self.folder.join("curves.png"), &self.log.records)?;
        on(Event::Drawn { path });
        on(Event::HeldOut { errors });
        Ok(())
    }
}

fn header(recipe: &Recipe, data: &DataSet) -> Header {
    let classes = if recipe.network.classes == 0 { Vec::new() } else { data.classes.clone() };
    Header {
        format: HEADER_FORMAT,
        name: recipe.name.clone(),
        network: Family::Unet(recipe.network.clone()),
        schedule: recipe.objective.schedule(),
        parameterization: recipe.objective.parameterization(),
        data_std: data.train.moments().1,
        classes,
        value_range: (-1.0, 1.0),
        autoencoder: None,
    }
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
    /// Pictures shown as `numbers`, with noise and class dropout keyed by (seed, number).
    fn new(recipe: &Recipe, loss: &Loss, data: &Images, numbers: &[u64], pictures: &[usize]) -> Self {
        let [c, h, w] = data.shape;
        let shape = [numbers.len(), c, h, w];
        let mut batch = Self { shape, input: Vec::new(), target: Vec::new(), time: Vec::new(), classes: Vec::new() };
        for (number, picture) in numbers.iter().zip(pictures) {
            let mut rng = stream(recipe.seed, EXAMPLE, *number);
            let hidden = rng.random::<f64>() < recipe.optimizer.class_dropout || recipe.network.classes == 0;
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
