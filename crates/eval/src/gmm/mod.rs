//! The mixture benchmark: how far methods' samples are from samples of the exact posterior, at equal cost.

mod budget;
mod distance;
mod page;
mod world;

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::Serialize;
use vipaint_core::sampler::{Draw, method};

pub use budget::{Budget, CONTENDERS, Contender};
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
    pub contenders: &'a [&'static Contender],
    /// Samples for each problem.
    pub samples: usize,
    /// Cost of each sample in forward calls.
    pub cost: u64,
    /// The seed of everything.
    pub seed: u64,
}

/// A row of the table: a method in a cell, over all problems.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The contender; `floor` is a second set of exact samples, `prior` samples of the prior.
    pub method: &'static str,
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
    /// Seconds a problem, with as many problems side by side as there are threads.
    pub seconds: f64,
    /// The distance on each problem.
    pub distances: Vec<f64>,
}

/// Whether to go on.
pub type Stop<'a> = dyn Fn() -> ControlFlow<()> + Sync + 'a;

/// One method on one problem.
struct Outcome {
    distance: f64,
    calls: f64,
    vjps: f64,
    seconds: f64,
}

impl Benchmark<'_> {
    /// Runs everything, problems side by side on the threads of the pool; `done` hears of every finished cell's rows, `stop` is asked
    /// after every step.
    ///
    /// # Errors
    /// The first error of a method, [`vipaint_core::Error::Interrupted`] among them.
    pub fn run(&self, done: &dyn Fn(&[Row]), stop: &Stop) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (dx, dy) in self.cells {
            let outcomes: Vec<Result<Vec<Outcome>>> =
                (0..self.problems).into_par_iter().map(|problem| self.problem((*dx, *dy), problem, stop)).collect();
            let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
            let names = ["floor", "prior"].into_iter().chain(self.contenders.iter().map(|c| c.name));
            let cell: Vec<Row> = (names.enumerate())
                .map(|(i, name)| {
                    let of: Vec<&Outcome> = outcomes.iter().map(|problem| &problem[i]).collect();
                    row(name, *dx, *dy, &of)
                })
                .collect();
            done(&cell);
            rows.extend(cell);
        }
        Ok(rows)
    }

    /// The floor, the prior, and every contender on one problem.
    fn problem(&self, (dx, dy): (usize, usize), index: usize, stop: &Stop) -> Result<Vec<Outcome>> {
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        let (world, n) = (World::new(dx, dy, seed), self.samples);
        let slices = Slices::new(SLICES, dx, seed);
        let exact = slices.project(&world.exact(n, seed));
        let free = |set: &[Vec<f64>]| Outcome {
            distance: slices.project(set).distance(&exact),
            calls: 0.0,
            vjps: 0.0,
            seconds: 0.0,
        };
        // Another seed: independent of the first set.
        let mut outcomes = vec![free(&world.exact(n, !seed)), free(&world.prior_samples(n, seed))];
        for contender in self.contenders {
            let problem = world.problem()?;
            let budget = Budget { cost: self.cost, samples: n as u64, dy: dy as u64 };
            let settings = contender.settings(&budget);
            let sampler = method(contender.method)?.with(settings.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
            let started = std::time::Instant::now();
            let drawn = sampler.sample(&problem, &Draw { seed, indices: 0..n, batch: n }, &mut |_| stop())?;
            if drawn.interrupted {
                return Err(vipaint_core::Error::Interrupted.into());
            }
            let seconds = started.elapsed().as_secs_f64();
            let values = drawn.images.and_then(|i| i.try_into_vec_as::<f32>().ok()).unwrap_or_default();
            let set: Vec<Vec<f64>> = values.chunks(dx).map(|x| x.iter().map(|v| f64::from(*v)).collect()).collect();
            let calls = problem.prior.calls();
            outcomes.push(Outcome {
                distance: slices.project(&set).distance(&exact),
                calls: calls.denoiser as f64 / n as f64,
                vjps: calls.vjp as f64 / n as f64,
                seconds,
            });
        }
        Ok(outcomes)
    }
}

fn row(method: &'static str, dx: usize, dy: usize, outcomes: &[&Outcome]) -> Row {
    let distances: Vec<f64> = outcomes.iter().map(|o| o.distance).collect();
    let average = |f: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(|o| f(o)).sum::<f64>() / outcomes.len() as f64;
    let Mean { mean, ci } = Mean::of(&distances);
    Row {
        method,
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
