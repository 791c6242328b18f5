//! Who is compared on the mixture benchmark, and how each spends the cost of a sample.

use vipaint_core::posterior::FitOptions;
use vipaint_core::sampler::{Sampler, method};

use crate::Result;
use crate::masks::{self, Contender};

/// What a method may spend, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Cost of a sample in forward calls; a vector-Jacobian product counts two more.
    pub cost: u64,
    /// Samples, for costs that they share.
    pub samples: u64,
    /// Measurements.
    pub dy: u64,
}

/// A method with the rule that spends a budget.
pub struct Preset {
    /// The row's name.
    pub name: &'static str,
    /// What it is, for the page.
    pub about: &'static str,
    /// The sampler's name.
    pub method: &'static str,
    /// Options that spend it.
    pub spend: fn(&Budget) -> Vec<(&'static str, String)>,
}

/// A method of the table.
pub enum Entry {
    /// With this benchmark's settings.
    Preset(&'static Preset),
    /// As its text says.
    Written(Contender),
}

impl Entry {
    /// A preset's name, or `METHOD [option=value ...]`, see [`Contender::parse`].
    ///
    /// # Errors
    /// Those of the text.
    pub fn parse(text: &str) -> Result<Self> {
        match PRESETS.iter().find(|preset| preset.name == text.trim()) {
            Some(preset) => Ok(Self::Preset(preset)),
            None => Ok(Self::Written(Contender::parse(text)?)),
        }
    }

    /// The row's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Preset(preset) => preset.name,
            Self::Written(contender) => &contender.name,
        }
    }

    /// What it is, for the page.
    pub fn about(&self) -> &str {
        match self {
            Self::Preset(preset) => preset.about,
            Self::Written(contender) => contender.method.about,
        }
    }

    /// The sampler within a budget.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn sampler(&self, budget: &Budget) -> Result<Box<dyn Sampler>> {
        match self {
            Self::Preset(preset) => {
                let settings = (preset.spend)(budget);
                Ok(method(preset.method)?.with(settings.iter().map(|(k, v)| (*k, v.as_str())))?)
            }
            Self::Written(contender) => {
                let cost = budget.cost * budget.samples;
                contender.sampler(&masks::Budget { cost, samples: budget.samples, guided: false })
            }
        }
    }
}

const fn preset(
    name: &'static str,
    method: &'static str,
    about: &'static str,
    spend: fn(&Budget) -> Vec<(&'static str, String)>,
) -> Preset {
    Preset { name, about, method, spend }
}

/// The row whose leads the page shows: VIPaint in the form that wins.
pub const REFERENCE: &str = "vipaint";

/// The methods of the results page. Their hyperparameters were chosen on other problems (seed 1).
pub const PRESETS: &[Preset] = &[
    preset(
        REFERENCE,
        "vipaint",
        "keypoints, the likelihood widened by the Jacobian, one population of guided paths weighted and resampled together, \
         Gaussian refinement; nothing is fitted",
        |b| guided(b, KEYPOINTS, SETTLE),
    ),
    preset("vipaint unsettled", "vipaint", "without Langevin steps at T", |b| guided(b, KEYPOINTS, 0)),
    preset("vipaint unguided", "vipaint", "paths of the prior: only the weights at keypoints see the data", |b| {
        paths(b, KEYPOINTS)
    }),
    preset("vipaint chain", "vipaint", "paths of the fitted posterior, weighted as wholes at t_1", chain),
    preset("vipaint fitted", "vipaint", "the fitted posterior, paths one by one, isotropic widening", |b| {
        fitted(b, "isotropic")
    }),
    preset("vipaint fitted jacobian", "vipaint", "the same, widened by the Jacobian", |b| fitted(b, "jacobian")),
    preset("vipaint fitted plug-in", "vipaint", "the same, not widened: the published likelihood", |b| {
        fitted(b, "none")
    }),
    preset(
        "vipaint published",
        "vipaint",
        "as published: a Gaussian at each of two keypoints, started from the measurement and fitted to the plug-in likelihood, paths \
         one by one, the gradient after each step below them",
        published,
    ),
    preset("mcgdiff", "mcgdiff", "100 steps and as many particles as the budget pays for", |b| {
        mcgdiff(b, b.cost / 100)
    }),
    preset("mcgdiff one particle a sample", "mcgdiff", "100 steps, as published", |b| mcgdiff(b, 1)),
    preset("dps", "dps", "a third of the budget in steps (a gradient costs three calls), zeta 0.3, eta 0.85", |b| {
        vec![("steps", (b.cost / 3).to_string()), ("zeta", "0.3".into()), ("eta", "0.85".into())]
    }),
    preset("pigdm", "pigdm", "a third of the budget in steps, guidance twice as strong", |b| {
        vec![("steps", (b.cost / 3).to_string()), ("scale", "2".into())]
    }),
    preset("ddnm", "ddnm", "DDNM+, at most 100 steps, as published: three times as many are no better", |b| {
        vec![("steps", b.cost.min(100).to_string())]
    }),
    preset("reddiff", "reddiff", "a step for each call, lr 0.5, lambda 0.05", |b| {
        vec![("steps", b.cost.to_string()), ("lr", "0.5".into()), ("lambda", "0.05".into())]
    }),
    preset("daps", "daps", "half the budget in levels, two ODE steps at each", |b| {
        vec![("steps", (b.cost / 2).to_string()), ("ode_steps", "2".into()), ("last", "1".into())]
    }),
];

/// Keypoints as timesteps: `sigma / alpha` of 8, 4 and 2.
const KEYPOINTS: &[&str] = &["640", "527", "396"];

/// Langevin steps at T; they are taken once for all paths of a particle.
const SETTLE: u64 = 24;

/// Steps from `t_1` to 0. Each costs a call, one for the mean variance, and one for each measurement.
const REFINE: u64 = 8;

fn refinement(b: &Budget) -> u64 {
    REFINE * (2 + b.dy)
}

/// What all populations have in common.
fn population(b: &Budget, proposal: &str, keypoints: &[&str], paths: u64) -> Vec<(&'static str, String)> {
    vec![
        ("particles", b.samples.to_string()),
        ("proposal", proposal.into()),
        ("paths", paths.to_string()),
        ("keypoints", keypoints.join(",")),
        ("widen", "jacobian".into()),
        ("spacing", "time".into()),
        ("refine_steps", REFINE.to_string()),
    ]
}

/// Unguided paths: 40 calls from T to `t_1`, and one for each keypoint and measurement; as many paths as the budget pays.
fn paths(b: &Budget, keypoints: &[&str]) -> Vec<(&'static str, String)> {
    let (steps, looks) = (40, keypoints.len() as u64 * b.dy);
    let paths = b.cost.saturating_sub(refinement(b) + SETTLE) / (steps + looks);
    let mut settings = population(b, "prior", keypoints, paths.max(1));
    settings.extend([("path_steps", steps.to_string()), ("settle_steps", SETTLE.to_string())]);
    settings
}

/// One guided path for each particle, which looks at the data in every step.
fn guided(b: &Budget, keypoints: &[&str], settle: u64) -> Vec<(&'static str, String)> {
    let steps = b.cost.saturating_sub(refinement(b) + settle) / (1 + b.dy);
    let mut settings = population(b, "guided", keypoints, 1);
    settings.extend([("path_steps", steps.max(2).to_string()), ("settle_steps", settle.to_string())]);
    settings
}

/// Iterations of a fit, paths drawn in each, rate for `mu` (the mixture's means are far apart).
const FIT: [(&str, &str); 3] = [("iterations", "300"), ("mc_samples", "16"), ("lr_mu", "0.5")];

/// Cost of a fit with K = 2 for each of the samples: paths at two keypoints and steps above, all with their gradients, and the
/// Jacobian.
fn fit_cost(b: &Budget, jacobian: bool) -> u64 {
    let (iterations, mc) = (300, 16);
    let fit = FitOptions::default();
    let each = 3 * (2 * mc + (fit.prior_steps * fit.prior_samples) as u64) + if jacobian { mc * b.dy } else { 0 };
    let start = 3 * (fit.init_samples * fit.init_steps) as u64;
    (iterations * each + start).div_ceil(b.samples)
}

fn fit(widen: &str) -> Vec<(&'static str, String)> {
    let mut settings: Vec<_> = FIT.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    settings.push(("widen", widen.into()));
    settings
}

/// The paper's form: nothing is widened, and nothing but the measurement is started from. Its refinement is a walk of DPS.
fn published(b: &Budget) -> Vec<(&'static str, String)> {
    let mut settings = fitted(b, "none");
    let text = [("init_samples", "0"), ("correction", "after"), ("zeta", "0.3"), ("refine_eta", "0.85")];
    settings.extend(text.map(|(key, value)| (key, value.to_owned())));
    settings
}

/// The published keypoints, with the likelihood widened or not.
fn fitted(b: &Budget, widen: &str) -> Vec<(&'static str, String)> {
    let refine = b.cost.saturating_sub(fit_cost(b, widen == "jacobian") + 1) / 3;
    let mut settings = fit(widen);
    settings.extend([
        ("keypoints", "550,400".into()),
        ("refine_steps", refine.max(1).to_string()),
        ("weights", "false".into()),
    ]);
    settings
}

/// Paths of the fitted chain, weighted as wholes and resampled at `t_1`.
fn chain(b: &Budget) -> Vec<(&'static str, String)> {
    let grid = 40;
    let left = b.cost.saturating_sub(fit_cost(b, true) + refinement(b));
    let paths = left / (grid + 3 + b.dy);
    let mut settings = fit("jacobian");
    settings.extend(population(b, "chain", &KEYPOINTS[1..], paths.max(1)));
    settings.push(("grid_steps", grid.to_string()));
    settings
}

/// 100 steps, as published, with several particles for each sample: more steps make it worse, as it resamples in each.
fn mcgdiff(b: &Budget, particles: u64) -> Vec<(&'static str, String)> {
    vec![("steps", "100".into()), ("particles", (b.samples * particles.max(1)).to_string())]
}
