//! Who is compared on the mixture benchmark, and how each spends the cost of a sample.

use vipaint_core::posterior::FitOptions;

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
pub struct Contender {
    /// The row's name.
    pub name: &'static str,
    /// The sampler's name.
    pub method: &'static str,
    /// Options that spend it.
    pub spend: fn(&Budget) -> Vec<(&'static str, String)>,
}

impl Contender {
    /// The sampler's options for a budget.
    pub fn settings(&self, budget: &Budget) -> Vec<(String, String)> {
        (self.spend)(budget).into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }
}

/// The methods of the results page. Their hyperparameters were chosen on other problems (seed 1).
pub const CONTENDERS: &[Contender] = &[
    Contender { name: "vipaint particles", method: "vipaint", spend: |b| guided(b, KEYPOINTS, SETTLE) },
    Contender { name: "particles: no settling", method: "vipaint", spend: |b| guided(b, KEYPOINTS, 0) },
    Contender { name: "particles: unguided", method: "vipaint", spend: |b| paths(b, KEYPOINTS) },
    Contender { name: "particles: fitted chain", method: "vipaint", spend: chain },
    Contender { name: "vipaint K=2", method: "vipaint", spend: |b| fitted(b, "isotropic") },
    Contender { name: "vipaint K=2 jacobian", method: "vipaint", spend: |b| fitted(b, "jacobian") },
    Contender { name: "vipaint K=2 plug-in", method: "vipaint", spend: |b| fitted(b, "none") },
    Contender { name: "mcgdiff", method: "mcgdiff", spend: |b| mcgdiff(b, b.cost / 100) },
    Contender { name: "mcgdiff one particle a sample", method: "mcgdiff", spend: |b| mcgdiff(b, 1) },
    Contender {
        name: "dps",
        method: "dps",
        spend: |b| vec![("steps", (b.cost / 3).to_string()), ("zeta", "0.3".into()), ("eta", "0.85".into())],
    },
    Contender {
        name: "pigdm",
        method: "pigdm",
        spend: |b| vec![("steps", (b.cost / 3).to_string()), ("scale", "2".into())],
    },
    Contender { name: "ddnm", method: "ddnm", spend: |b| vec![("steps", b.cost.to_string())] },
    Contender {
        name: "reddiff",
        method: "reddiff",
        spend: |b| vec![("steps", b.cost.to_string()), ("lr", "0.5".into()), ("lambda", "0.05".into())],
    },
    Contender {
        name: "daps",
        method: "daps",
        spend: |b| vec![("steps", (b.cost / 2).to_string()), ("ode_steps", "2".into()), ("last", "1".into())],
    },
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

/// The published form and keypoints, with the likelihood widened or not.
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
