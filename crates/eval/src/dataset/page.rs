//! The results page: a table for each mask.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Benchmark, MASS, Row};
use crate::calibration::{Uniformity, uniformity};
use crate::sheet::{Grid, Page, sheet};
use crate::stats::{Mean, median};

/// Cases shown under each mask, and samples of each.
pub(super) const SHOWN: usize = 3;
pub(super) const SAMPLES: usize = 6;

/// Bins of ranks.
const BINS: usize = 5;

/// A method under a mask, over all cases.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The mask protocol.
    pub mask: &'static str,
    /// The contender's name.
    pub method: String,
    /// Distance to the exact posterior.
    pub distance: Mean,
    /// Share of hidden values inside their credible intervals.
    pub coverage: Mean,
    /// Root mean variance of hidden values over the exact one.
    pub spread: Mean,
    /// This distance minus the reference's, case by case.
    pub reference_lead: Option<Mean>,
    /// Test of the truths' ranks by the mean over hidden values, see [`crate::calibration`].
    pub ranks: Option<Uniformity>,
    /// Median number of pictures that share the exact posterior.
    pub effective: f64,
    /// Forward calls a sample.
    pub calls: f64,
    /// Vector-Jacobian products a sample.
    pub vjps: f64,
    /// Seconds a case.
    pub seconds: f64,
}

/// A table row for each mask and method; leads are those of `reference`.
pub fn summarise(rows: &[Row], benchmark: &Benchmark, reference: &str) -> Vec<Summary> {
    let mut summaries = Vec::new();
    for mask in benchmark.masks {
        let of = |name: &str, f: &dyn Fn(&Row) -> f64| -> Vec<f64> {
            rows.iter().filter(|r| r.mask == mask.name && r.method == name).map(f).collect()
        };
        let best = of(reference, &|r| r.distance);
        for name in benchmark.names() {
            let mean = |f: &dyn Fn(&Row) -> f64| Mean::of(&of(name, f));
            let compared = !best.is_empty() && ![reference, "exact", "prior"].contains(&name);
            summaries.push(Summary {
                mask: mask.name,
                method: name.to_owned(),
                distance: mean(&|r| r.distance),
                coverage: mean(&|r| r.coverage),
                spread: mean(&|r| r.spread),
                reference_lead: compared.then(|| Mean::paired(&of(name, &|r| r.distance), &best)),
                ranks: uniformity(&ranks_of(rows, mask.name, name), benchmark.samples, BINS),
                effective: median(&of(name, &|r| r.effective)),
                calls: mean(&|r| r.calls).mean,
                vjps: mean(&|r| r.vjps).mean,
                seconds: mean(&|r| r.seconds).mean,
            });
        }
    }
    summaries
}

/// Ranks by the mean over hidden values, one a case.
fn ranks_of(rows: &[Row], mask: &str, name: &str) -> Vec<usize> {
    rows.iter().filter(|r| r.mask == mask && r.method == name).filter_map(|r| r.ranks.first().copied()).collect()
}

/// The page. `reference` is the contender whose leads are shown, `command` is what regenerates it, `pictures` says what the prior is made
/// of.
pub fn markdown(rows: &[Row], benchmark: &Benchmark, reference: &str, command: &str, pictures: &str) -> Page {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# Real pictures with an exact posterior\n\nMade by `{command}`.\n\n\
         The prior is a Gaussian on each of {pictures}, so that its denoiser and the posterior under a mask are exact. Truths are \
         draws of it, measured with noise {}. {} truths for each mask, {} samples each, seed {}. Distances are sliced Wasserstein-1 \
         distances of hidden values to {} times as many exact samples; *exact* are samples of the posterior, *prior* samples of the \
         prior. *coverage* is the share of hidden values inside their {:.0} % credible intervals, *spread* the root mean variance of \
         hidden values over the exact one; *ranks* is the probability that truths drawn from the samples' distribution have ranks at least \
         as far from uniform as those found (simulation-based calibration by the mean over hidden values, {BINS} bins). A method may spend the cost of {} forward calls a sample, a fit included; a \
         vector-Jacobian product counts as two more calls. Leads are paired over truths. Means ± 95 % intervals, bold where a lead's \
         excludes 0.\n",
        benchmark.sigma_y,
        benchmark.cases,
        benchmark.samples,
        benchmark.seed,
        super::EXACT,
        100.0 * MASS,
        benchmark.cost,
    );
    let summaries = summarise(rows, benchmark, reference);
    let mut grids = Vec::new();
    for mask in benchmark.masks {
        let of = || summaries.iter().filter(|s| s.mask == mask.name);
        let effective = of().next().map_or(f64::NAN, |s| s.effective);
        let _ = writeln!(
            text,
            "## {}: {}\n\nThe exact posterior is shared by {effective:.1} pictures (median effective number).\n\n\
             | method | distance | lead of {reference} | coverage | spread | ranks | calls | VJPs | s |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            mask.name, mask.about
        );
        of().for_each(|s| line(&mut text, s));
        verdict(&mut text, &of().collect::<Vec<_>>(), reference);
        let names: Vec<&str> = benchmark.names().collect();
        let file = format!("dataset-{}.png", mask.name);
        let _ = writeln!(
            text,
            "\n![{}]({file})\n\nFor each truth, from top to bottom: {}; from left to right: truth, measured, samples (the truth where \
             it is known).\n",
            mask.name,
            names.join(", ")
        );
        grids.push(grid(rows, benchmark, mask.name, file));
    }
    Page { text, pictures: grids }
}

/// Truth, what is measured, and samples, one line for each method, cases below each other.
fn grid(rows: &[Row], benchmark: &Benchmark, mask: &str, file: String) -> Grid {
    let shape = benchmark.world.shape();
    let line = |case: usize, name: &str| {
        let row = rows.iter().find(|r| r.case == case && r.mask == mask && r.method == name);
        row.map_or_else(Vec::new, |r| r.images.chunks_exact(shape.iter().product()).collect())
    };
    let group = |case: usize| benchmark.names().map(|name| line(case, name)).collect();
    let groups: Vec<Vec<Vec<&[u8]>>> = (0..SHOWN.min(benchmark.cases)).map(group).collect();
    sheet(file, shape, &groups)
}

/// What the reference reaches of what is asked for: the smallest distance, and samples that are neither too sure nor too unsure.
fn verdict(text: &mut String, summaries: &[&Summary], reference: &str) {
    let Some(own) = summaries.iter().find(|s| s.method == reference) else { return };
    let others = || summaries.iter().filter(|s| s.reference_lead.is_some());
    let nearer = others().filter(|s| s.distance.mean < own.distance.mean).count();
    let sure = others().filter(|s| s.reference_lead.is_some_and(|lead| lead.above_zero())).count();
    let said = |inside: bool| if inside { "is" } else { "is not" };
    let _ = writeln!(
        text,
        "\n{nearer} of {} others are nearer than *{reference}*, which is nearer than {sure} of them with an interval that excludes 0. \
         Its coverage {} between {:.2} and {:.2}, its spread {} within 20 % of the exact one.",
        others().count(),
        said((own.coverage.mean - MASS).abs() <= 0.05),
        MASS - 0.05,
        MASS + 0.05,
        said((own.spread.mean - 1.0).abs() <= 0.2),
    );
}

fn line(text: &mut String, s: &Summary) {
    let lead = match s.reference_lead {
        None => "-".into(),
        Some(lead) if lead.above_zero() => format!("**{lead:.3}**"),
        Some(lead) => format!("{lead:.3}"),
    };
    let Summary { method, distance, coverage, spread, calls, vjps, seconds, .. } = s;
    let ranks = s.ranks.as_ref().map_or_else(|| "-".into(), |test| format!("{:.2}", test.p));
    let _ = writeln!(
        text,
        "| {method} | {distance:.3} | {lead} | {coverage:.2} | {spread:.2} | {ranks} | {calls:.0} | {vjps:.0} | {seconds:.1} |"
    );
}
