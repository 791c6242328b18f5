//! The results page: one table over all cells, one for each cell.

use std::fmt::Write as _;

use super::{Benchmark, Row};
use crate::stats::Mean;

/// The page. `reference` is the contender whose leads are shown, `command` is what regenerates it.
pub fn markdown(rows: &[Row], benchmark: &Benchmark, reference: &str, command: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# The mixture benchmark: distance to the exact posterior\n\nMade by `{command}`.\n\n\
         The benchmark of Cardoso et al. (2023, MCGDiff): a prior of 25 Gaussians in `dx` dimensions, `dy` random linear \
         measurements, and a posterior that is known exactly. {} problems a cell, {} samples each, seed {}. The distance is the \
         sliced Wasserstein-1 distance (256 random directions) to as many exact samples: mean ± 95 % interval over problems. \
         *floor* is a second set of exact samples, *prior* are samples of the prior. A method may spend the cost of {} forward \
         calls a sample, the fit divided over all samples included; a vector-Jacobian product counts as two more calls. \
         Samplers see the denoiser, the schedule and the measurement only.\n",
        benchmark.problems, benchmark.samples, benchmark.seed, benchmark.cost,
    );
    overview(&mut text, rows, benchmark);
    verdict(&mut text, rows, benchmark, reference);
    text.push_str("| row | what it is |\n| --- | --- |\n");
    for entry in benchmark.entries {
        let _ = writeln!(text, "| {} | {} |", entry.name(), entry.about());
    }
    text.push('\n');
    for (dx, dy) in benchmark.cells {
        let cell: Vec<&Row> = rows.iter().filter(|r| (r.dx, r.dy) == (*dx, *dy)).collect();
        let _ = writeln!(text, "## dx = {dx}, dy = {dy}\n");
        table(&mut text, &cell, reference);
    }
    text
}

/// A line for each method, a column for each cell.
fn overview(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    let heads: Vec<String> = benchmark.cells.iter().map(|(dx, dy)| format!("{dx}/{dy}")).collect();
    let _ = writeln!(text, "| mean distance, dx/dy | {} |\n| --- |{}", heads.join(" | "), " --- |".repeat(heads.len()));
    let Some((dx, dy)) = benchmark.cells.first() else { return };
    for method in rows.iter().filter(|r| (r.dx, r.dy) == (*dx, *dy)).map(|r| &r.method) {
        let same = rows.iter().filter(|r| r.method == *method);
        let cells: Vec<String> = same.map(|r| format!("{:.2} ± {:.2}", r.mean, r.ci)).collect();
        let _ = writeln!(text, "| {method} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

/// How the reference compares with the floor, MCGDiff and DPS in each cell.
fn verdict(text: &mut String, rows: &[Row], benchmark: &Benchmark, reference: &str) {
    let find = |cell: &(usize, usize), name: &str| rows.iter().find(|r| (r.dx, r.dy) == *cell && r.method == name);
    let cells: Vec<_> = (benchmark.cells.iter())
        .filter_map(|c| Some((c, find(c, reference)?, find(c, "floor")?, find(c, "mcgdiff")?, find(c, "dps")?)))
        .collect();
    if cells.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "Leads of *{reference}*, paired over problems with 95 % intervals, bold where they exclude 0:\n\n\
         | dx/dy | × floor | mcgdiff's distance minus its own | 0.6 times dps's minus its own |\n| --- | --- | --- | --- |"
    );
    for ((dx, dy), own, floor, mcgdiff, dps) in cells {
        let target: Vec<f64> = dps.distances.iter().map(|d| 0.6 * d).collect();
        let leads = [&mcgdiff.distances, &target].map(|other| bold(Mean::paired(other, &own.distances)));
        let _ = writeln!(text, "| {dx}/{dy} | {:.2} | {} | {} |", own.mean / floor.mean, leads[0], leads[1]);
    }
    text.push('\n');
}

fn bold(lead: Mean) -> String {
    if lead.above_zero() { format!("**{lead:.2}**") } else { format!("{lead:.2}") }
}

/// One cell. The lead is the row's distance minus the reference's, paired over problems.
fn table(text: &mut String, cell: &[&Row], reference: &str) {
    let find = |name: &str| cell.iter().find(|r| r.method == name);
    let floor = find("floor").map_or(f64::NAN, |r| r.mean);
    let _ = writeln!(
        text,
        "| method | distance | median | × floor | lead of {reference} | calls | VJPs | cost | s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for row in cell {
        let lead = match find(reference) {
            Some(reference) if row.method != reference.method && !["floor", "prior"].contains(&row.method.as_str()) => {
                bold(Mean::paired(&row.distances, &reference.distances))
            }
            _ => "-".into(),
        };
        let distance = Mean { mean: row.mean, ci: row.ci };
        let _ = writeln!(
            text,
            "| {} | {distance:.2} | {:.2} | {:.1} | {lead} | {:.0} | {:.0} | {:.0} | {:.1} |",
            row.method,
            row.median,
            row.mean / floor,
            row.calls,
            row.vjps,
            row.cost,
            row.seconds
        );
    }
    text.push('\n');
}
