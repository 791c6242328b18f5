//! Particle-corrected VIPaint: a population of paths instead of single ones, weighted, resampled and refined together.
//!
//! Paths go down a grid of levels from T to the last keypoint `t_1`. Every path carries an importance weight for the target
//! `p(z_t) p^(y | z_t)`, the *twisted* target of sequential Monte Carlo (Wu, Trippe, Naesseth, Blei, Cunningham, 2023, eq. 8), with
//! `p^` the widened likelihood of VIPaint at `t`; on a grid of proposals `q` the weight grows by
//! `log p^(y | z_s) - log p^(y | z_t) + log p_theta(z_s | z_t) - log q(z_s | z_t)`. At keypoints, and wherever a guided path looks at
//! the data, the population is resampled (systematically) when its effective size has fallen below half.
//!
//! From `t_1` to 0 the data enter by the conditional Gaussian of `(z_0, A z_0)` given `z_t`, see [`Population::refine`].

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::population::{Population, Tick, effective, in_populations, rows, systematic};
use super::{Correction, Draw, RefineOptions, Samples, in_batches};
use crate::chain::reverse;
use crate::event::Observer;
use crate::guided::{explained, searched};
use crate::krylov::inner;
use crate::moments::{STEP, Widen};
use crate::operator::values;
use crate::posterior::{Fit, Problem, log_weights, weight_steps};
use crate::{Error, Level, Result};

/// Where paths come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proposal {
    /// The fitted chain, weighted once at `t_1` by its whole path.
    Chain,
    /// The prior's own reverse steps: only weights see the data.
    Prior,
    /// The prior's steps, with `x0_hat` moved towards the data: as correction `search` says, or else as `inside`.
    Guided,
}

/// How the levels of paths are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Evenly in time, as is customary.
    Time,
    /// After T evenly in the logarithm of `sigma / alpha`, from where a direction may first have signal: data of standard deviation
    /// `s_d` in N values have none of a larger one than `s_d sqrt(N)`.
    Ratio,
}

/// Options of the particle correction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParticleOptions {
    /// Size of a population; 0 draws paths one by one, as published.
    pub particles: usize,
    /// Paths that are followed down to `t_1` for each particle that is left there.
    pub paths: usize,
    /// Where they come from.
    pub proposal: Proposal,
    /// Network calls of each path from T to `t_1`, both included (proposals `prior` and `guided`).
    pub path_steps: usize,
    /// How their levels are spaced.
    pub spacing: Spacing,
    /// The population is resampled when its effective size has fallen below this share, in [0, 1], and at `t_1`. At 0 never, unless
    /// fewer particles are left than paths: paths are independent then, their weights are not used, and their noise is that of
    /// `refine_eta`.
    pub resample_below: f64,
    /// Langevin steps at T before them. A chain starts from noise, but where data are scaled large a schedule leaves some signal
    /// at T.
    pub settle_steps: usize,
}

impl Default for ParticleOptions {
    fn default() -> Self {
        let (proposal, spacing) = (Proposal::Guided, Spacing::Ratio);
        Self { particles: 0, paths: 1, proposal, path_steps: 40, spacing, resample_below: 0.5, settle_steps: 0 }
    }
}

/// Length of a Langevin step at T, in units of the noise's relaxation time.
const SETTLE: f64 = 0.4;

impl ParticleOptions {
    pub(super) fn validate(&self) -> Result<()> {
        super::at_least_one("paths", self.paths)?;
        super::in_unit("resample_below", self.resample_below)?;
        if self.path_steps < 2 {
            return Err(Error::option("path_steps", "must be at least 2: T and t_1"));
        }
        Ok(())
    }

    /// Whether samples need a fit: always, but for paths that come from elsewhere.
    pub(super) fn fits(&self) -> bool {
        self.particles == 0 || self.proposal == Proposal::Chain
    }
}

/// The particle sampler: what a population does.
pub(super) struct Particles<'a> {
    pub options: &'a ParticleOptions,
    pub refine: &'a RefineOptions,
    /// Keypoints, noisiest first.
    pub keypoints: Vec<Level>,
    pub widen: Widen,
    /// Directions of [`Widen::Krylov`].
    pub directions: usize,
    /// The fitted chain, where it is the proposal.
    pub fit: Option<&'a Fit>,
}

/// What paths at one level know of the data.
struct Look {
    x0_hat: Tensor<4>,
    log_likelihood: Vec<f64>,
    /// How `x0_hat` moves towards them.
    shift: Option<Tensor<4>>,
}

impl Particles<'_> {
    pub fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let white = matches!(self.widen, Widen::None | Widen::Isotropic);
        if self.alone() && white && self.options.proposal == Proposal::Guided && self.options.settle_steps == 0 {
            return self.walk(problem, draw, observer);
        }
        let size = self.options.particles;
        let measured = Measured::new(problem, self.widen, self.directions)?;
        let path_steps = self.fit.map_or(self.options.path_steps, weight_steps);
        let steps = path_steps + self.refine.refine_steps;
        in_populations(
            problem,
            draw,
            (size, size * self.options.paths, self.alone()),
            steps,
            observer,
            |population, tick| {
                let z = match self.fit {
                    Some(fit) => self.chain(population, fit, tick)?,
                    None => self.paths(population, measured.as_ref(), tick)?,
                };
                population.noise.truncate(size);
                let (from, to) = (self.keypoints[self.keypoints.len() - 1], problem.prior.schedule.bottom());
                let grid = match self.refine.refine_steps {
                    1 => vec![from],
                    steps => problem.prior.schedule.grid(from.t, to.t, steps - 1),
                };
                if let Some(measured) = &measured {
                    return population.refine(measured, &grid, self.refine.refine_eta, z, tick);
                }
                self.refine.walk(grid).run(problem, z, &mut population.noise, tick)
            },
        )
    }

    /// Whether nothing ties the members of a population to each other.
    fn alone(&self) -> bool {
        self.fit.is_none() && self.options.paths == 1 && self.options.resample_below == 0.0
    }

    /// Paths by themselves, from T to 0: a walk like any other.
    fn walk(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let (schedule, steps) = (&problem.prior.schedule, self.options.path_steps + self.refine.refine_steps);
        let grid = match self.options.spacing {
            Spacing::Time => schedule.full_grid(steps),
            Spacing::Ratio => {
                let last = self.keypoints[self.keypoints.len() - 1].t;
                let below = schedule.grid(last, schedule.bottom().t, self.refine.refine_steps);
                self.levels(problem).into_iter().chain(below.into_iter().skip(1)).collect()
            }
        };
        let walk = self.refine.walk(grid);
        in_batches(problem, draw, steps, observer, |_, noise, tick| {
            let z = noise.normal(problem.prior.shape(), &problem.device()) * schedule.start_std();
            walk.run(problem, z, noise, tick)
        })
    }

    /// Paths of the fitted chain, resampled at `t_1`.
    fn chain(&self, population: &mut Population, fit: &Fit, tick: &mut Tick) -> Result<Tensor<4>> {
        let problem = population.problem;
        let path = fit.posterior.draw(&problem.prior, &problem.guidance, &mut population.noise)?;
        let logs = log_weights(fit, problem, &path, &population.indices, tick)?;
        let chosen = systematic(&logs, self.options.particles, &mut population.picks);
        Ok(rows(&path[path.len() - 1], &chosen))
    }

    /// Paths from T to `t_1`, resampled on the way.
    fn paths(&self, population: &mut Population, measured: Option<&Measured>, tick: &mut Tick) -> Result<Tensor<4>> {
        let (grid, keypoint) = self.grid(population.problem);
        let mut z = self.start(population)?;
        let mut log_weight = vec![0.0; population.indices.len()];
        let mut seen = log_weight.clone();
        let guided = self.options.proposal == Proposal::Guided;
        for (i, level) in grid.iter().enumerate() {
            let last = i + 1 == grid.len();
            let (mut x0_hat, mut shift);
            if (guided || keypoint[i]) && level.alpha > 0.0 {
                let look = self.look(population, measured, &z, *level)?;
                for ((w, seen), now) in log_weight.iter_mut().zip(&mut seen).zip(&look.log_likelihood) {
                    *w += now - *seen;
                    *seen = *now;
                }
                (x0_hat, shift) = (look.x0_hat, look.shift.filter(|_| guided));
                let (below, fewer) = (self.options.resample_below, self.options.paths > 1);
                if last && (below > 0.0 || fewer) || effective(&log_weight) < below {
                    let n = if last { self.options.particles } else { log_weight.len() };
                    let chosen = systematic(&log_weight, n, &mut population.picks);
                    z = rows(&z, &chosen);
                    x0_hat = rows(&x0_hat, &chosen);
                    shift = shift.map(|s| rows(&s, &chosen));
                    seen = chosen.iter().map(|c| seen[*c]).collect();
                    log_weight = vec![0.0; n];
                }
            } else {
                (x0_hat, shift) = (population.denoise(z.clone(), *level)?, None);
            }
            if !last {
                let step = reverse(*level, grid[i + 1], 1.0);
                let eps = population.normal();
                z = z * step.z + x0_hat * step.x0 + eps.clone() * step.std;
                if let Some(shift) = shift {
                    // log p - log q of z = m_q + std eps, with m_q - m_p = moved.
                    let keeps_noise = self.refine.correction.keeps_noise();
                    let moved = shift * if keeps_noise { grid[i + 1].alpha } else { step.x0 };
                    let (cross, square) = (inner(&eps, &moved), inner(&moved, &moved));
                    for (w, (c, s)) in log_weight.iter_mut().zip(cross.iter().zip(square)) {
                        *w -= c / step.std + 0.5 * s / step.std.powi(2);
                    }
                    z = z + moved;
                }
            }
            if tick().is_break() {
                return Err(Error::Interrupted);
            }
        }
        Ok(z)
    }

    /// Levels from T to `t_1`.
    fn levels(&self, problem: &Problem) -> Vec<Level> {
        let (schedule, steps) = (&problem.prior.schedule, self.options.path_steps);
        let (top, last) = (schedule.top(), self.keypoints[self.keypoints.len() - 1]);
        let signal = problem.prior.data_std * (problem.prior.shape().iter().product::<usize>() as f64).sqrt();
        if self.options.spacing == Spacing::Time {
            return schedule.grid(top.t, last.t, steps - 1);
        }
        let from = signal.min(top.ratio()).max(last.ratio());
        // T itself, unless there is signal already.
        let first = usize::from(from < top.ratio());
        let between = |i: usize| {
            let along = i as f64 / (steps - 1 - first).max(1) as f64;
            schedule.level_at_ratio(from * (last.ratio() / from).powf(along))
        };
        let mut levels: Vec<Level> = (0..steps - first).map(between).collect();
        levels.splice(0..0, [top].into_iter().take(first));
        levels[steps - 1] = last;
        levels
    }

    /// The grid from T to `t_1`, its nearest levels replaced by keypoints; and which those are.
    fn grid(&self, problem: &Problem) -> (Vec<Level>, Vec<bool>) {
        let mut grid = self.levels(problem);
        let mut keypoint = vec![false; grid.len()];
        // t_1 first: it is always there.
        for level in self.keypoints.iter().rev() {
            let distance = |l: &Level| (l.t - level.t).abs();
            let nearest = (1..grid.len()).min_by(|a, b| distance(&grid[*a]).total_cmp(&distance(&grid[*b])));
            if let Some(nearest) = nearest.filter(|i| !keypoint[*i]) {
                (grid[nearest], keypoint[nearest]) = (*level, true);
            }
        }
        (grid, keypoint)
    }

    /// `z_T` of all paths: noise, or as many draws as particles brought to the prior's marginal at T by Langevin steps, with all paths
    /// of a particle starting from the same one (`z_T` says little about `z_0`). A step is exact where `x0_hat` is constant:
    /// `z <- alpha x0_hat + e^-h (z - alpha x0_hat) + sigma sqrt(1 - e^-2h) eps`.
    fn start(&self, population: &mut Population) -> Result<Tensor<4>> {
        let schedule = &population.problem.prior.schedule;
        let (top, keep) = (schedule.top(), (-SETTLE).exp());
        let noise = population.normal() * schedule.start_std();
        if self.options.settle_steps == 0 {
            return Ok(noise);
        }
        let all = population.noise.clone();
        let particles = self.options.particles.min(population.indices.len());
        population.noise.truncate(particles);
        let mut z = noise.slice_dim(0, 0..particles);
        for _ in 0..self.options.settle_steps {
            let centre = population.denoise(z.clone(), top)? * top.alpha;
            let eps = population.normal() * (top.sigma * (1.0 - keep * keep).sqrt());
            z = centre.clone() + (z - centre) * keep + eps;
        }
        population.noise = population.noise.clone().joined(all);
        Ok(Tensor::cat(vec![z; self.options.paths], 0))
    }

    fn look(&self, population: &Population, measured: Option<&Measured>, z: &Tensor<4>, level: Level) -> Result<Look> {
        let problem = population.problem;
        if let Some(measured) = measured {
            let x0_hat = population.denoise(z.clone(), level)?;
            let (log_likelihood, shift) = measured.look(z, &x0_hat, level, &|z| population.denoise(z, level))?;
            return Ok(Look { x0_hat, log_likelihood, shift: Some(shift) });
        }
        let (x0_hat, shift) = if self.options.proposal == Proposal::Guided {
            let c = problem.prior.shape()[0];
            let both = population.in_chunks(z.clone(), |z| {
                let (x0_hat, shift) = self.moved(problem, z, level)?;
                Ok(Tensor::cat(vec![x0_hat, shift * self.refine.zeta], 1))
            })?;
            (both.clone().slice_dim(1, 0..c), Some(both.slice_dim(1, c..2 * c)))
        } else {
            (population.denoise(z.clone(), level)?, None)
        };
        let nll = self.nll(problem, x0_hat.clone(), level);
        let log_likelihood = values(&nll).into_iter().map(|n| -f64::from(n)).collect();
        Ok(Look { x0_hat, log_likelihood, shift })
    }

    /// `x0_hat` and its move towards the data, of some paths.
    fn moved(&self, problem: &Problem, z: Tensor<4>, level: Level) -> Result<(Tensor<4>, Tensor<4>)> {
        if self.refine.correction == Correction::Krylov {
            let x0_hat = problem.prior.x0_hat_at(z.clone(), level, &problem.guidance)?;
            let shift = explained(problem, &z, &x0_hat, level, self.refine.refine_directions)?;
            return Ok((x0_hat, shift));
        }
        let leaf = z.autodiff().require_grad();
        let tracked = problem.prior.x0_hat_at(leaf.clone(), level, &problem.guidance)?;
        let x0_hat = tracked.clone().inner();
        if self.refine.correction == Correction::Search {
            return Ok((x0_hat, searched(problem, &leaf, tracked, level)?));
        }
        let mut grads = self.nll(problem, tracked, level).sum().backward();
        problem.prior.check()?;
        let grad = leaf.grad_remove(&mut grads).unwrap_or_else(|| x0_hat.zeros_like());
        Ok((x0_hat, grad * (-level.sigma.powi(2) / level.alpha)))
    }

    /// `-log p^(y | z)`, `[batch]`.
    fn nll(&self, problem: &Problem, x0_hat: Tensor<4>, level: Level) -> Tensor<1> {
        let spread = if self.widen == Widen::None { 0.0 } else { problem.prior.spread(level) };
        let batch = x0_hat.dims()[0];
        problem.measurement.nll(problem.prior.autoencoder.decode(x0_hat), &vec![spread; batch])
    }
}

impl Population<'_> {
    /// From `z` at the grid's first level to `z_0`. In each step `z_0` is drawn from `N(x0_hat, r^2 I)`, moved to the data by
    /// Matheron's rule with the covariances of [`Measured`], and the reverse step taken with it: exact, whatever the step's length,
    /// where `z_0` given `z_t` is Gaussian with that covariance. `r^2 = (sigma^2 / alpha) v^T J v` with a random unit vector `v`
    /// (Hutchinson's estimate of the mean variance), one more call.
    fn refine(
        &mut self,
        measured: &Measured,
        grid: &[Level],
        eta: f64,
        mut z: Tensor<4>,
        tick: &mut Tick,
    ) -> Result<Tensor<4>> {
        let sigma_y = self.problem.measurement.likelihood.sigma_y;
        for (i, level) in grid.iter().enumerate() {
            let x0_hat = self.denoise(z.clone(), *level)?;
            let spread = self.spread(&z, &x0_hat, *level)?;
            let drawn = x0_hat.clone() + spread * self.normal();
            let noise = self.noise.normal(measured.shape(), &self.problem.device()) * sigma_y;
            let x0 = measured.condition(&z, &x0_hat, *level, drawn, noise, &|z| self.denoise(z, *level))?;
            z = match grid.get(i + 1) {
                None => x0,
                Some(next) => {
                    let step = reverse(*level, *next, eta);
                    z * step.z + x0 * step.x0 + self.normal() * step.std
                }
            };
            if tick().is_break() && i + 1 < grid.len() {
                return Err(Error::Interrupted);
            }
        }
        Ok(z)
    }

    /// `r`, `[batch, 1, 1, 1]`.
    fn spread(&mut self, z: &Tensor<4>, x0_hat: &Tensor<4>, level: Level) -> Result<Tensor<4>> {
        let [n, c, h, w] = z.dims();
        let v = self.normal().sign() / ((c * h * w) as f64).sqrt();
        let step = STEP * level.sigma;
        let moved = self.denoise(z.clone() + v.clone() * step, level)?;
        let along = ((moved - x0_hat.clone()) * v).reshape([n, c * h * w]).sum_dim(1).reshape([n, 1, 1, 1]);
        Ok((along * (level.sigma.powi(2) / (level.alpha * step))).clamp_min(0.0).sqrt())
    }
}
