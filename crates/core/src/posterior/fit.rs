//! Fitting the posterior: stochastic gradient ascent on the bound.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::published::{ldm, sd3};
use super::step::{Gradients, Part, Shares, Sums, leaves, parameters, scalar};
use super::{Adam, Bound, FitOptions, Init, Objective, Posterior, Problem, Terms};
use crate::event::{Event, Observer};
use crate::guided::{Correction, Walk};
use crate::prior::Guidance;
use crate::{Error, Level, Noise, Result};

/// How many samples a fit has in memory together; its result does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// Guided samples that it starts from.
    pub starts: usize,
    /// Paths of a step, whose calls at all keypoints are held until their gradient is taken. If it is more than there are, the
    /// random steps above the top keypoint are in memory with them, too.
    pub paths: usize,
}

impl Default for Together {
    fn default() -> Self {
        Self { starts: usize::MAX, paths: usize::MAX }
    }
}

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
    /// Samples that are in memory together.
    pub together: Together,
    pub(super) bound: Bound,
    target: Option<sd3::Target>,
}

impl Fit {
    /// A fit before its first step.
    ///
    /// # Errors
    /// Options outside their domain, those of the denoiser, and [`Error::Interrupted`] when the observer stops the guided
    /// samples that it starts from.
    pub fn new(problem: &Problem, options: &FitOptions, seed: u64, observer: &mut Observer) -> Result<Self> {
        Self::within(Together::default(), problem, options, seed, observer)
    }

    /// The same, with so many samples in memory together.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn within(
        together: Together,
        problem: &Problem,
        options: &FitOptions,
        seed: u64,
        observer: &mut Observer,
    ) -> Result<Self> {
        options.validate()?;
        let levels = options.levels(problem)?;
        let posterior = if options.objective == Objective::Sd3 {
            sd3::initial(problem, options, &levels, seed)?
        } else {
            let (mean, variance) = options.start(problem, &levels, seed, together.starts, observer)?;
            let init = Init { mean, variance, tau: options.init_tau, gamma_logit: options.init_gamma };
            let mut posterior = Posterior::initial(&levels, options.eta, &init)?;
            posterior.form = options.objective;
            options.disturb(&mut posterior, problem, seed);
            posterior
        };
        Ok(Self { together, ..Self::resume(posterior, problem, options.clone(), seed) })
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
        let (trace, together) = (Vec::new(), Together::default());
        Self { posterior, options, seed, trace, adam, together, bound, target: None }
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
        if self.options.objective == Objective::Sd3 && self.target.is_none() {
            self.target = Some(sd3::Target::new(problem)?);
        }
        let (terms, gradients) = self.gradients(problem, super::PURPOSE_FIT + iteration as u64)?;
        let decay = self.options.lr_decay.powi((iteration / 10) as i32);
        let [mu, tau, gamma] = [self.options.lr_mu, self.options.lr_tau, self.options.lr_gamma].map(|r| r * decay);
        let rates = self.posterior.keypoints.iter().flat_map(|k| {
            let gamma = k.gamma_logit.as_ref().map(|_| gamma);
            [Some(mu), Some(tau), gamma].into_iter().flatten()
        });
        let rates: Vec<f64> = rates.collect();
        let states = self.adam.iter_mut().flatten();
        for (((parameter, adam), rate), gradient) in
            parameters(&mut self.posterior).into_iter().zip(states).zip(rates).zip(gradients)
        {
            if let Some(gradient) = gradient {
                *parameter = adam.step(parameter.clone(), gradient, (rate, self.options.beta2), iteration + 1);
            }
        }
        self.trace.push(terms);
        Ok(terms)
    }

    /// The terms, and the loss's gradient with respect to each parameter.
    fn gradients(&self, problem: &Problem, purpose: u64) -> Result<(Terms, Vec<Option<Tensor<4>>>)> {
        let (mut sums, mut down, mut above) = (Sums::default(), Gradients::default(), Gradients::default());
        for part in self.parts() {
            let q = [part.paths.len(), part.upper.len()].map(|samples| leaves(&self.posterior, samples));
            let shares = self.shares([&q[0], &q[1]], problem, purpose, &part)?;
            problem.prior.check()?;
            sums.extend(&shares);
            let Some(loss) = shares.loss(&self.options) else { continue };
            if !sums.terms().total().is_finite() {
                return Err(Error::Diverged { iteration: self.trace.len() });
            }
            let mut gradients = loss.backward();
            problem.prior.check()?;
            let [paths, upper] = q;
            down.extend(paths, &mut gradients);
            above.extend(upper, &mut gradients);
        }
        let (start, at_start) = self.start(problem);
        if !start.is_finite() {
            return Err(Error::Diverged { iteration: self.trace.len() });
        }
        let each = down.sums().into_iter().zip(above.sums()).zip(at_start);
        let sum = |gradients: [Option<Tensor<4>>; 3]| gradients.into_iter().flatten().reduce(|a, b| a + b);
        let gradients = each.map(|((down, above), start)| sum([down, above, start])).collect();
        Ok((Terms { start, ..sums.terms() }, gradients))
    }

    fn parts(&self) -> Vec<Part> {
        let (paths, keypoints) = (self.options.mc_samples, self.posterior.keypoints.len());
        let (upper, calls) = match self.options.objective {
            Objective::Bound => (self.bound.upper(), keypoints),
            Objective::Ldm => (0, keypoints),
            Objective::Sd3 => (self.options.prior_steps, keypoints + 1),
        };
        Part::all(paths, upper, self.together.paths, calls)
    }

    fn shares(&self, q: [&Posterior; 2], problem: &Problem, purpose: u64, part: &Part) -> Result<Shares> {
        let guidance = Guidance { cfg_scale: self.options.fit_cfg_scale, ..problem.guidance.clone() };
        let random = (self.seed, purpose);
        match (self.options.objective, &self.target) {
            (Objective::Ldm, _) => ldm::shares(q[0], problem, &guidance, &self.options, random, part),
            (Objective::Sd3, Some(target)) => sd3::shares(q, problem, &guidance, (&self.options, target), random, part),
            _ => self.bound.shares(q, problem, &guidance, random, part),
        }
    }

    /// The term of the chain's start, which needs no sample, and its gradients.
    fn start(&self, problem: &Problem) -> (f64, Vec<Option<Tensor<4>>>) {
        let mut q = leaves(&self.posterior, 1);
        let none = || vec![None; parameters(&mut q.clone()).len()];
        match self.options.objective {
            Objective::Bound => {
                let term = self.bound.start(&q, problem);
                let value = scalar(&term);
                let mut gradients = (term * self.options.beta_prior).backward();
                let each = parameters(&mut q).into_iter().map(|leaf| leaf.grad_remove(&mut gradients));
                (value, each.collect())
            }
            Objective::Ldm => (0.0, none()),
            Objective::Sd3 => (sd3::start(&problem.prior), none()),
        }
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
        together: usize,
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
        let walk = Walk { grid, correction: Correction::Inside, zeta: 1.0, eta: 1.0, order: 1, directions: 0 };
        let all: Vec<usize> = (levels.len()..levels.len() + self.init_samples).collect();
        let chunks = all.chunks(together.max(1));
        let (mut step, steps) = (0, walk.grid.len() * chunks.len());
        let mut samples = Vec::new();
        for chunk in chunks {
            let mut noise = Noise::new(seed, super::PURPOSE_INIT, chunk.iter().copied());
            let z = noise.normal(prior.shape(), &problem.device()) * prior.schedule.start_std();
            let mut tick = || {
                step += 1;
                observer(&Event::Start { step, steps, calls: problem.prior.calls() })
            };
            samples.push(walk.run(&problem, z, &mut noise, &mut tick)?);
        }
        let samples = Tensor::cat(samples, 0);
        let mean = samples.clone().mean_dim(0);
        let variance = (samples - mean.clone()).square().mean_dim(0);
        Ok((mean, variance))
    }

    /// Adds noise to the start value of `mu`.
    fn disturb(&self, q: &mut Posterior, problem: &Problem, seed: u64) {
        if self.objective == Objective::Ldm {
            return ldm::disturb(q, self.init_noise, seed, &problem.device());
        }
        if self.init_noise > 0.0 {
            let std = self.init_noise * problem.prior.data_std;
            for (k, keypoint) in q.keypoints.iter_mut().enumerate() {
                let noise = Noise::new(seed, super::PURPOSE_INIT, [k]).normal(problem.prior.shape(), &problem.device());
                keypoint.mu = keypoint.mu.clone() + noise * std;
            }
        }
    }
}
