//! From a request to samples.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;
use vipaint_core::event::Observer;
use vipaint_core::measurement::{Likelihood, Measurement};
use vipaint_core::operator::Mask as Operator;
use vipaint_core::posterior::{Fit, Problem};
use vipaint_core::prior::{Calls, Condition, Guidance, Prior};
use vipaint_core::sampler::{Draw, Samples};

use crate::error::{Error, Result};
use crate::evaluation::perceptual;
use crate::memory::{Plan, Work};
use crate::picture::Workspace;
use crate::restore::{Restoration, in_units};
use crate::scene::{Input, Scene};
use crate::settings::Settings;

/// What is asked for: a picture with its mask, or one that was degraded, a prior, and how to go about it.
pub struct Request {
    /// The picture and its mask, or what happened to it.
    pub given: Input,
    /// The prior.
    pub prior: Prior,
    /// What the picture is said to be: a class or a text.
    pub condition: Condition,
    /// What guidance leads away from, besides nothing in particular.
    pub negative: Condition,
    /// Method and hyperparameters.
    pub settings: Settings,
    /// The seed of everything random.
    pub seed: u64,
}

/// How many samples to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Samples.
    pub samples: usize,
    /// Samples that go through the network together, fewer if memory is short; it does not change them.
    pub batch: usize,
}

/// A request brought to the prior's size, ready to run.
pub struct Job {
    pub(crate) scene: Scene,
    pub(crate) problem: Problem,
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
}

/// What a stage cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stage {
    /// Network calls.
    pub calls: Calls,
    /// Wall-clock time.
    pub seconds: f64,
}

impl std::ops::Add for Stage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let calls =
            Calls { denoiser: self.calls.denoiser + other.calls.denoiser, vjp: self.calls.vjp + other.calls.vjp };
        Self { calls, seconds: self.seconds + other.seconds }
    }
}

/// What a job gave.
pub struct Outcome {
    /// The job.
    pub job: Job,
    /// How much was asked for; `None` if it was only a fit.
    pub amount: Option<Amount>,
    /// The samples, at the prior's size, values in [0, 1] (unclipped), `[channels, size, size]` each.
    pub samples: Vec<Vec<f32>>,
    /// Importance log-weights of the samples, where the method has them.
    pub log_weights: Option<Vec<f64>>,
    /// The fit, where the method has one.
    pub fit: Option<Fit>,
    /// Cost of the fit.
    pub fitting: Stage,
    /// Cost of drawing.
    pub sampling: Stage,
    /// Whether it was stopped before it was complete.
    pub interrupted: bool,
    /// How it was split to fit into memory.
    pub plan: Plan,
}

impl Job {
    /// Brings the picture to the prior's size.
    ///
    /// # Errors
    /// When the picture does not suit the prior.
    pub fn new(request: Request) -> Result<Self> {
        let Request { given, prior, condition, negative, settings, seed } = request;
        let [channels, height, width] = prior.autoencoder.image_shape(prior.shape());
        if height != width || ![1, 3].contains(&channels) {
            let problem = format!("makes pictures of {width}x{height} with {channels} channels");
            return Err(Error::input(prior.name, problem, "take a prior for square pictures with 1 or 3 channels"));
        }
        let (scene, measurement) = match given {
            Input::Hole(given) => {
                let given = *given;
                let name = &given.picture_origin.name;
                let workspace = Workspace::new(given.picture, given.mask, channels, height, settings.context, name)?;
                let measurement = measure(&workspace, &prior, settings.noise)?;
                (Scene::Hole(Box::new(workspace), [given.picture_origin, given.mask_origin]), measurement)
            }
            Input::Whole(_) if settings.context.is_some() => {
                let problem = "is the square around a hole, and there is none";
                return Err(Error::usage("--set context", problem, "leave it out"));
            }
            Input::Whole(measured) => {
                let (restoration, measurement) = Restoration::new(*measured, &prior, settings.noise, seed)?;
                (Scene::Whole(Box::new(restoration)), measurement)
            }
        };
        let guidance = Guidance { condition, negative, cfg_scale: settings.cfg_scale };
        let mut problem = Problem::new(prior, measurement, guidance)?;
        if settings.vipaint().is_some_and(|vipaint| vipaint.fit_options().lpips > 0.0) {
            problem.perceptual = Some(perceptual(&problem)?);
        }
        Ok(Self { scene, problem, settings, seed })
    }

    /// Takes the settings that are best for what is given: under a prior on pixels for a picture that was measured as a whole, or one whose
    /// hole is thin ([`Settings::suit_near_data`]), else for a quick look through a decoder ([`Settings::suit_latents`]). Whether
    /// anything was changed.
    ///
    /// # Errors
    /// [`Error::Usage`] when a value set by hand does not suit them.
    pub fn suit(&mut self) -> Result<bool> {
        if !self.problem.prior.autoencoder.is_identity() {
            return self.settings.suit_latents();
        }
        match self.scene.guided() {
            Some(zeta) => self.settings.suit_near_data(zeta),
            None => Ok(false),
        }
    }

    /// What is worked on.
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// How the work will be split to fit into memory: a fit, if the method has one, and drawing, if that is asked for.
    ///
    /// # Errors
    /// [`Error::Resource`] when it cannot fit.
    pub fn plan(&self, amount: Option<Amount>) -> Result<Plan> {
        let vipaint = self.settings.vipaint();
        Plan::new(Work {
            prior: &self.problem.prior,
            fit: vipaint.as_ref().map(vipaint_core::sampler::Vipaint::fit_options),
            draw: amount.map(|amount| (amount.batch.min(amount.samples), self.settings.cfg_scale)),
        })
    }

    /// The plan, put into effect.
    fn planned(&self, amount: Option<Amount>) -> Result<Plan> {
        let plan = self.plan(amount)?;
        self.problem.prior.recompute(plan.recompute);
        Ok(plan)
    }

    /// Runs the whole method.
    ///
    /// # Errors
    /// Those of the method.
    pub fn run(self, amount: Amount, observer: &mut Observer) -> Result<Outcome> {
        let plan = self.planned(Some(amount))?;
        match self.start(&plan, observer)? {
            Some((fit, spent)) => self.complete(fit, spent, amount, plan, observer),
            None => self.draw(amount, plan, observer),
        }
    }

    /// Only fits the posterior.
    ///
    /// # Errors
    /// [`Error::Usage`] when the method has none, and those of the fit.
    pub fn fit(self, observer: &mut Observer) -> Result<Outcome> {
        let problem = || format!("{} fits nothing that could be kept", self.settings.method.name);
        let plan = self.planned(None)?;
        let (mut fit, spent) = self.start(&plan, observer)?.ok_or_else(|| {
            Error::usage("--method", problem(), "use vipaint, with proposal=chain if it has particles")
        })?;
        let (interrupted, stage) = self.timed(|job| fit.run(&job.problem, observer))?;
        let fitting = spent + stage;
        Ok(Outcome {
            job: self,
            amount: None,
            samples: Vec::new(),
            log_weights: None,
            fit: Some(fit),
            fitting,
            sampling: Stage::default(),
            interrupted,
            plan,
        })
    }

    /// Completes a fit, if it is not complete, and draws from it.
    ///
    /// # Errors
    /// [`Error::Usage`] when the method has no fit, and those of the method.
    pub fn resume(self, fit: Fit, amount: Amount, observer: &mut Observer) -> Result<Outcome> {
        let plan = self.planned(Some(amount))?;
        self.complete(fit, Stage::default(), amount, plan, observer)
    }

    fn complete(
        self,
        mut fit: Fit,
        spent: Stage,
        amount: Amount,
        plan: Plan,
        observer: &mut Observer,
    ) -> Result<Outcome> {
        fit.together = plan.together;
        let problem = || format!("{} draws from no posterior", self.settings.method.name);
        let vipaint = self.settings.vipaint().ok_or_else(|| Error::usage("--method", problem(), "use vipaint"))?;
        let (stopped, stage) = self.timed(|job| fit.run(&job.problem, observer))?;
        let draw = self.draw_of(amount, &plan);
        let (drawn, sampling) = self.timed(|job| {
            if stopped {
                return Ok(Samples { interrupted: true, ..Samples::default() });
            }
            vipaint.sample_fit(&fit, &job.problem, &draw, observer)
        })?;
        self.outcome(drawn, amount, Some(fit), (spent + stage, sampling), plan)
    }

    fn draw(self, amount: Amount, plan: Plan, observer: &mut Observer) -> Result<Outcome> {
        let sampler = self.settings.sampler()?;
        let draw = self.draw_of(amount, &plan);
        let (drawn, sampling) = self.timed(|job| sampler.sample(&job.problem, &draw, observer))?;
        self.outcome(drawn, amount, None, (Stage::default(), sampling), plan)
    }

    /// A fit before its first step, and what its start cost, if the method is one that fits.
    fn start(&self, plan: &Plan, observer: &mut Observer) -> Result<Option<(Fit, Stage)>> {
        let Some(vipaint) = self.settings.vipaint() else { return Ok(None) };
        let options = vipaint.fit_options();
        self.timed(|job| Fit::within(plan.together, &job.problem, options, job.seed, observer)).map(Some)
    }

    fn draw_of(&self, amount: Amount, plan: &Plan) -> Draw {
        Draw { seed: self.seed, indices: 0..amount.samples, batch: plan.batch }
    }

    fn timed<T>(&self, work: impl FnOnce(&Self) -> vipaint_core::Result<T>) -> Result<(T, Stage)> {
        let (start, before) = (Instant::now(), self.problem.prior.calls());
        let value = work(self)?;
        self.problem.prior.check()?;
        Ok((value, Stage { calls: self.problem.prior.calls() - before, seconds: start.elapsed().as_secs_f64() }))
    }

    fn outcome(
        self,
        drawn: Samples,
        amount: Amount,
        fit: Option<Fit>,
        stages: (Stage, Stage),
        plan: Plan,
    ) -> Result<Outcome> {
        let (low, high) = self.problem.prior.value_range;
        let unit = |value: f32| ((f64::from(value) - low) / (high - low)) as f32;
        let samples = match drawn.images {
            None => Vec::new(),
            Some(images) => {
                let length = images.dims()[1..].iter().product::<usize>();
                let values = images.try_to_vec_as::<f32>().map_err(|error| Error::Resource {
                    what: "device".into(),
                    problem: format!("the samples cannot be read ({error})"),
                    remedy: "try again, or use --device cpu".into(),
                })?;
                values.chunks_exact(length).map(|sample| sample.iter().copied().map(unit).collect()).collect()
            }
        };
        Ok(Outcome {
            job: self,
            amount: Some(amount),
            samples,
            log_weights: drawn.log_weights,
            fit,
            fitting: stages.0,
            sampling: stages.1,
            interrupted: drawn.interrupted,
            plan,
        })
    }
}

impl Outcome {
    /// The samples' indices, the one with the largest importance weight first; in their order if there are none.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        if let Some(weights) = &self.log_weights {
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        }
        order
    }
}

/// `y`, with the picture's values brought to the prior's range.
fn measure(workspace: &Workspace, prior: &Prior, noise: Likelihood) -> Result<Measurement> {
    let device = prior.device.clone();
    let shape = prior.autoencoder.image_shape(prior.shape());
    let [channels, height, width] = shape;
    let (low, high) = prior.value_range;
    let known: Vec<f32> = workspace.known().iter().map(|known| f32::from(u8::from(*known))).collect();
    let known = known.repeat(channels);
    let scaled = workspace.values().iter().map(|value| (low + f64::from(*value) * (high - low)) as f32);
    let y: Vec<f32> = scaled.zip(&known).map(|(value, known)| value * known).collect();
    let y = Tensor::from_data(TensorData::new(y, [1, channels, height, width]), &device);
    let operator = Operator::new(&known, shape, &device)?;
    Ok(Measurement::new(Arc::new(operator), y, in_units(noise, (low, high), 1.0))?)
}
