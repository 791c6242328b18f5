//! Completions of pictures whose attributes are known and whose attributes' distribution is declared: whether prompts are
//! obeyed, whether what is visible is kept, and how far what is hidden is from its true conditional distribution.

mod alone;
mod distances;
mod page;
mod reading;
mod task;
mod world;

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::Mask;
use vipaint_core::posterior::Problem;
use vipaint_core::prior::Prior;
use vipaint_core::sampler::Draw;

pub use page::markdown;
pub use reading::Reading;
pub use task::{Hole, Portraits, Question, Task, named};
pub use world::World;

pub use crate::sheet::Page;

use crate::Result;
use crate::masks::{Budget, Contender, bytes};

/// A picture `[c, h, w]` in the prior's value range, with the value of every attribute.
pub struct Portrait {
    /// Its pixels.
    pub pixels: Vec<f32>,
    /// Its attributes, in the world's order.
    pub attributes: Vec<usize>,
}

/// What is compared on.
pub struct Benchmark<'a> {
    /// The prior; it reads text.
    pub prior: &'a Prior,
    /// The declared distribution.
    pub world: &'a World,
    /// What reads attributes off pictures.
    pub reader: &'a Reading,
    /// Held-out pictures.
    pub portraits: &'a [Portrait],
    /// What is asked.
    pub tasks: &'a [Task],
    /// The methods.
    pub contenders: &'a [Contender],
    /// Samples of the prior alone, with which the limit of all methods is shown.
    pub alone: usize,
    /// Cost for each sample, the fit's share included, in forward calls; twice that where guidance calls the network twice.
    pub cost: u64,
    /// Guidance strength with a prompt.
    pub cfg_scale: f64,
    /// Noise standard deviation assumed by the likelihood (the pictures are noiseless).
    pub sigma_y: f64,
    /// The seed of everything.
    pub seed: u64,
}

/// The samples of one method for one portrait of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The task's name.
    pub task: String,
    /// Index of the portrait.
    pub portrait: usize,
    /// The contender's name.
    pub method: String,
    /// The prompt, if there was one.
    pub prompt: Option<String>,
    /// What it tells: pairs of an attribute and its value.
    pub told: Vec<(usize, usize)>,
    /// The attributes read off every completed picture.
    pub read: Vec<Vec<usize>>,
    /// PSNR of each sample's known part as the decoder made it, before known pixels are put back, dB.
    pub known_psnr: Vec<f64>,
    /// Forward calls.
    pub calls: u64,
    /// Vector-Jacobian products.
    pub vjps: u64,
    /// Seconds, with as many portraits side by side as there are threads.
    pub seconds: f64,
    /// Completed pictures as bytes from 0 (the lowest value) to 255, `[samples, c, h, w]`; only those that the page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<u8>,
}

/// What makes a row: the prior alone, or a method with a portrait.
enum Case<'a> {
    Alone((&'static str, usize, usize)),
    Of(&'a Task, usize, &'a Contender),
}

/// What hears of finished rows and is asked whether to go on.
pub struct Watch<'a> {
    /// Hears of every finished row.
    pub done: &'a (dyn Fn(&Row) -> ControlFlow<()> + Sync),
    /// Asked at every step of a method.
    pub tick: &'a (dyn Fn() -> ControlFlow<()> + Sync),
}

impl Benchmark<'_> {
    /// How many rows there are in all.
    pub fn len(&self) -> usize {
        self.cases().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs what is missing in `earlier`, portraits side by side on the threads of the pool, and returns all rows in order. Every
    /// task's first portrait comes before any second one: rows that were kept of a part of the run are those of fewer portraits.
    ///
    /// # Errors
    /// The first error of a method, or [`vipaint_core::Error::Interrupted`].
    pub fn run(&self, earlier: &[Row], watch: &Watch) -> Result<Vec<Row>> {
        let cases = self.cases().into_iter().enumerate().par_bridge();
        let mut rows = cases.map(|(i, case)| Ok((i, self.case(&case, earlier, watch)?))).collect::<Result<Vec<_>>>()?;
        rows.sort_by_key(|(i, _)| *i);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let most = self.tasks.iter().map(|task| task.portraits.len()).max().unwrap_or(0);
        let of =
            (0..most).flat_map(|i| self.tasks.iter().filter_map(move |task| Some((task, *task.portraits.get(i)?))));
        let of = of.flat_map(|(task, portrait)| self.contenders.iter().map(move |c| Case::Of(task, portrait, c)));
        self.alone().into_iter().map(Case::Alone).chain(of).collect()
    }

    /// A row, the earlier one if there is one.
    fn case(&self, case: &Case, earlier: &[Row], watch: &Watch) -> Result<Row> {
        let (task, portrait, method) = match case {
            Case::Alone((task, row, _)) => (*task, *row, &self.prior.name),
            Case::Of(task, portrait, contender) => (task.name.as_str(), *portrait, &contender.name),
        };
        let same = |r: &&Row| r.portrait == portrait && r.task == task && r.method == *method;
        if let Some(row) = earlier.iter().find(same) {
            return Ok(row.clone());
        }
        let row = match case {
            Case::Alone(case) => self.alone_row(*case, watch)?,
            Case::Of(task, portrait, contender) => self.row(task, *portrait, contender, watch)?,
        };
        match (watch.done)(&row) {
            ControlFlow::Break(()) => Err(vipaint_core::Error::Interrupted.into()),
            ControlFlow::Continue(()) => Ok(row),
        }
    }

    fn row(&self, task: &Task, portrait: usize, contender: &Contender, watch: &Watch) -> Result<Row> {
        let prior = self.prior.counting_anew();
        let truth = &self.portraits[portrait];
        let told = task.told(self.world, &truth.attributes, self.seed.wrapping_add(portrait as u64));
        let prompt = (!told.is_empty()).then(|| self.world.prompt(&told));
        let problem = self.problem(prior, &task.hole, &truth.pixels, prompt.as_deref())?;
        let guided = problem.guidance.cfg_scale != 1.0;
        let cost = self.cost * if guided { 2 } else { 1 };
        let budget = Budget { cost: cost * task.samples as u64, samples: task.samples as u64, guided };
        let started = std::time::Instant::now();
        let seed = self.seed.wrapping_add(portrait as u64);
        let draw = Draw { seed, indices: 0..task.samples, batch: BATCH };
        let samples = contender.sampler(&budget)?.sample(&problem, &draw, &mut |_| (watch.tick)())?;
        if samples.interrupted {
            return Err(vipaint_core::Error::Interrupted.into());
        }
        let seconds = started.elapsed().as_secs_f64();
        let images = samples.images.and_then(|i| i.try_into_vec_as::<f32>().ok()).unwrap_or_default();
        let (completed, known_psnr) = complete(&images, &truth.pixels, &task.hole.known, problem.prior.value_range);
        let calls = problem.prior.calls();
        let range = (problem.prior.value_range.0 as f32, problem.prior.value_range.1 as f32);
        let shown = &completed[..completed.len().min(page::SHOWN * truth.pixels.len())];
        let images =
            if task.portraits.first() == Some(&portrait) { bytes(shown, range.0, range.1) } else { Vec::new() };
        Ok(Row {
            task: task.name.clone(),
            portrait,
            method: contender.name.clone(),
            prompt,
            told,
            read: self.reader.read(&completed),
            known_psnr,
            calls: calls.denoiser,
            vjps: calls.vjp,
            seconds,
            images,
        })
    }

    fn problem(&self, prior: Prior, hole: &Hole, truth: &[f32], prompt: Option<&str>) -> Result<Problem> {
        let device = Device::flex();
        let shape @ [c, h, w] = prior.autoencoder.image_shape(prior.shape());
        let y: Vec<f32> = truth.iter().zip(&hole.known).map(|(x, m)| x * m).collect();
        let y = Tensor::from_data(TensorData::new(y, [1, c, h, w]), &device);
        let operator = Arc::new(Mask::new(&hole.known, shape, &device)?);
        let measurement =
            Measurement::new(operator, y, Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y })?;
        let guidance = self.guidance(&prior, prompt)?;
        Ok(Problem::new(prior, measurement, guidance)?)
    }
}

impl Benchmark<'_> {
    /// The first portrait of a task, and what is known of it, as bytes.
    fn given(&self, task: &Task) -> Option<[Vec<u8>; 2]> {
        let truth = &self.portraits[*task.portraits.first()?].pixels;
        let (low, high) = (self.prior.value_range.0 as f32, self.prior.value_range.1 as f32);
        let middle = 0.5 * (low + high);
        let known: Vec<f32> = truth.iter().zip(&task.hole.known).map(|(t, k)| t * k + middle * (1.0 - k)).collect();
        Some([bytes(truth, low, high), bytes(&known, low, high)])
    }
}

/// Samples that go through the network together.
const BATCH: usize = 16;

/// The samples with known pixels as given, and the PSNR of their own known pixels.
fn complete(samples: &[f32], truth: &[f32], known: &[f32], range: (f64, f64)) -> (Vec<f32>, Vec<f64>) {
    let (low, high) = (range.0 as f32, range.1 as f32);
    let count: f64 = known.iter().map(|k| f64::from(*k)).sum();
    let (mut completed, mut psnr) = (Vec::with_capacity(samples.len()), Vec::new());
    for sample in samples.chunks_exact(truth.len()) {
        let mut error = 0.0;
        for ((s, t), k) in sample.iter().zip(truth).zip(known) {
            let s = s.clamp(low, high);
            error += f64::from((s - t).powi(2) * k) / count;
            completed.push(if *k == 1.0 { *t } else { s });
        }
        psnr.push(10.0 * ((range.1 - range.0).powi(2) / error.max(1e-12)).log10());
    }
    (completed, psnr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pixels_are_put_back_and_measured_before() {
        // Two samples of two pixels, the first known: one misses it by 0.2, the other not at all.
        let (completed, psnr) = complete(&[0.7, 3.0, 0.5, -0.25], &[0.5, 0.0], &[1.0, 0.0], (-1.0, 1.0));
        assert_eq!(completed, [0.5, 1.0, 0.5, -0.25]);
        assert!((psnr[0] - 10.0 * (4.0f64 / 0.04).log10()).abs() < 1e-3, "{}", psnr[0]);
        assert!(psnr[1] > 100.0);
    }
}
