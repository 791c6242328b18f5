//! VIPaint (Agarwal et al., 2026, algorithm 1): fit the posterior once, draw at `t_1`, refine to 0.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::particles::{ParticleOptions, Particles};
use super::{Correction, Draw, Method, Sampler, Samples, Walk, from_map, in_batches, to_map};
use crate::event::Observer;
use crate::posterior::published::{ldm, sd3};
use crate::posterior::{Fit, FitOptions, Objective, Problem, log_weights, weight_steps};
use crate::{Error, Level, Result};

/// How samples at `t_1` become pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefineOptions {
    /// Network calls for each sample from `t_1` to 0.
    pub refine_steps: usize,
    /// How the data's gradient enters them.
    pub correction: Correction,
    /// Scale of that gradient (not under a latent prior with correction `inside`), or of the move that `search` finds.
    pub zeta: f64,
    /// Scale of the noise added in each step: 1 is ancestral sampling.
    pub refine_eta: f64,
    /// Order of the steps, 1 or 2: see [`Walk::order`].
    pub refine_order: usize,
    /// Directions of correction `krylov`, one more call each.
    pub refine_directions: usize,
    /// Whether the paths' importance log-weights are computed (one call for each step of the fine grid and sample).
    pub weights: bool,
}

impl Default for RefineOptions {
    fn default() -> Self {
        Self {
            refine_steps: 25,
            correction: Correction::Inside,
            zeta: 1.0,
            refine_eta: 1.0,
            refine_order: 1,
            refine_directions: 1,
            weights: true,
        }
    }
}

impl RefineOptions {
    /// Down a grid as these options say.
    pub(super) fn walk(&self, grid: Vec<Level>) -> Walk {
        let Self { correction, zeta, refine_eta: eta, refine_order: order, refine_directions: directions, .. } = *self;
        Walk { grid, correction, zeta, eta, order, directions }
    }

    fn validate(&self) -> Result<()> {
        super::at_least_one("refine_steps", self.refine_steps)?;
        super::at_least_one("refine_directions", self.refine_directions)?;
        super::in_unit("refine_eta", self.refine_eta)?;
        if !(1..=2).contains(&self.refine_order) {
            return Err(Error::option("refine_order", format!("must be 1 or 2, got {}", self.refine_order)));
        }
        if !(self.zeta >= 0.0 && self.zeta.is_finite()) {
            return Err(Error::option("zeta", format!("must be at least 0 and finite, got {}", self.zeta)));
        }
        Ok(())
    }
}

/// VIPaint.
pub struct Vipaint {
    fit: FitOptions,
    refine: RefineOptions,
    particles: ParticleOptions,
}

impl Vipaint {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(fit: FitOptions, refine: RefineOptions) -> Result<Self> {
        fit.validate()?;
        refine.validate()?;
        if fit.objective == Objective::Sd3 && refine.weights {
            return Err(Error::option("weights", "must be false under objective=sd3, whose paths have none"));
        }
        Ok(Self { fit, refine, particles: ParticleOptions::default() })
    }

    /// With samples drawn from populations of particles.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn with_particles(self, particles: ParticleOptions) -> Result<Self> {
        particles.validate()?;
        if self.fit.objective == Objective::Sd3 && particles.particles > 0 {
            return Err(Error::option("particles", "must be 0 under objective=sd3, whose paths have no weights"));
        }
        Ok(Self { particles, ..self })
    }

    /// From a map that holds the options of all three.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn from_options(mut map: Map<String, Value>) -> Result<Self> {
        let mut take = |mut options: Map<String, Value>| {
            for (key, value) in &mut options {
                if let Some(given) = map.remove(key) {
                    *value = given;
                }
            }
            options
        };
        let refine = take(to_map(&RefineOptions::default()));
        let particles = take(to_map(&ParticleOptions::default()));
        Self::new(from_map(map)?, from_map(refine)?)?.with_particles(from_map(particles)?)
    }

    /// The options of all three, with their default values.
    pub fn default_options() -> Map<String, Value> {
        let mut map = to_map(&FitOptions::default());
        map.extend(to_map(&RefineOptions::default()));
        map.extend(to_map(&ParticleOptions::default()));
        map
    }

    /// The options of the fit.
    pub fn fit_options(&self) -> &FitOptions {
        &self.fit
    }

    /// Whether samples are drawn from a fitted posterior; particles may come from elsewhere.
    pub fn fits(&self) -> bool {
        self.particles.fits()
    }

    fn population<'a>(&'a self, keypoints: Vec<Level>, fit: Option<&'a Fit>) -> Particles<'a> {
        let (widen, directions) = (self.fit.widen, self.fit.directions);
        Particles { options: &self.particles, refine: &self.refine, keypoints, widen, directions, fit }
    }

    /// Draws from a fit that exists.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn sample_fit(&self, fit: &Fit, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let (prior, q) = (&problem.prior, &fit.posterior);
        if self.particles.particles > 0 {
            let keypoints = q.keypoints.iter().map(|k| k.level).collect();
            return self.population(keypoints, Some(fit)).sample(problem, draw, observer);
        }
        let (from, mut to) = (q.bottom().level, prior.schedule.bottom());
        let target = match self.fit.objective {
            Objective::Sd3 => Some(sd3::Target::new(problem)?),
            Objective::Bound | Objective::Ldm => None,
        };
        if target.is_some() {
            to = sd3::grid(&prior.schedule)?.last().copied().unwrap_or(to);
        }
        let grid = match self.refine.refine_steps {
            1 => vec![from],
            steps => prior.schedule.grid(from.t, to.t, steps - 1),
        };
        let walk = self.refine.walk(grid);
        let mut weights = Vec::new();
        let steps = self.refine.refine_steps + if self.refine.weights { weight_steps(fit) } else { 0 };
        let mut samples = in_batches(problem, draw, steps, observer, |indices, noise, tick| {
            let guidance = &problem.guidance;
            let path = q.draw(prior, guidance, noise)?;
            // Before the walk: samples that are complete are kept with their weights when the caller asks to stop.
            let logs = if self.refine.weights { log_weights(fit, problem, &path, indices, tick)? } else { Vec::new() };
            let z = path[path.len() - 1].clone();
            let z = match (self.fit.objective, &target) {
                (Objective::Ldm, _) => ldm::refine(problem, &self.fit, &walk.grid, z, [walk.zeta, walk.eta], tick)?,
                (_, Some(target)) => {
                    let mut normal = || noise.normal(q.shape(), &problem.device());
                    sd3::refine(problem, (&self.fit, target), &walk.grid, z, walk.zeta, &mut normal, tick)?
                }
                (_, None) => walk.run(problem, z, noise, tick)?,
            };
            weights.extend(logs);
            Ok(z)
        })?;
        samples.log_weights = (!weights.is_empty()).then_some(weights);
        Ok(samples)
    }
}

pub(super) const METHOD: Method = Method {
    name: "vipaint",
    about: "VIPaint (Agarwal et al., 2026): fits a hierarchical posterior once, then draws",
    defaults: Vipaint::default_options,
    build: |map| Ok(Box::new(Vipaint::from_options(map)?)),
};

impl Sampler for Vipaint {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        if !self.fits() {
            return self.population(self.fit.levels(problem)?, None).sample(problem, draw, observer);
        }
        let mut fit = match Fit::new(problem, &self.fit, draw.seed, observer) {
            Err(Error::Interrupted) => return Ok(Samples { interrupted: true, ..Samples::default() }),
            started => started?,
        };
        let interrupted = fit.run(problem, observer)?;
        let mut samples = if interrupted {
            Samples { interrupted, ..Samples::default() }
        } else {
            self.sample_fit(&fit, problem, draw, observer)?
        };
        samples.fit = Some(fit);
        Ok(samples)
    }
}
