//! `vipaint bench masks`

use std::process::ExitCode;

use burn::tensor::Tensor;
use image::{DynamicImage, RgbImage};
use serde_json::json;
use vipaint::held_out::{HeldOut, Picture, of_each_class};
use vipaint::priors::Source;
use vipaint::save::{Folder, RowFile};
use vipaint::{Error, Result, names, parse_noise};
use vipaint_core::operator::{PROTOCOLS, Protocol};
use vipaint_core::prior::Prior;
use vipaint_eval::masks::{Benchmark, Contender, Grid, Row, markdown, summarise};

use super::Session;
use super::keep::Keep;
use crate::cli::BenchMasks;
use crate::commands::{print_json, say};

/// The contender whose lead the page shows.
const REFERENCE: &str = "vipaint k=2";

pub fn run(raw: &BenchMasks, session: &Session) -> Result<ExitCode> {
    let masks = protocols(&raw.masks)?;
    let contenders = raw.methods.split(',').map(contender).collect::<Result<Vec<_>>>()?;
    if raw.per_class == 0 || raw.samples < 2 || raw.cost.contains(&0) {
        let problem = "needs at least one picture of a class, two samples and a positive cost";
        return Err(Error::usage("bench masks", problem, "see vipaint bench masks --help"));
    }
    let noise = parse_noise(&raw.noise)?;
    let source = Source::named(&raw.prior)?;
    let set = HeldOut::of(raw.held_out.as_deref().unwrap_or(&raw.prior))?;
    let folder = Folder::open(&raw.output)?;

    crate::commands::fetch(&source, session)?;
    let (prior, judge) = (source.load()?, set.judge()?);
    let pictures = pictures(raw, set, &prior)?;
    let judge = |pictures: Tensor<4>| judge.classes(&pictures.try_into_vec_as::<f32>().unwrap_or_default());
    let benchmark = Benchmark {
        prior: &prior,
        pictures: &pictures,
        masks: &masks,
        contenders: &contenders,
        samples: raw.samples,
        costs: &raw.cost,
        sigma_y: noise.sigma_y,
        seed: raw.seed,
        judge: Some(&judge),
    };
    let command = command(raw);
    // Rows of the same setting stay valid when masks, methods or costs are added.
    let setting = json!([
        env!("CARGO_PKG_VERSION"),
        prior.hash,
        raw.pictures,
        raw.skip,
        raw.per_class,
        raw.samples,
        raw.noise,
        raw.seed
    ]);
    let (file, earlier) = RowFile::open(&folder, "masks", &setting)?;
    let all = pictures.len() * masks.len() * contenders.len() * raw.cost.len();
    let keep = Keep { name: &source.name(), file, earlier: earlier.len(), all };
    let shown = |row: &Row| {
        let Row { picture, mask, method, cost, seconds, .. } = row;
        format!("picture {picture} {mask} {method} at {cost}: {seconds:.1} s")
    };
    let rows = keep.run(session, shown, |done, tick| benchmark.run(&earlier, done, tick))?;

    let page = markdown(&rows, &benchmark, REFERENCE, &command);
    let plain: Vec<Row> = rows.iter().map(|row| Row { images: Vec::new(), ..row.clone() }).collect();
    let summaries = summarise(&rows, &benchmark, REFERENCE);
    let report = json!({ "command": command, "prior": prior.hash, "summary": summaries, "rows": plain });
    folder.write("masks.json", &serde_json::to_vec_pretty(&report).unwrap_or_default())?;
    folder.write("masks.md", page.text.as_bytes())?;
    for grid in page.pictures {
        folder.write(&grid.file, &png(&grid, prior.shape()[0] == 1)?)?;
    }
    RowFile::remove(&folder, "masks");
    if session.json {
        print_json(&report["summary"]);
    } else {
        say(&page.text);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn contender(text: &str) -> Result<Contender> {
    Contender::parse(text).map_err(|error| refused(text, error))
}

/// What is wrong with a text of `--methods`.
pub(super) fn refused(text: &str, error: vipaint_eval::Error) -> Error {
    let (vipaint_eval::Error::Core(vipaint_core::Error::Option { problem, .. }), remedy) =
        (error, "write METHOD or METHOD option=value, such as vipaint k=2")
    else {
        return Error::usage("--methods", format!("{text:?} cannot be used"), "see vipaint bench --help");
    };
    Error::usage("--methods", problem, remedy)
}

pub(super) fn protocols(text: &str) -> Result<Vec<&'static Protocol>> {
    let find = |wanted: &str| {
        Protocol::named(wanted).ok_or_else(|| {
            let remedy = names::remedy(wanted, PROTOCOLS.iter().map(|p| p.name));
            Error::usage("--masks", format!("{wanted:?} is not known"), remedy)
        })
    };
    text.split(',').map(str::trim).map(find).collect()
}

fn pictures(raw: &BenchMasks, set: &HeldOut, prior: &Prior) -> Result<Vec<Picture>> {
    let all = match &raw.pictures {
        None => set.pictures()?,
        Some(path) => vipaint_train::data::read_pictures(path, prior.shape(), &prior.classes)
            .map_err(|error| Error::input(path.display().to_string(), error.to_string(), "check the pictures"))?,
    };
    let chosen = of_each_class(all, raw.skip, raw.per_class);
    if chosen.is_empty() {
        return Err(Error::usage("--skip", "leaves no picture", "skip fewer"));
    }
    Ok(chosen)
}

/// The command that makes the page again.
fn command(raw: &BenchMasks) -> String {
    let costs: Vec<String> = raw.cost.iter().map(u64::to_string).collect();
    let mut words = vec![format!(
        "cargo run --release -- bench masks --prior {} --masks {} --methods \"{}\" --per-class {} -n {} --cost {} --noise {} --seed {}",
        raw.prior,
        raw.masks,
        raw.methods,
        raw.per_class,
        raw.samples,
        costs.join(","),
        raw.noise,
        raw.seed
    )];
    words.extend(raw.held_out.as_ref().map(|name| format!("--held-out {name}")));
    words.extend(raw.pictures.as_ref().map(|path| format!("--pictures {} --skip {}", path.display(), raw.skip)));
    words.push(format!("-o {}", raw.output.display()));
    words.join(" ")
}

pub(super) fn png(grid: &Grid, grey: bool) -> Result<Vec<u8>> {
    let defect = |problem: String| Error::input(&grid.file, problem, "report this as a defect");
    let picture = RgbImage::from_raw(grid.size[0], grid.size[1], grid.rgb.clone());
    let picture = DynamicImage::from(picture.ok_or_else(|| defect("has another size than it says".into()))?);
    let picture = if grey { picture.to_luma8().into() } else { picture };
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).map_err(|error| defect(error.to_string()))?;
    Ok(bytes.into_inner())
}
