//! `vipaint bench gmm`

use std::process::ExitCode;

use serde_json::json;
use vipaint::save::Folder;
use vipaint::{Error, Result, names};
use vipaint_eval::gmm::{Benchmark, CONTENDERS, Contender, Row, markdown};

use super::Session;
use crate::cli;
use crate::commands::{print_json, say};

/// The contender whose leads the page shows.
const REFERENCE: &str = "vipaint particles";

pub fn run(raw: &cli::BenchGmm, session: &Session) -> Result<ExitCode> {
    let contenders = chosen(&raw.methods)?;
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
        contenders: &contenders,
        samples: raw.samples,
        cost: raw.cost,
        seed: raw.seed,
    };
    let tell = |cell: &[Row]| {
        for Row { method, dx, dy, mean, ci, median, seconds, .. } in cell {
            eprintln!("{dx}/{dy} {method}: {mean:.3} ± {ci:.3}, median {median:.3}, {seconds:.1} s");
        }
    };
    let rows = benchmark.run(&tell, &|| session.interrupt.flow()).map_err(|error| match error {
        vipaint_eval::Error::Core(error) => error.into(),
        vipaint_eval::Error::Zoo(_) => Error::input("bench gmm", error.to_string(), "report this as a defect"),
    })?;
    let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let command = format!(
        "cargo run --release -- bench gmm --dx {} --dy {} --problems {} --samples {} --cost {} --methods \"{}\" --seed {} -o {}",
        list(&raw.dx),
        list(&raw.dy),
        raw.problems,
        raw.samples,
        raw.cost,
        raw.methods,
        raw.seed,
        raw.output.display()
    );
    let page = markdown(&rows, &benchmark, REFERENCE, &command);
    let report = json!({ "command": command, "rows": rows });
    folder.write("gmm.json", &serde_json::to_vec_pretty(&report).unwrap_or_default())?;
    folder.write("gmm.md", page.as_bytes())?;
    if session.json {
        print_json(&report["rows"]);
    } else {
        say(&page);
    }
    Ok(ExitCode::SUCCESS)
}

/// The contenders that `--methods` names.
fn chosen(text: &str) -> Result<Vec<&'static Contender>> {
    if text == "all" {
        return Ok(CONTENDERS.iter().collect());
    }
    let find = |wanted: &str| {
        CONTENDERS.iter().find(|c| c.name == wanted).ok_or_else(|| {
            let remedy = names::remedy(wanted, CONTENDERS.iter().map(|c| c.name).chain(["all"]));
            Error::usage("--methods", format!("{wanted:?} is not known"), remedy)
        })
    };
    text.split(',').map(str::trim).map(find).collect()
}
