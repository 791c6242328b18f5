//! The mixture benchmark: how far methods' samples are from samples of the exact posterior, at equal cost.

mod budget;
mod distance;
mod page;
mod world;

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vipaint_core::sampler::Draw;

pub use budget::{Budget, Entry, PRESETS, Preset, REFERENCE};
pub use distance::{Projected, Slices};
pub use page::markdown;
pub use world::World;

use crate::Result;
use crate::stats::Mean;

/// Directions of the distance.
const SLICES: usize = 256;

/// What is compared on.
pub struct Benchmark<'a> {
    /// Dimensions of pictures and numbers of measurements: a cell for each pair.
    pub cells: &'a [(usize, usize)],
    /// Random problems in each cell.
    pub problems: usize,
    /// The methods.
    pub entries: &'a [Entry],
    /// Samples for each problem.
    pub samples: usize,
    /// Cost of each sample in forward calls.
    pub cost: u64,
    /// The seed of everything.
    pub seed: u64,
}

/// One method on one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Dimension of pictures.
    pub dx: usize,
    /// Measurements.
    pub dy: usize,
    /// Index of the problem.
    pub problem: usize,
    /// The entry; `floor` is a second set of exact samples, `prior` samples of the prior.
    pub method: String,
    /// Distance to exact samples of the posterior.
    pub distance: f64,
    /// Forward calls a sample, all that samples share included.
    pub calls: f64,
    /// Vector-Jacobian products a sample.
    pub vjps: f64,
    /// Seconds, with as many problems side by side as there are threads.
    pub seconds: f64,
}

/// A row of the table: a method in a cell, over all problems.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The entry, see [`Outcome::method`].
    pub method: String,
    /// Dimension of pictures.
    pub dx: usize,
    /// Measurements.
    pub dy: usize,
    /// Mean distance to exact samples of the posterior.
    pub mean: f64,
    /// Half the width of its 95 % interval.
    pub ci: f64,
    /// Median distance.
    pub median: f64,
    /// Forward calls a sample, all that samples share included.
    pub calls: f64,
    /// Vector-Jacobian products a sample.
    pub vjps: f64,
    /// Cost a sample: forward calls and twice the products.
    pub cost: f64,
    /// Seconds a problem.
    pub seconds: f64,
    /// The distance on each problem.
    pub distances: Vec<f64>,
}

/// Whether to go on.
pub type Stop<'a> = dyn Fn() -> ControlFlow<()> + Sync + 'a;

/// Values that a batch should not have more of: what fits a core's cache is worked on twice as fast.
const BATCH_VALUES: usize = 131_072;

impl Benchmark<'_> {
    /// Runs what is missing in `earlier`, problems side by side on the threads of the pool, and returns all outcomes. `done` hears of
    /// every new one, and `tick` is asked at every step of a method; when one of them breaks, outcomes that `done` has not heard
    /// of are lost.
    ///
    /// # Errors
    /// The first error of a method, [`vipaint_core::Error::Interrupted`] among them.
    pub fn run(
        &self,
        earlier: &[Outcome],
        done: &(dyn Fn(&Outcome) -> ControlFlow<()> + Sync),
        tick: &Stop,
    ) -> Result<Vec<Outcome>> {
        let cases: Vec<_> =
            self.cells.iter().flat_map(|cell| (0..self.problems).map(move |problem| (*cell, problem))).collect();
        let outcomes: Result<Vec<Vec<Outcome>>> = (cases.into_par_iter().with_max_len(1))
            .map(|(cell, problem)| {
                let same = |o: &&Outcome| (o.dx, o.dy) == cell && o.problem == problem;
                let earlier: Vec<&Outcome> = earlier.iter().filter(same).collect();
                self.case(cell, problem, &earlier, done, tick)
            })
            .collect();
        Ok(outcomes?.into_iter().flatten().collect())
    }

    /// Names of the rows of a cell, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        ["floor", "prior"].into_iter().chain(self.entries.iter().map(Entry::name))
    }

    /// The floor, the prior, and every entry on one problem.
    fn case(
        &self,
        (dx, dy): (usize, usize),
        index: usize,
        earlier: &[&Outcome],
        done: &(dyn Fn(&Outcome) -> ControlFlow<()> + Sync),
        tick: &Stop,
    ) -> Result<Vec<Outcome>> {
        let find = |name: &str| earlier.iter().find(|o| o.method == name).map(|o| (*o).clone());
        if let Some(all) = self.names().map(find).collect::<Option<Vec<_>>>() {
            return Ok(all);
        }
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        let (world, n) = (World::new(dx, dy, seed), self.samples);
        let slices = Slices::new(SLICES, dx, seed);
        let exact = slices.project(&world.exact(n, seed));
        let outcome = |method: &str, set: &[Vec<f64>]| Outcome {
            dx,
            dy,
            problem: index,
            method: method.to_owned(),
            distance: slices.project(set).distance(&exact),
            calls: 0.0,
            vjps: 0.0,
            seconds: 0.0,
        };
        let hear = |outcome: Outcome| match done(&outcome) {
            ControlFlow::Continue(()) => Ok(outcome),
            ControlFlow::Break(()) => Err(crate::Error::from(vipaint_core::Error::Interrupted)),
        };
        // Another seed: independent of the first set.
        let free = [("floor", world.exact(n, !seed)), ("prior", world.prior_samples(n, seed))];
        let mut outcomes = Vec::with_capacity(2 + self.entries.len());
        for (name, set) in free {
            outcomes.push(find(name).map_or_else(|| hear(outcome(name, &set)), Ok)?);
        }
        for entry in self.entries {
            if let Some(known) = find(entry.name()) {
                outcomes.push(known);
                continue;
            }
            let problem = world.problem()?;
            let sampler = entry.sampler(&Budget { cost: self.cost, samples: n as u64, dy: dy as u64 })?;
            let started = std::time::Instant::now();
            let batch = (BATCH_VALUES / dx).clamp(1, n);
            let drawn = sampler.sample(&problem, &Draw { seed, indices: 0..n, batch }, &mut |_| tick())?;
            if drawn.interrupted {
                return Err(vipaint_core::Error::Interrupted.into());
            }
            let seconds = started.elapsed().as_secs_f64();
            let values = drawn.images.and_then(|i| i.try_into_vec_as::<f32>().ok()).unwrap_or_default();
            let set: Vec<Vec<f64>> = values.chunks(dx).map(|x| x.iter().map(|v| f64::from(*v)).collect()).collect();
            let (calls, each) = (problem.prior.calls(), n as f64);
            let (calls, vjps) = (calls.denoiser as f64 / each, calls.vjp as f64 / each);
            outcomes.push(hear(Outcome { calls, vjps, seconds, ..outcome(entry.name(), &set) })?);
        }
        Ok(outcomes)
    }

    /// The table: outcomes of a method in a cell make a row.
    pub fn rows(&self, outcomes: &[Outcome]) -> Vec<Row> {
        let cells = self.cells.iter().flat_map(|cell| self.names().map(move |name| (*cell, name)));
        cells
            .map(|(cell, name)| {
                let same = |o: &&Outcome| (o.dx, o.dy) == cell && o.method == name;
                row(name, cell, &outcomes.iter().filter(same).collect::<Vec<_>>())
            })
            .collect()
    }
}

fn row(method: &str, (dx, dy): (usize, usize), outcomes: &[&Outcome]) -> Row {
    let distances: Vec<f64> = outcomes.iter().map(|o| o.distance).collect();
    let average = |f: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(|o| f(o)).sum::<f64>() / outcomes.len() as f64;
    let Mean { mean, ci } = Mean::of(&distances);
    Row {
        method: method.to_owned(),
        dx,
        dy,
        mean,
        ci,
        median: crate::stats::median(&distances),
        calls: average(&|o| o.calls),
        vjps: average(&|o| o.vjps),
        cost: average(&|o| o.calls + 2.0 * o.vjps),
        seconds: average(&|o| o.seconds),
        distances,
    }
}
