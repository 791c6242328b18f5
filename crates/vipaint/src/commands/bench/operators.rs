//! `vipaint bench operators`

use std::process::ExitCode;

use burn::tensor::Device;
use serde_json::json;
use vipaint::held_out::{HeldOut, Picture, of_each_class};
use vipaint::priors::Source;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result, names, parse_noise};
use vipaint_core::operator::settings;
use vipaint_core::prior::Prior;
use vipaint_eval::operators::{Benchmark, Row, Tuned, markdown, summarise};

use super::Session;
use super::keep::Keep;
use super::masks::{png, refused};
use crate::cli::BenchOperators;
use crate::commands::{print_json, say};

pub fn run(raw: &BenchOperators, session: &Session) -> Result<ExitCode> {
    let tuned = |text: &str| Tuned::parse(text).map_err(|error| refused(text, error));
    let methods = raw.methods.split(',').map(tuned).collect::<Result<Vec<_>>>()?;
    if raw.per_class == 0 || raw.samples < 2 || raw.cost == 0 {
        let problem = "needs at least one picture of a class, two samples and a positive cost";
        return Err(Error::usage("bench operators", problem, "see vipaint bench operators --help"));
    }
    let noise = parse_noise(&raw.noise)?;
    let source = Source::named(&raw.prior)?;
    let set = HeldOut::of(raw.held_out.as_deref().unwrap_or(&raw.prior))?;
    let folder = Folder::open(&raw.output)?;
    let grids = Folder::open(&raw.output.join("operators"))?;
    crate::commands::fetch(&source, session)?;
    let prior = source.load()?;
    if !prior.autoencoder.is_identity() {
        let problem = "is one on latents; this benchmark is for pixels";
        return Err(Error::input(source.name(), problem, "take fashion, or another prior on pixels"));
    }
    let chosen = chosen(&raw.operators, &prior)?;
    let of = |skip: usize, count: usize| -> Result<Vec<Vec<f32>>> {
        let pictures: Vec<Picture> = of_each_class(set.pictures()?, skip, count);
        Ok(pictures.into_iter().map(|(picture, _)| picture).collect())
    };
    let mut tuning = of(raw.per_class, 1)?;
    tuning.truncate(raw.tuning);
    let pictures = of(0, raw.per_class)?;
    if tuning.is_empty() && methods.iter().any(|m| m.alternatives.len() > 1) {
        return Err(Error::usage("--per-class", "leaves no picture to tune on", "take fewer, or no alternatives (|)"));
    }
    let benchmark = Benchmark {
        prior: &prior,
        pictures: &pictures,
        tuning: &tuning,
        settings: &chosen,
        methods: &methods,
        samples: raw.samples,
        cost: raw.cost,
        sigma_y: noise.sigma_y,
        seed: raw.seed,
    };
    // Rows of the same setting stay valid when operators, methods or alternatives are added.
    let setting =
        json!([env!("CARGO_PKG_VERSION"), prior.hash, raw.per_class, raw.samples, raw.cost, raw.noise, raw.seed]);
    let (file, earlier) = RowFile::open(&folder, "operators", &setting)?;
    let alternatives: usize = methods.iter().map(|m| m.alternatives.len()).filter(|n| *n > 1).sum();
    let each = pictures.len() * methods.len() + tuning.len() * alternatives;
    let all =
        benchmark.names().map_err(|error| Error::input(source.name(), error.to_string(), "take another prior"))?;
    let keep = Keep { name: &source.name(), file, earlier: earlier.len(), all: all.len() * each };
    let shown = |row: &Row| {
        let Row { setting, picture, tuning, used, psnr, seconds, .. } = row;
        let what = if *tuning { "tuning picture" } else { "picture" };
        format!("{setting} {what} {picture} {used}: {psnr:.2} dB, {seconds:.1} s")
    };
    let rows = keep.run(session, shown, |done, tick| benchmark.run(&earlier, done, tick))?;
    let command = command(raw);
    let bad = |error: vipaint_eval::Error| Error::input(source.name(), error.to_string(), "take another prior");
    let page = markdown(&rows, &benchmark, &command).map_err(bad)?;
    let summary = summarise(&rows, &benchmark).map_err(bad)?;
    let plain: Vec<Row> = rows.iter().map(|row| Row { images: Vec::new(), ..row.clone() }).collect();
    let report = json!({ "command": command, "prior": prior.hash, "summary": summary, "rows": plain });
    folder.write("operators.json", &serde_json::to_vec(&report).unwrap_or_default())?;
    folder.write("operators.md", page.text.as_bytes())?;
    for grid in page.pictures {
        grids.write(&grid.file, &png(&grid, prior.shape()[0] == 1)?)?;
    }
    RowFile::remove(&folder, "operators");
    if session.json {
        print_json(&report["summary"]);
    } else {
        say(&page.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// The operators that `--operators` names; none stands for all.
fn chosen(text: &str, prior: &Prior) -> Result<Vec<String>> {
    if text == "all" {
        return Ok(Vec::new());
    }
    let all = settings(prior.shape(), prior.value_range, 0, &Device::flex()).map_err(Error::from)?;
    let known = |wanted: &str| {
        let found = all.iter().any(|s| s.name == wanted);
        found.then(|| wanted.to_owned()).ok_or_else(|| {
            let remedy = names::remedy(wanted, all.iter().map(|s| s.name.as_str()).chain(["all"]));
            Error::usage("--operators", format!("{wanted:?} is not known"), remedy)
        })
    };
    text.split(',').map(str::trim).map(known).collect()
}

/// The command that makes the page again.
fn command(raw: &BenchOperators) -> String {
    let held_out = raw.held_out.as_ref().map(|name| format!(" --held-out {name}")).unwrap_or_default();
    format!(
        "cargo run --release -- bench operators --prior {}{held_out} --operators {} --methods \"{}\" --per-class {} --tuning {} -n {} \
         --cost {} --noise {} --seed {} -o {}",
        raw.prior,
        raw.operators,
        raw.methods,
        raw.per_class,
        raw.tuning,
        raw.samples,
        raw.cost,
        raw.noise,
        raw.seed,
        raw.output.display()
    )
}
