//! The results page: who leads under each operator, and for each a table and pictures.

use std::fmt::Write as _;

use serde::Serialize;
use vipaint_core::operator::{Setting, settings};

use super::{Benchmark, Row, Tuned};
use crate::Result;
use crate::sheet::{Grid, Page, sheet};
use crate::stats::Mean;

/// Pictures shown for each operator.
pub(super) const SHOWN: usize = 3;

/// A method under an operator, over all pictures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The operator's setting.
    pub setting: String,
    /// The method.
    pub method: String,
    /// Its options there.
    pub used: String,
    /// PSNR of a sample over pixels that are not measured at all if there are some, else over all.
    pub psnr: Mean,
    /// PSNR of a sample over all pixels.
    pub psnr_full: Mean,
    /// PSNR of the samples' mean over all pixels.
    pub psnr_mean: Mean,
    /// SSIM of a sample.
    pub ssim: Mean,
    /// Residual over the noise.
    pub residual: Mean,
    /// Diversity.
    pub diversity: Mean,
    /// The reference's PSNR minus this one's, picture by picture.
    pub lead_psnr: Option<Mean>,
    /// The same of SSIM.
    pub lead_ssim: Option<Mean>,
    /// Forward calls a picture.
    pub calls: f64,
    /// Vector-Jacobian products a picture.
    pub vjps: f64,
    /// Seconds a picture.
    pub seconds: Mean,
}

fn score(row: &Row) -> f64 {
    row.psnr_hidden.unwrap_or(row.psnr)
}

/// A row for each setting and method; leads are those of the first method.
///
/// # Errors
/// Those of [`Benchmark::names`].
pub fn summarise(rows: &[Row], benchmark: &Benchmark) -> Result<Vec<Summary>> {
    let mut summaries = Vec::new();
    for setting in benchmark.names()? {
        let of = |method: &str| -> Vec<&Row> {
            rows.iter().filter(|r| !r.tuning && r.setting == setting && r.method == method).collect()
        };
        let reference = benchmark.methods.first().map(|m| of(&m.name)).unwrap_or_default();
        for (i, method) in benchmark.methods.iter().enumerate() {
            let own = of(&method.name);
            let Some(first) = own.first() else { continue };
            let column = |rows: &[&Row], f: fn(&Row) -> f64| rows.iter().map(|r| f(r)).collect::<Vec<_>>();
            let mean = |f: fn(&Row) -> f64| Mean::of(&column(&own, f));
            let lead = |f: fn(&Row) -> f64| {
                (i > 0 && reference.len() == own.len()).then(|| Mean::paired(&column(&reference, f), &column(&own, f)))
            };
            summaries.push(Summary {
                setting: setting.clone(),
                method: method.name.clone(),
                used: first.used.clone(),
                psnr: mean(score),
                psnr_full: mean(|r| r.psnr),
                psnr_mean: mean(|r| r.psnr_mean),
                ssim: mean(|r| r.ssim),
                residual: mean(|r| r.residual),
                diversity: mean(|r| r.diversity),
                lead_psnr: lead(score),
                lead_ssim: lead(|r| r.ssim),
                calls: mean(|r| r.calls as f64).mean,
                vjps: mean(|r| r.vjps as f64).mean,
                seconds: mean(|r| r.seconds),
            });
        }
    }
    Ok(summaries)
}

/// The page, its pictures in a folder `operators` beside it. `command` is what regenerates it.
///
/// # Errors
/// Those of [`Benchmark::names`].
pub fn markdown(rows: &[Row], benchmark: &Benchmark, command: &str) -> Result<Page> {
    let reference = benchmark.methods.first().map_or("", |m| m.name.as_str());
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# Every operator on the prior `{}`\n\nMade by `{command}`.\n\n\
         {} held-out pictures, measured with Gaussian noise of {} in a range of {:?} (scaled with sums), {} samples each, seed {}. \
         Every method may spend {} forward calls a picture, all samples and a fit together; a vector-Jacobian product counts as two \
         more. Options with alternatives (`|`) are chosen for each operator by the PSNR on {} other pictures. *PSNR* is that of a \
         sample, over the pixels that are not measured at all where there are some (masks, windows), else over all, at most that of rounding to 8 bits; *full* over all, \
         *mean* that of the samples' mean; *residual* is the root mean square of y - A x over the noise, 1 for the truth; *diversity* \
         the pixel standard deviation over samples relative to the value range. Leads are those of *{reference}*, paired over \
         pictures. Means ± 95 % intervals, bold where a lead's excludes 0. Pictures are grey and small: LPIPS says nothing about \
         them and is left out.\n",
        benchmark.prior.name,
        benchmark.pictures.len(),
        benchmark.sigma_y,
        benchmark.prior.value_range,
        benchmark.samples,
        benchmark.seed,
        benchmark.cost,
        benchmark.tuning.len(),
    );
    let summaries = summarise(rows, benchmark)?;
    overview(&mut text, &summaries, benchmark);
    let device = burn::tensor::Device::flex();
    let all = settings(benchmark.prior.shape(), benchmark.prior.value_range, 0, &device)?;
    let mut pictures = Vec::new();
    for setting in all.iter().filter(|s| benchmark.settings.is_empty() || benchmark.settings.contains(&s.name)) {
        section(&mut text, &summaries, setting);
        let file = format!("{}.png", setting.name.replace([':', '+'], "-"));
        let names: Vec<&str> = benchmark.methods.iter().map(|m| m.name.as_str()).collect();
        let _ = writeln!(
            text,
            "![{}](operators/{file})\n\nFor each picture, from top to bottom: {}; from left to right: truth, measured, samples.\n",
            setting.name,
            names.join(", ")
        );
        pictures.push(grid(rows, benchmark, &setting.name, file));
    }
    Ok(Page { text, pictures })
}

fn bold(lead: Option<&Mean>, digits: usize) -> String {
    match lead {
        None => "-".into(),
        Some(lead) if lead.above_zero() => format!("**{lead:.digits$}**"),
        Some(lead) => format!("{lead:.digits$}"),
    }
}

/// A line for each operator: every method's PSNR, and the leads.
fn overview(text: &mut String, summaries: &[Summary], benchmark: &Benchmark) {
    let names: Vec<&str> = benchmark.methods.iter().map(|m| m.name.as_str()).collect();
    // Alternatives are separated by what separates a table's columns.
    let shown: Vec<String> = names.iter().map(|name| name.replace('|', "\\|")).collect();
    let leads: Vec<String> = shown.iter().skip(1).map(|name| format!("lead over {name}")).collect();
    let _ = writeln!(text, "| operator | {} | {} |", shown.join(" | "), leads.join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(names.len() + leads.len()));
    let mut settings: Vec<&str> = summaries.iter().map(|s| s.setting.as_str()).collect();
    settings.dedup();
    for setting in settings {
        let find = |name: &&str| summaries.iter().find(|s| s.setting == setting && s.method == **name);
        let own = names.iter().map(|n| find(n).map_or("-".into(), |s| format!("{:.2}", s.psnr)));
        let lead = names.iter().skip(1).map(|n| bold(find(n).and_then(|s| s.lead_psnr.as_ref()), 2));
        let cells: Vec<String> = own.chain(lead).collect();
        let _ = writeln!(text, "| {setting} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn section(text: &mut String, summaries: &[Summary], setting: &Setting) {
    let _ = writeln!(
        text,
        "## `{}`: {}\n\n| method | PSNR | lead | full | mean | SSIM | lead | residual | diversity | calls | VJPs | s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        setting.name, setting.about
    );
    for s in summaries.iter().filter(|s| s.setting == setting.name) {
        let Summary { used, psnr, psnr_full, psnr_mean, ssim, residual, diversity, calls, vjps, seconds, .. } = s;
        let leads = [bold(s.lead_psnr.as_ref(), 2), bold(s.lead_ssim.as_ref(), 3)];
        let _ = writeln!(
            text,
            "| {used} | {psnr:.2} | {} | {psnr_full:.2} | {psnr_mean:.2} | {ssim:.3} | {} | {residual:.2} | {diversity:.3} | \
             {calls:.0} | {vjps:.0} | {seconds:.1} |",
            leads[0], leads[1]
        );
    }
    text.push('\n');
}

/// Truth, what was measured, and samples, one line for each method, pictures below each other.
fn grid(rows: &[Row], benchmark: &Benchmark, setting: &str, file: String) -> Grid {
    let (low, high) = (benchmark.prior.value_range.0 as f32, benchmark.prior.value_range.1 as f32);
    let truths: Vec<Vec<u8>> =
        benchmark.shown().map(|p| crate::masks::bytes(&benchmark.pictures[p], low, high)).collect();
    let mut groups = Vec::new();
    for (picture, truth) in benchmark.shown().zip(&truths) {
        let line = |method: &Tuned| -> Vec<&[u8]> {
            let of = |r: &&Row| !r.tuning && r.setting == setting && r.picture == picture && r.method == method.name;
            // A method that is not for this operator has an empty line.
            let Some(row) = rows.iter().find(of) else { return Vec::new() };
            [truth.as_slice()].into_iter().chain(row.images.chunks_exact(truth.len())).collect()
        };
        groups.push(benchmark.methods.iter().map(line).collect::<Vec<_>>());
    }
    sheet(file, benchmark.prior.shape(), &groups)
}
