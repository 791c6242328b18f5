//! Fitting the posterior: stochastic gradient ascent on the bound.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::bound::TermTensors;
use super::{Adam, Bound, Init, Posterior, Problem, Terms, published};
use crate::event::{Event, Observer};
use crate::guided::{Correction, Walk};
use crate::moments::Widen;
use crate::prior::Guidance;
use crate::{Error, Level, Noise, Result};

/// What a fit minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The negative bound of the paper, with its terms weighted.
    #[default]
    Bound,
    /// The loss of the authors' latent-diffusion code, see [`published`]; one time above the top keypoint for each of
    /// `mc_samples`, so that `grid_steps`, `prior_steps`, `prior_samples` and `widen` say nothing.
    Ldm,
}

/// Hyperparameters of a fit. Times are in the schedule's own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitOptions {
    /// Number of keypoints when `keypoints` is empty: they are then placed by [`FitOptions::levels`].
    pub k: usize,
    /// Keypoint times, noisiest first.
    pub keypoints: Vec<f64>,
    /// Optimisation steps.
    pub iterations: usize,
    /// Paths drawn from `q` in each step.
    pub mc_samples: usize,
    /// Steps of the fine grid above the top keypoint.
    pub grid_steps: usize,
    /// Strata of that grid with one random step each.
    pub prior_steps: usize,
    /// Samples for each of those steps.
    pub prior_samples: usize,
    /// Standard deviation of the prior's hops between keypoints over the ancestral one.
    pub eta: f64,
    /// How the likelihood is widened by what the denoiser does not know at the last keypoint.
    pub widen: Widen,
    /// Directions of `widen=krylov`, one more call each.
    pub directions: usize,
    /// Weight of the prior and start terms in the loss (1 for a bound).
    pub beta_prior: f64,
    /// Weight of the hierarchy term in the loss (1 for a bound).
    pub beta_hierarchy: f64,
    /// Adam's rate for `mu`.
    pub lr_mu: f64,
    /// Adam's rate for `log tau`.
    pub lr_tau: f64,
    /// Adam's rate for `gamma`'s logit.
    pub lr_gamma: f64,
    /// Factor on the rates every ten steps.
    pub lr_decay: f64,
    /// Stop when the loss, averaged over this many steps, has not fallen by `min_gain` of its size; 0 never stops early.
    pub patience: usize,
    /// See `patience`.
    pub min_gain: f64,
    /// Guided samples that the start values are taken from (their mean and variance); 0 starts from the measurement
    /// itself, as published.
    pub init_samples: usize,
    /// Network calls for each of them, from T down to the top keypoint.
    pub init_steps: usize,
    /// Noise added to the start value of `mu`, in units of the data's standard deviation; under `objective=ldm` to the top's, as
    /// it is.
    pub init_noise: f64,
    /// Start value of lower keypoints' `tau` over the prior's standard deviation.
    pub init_tau: f64,
    /// Start value of `gamma`'s logit.
    pub init_gamma: f64,
    /// Guidance strength while fitting.
    pub fit_cfg_scale: f64,
    /// What is minimised.
    pub objective: Objective,
    /// Weight of the LPIPS distance between `y` and `A x_hat` in the data term, in nats under `objective=bound`; a positive one
    /// needs a network's weights.
    pub lpips: f64,
    /// Weight of `mean|y - A x_hat|` under `objective=ldm`, which has no likelihood.
    pub l1: f64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            k: 2,
            keypoints: Vec::new(),
            iterations: 50,
            mc_samples: 5,
            grid_steps: 30,
            prior_steps: 2,
            prior_samples: 2,
            eta: 1.0,
            widen: Widen::Isotropic,
            directions: 4,
            beta_prior: 1.0,
            beta_hierarchy: 1.0,
            lr_mu: 0.1,
            lr_tau: 0.02,
            lr_gamma: 0.05,
            lr_decay: 0.99,
            patience: 0,
            min_gain: 0.001,
            init_samples: 6,
            init_steps: 12,
            init_noise: 0.0,
            init_tau: 1.0,
            init_gamma: 3.0,
            fit_cfg_scale: 1.0,
            objective: Objective::Bound,
            lpips: 0.0,
            l1: 100.0,
        }
    }
}

impl FitOptions {
    /// Checks every value's domain.
    ///
    /// # Errors
    /// Names the option that is out of its domain.
    pub fn validate(&self) -> Result<()> {
        let positive_counts = [
            ("k", self.k.max(self.keypoints.len())),
            ("mc_samples", self.mc_samples),
            ("grid_steps", self.grid_steps),
            ("init_steps", self.init_steps),
            ("directions", self.directions),
        ];
        for (name, value) in positive_counts {
            if value == 0 {
                return Err(Error::option(name, "must be at least 1"));
            }
        }
        // What lists are made of; samples are limited by memory.
        let listed =
            ["k", "grid_steps", "init_steps"].map(|name| positive_counts.into_iter().find(|(n, _)| *n == name));
        for (name, value) in listed.into_iter().flatten().chain([("prior_steps", self.prior_steps)]) {
            if value > MOST {
                return Err(Error::option(name, format!("must be at most {MOST}, got {value}")));
            }
        }
        if self.prior_steps > 0 && self.prior_samples == 0 {
            return Err(Error::option("prior_samples", "must be at least 1, or set prior_steps=0"));
        }
        let non_negative = [
            ("beta_prior", self.beta_prior),
            ("beta_hierarchy", self.beta_hierarchy),
            ("lr_mu", self.lr_mu),
            ("lr_tau", self.lr_tau),
            ("lr_gamma", self.lr_gamma),
            ("min_gain", self.min_gain),
            ("init_noise", self.init_noise),
            ("lpips", self.lpips),
            ("l1", self.l1),
        ];
        for (name, value) in non_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be at least 0 and finite, got {value}")));
            }
        }
        for (name, value) in [("eta", self.eta), ("lr_decay", self.lr_decay), ("init_tau", self.init_tau)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be above 0 and finite, got {value}")));
            }
        }
        if self.eta > 1.0 {
            return Err(Error::option("eta", format!("must be at most 1, got {}", self.eta)));
        }
        for (name, value) in [("init_gamma", self.init_gamma), ("fit_cfg_scale", self.fit_cfg_scale)] {
            if !value.is_finite() {
                return Err(Error::option(name, format!("must be finite, got {value}")));
            }
        }
        Ok(())
    }

    /// The keypoints' levels: those asked for, or `k` of them placed by their noise over the data's spread,
    /// `sigma / (alpha s_d)`: 3 for one; 3 and 1.5 for two; otherwise from 7 down to 0.85 in equal ratios. Under a latent prior
    /// whose decoded error was measured the top one is where nothing that will be seen is decided yet, as far as was measured, and
    /// the others where less and less of that error's variance is left, but more than half: a Gaussian at a level where hair is
    /// of one colour or another already would stand between them.
    ///
    /// # Errors
    /// A time outside the schedule.
    pub fn levels(&self, problem: &Problem) -> Result<Vec<Level>> {
        let (schedule, spread) = (&problem.prior.schedule, problem.prior.data_std);
        if !self.keypoints.is_empty() {
            let (low, high) = (schedule.bottom().t, schedule.top().t);
            return (self.keypoints.iter())
                .map(|t| {
                    let inside = *t > low && *t < high;
                    let problem = || Error::option("keypoints", format!("time {t} is not between {low} and {high}"));
                    inside.then(|| schedule.level(*t)).ok_or_else(problem)
                })
                .collect();
        }
        if let Some(ratios) = problem.prior.ratios_of_error(self.k) {
            return Ok(ratios.into_iter().map(|r| schedule.level_at_ratio(r)).collect());
        }
        let ratios: Vec<f64> = match self.k {
            1 => vec![3.0],
            2 => vec![3.0, 1.5],
            k => (0..k).map(|i| 7.0 * (0.85_f64 / 7.0).powf(i as f64 / (k - 1) as f64)).collect(),
        };
        Ok(ratios.into_iter().map(|r| schedule.level_at_ratio(r * spread)).collect())
    }
}

impl FitOptions {
    /// Mean and variance of `z_0` to start from, `[1, c, h, w]` each: those of a few samples by guided diffusion from T to the
    /// top keypoint, or the measurement's rough inverse with no variance.
    ///
    /// The best `q(z_{t_K})` has the mean and variance of `z_{t_K}` under the true posterior; guided samples are biased, but
    /// far nearer to it than a hole filled with one value.
    fn start(
        &self,
        problem: &Problem,
        levels: &[Level],
        seed: u64,
        observer: &mut Observer,
    ) -> Result<(Tensor<4>, Tensor<4>)> {
        let prior = &problem.prior;
        let Some(top) = levels.first().filter(|_| self.init_samples > 0) else {
            let rough = problem.measurement.operator.rough_inverse(problem.measurement.y.clone());
            let mean = prior.autoencoder.encode(rough);
            let variance = mean.zeros_like();
            return Ok((mean, variance));
        };
        let guidance = Guidance { cfg_scale: self.fit_cfg_scale, ..problem.guidance.clone() };
        let problem = Problem { guidance, ..problem.clone() };
        let grid = match self.init_steps {
            1 => vec![*top],
            steps => prior.schedule.grid(prior.schedule.top().t, top.t, steps - 1),
        };
        let walk = Walk { grid, correction: Correction::Inside, zeta: 0.0, eta: 1.0 };
        let mut noise = Noise::new(seed, super::PURPOSE_INIT, levels.len()..levels.len() + self.init_samples);
        let z = noise.normal(prior.shape(), &problem.device()) * prior.schedule.start_std();
        let (mut step, steps) = (0, walk.grid.len());
        let mut tick = || {
            step += 1;
            observer(&Event::Start { step, steps, calls: problem.prior.calls() })
        };
        let samples = walk.run(&problem, z, &mut noise, &mut tick)?;
        let mean = samples.clone().mean_dim(0);
        let variance = (samples - mean.clone()).square().mean_dim(0);
        Ok((mean, variance))
    }
}

/// Most levels and steps: more is a slip, and lists of so many would be made.
const MOST: usize = 100_000;

/// A fit under way: it can be stepped, stored and resumed.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The posterior so far.
    pub posterior: Posterior,
    /// Hyperparameters.
    pub options: FitOptions,
    /// The seed of all its random numbers.
    pub seed: u64,
    /// The bound's terms at every step taken.
    pub trace: Vec<Terms>,
    /// Adam's state: for each keypoint that of `mu`, `log_tau` and, below the top, `gamma_logit`.
    pub adam: Vec<Vec<Adam>>,
    pub(super) bound: Bound,
}

impl Fit {
    /// A fit before its first step.
    ///
    /// # Errors
    /// Options outside their domain, those of the denoiser, and [`Error::Interrupted`] when the observer stops the guided
    /// samples that it starts from.
    pub fn new(problem: &Problem, options: &FitOptions, seed: u64, observer: &mut Observer) -> Result<Self> {
        options.validate()?;
        let levels = options.levels(problem)?;
        let (mean, variance) = options.start(problem, &levels, seed, observer)?;
        let init = Init { mean, variance, tau: options.init_tau, gamma_logit: options.init_gamma };
        let mut posterior = Posterior::initial(&levels, options.eta, &init)?;
        if options.objective == Objective::Ldm {
            published::disturb(&mut posterior, options.init_noise, seed, &problem.device());
        } else if options.init_noise > 0.0 {
            let std = options.init_noise * problem.prior.data_std;
            for (k, keypoint) in posterior.keypoints.iter_mut().enumerate() {
                let noise = Noise::new(seed, super::PURPOSE_INIT, [k]).normal(problem.prior.shape(), &problem.device());
                keypoint.mu = keypoint.mu.clone() + noise * std;
            }
        }
        Ok(Self::resume(posterior, problem, options.clone(), seed))
    }

    /// A fit that starts from given parameters, with Adam's state at zero.
    pub fn resume(posterior: Posterior, problem: &Problem, options: FitOptions, seed: u64) -> Self {
        let schedule = &problem.prior.schedule;
        let bound = Bound {
            grid: schedule.grid(schedule.top().t, posterior.top().level.t, options.grid_steps),
            mc_samples: options.mc_samples,
            prior_steps: options.prior_steps,
            prior_samples: options.prior_samples,
            widen: options.widen,
            directions: options.directions,
            lpips: options.lpips,
        };
        let adam = (posterior.keypoints.iter())
            .map(|k| {
                let parameters = [Some(&k.mu), Some(&k.log_tau), k.gamma_logit.as_ref()];
                parameters.into_iter().flatten().map(Adam::new).collect()
            })
            .collect();
        Self { posterior, options, seed, trace: Vec::new(), adam, bound }
    }

    /// How the bound is estimated.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Whether all steps are taken or the loss is on a plateau.
    pub fn done(&self) -> bool {
        self.trace.len() >= self.options.iterations || self.plateau()
    }

    fn plateau(&self) -> bool {
        let (n, window) = (self.trace.len(), self.options.patience);
        if window == 0 || n < 2 * window {
            return false;
        }
        let mean = |terms: &[Terms]| terms.iter().map(|t| self.loss_of(t)).sum::<f64>() / window as f64;
        let (before, now) = (mean(&self.trace[n - 2 * window..n - window]), mean(&self.trace[n - window..]));
        before - now < self.options.min_gain * before.abs()
    }

    fn loss_of(&self, terms: &Terms) -> f64 {
        self.options.beta_hierarchy * terms.hierarchy + self.options.beta_prior * (terms.prior + terms.start)
            - terms.reconstruction
    }

    /// Takes steps until done. Returns whether it was interrupted by the observer.
    ///
    /// # Errors
    /// Those of [`Self::step`].
    pub fn run(&mut self, problem: &Problem, observer: &mut Observer) -> Result<bool> {
        while !self.done() {
            let terms = self.step(problem)?;
            let event = Event::Fit {
                iteration: self.trace.len(),
                iterations: self.options.iterations,
                terms,
                calls: problem.prior.calls(),
            };
            if observer(&event) == ControlFlow::Break(()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One step of stochastic gradient ascent on the (weighted) bound.
    ///
    /// # Errors
    /// Those of the denoiser, and [`Error::Diverged`].
    pub fn step(&mut self, problem: &Problem) -> Result<Terms> {
        let iteration = self.trace.len();
        let guidance = Guidance { cfg_scale: self.options.fit_cfg_scale, ..problem.guidance.clone() };
        let leaf = |t: &Tensor<4>| t.clone().autodiff().require_grad();
        let mut tracked = self.posterior.clone();
        for k in &mut tracked.keypoints {
            (k.mu, k.log_tau) = (leaf(&k.mu), leaf(&k.log_tau));
            k.gamma_logit = k.gamma_logit.as_ref().map(leaf);
        }
        let purpose = super::PURPOSE_FIT + iteration as u64;
        let random = (self.seed, purpose);
        let terms = match self.options.objective {
            Objective::Bound => self.bound.terms(&tracked, problem, &guidance, random)?,
            Objective::Ldm => published::as_bound(&tracked, problem, &guidance, &self.options, random)?,
        };
        problem.prior.check()?;
        let values = terms.values();
        if !values.total().is_finite() {
            return Err(Error::Diverged { iteration });
        }
        let mut grads = self.loss(terms).backward();
        problem.prior.check()?;
        let decay = self.options.lr_decay.powi((iteration / 10) as i32);
        let rates = [self.options.lr_mu, self.options.lr_tau, self.options.lr_gamma].map(|r| r * decay);
        for ((k, leaf), adam) in self.posterior.keypoints.iter_mut().zip(tracked.keypoints).zip(&mut self.adam) {
            let parameters = [
                Some((&mut k.mu, leaf.mu)),
                Some((&mut k.log_tau, leaf.log_tau)),
                k.gamma_logit.as_mut().zip(leaf.gamma_logit),
            ];
            for (((parameter, leaf), rate), adam) in parameters.into_iter().flatten().zip(rates).zip(adam) {
                if let Some(grad) = leaf.grad_remove(&mut grads) {
                    *parameter = adam.step(parameter.clone(), grad, rate, iteration + 1);
                }
            }
        }
        self.trace.push(values);
        Ok(values)
    }

    fn loss(&self, terms: TermTensors) -> Tensor<1> {
        terms.hierarchy * self.options.beta_hierarchy + (terms.prior + terms.start) * self.options.beta_prior
            - terms.reconstruction
    }
}
