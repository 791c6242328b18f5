//! `vipaint bench avatars`

use std::process::ExitCode;

use serde_json::json;
use vipaint::portraits::{Amounts, portraits, reader, tasks, world};
use vipaint::priors::Source;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result, parse_noise};
use vipaint_eval::attributes::{Benchmark, Row, Watch, markdown};

use super::keep::Keep;
use super::masks::{contender, png};
use crate::cli::BenchAvatars;
use crate::commands::{Session, print_json, say};

pub fn run(raw: &BenchAvatars, session: &Session) -> Result<ExitCode> {
    let contenders = raw.methods.split(',').map(contender).collect::<Result<Vec<_>>>()?;
    let noise = parse_noise(&raw.noise)?;
    if raw.cost == 0 || !(raw.cfg_scale.is_finite() && raw.cfg_scale >= 0.0) {
        let problem = "needs a positive cost and a cfg_scale of at least 0";
        return Err(Error::usage("bench avatars", problem, "see vipaint bench avatars --help"));
    }
    let source = Source::named(&raw.prior)?;
    let folder = Folder::open(&raw.output)?;
    crate::commands::fetch(&source, session)?;
    let (world, prior) = (world()?, source.load()?);
    let (reader, portraits) = (reader(&world)?, portraits(&world)?);
    let amounts = Amounts {
        skip: raw.skip,
        prompted: raw.prompted,
        prompt_samples: raw.prompt_samples,
        portraits: raw.portraits,
        samples: raw.samples,
    };
    let tasks = tasks(&world, &portraits, amounts)?;
    let shape = prior.autoencoder.image_shape(prior.shape());
    if portraits.iter().any(|p| p.pixels.len() != shape.iter().product::<usize>()) {
        let problem = "makes pictures of another size than the portraits";
        return Err(Error::input(source.name(), problem, "take avatars, or a prior of the same shape"));
    }
    let benchmark = Benchmark {
        prior: &prior,
        world: &world,
        reader: &reader,
        portraits: &portraits,
        tasks: &tasks,
        contenders: &contenders,
        alone: raw.alone,
        cost: raw.cost,
        cfg_scale: raw.cfg_scale,
        sigma_y: noise.sigma_y,
        seed: raw.seed,
    };
    // Rows of the same setting stay valid when portraits or methods are added.
    let setting = json!([
        env!("CARGO_PKG_VERSION"),
        prior.hash,
        raw.prompt_samples,
        raw.samples,
        raw.cost,
        raw.cfg_scale,
        raw.noise,
        raw.seed
    ]);
    let (file, earlier) = RowFile::open(&folder, "avatars", &setting)?;
    let keep = Keep { name: &source.name(), file, earlier: earlier.len(), all: benchmark.len() };
    let shown = |row: &Row| format!("portrait {}, {}, {}: {:.1} s", row.portrait, row.task, row.method, row.seconds);
    let rows = keep.run(session, shown, |done, tick| benchmark.run(&earlier, &Watch { done, tick }))?;
    let (command, page) = (command(raw), markdown(&rows, &benchmark, &command(raw)));
    let plain: Vec<Row> = rows.iter().map(|row| Row { images: Vec::new(), ..row.clone() }).collect();
    let report = json!({ "command": command, "prior": prior.hash, "rows": plain });
    folder.write("avatars.json", &serde_json::to_vec(&report).unwrap_or_default())?;
    folder.write("avatars.md", page.text.as_bytes())?;
    for grid in &page.pictures {
        folder.write(&grid.file, &png(grid, false)?)?;
    }
    RowFile::remove(&folder, "avatars");
    if session.json {
        print_json(&report);
    } else {
        say(&page.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// The command that makes the page again.
fn command(raw: &BenchAvatars) -> String {
    format!(
        "cargo run --release -- bench avatars --prior {} --methods \"{}\" --skip {} --prompted {} --prompt-samples {} --portraits {} \
         -n {} --alone {} --cost {} --cfg-scale {} --noise {} --seed {} -o {}",
        raw.prior,
        raw.methods,
        raw.skip,
        raw.prompted,
        raw.prompt_samples,
        raw.portraits,
        raw.samples,
        raw.alone,
        raw.cost,
        raw.cfg_scale,
        raw.noise,
        raw.seed,
        raw.output.display()
    )
}
