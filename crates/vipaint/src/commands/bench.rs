//! `vipaint bench`

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Tensor;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::json;
use vipaint::held_out::HeldOut;
use vipaint::priors::Source;
use vipaint::save::Folder;
use vipaint::{Error, Result, names, parse_noise};
use vipaint_core::operator::{PROTOCOLS, Protocol};
use vipaint_eval::masks::{Benchmark, CONTENDERS, Contender, Row, markdown, summarise};

use super::Session;
use crate::cli;

/// The contender whose lead the page shows.
const REFERENCE: &str = "vipaint K=2";

pub fn run(raw: cli::Bench, session: &Session) -> Result<ExitCode> {
    let cli::Bench::Masks(raw) = raw;
    let masks = chosen("--masks", &raw.masks, PROTOCOLS, |p: &Protocol| p.name)?;
    let contenders = chosen("--methods", &raw.methods, CONTENDERS, |c: &Contender| c.name)?;
    if raw.per_class == 0 || raw.samples < 2 || raw.cost == 0 {
        let problem = "needs at least one picture of a class, two samples and a positive cost";
        return Err(Error::usage("bench masks", problem, "see vipaint bench masks --help"));
    }
    let noise = parse_noise(&raw.noise)?;
    let source = Source::named(&raw.prior)?;
    let set = HeldOut::of(raw.held_out.as_deref().unwrap_or(&raw.prior))?;
    let folder = Folder::open(&raw.output)?;

    let (prior, pictures, judge) = (source.load()?, set.pictures(raw.per_class)?, set.judge()?);
    let judge = |pictures: Tensor<4>| judge.classes(&pictures.try_into_vec_as::<f32>().unwrap_or_default());
    let benchmark = Benchmark {
        prior: &prior,
        pictures: &pictures,
        masks: &masks,
        contenders: &contenders,
        samples: raw.samples,
        cost: raw.cost,
        sigma_y: noise.sigma_y,
        seed: raw.seed,
        judge: Some(&judge),
    };
    let (done, all) = (AtomicUsize::new(0), pictures.len() * masks.len() * contenders.len());
    let rows = benchmark
        .run(&|row: &Row| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("{done}/{all} picture {} {} {} {:.1} s", row.picture, row.mask, row.method, row.seconds);
        })
        .map_err(|error| Error::input(source.name(), error.to_string(), "check the prior and the options"))?;

    let summaries = summarise(&rows, &benchmark, REFERENCE);
    let command = format!(
        "cargo run --release -- bench masks --masks {} --methods \"{}\" --per-class {} -n {} --cost {} --seed {} -o {}",
        raw.masks,
        raw.methods,
        raw.per_class,
        raw.samples,
        raw.cost,
        raw.seed,
        raw.output.display()
    );
    let page = markdown(&rows, &benchmark, REFERENCE, &command);
    let report = json!({ "command": command, "prior": prior.hash, "summary": summaries, "rows": rows });
    folder.write("masks.json", &serde_json::to_vec_pretty(&report).unwrap_or_default())?;
    folder.write("masks.md", page.text.as_bytes())?;
    for (name, width, height, pixels) in page.pictures {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&pixels, width, height, ExtendedColorType::L8)
            .map_err(|error| Error::input(&name, error.to_string(), "report this"))?;
        folder.write(&name, &png)?;
    }
    if session.json {
        super::print_json(&report["summary"]);
    } else {
        println!("{}", page.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows of a list that a comma-separated option names.
fn chosen<T: 'static>(
    option: &str,
    text: &str,
    all: &'static [T],
    name: fn(&T) -> &'static str,
) -> Result<Vec<&'static T>> {
    let find = |wanted: &str| {
        all.iter().find(|row| name(row) == wanted).ok_or_else(|| {
            let remedy = names::remedy(wanted, all.iter().map(name));
            Error::usage(option, format!("{wanted:?} is not known"), remedy)
        })
    };
    text.split(',').map(str::trim).map(find).collect()
}
