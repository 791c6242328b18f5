//! Equal cost: the options that make each method spend a given number of calls.

use vipaint_core::posterior::FitOptions;
use vipaint_core::sampler::{RePaint, RePaintOptions, RefineOptions};

/// What a method may spend on one picture; a vector-Jacobian product costs two calls more than the forward call it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Cost in forward calls.
    pub cost: u64,
    /// Samples to draw.
    pub samples: u64,
}

/// A method with the rule that spends a budget.
pub struct Contender {
    /// The row's name.
    pub name: &'static str,
    /// The sampler's name.
    pub method: &'static str,
    settings: fn(&Budget) -> Vec<(&'static str, String)>,
}

impl Contender {
    /// The sampler's options for a budget.
    pub fn settings(&self, budget: &Budget) -> Vec<(String, String)> {
        (self.settings)(budget).into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// The contender of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CONTENDERS.iter().find(|c| c.name == name)
    }
}

/// The methods of the results page.
pub const CONTENDERS: &[Contender] = &[
    Contender { name: "vipaint K=1", method: "vipaint", settings: |b| vipaint(b, 1) },
    Contender { name: "vipaint K=2", method: "vipaint", settings: |b| vipaint(b, 2) },
    Contender { name: "vipaint K=4", method: "vipaint", settings: |b| vipaint(b, 4) },
    Contender {
        name: "dps",
        method: "dps",
        settings: |b| vec![("steps", (b.cost / b.samples / 3).max(1).to_string())],
    },
    Contender { name: "repaint", method: "repaint", settings: repaint },
];

/// Not more than 45 % of the budget goes into drawing and 15 % into the start values, up to the default steps of both; the
/// rest goes into iterations of the fit. Log-weights are left out: they do not change the samples.
fn vipaint(budget: &Budget, k: u64) -> Vec<(&'static str, String)> {
    let fit = FitOptions::default();
    let default_refine = RefineOptions::default().refine_steps as u64;
    let refine = (budget.cost * 45 / 100 / (3 * budget.samples)).clamp(1, default_refine);
    let start = 3 * fit.init_steps as u64;
    let init_samples = (budget.cost * 15 / 100 / start).clamp(1, fit.init_samples as u64);
    let spent = budget.samples * (k - 1 + 3 * refine) + init_samples * start;
    let step = 3 * (fit.mc_samples as u64 * k + (fit.prior_steps * fit.prior_samples) as u64);
    let iterations = budget.cost.saturating_sub(spent) / step;
    vec![
        ("k", k.to_string()),
        ("iterations", iterations.to_string()),
        ("refine_steps", refine.to_string()),
        ("init_samples", init_samples.to_string()),
        ("weights", "false".into()),
    ]
}

/// The authors' jump length relative to the number of steps (10 of 250) and ten resamplings; the steps follow from the cost.
fn repaint(budget: &Budget) -> Vec<(&'static str, String)> {
    let calls = budget.cost / budget.samples;
    let options = |steps: usize| RePaintOptions { steps, jump_length: (steps / 25).max(1), resamplings: 10 };
    let spent = |steps: usize| {
        let walk = RePaint::new(options(steps)).map(|r| r.walk()).unwrap_or_default();
        walk.windows(2).filter(|w| w[1] > w[0]).count() as u64 + 1
    };
    let steps = (1..=250).take_while(|steps| spent(*steps) <= calls).last().unwrap_or(1);
    let o = options(steps);
    vec![
        ("steps", o.steps.to_string()),
        ("jump_length", o.jump_length.to_string()),
        ("resamplings", o.resamplings.to_string()),
    ]
}
