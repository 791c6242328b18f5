//! `vipaint bench gmm`

use std::process::ExitCode;

use serde_json::json;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result, names};
use vipaint_core::sampler::METHODS;
use vipaint_eval::gmm::{Benchmark, Entry, Outcome, PRESETS, REFERENCE, markdown};

use super::Session;
use super::keep::Keep;
use crate::cli;
use crate::commands::{print_json, say};

pub fn run(raw: &cli::BenchGmm, session: &Session) -> Result<ExitCode> {
    let entries = chosen(&raw.methods)?;
    if raw.dx.iter().chain(&raw.dy).any(|d| *d == 0) || raw.problems == 0 || raw.samples == 0 || raw.cost == 0 {
        let problem = "needs at least one dimension, measurement, problem, sample and call";
        return Err(Error::usage("bench gmm", problem, "see vipaint bench gmm --help"));
    }
    let cells: Vec<(usize, usize)> = raw.dx.iter().flat_map(|dx| raw.dy.iter().map(move |dy| (*dx, *dy))).collect();
    if let Some((dx, dy)) = cells.iter().find(|(dx, dy)| dy > dx) {
        let problem = format!("{dy} measurements of {dx} values cannot be independent");
        return Err(Error::usage("--dy", problem, "give at most as many as --dx"));
    }
    let folder = Folder::open(&raw.output)?;
    let benchmark = Benchmark {
        cells: &cells,
        problems: raw.problems,
        entries: &entries,
        samples: raw.samples,
        cost: raw.cost,
        seed: raw.seed,
    };
    // Outcomes of the same setting stay valid when cells, problems or methods are added.
    let setting = json!([env!("CARGO_PKG_VERSION"), raw.samples, raw.cost, raw.seed]);
    let (file, earlier) = RowFile::open(&folder, "gmm", &setting)?;
    let all = benchmark.cells.len() * benchmark.problems * benchmark.names().count();
    let keep = Keep { name: "bench gmm", file, earlier: earlier.len(), all };
    let shown = |o: &Outcome| {
        let Outcome { dx, dy, problem, method, distance, seconds, .. } = o;
        format!("{dx}/{dy} problem {problem} {method}: {distance:.3}, {seconds:.1} s")
    };
    let rows = benchmark.rows(&keep.run(session, shown, |done, tick| benchmark.run(&earlier, done, tick))?);
    let command = command(raw);
    let page = markdown(&rows, &benchmark, REFERENCE, &command);
    let report = json!({ "command": command, "rows": rows });
    folder.write("gmm.json", &serde_json::to_vec_pretty(&report).unwrap_or_default())?;
    folder.write("gmm.md", page.as_bytes())?;
    RowFile::remove(&folder, "gmm");
    if session.json {
        print_json(&report["rows"]);
    } else {
        say(&page);
    }
    Ok(ExitCode::SUCCESS)
}

/// The entries that `--methods` names.
fn chosen(text: &str) -> Result<Vec<Entry>> {
    if text == "all" {
        return Ok(PRESETS.iter().map(Entry::Preset).collect());
    }
    let entry = |text: &str| {
        Entry::parse(text).map_err(|error| {
            let known = PRESETS.iter().map(|p| p.name).chain(METHODS.iter().map(|m| m.name)).chain(["all"]);
            let problem = match error {
                vipaint_eval::Error::Core(vipaint_core::Error::Option { problem, .. }) => problem,
                _ => format!("{text:?} cannot be used"),
            };
            Error::usage("--methods", problem, names::remedy(text, known))
        })
    };
    text.split(',').map(str::trim).map(entry).collect()
}

/// The command that makes the page again.
fn command(raw: &cli::BenchGmm) -> String {
    let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "cargo run --release -- bench gmm --dx {} --dy {} --problems {} --samples {} --cost {} --methods \"{}\" --seed {} -o {}",
        list(&raw.dx),
        list(&raw.dy),
        raw.problems,
        raw.samples,
        raw.cost,
        raw.methods,
        raw.seed,
        raw.output.display()
    )
}
