//! `vipaint bench dataset`

use std::process::ExitCode;

use serde_json::json;
use vipaint::held_out::HeldOut;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result};
use vipaint_eval::dataset::{Benchmark, Row, World, markdown, summarise};

use super::Session;
use super::keep::Keep;
use super::masks::{contender, png, protocols};
use crate::cli::BenchDataset;
use crate::commands::{print_json, say};

pub fn run(raw: &BenchDataset, session: &Session) -> Result<ExitCode> {
    let masks = protocols(&raw.masks)?;
    let contenders = raw.methods.split(',').map(contender).collect::<Result<Vec<_>>>()?;
    let positive = |value: f64| value > 0.0 && value.is_finite();
    if raw.count == 0 || raw.samples < 2 || raw.cost == 0 || !positive(raw.std) || !positive(raw.noise) {
        let problem = "needs at least one truth, two samples, and a positive cost, std and noise";
        return Err(Error::usage("bench dataset", problem, "see vipaint bench dataset --help"));
    }
    let folder = Folder::open(&raw.output)?;
    let (pictures, side) = pictures(raw)?;
    let about = format!("{} pictures of {side}x{side}, standard deviation {}", pictures.len(), raw.std);
    let world = World::new(pictures, [1, side, side], raw.std)
        .map_err(|error| Error::input("bench dataset", error.to_string(), "check the pictures"))?;
    let benchmark = Benchmark {
        world: &world,
        cases: raw.count,
        masks: &masks,
        contenders: &contenders,
        samples: raw.samples,
        cost: raw.cost,
        sigma_y: raw.noise,
        seed: raw.seed,
    };
    // Rows of the same setting stay valid when truths, masks or methods are added.
    let setting = json!([
        env!("CARGO_PKG_VERSION"),
        raw.pictures,
        raw.take,
        raw.side,
        raw.shrink,
        raw.std,
        raw.noise,
        raw.samples,
        raw.cost,
        raw.seed
    ]);
    let (file, earlier) = RowFile::open(&folder, "dataset", &setting)?;
    let all = benchmark.cases * benchmark.masks.len() * benchmark.names().count();
    let keep = Keep { name: "bench dataset", file, earlier: earlier.len(), all };
    let shown = |row: &Row| {
        let Row { case, mask, method, distance, seconds, .. } = row;
        format!("truth {case} {mask} {method}: {distance:.3}, {seconds:.1} s")
    };
    let rows = keep.run(session, shown, |done, tick| benchmark.run(&earlier, done, tick))?;
    let (command, reference) = (command(raw), contenders[0].name.as_str());
    let page = markdown(&rows, &benchmark, reference, &command, &about);
    let plain: Vec<Row> = rows.iter().map(|row| Row { images: Vec::new(), ..row.clone() }).collect();
    let report = json!({ "command": command, "summary": summarise(&rows, &benchmark, reference), "rows": plain });
    folder.write("dataset.json", &serde_json::to_vec(&report).unwrap_or_default())?;
    folder.write("dataset.md", page.text.as_bytes())?;
    for grid in page.pictures {
        folder.write(&grid.file, &png(&grid, true)?)?;
    }
    RowFile::remove(&folder, "dataset");
    if session.json {
        print_json(&report["summary"]);
    } else {
        say(&page.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// The pictures that the prior is made of, and their side.
fn pictures(raw: &BenchDataset) -> Result<(Vec<Vec<f32>>, usize)> {
    let (all, side) = match &raw.pictures {
        None => (HeldOut::of("fashion")?.pictures()?, 32),
        Some(path) => {
            // Labels are not used; a byte can name as many.
            let classes = vec![String::new(); 256];
            let read = vipaint_train::data::read_pictures(path, [1, raw.side, raw.side], &classes);
            let read =
                read.map_err(|e| Error::input(path.display().to_string(), e.to_string(), "check the pictures"))?;
            (read, raw.side)
        }
    };
    if raw.shrink == 0 || !side.is_multiple_of(raw.shrink) {
        let problem = format!("must divide the pictures' side, {side}, not {}", raw.shrink);
        return Err(Error::usage("--shrink", problem, "take 2"));
    }
    // Evenly spaced: files are often ordered by class.
    let (n, take) = (all.len(), raw.take.clamp(1, all.len()));
    let picture = |i: usize| shrunk(&all[i * n / take].0, side, raw.shrink);
    Ok(((0..take).map(picture).collect(), side / raw.shrink))
}

/// The means of a picture's blocks of `by` pixels a side.
fn shrunk(picture: &[f32], side: usize, by: usize) -> Vec<f32> {
    let mean = |row: usize, column: usize| {
        let pixels = (0..by * by).map(|k| picture[(row * by + k / by) * side + column * by + k % by]);
        pixels.sum::<f32>() / (by * by) as f32
    };
    let small = side / by;
    (0..small * small).map(|i| mean(i / small, i % small)).collect()
}

/// The command that makes the page again.
fn command(raw: &BenchDataset) -> String {
    let mut words = vec!["cargo run --release -- bench dataset".to_owned()];
    words.extend(raw.pictures.as_ref().map(|p| format!("--pictures {} --side {}", p.display(), raw.side)));
    words.extend((raw.shrink > 1).then(|| format!("--shrink {}", raw.shrink)));
    words.push(format!(
        "--take {} --std {} --noise {} --masks {} --methods \"{}\" --count {} -n {} --cost {} --seed {} -o {}",
        raw.take,
        raw.std,
        raw.noise,
        raw.masks,
        raw.methods,
        raw.count,
        raw.samples,
        raw.cost,
        raw.seed,
        raw.output.display()
    ));
    words.join(" ")
}
