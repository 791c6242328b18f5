//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vipaint_nn::layers::weights::Entry;

use crate::adam::State;
use crate::checkpoint::{Checkpoint, write_atomically};
use crate::log::{Log, Record};
use crate::order::Order;
use crate::parallel::{self, Pieces};
use crate::picture::curves_png;
use crate::tasks::{self, Task};
use crate::{Error, Recipe, Result};

/// Steps between lines of the log.
const LOG_EVERY: u64 = 25;

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
        /// Mean loss.
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
    /// A grid of pictures and the curves were drawn.
    Drawn {
        /// The grid's path.
        path: PathBuf,
    },
    /// Held-out figures of the averaged weights.
    HeldOut {
        /// What each is, and its value.
        figures: Vec<(String, f64)>,
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
/// The folder gets `checkpoint.ckpt.safetensors`, `log.jsonl`, `curves.png` and grids of
/// pictures, `samples-<images>.png` or `reconstructions-<images>.png`.
///
/// # Errors
/// [`Error`] says what is wrong with the recipe, the data, the folder or the checkpoint.
pub fn train(recipe: &Recipe, folder: &Path, options: &Options, on: &mut dyn FnMut(Event)) -> Result<Outcome> {
    recipe.validate()?;
    let data = recipe.data.load(recipe.shape())?;
    let task = tasks::task(recipe, &data)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut run = Run::open(recipe, folder, &*task, data.train.len())?;
    on(Event::Started {
        parameters: run.checkpoint.state.weights.len(),
        multiply_adds: task.multiply_adds(),
        images: run.checkpoint.state.images,
    });

    let start = Instant::now();
    let (mut saved, mut drawn) = (Instant::now(), Instant::now());
    let minutes = |m: f64| Duration::from_secs_f64(m * 60.0);
    loop {
        let finished = run.checkpoint.state.images >= recipe.images;
        let stop = options.stop.load(Ordering::Relaxed) || options.stop_after.is_some_and(|t| start.elapsed() >= t);
        // Drawn first: a figure measured then may belong into the file.
        if finished || (!stop && drawn.elapsed() >= minutes(recipe.output.sample_minutes)) {
            run.draw(on)?;
            drawn = Instant::now();
        }
        if finished || stop || saved.elapsed() >= minutes(recipe.output.checkpoint_minutes) {
            run.save(on)?;
            saved = Instant::now();
        }
        if finished || stop {
            let State { images, seconds, .. } = run.checkpoint.state;
            return Ok(Outcome { finished, images, seconds });
        }
        run.step(on)?;
    }
}

/// The file (f16) of the averaged weights of a run.
///
/// # Errors
/// [`Error`] if the run has no checkpoint or a weight leaves the range of f16.
pub fn export(folder: &Path, file: &Path) -> Result<Outcome> {
    let Checkpoint { recipe, header, state } = Checkpoint::load(&checkpoint_path(folder))?;
    write_atomically(file, &tasks::export(&recipe, &header, &state.ema)?)?;
    Ok(Outcome { finished: state.images >= recipe.images, images: state.images, seconds: state.seconds })
}

fn checkpoint_path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.ckpt.safetensors")
}

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    folder: &'a Path,
    task: &'a dyn Task,
    pieces: Pieces,
    checkpoint: Checkpoint,
    log: Log,
    order: Order,
    /// Since the last line of the log: steps, sum of losses, sum of gradient norms, seconds.
    since: (u64, f64, f64, f64),
}

impl<'a> Run<'a> {
    fn open(recipe: &'a Recipe, folder: &'a Path, task: &'a dyn Task, pictures: usize) -> Result<Self> {
        let path = checkpoint_path(folder);
        let (recipe_now, header) = (recipe.clone(), task.header());
        let checkpoint = if path.exists() {
            let old = Checkpoint::load(&path)?;
            old.check(&path, recipe, task.entries().iter().map(Entry::len).sum())?;
            Checkpoint { recipe: recipe_now, header, state: old.state }
        } else {
            let weights = match &recipe.init {
                Some(file) => {
                    let bytes = std::fs::read(file).map_err(Error::io(file))?;
                    task.read(&bytes).map_err(|e| Error::recipe("init", format!("{}: {e}", file.display())))?
                }
                None => task.init()?,
            };
            Checkpoint { recipe: recipe_now, header, state: State::new(weights) }
        };
        let log = Log::open(&folder.join("log.jsonl"), checkpoint.state.images)?;
        let order = Order::new(recipe.seed, pictures);
        let pieces = Pieces::new(recipe.optimizer.pieces)?;
        Ok(Self { recipe, folder, task, pieces, checkpoint, log, order, since: (0, 0.0, 0.0, 0.0) })
    }

    fn step(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let start = Instant::now();
        let optimizer = &self.recipe.optimizer;
        let before = self.checkpoint.state.images;
        let numbers = before..before + optimizer.batch as u64;
        let shown: Vec<(u64, usize)> = numbers.map(|n| (n, self.order.picture(n))).collect();
        let size = optimizer.batch / optimizer.pieces;
        let (task, weights) = (self.task, &self.checkpoint.state.weights);
        let results = self.pieces.run(|piece| {
            task.loss_and_gradient(&shown[piece * size..(piece + 1) * size], weights, 1.0 / optimizer.pieces as f64)
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

    fn save(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let path = checkpoint_path(self.folder);
        self.checkpoint.header = self.task.header();
        self.checkpoint.save(&path)?;
        on(Event::Saved { path });
        Ok(())
    }

    /// Pictures, held-out figures and curves of the averaged weights.
    fn draw(&mut self, on: &mut dyn FnMut(Event)) -> Result<()> {
        let state = &self.checkpoint.state;
        let (path, record) = self.task.draw(&state.ema, self.folder, state.images)?;
        let figures = record.figures();
        self.log.push(record)?;
        curves_png(&self.folder.join("curves.png"), &self.log.records)?;
        on(Event::Drawn { path });
        on(Event::HeldOut { figures });
        Ok(())
    }
}
