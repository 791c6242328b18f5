//! `vipaint bench gmm`

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Mutex;

use serde_json::json;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result, names};
use vipaint_core::sampler::METHODS;
use vipaint_eval::gmm::{Benchmark, Entry, Outcome, PRESETS, markdown};

use super::Session;
use crate::cli;
use crate::commands::{print_json, say};

/// The row whose leads the page shows.
const REFERENCE: &str = "vipaint particles";

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
    let rows = benchmark.rows(&measure(&benchmark, file, &earlier, session)?);
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

/// Runs the benchmark, keeping every outcome as it comes.
fn measure(benchmark: &Benchmark, file: RowFile, earlier: &[Outcome], session: &Session) -> Result<Vec<Outcome>> {
    let all = benchmark.cells.len() * benchmark.problems * benchmark.names().count();
    if !earlier.is_empty() {
        eprintln!("going on after {} outcomes", earlier.len());
    }
    let state = Mutex::new((file, earlier.len(), None));
    let done = |o: &Outcome| {
        // A poisoned lock means that another thread's panic is on its way out already.
        let Ok(mut state) = state.lock() else { return ControlFlow::Break(()) };
        state.1 += 1;
        let Outcome { dx, dy, problem, method, distance, seconds, .. } = o;
        eprintln!("{}/{all} {dx}/{dy} problem {problem} {method}: {distance:.3}, {seconds:.1} s", state.1);
        match state.0.add(o) {
            Ok(()) => session.interrupt.flow(),
            Err(error) => {
                state.2 = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let outcomes = benchmark.run(earlier, &done, &|| session.interrupt.flow());
    if let Ok((_, _, Some(error))) = state.into_inner() {
        return Err(error);
    }
    outcomes.map_err(|error| match error {
        vipaint_eval::Error::Core(vipaint_core::Error::Interrupted) => {
            Error::Interrupted("finished outcomes are kept; the same command goes on".into())
        }
        vipaint_eval::Error::Core(error) => error.into(),
        error
        @ (vipaint_eval::Error::Zoo(_) | vipaint_eval::Error::World(_) | vipaint_eval::Error::TooSmall { .. }) => {
            Error::input("bench gmm", error.to_string(), "report this as a defect")
        }
    })
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
