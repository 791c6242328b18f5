//! The results page: a table with error bars, paired differences, and pictures to look at.

use std::fmt::Write as _;

use serde::Serialize;
use vipaint_core::operator::Protocol;

use super::{Benchmark, Row};
use crate::sheet::{Grid, Page, sheet};
use crate::stats::Mean;

/// One cell of the table: a method under a mask, over all pictures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The mask protocol.
    pub mask: &'static str,
    /// The contender's name.
    pub method: String,
    /// What it might spend, in forward calls.
    pub cost: u64,
    /// In-hole PSNR of the samples' mean, dB.
    pub psnr_mean: Mean,
    /// Best in-hole PSNR of the samples, dB.
    pub psnr_best: Mean,
    /// Diversity inside the hole.
    pub diversity: Mean,
    /// Share of samples of the true class.
    pub agreement: Option<Mean>,
    /// Agreement of the reference method minus this one's, picture by picture.
    pub reference_lead: Option<Mean>,
    /// Mean forward calls a picture.
    pub calls: f64,
    /// Mean vector-Jacobian products a picture.
    pub vjps: f64,
    /// Mean seconds a picture.
    pub seconds: f64,
}

/// A table row for each mask, cost and method; leads are those of `reference` at the same cost.
pub fn summarise(rows: &[Row], benchmark: &Benchmark, reference: &str) -> Vec<Summary> {
    let mut summaries = Vec::new();
    for (mask, &cost) in benchmark.masks.iter().flat_map(|mask| benchmark.costs.iter().map(move |cost| (mask, cost))) {
        let of = |method: &str| -> Vec<&Row> {
            rows.iter().filter(|r| r.mask == mask.name && r.cost == cost && r.method == method).collect()
        };
        let agreements = |rows: &[&Row]| rows.iter().map(|r| r.agreement).collect::<Option<Vec<f64>>>();
        let reference_agreement = agreements(&of(reference));
        for contender in benchmark.contenders {
            let rows = of(&contender.name);
            let mean = |f: &dyn Fn(&Row) -> f64| Mean::of(&rows.iter().map(|r| f(r)).collect::<Vec<_>>());
            let agreement = agreements(&rows).filter(|a| !a.is_empty());
            let reference_lead = match (&reference_agreement, &agreement) {
                (Some(a), Some(b)) if contender.name != reference && a.len() == b.len() => Some(Mean::paired(a, b)),
                _ => None,
            };
            summaries.push(Summary {
                mask: mask.name,
                method: contender.name.clone(),
                cost,
                psnr_mean: mean(&|r| r.psnr_mean),
                psnr_best: mean(&|r| r.psnr_best),
                diversity: mean(&|r| r.diversity),
                agreement: agreement.as_deref().map(Mean::of),
                reference_lead,
                calls: mean(&|r| r.calls as f64).mean,
                vjps: mean(&|r| r.vjps as f64).mean,
                seconds: mean(&|r| r.seconds).mean,
            });
        }
    }
    summaries
}

/// Pictures shown under each mask.
pub(super) const SHOWN: usize = 4;

/// The page. `command` is what regenerates it.
pub fn markdown(rows: &[Row], benchmark: &Benchmark, reference: &str, command: &str) -> Page {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# Inpainting methods on the prior `{}`\n\nMade by `{command}`.\n\n\
         {} held-out pictures, {} samples each, seed {}, sigma_y {}, no class given. Every method may spend about as many \
         forward calls a picture as the column *cost* says, all {} samples and the fit together; a vector-Jacobian product counts as two more calls. Intervals \
         are 95 % over pictures. *Class* is the share of samples that a classifier gives the true class; *lead* is {reference}'s \
         class agreement minus the row's, paired over pictures, bold where its interval lies above 0. PSNR and diversity are \
         inside the hole only; diversity is the pixel standard deviation over samples relative to the value range. Log-weights \
         are not computed here, since they change no sample. Seconds are for one picture with all threads busy on others.\n",
        benchmark.prior.name,
        benchmark.pictures.len(),
        benchmark.samples,
        benchmark.seed,
        benchmark.sigma_y,
        benchmark.samples,
    );
    let summaries = summarise(rows, benchmark, reference);
    let mut pictures = Vec::new();
    for mask in benchmark.masks {
        let _ = writeln!(
            text,
            "## `{}`: {}\n\n| cost | method | class | lead | PSNR of the mean | best PSNR | diversity | calls | VJPs | s |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            mask.name, mask.about
        );
        for s in summaries.iter().filter(|s| s.mask == mask.name) {
            let optional = |m: &Option<Mean>| m.as_ref().map_or_else(|| "-".into(), |m| format!("{m:.3}"));
            let lead = match &s.reference_lead {
                Some(lead) if lead.above_zero() => format!("**{lead:.3}**"),
                lead => optional(lead),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {lead} | {:.2} | {:.2} | {:.3} | {:.0} | {:.0} | {:.2} |",
                s.cost,
                s.method,
                optional(&s.agreement),
                s.psnr_mean,
                s.psnr_best,
                s.diversity,
                s.calls,
                s.vjps,
                s.seconds
            );
        }
        let file = format!("masks-{}.png", mask.name);
        let names: Vec<_> = benchmark.contenders.iter().map(|c| c.name.as_str()).collect();
        let _ = writeln!(
            text,
            "\n![{}]({file})\n\nFor each picture, from top to bottom: {}; from left to right: truth, masked, samples{}.\n",
            mask.name,
            names.join(", "),
            if benchmark.costs.len() > 1 { " at the highest cost" } else { "" }
        );
        pictures.extend(grid(rows, benchmark, mask, file));
    }
    Page { text, pictures }
}

/// Truth, masked picture and samples, one line for each method, pictures below each other.
fn grid(rows: &[Row], benchmark: &Benchmark, mask: &'static Protocol, file: String) -> Option<Grid> {
    let (low, high) = (benchmark.prior.value_range.0 as f32, benchmark.prior.value_range.1 as f32);
    let cost = *benchmark.costs.iter().max()?;
    let truths: Vec<[Vec<u8>; 2]> = (benchmark.shown())
        .map(|picture| {
            let truth = super::bytes(&benchmark.pictures[picture].0, low, high);
            let known = mask.mask(benchmark.prior.shape(), benchmark.seed.wrapping_add(picture as u64));
            let masked = truth.iter().zip(&known).map(|(t, k)| if *k == 1.0 { *t } else { 127 }).collect();
            [truth, masked]
        })
        .collect();
    let mut groups = Vec::new();
    for (picture, truth) in benchmark.shown().zip(&truths) {
        let line = |contender| {
            let of = |r: &&Row| super::Case { picture, mask, contender, cost }.made(r);
            let samples = rows.iter().find(of)?.images.chunks_exact(truth[0].len());
            Some(truth.iter().map(Vec::as_slice).chain(samples).collect::<Vec<_>>())
        };
        groups.push(benchmark.contenders.iter().map(line).collect::<Option<Vec<_>>>()?);
    }
    Some(sheet(file, benchmark.prior.shape(), &groups))
}
