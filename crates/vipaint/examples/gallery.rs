//! The gallery: six masked portraits that the prior `avatars` was not trained on, four completions of each, the last two steered
//! by a prompt. `cargo run --release -p vipaint --example gallery -- [SEED] [FILE]`; seed 0 and docs/gallery/avatars.png by
//! default.

use std::path::PathBuf;

use vipaint::demo::Examples;
use vipaint::draw::{Cell, Raster, grid};
use vipaint::priors::{self, Source};
use vipaint::save::write_atomically;
use vipaint::{Amount, Condition, Job, Preset, Request, Result, Settings, parse_noise, silent};
use vipaint_core::prior::Prior;

/// Picture, what is hidden, and two prompts.
const SHOWN: [(&str, &str, [&str; 2]); 6] = [
    ("ada", "hair", ["a pink mohawk", "a turban"]),
    ("hana", "eyes", ["sunglasses", "an eyepatch"]),
    ("bo", "mouth", ["a full beard", "a moustache"]),
    ("gus", "half", ["a grinning man", "sunglasses"]),
    ("dora", "face", ["blue curls", "a red shirt"]),
    ("finn", "hair", ["long red hair", "a beanie"]),
];
/// Guidance strength of the prompts.
const CFG_SCALE: &str = "3";
/// Completions without a prompt.
const PLAIN: usize = 2;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let file = arguments.next().map_or_else(|| PathBuf::from("docs/gallery/avatars.png"), PathBuf::from);
    let prior = Source::named("avatars")?.load()?;
    let (mut given, mut completed) = (Vec::new(), Vec::new());
    for (name, hide, prompts) in SHOWN {
        let example = Examples::of("avatars").given(Some(name), Some(hide), seed)?;
        given.push(Cell { label: String::new(), picture: Raster::masked(&example.picture, &example.mask) });
        completed.extend(complete(&prior, (name, hide), None, PLAIN, seed)?);
        for prompt in prompts {
            completed.extend(complete(&prior, (name, hide), Some(prompt), 1, seed)?);
        }
        eprintln!("{name}: done");
    }
    if let Some(folder) = file.parent() {
        // What cannot be made is reported where it is written to.
        let _ = std::fs::create_dir_all(folder);
    }
    write_atomically(&file, &grid(&given, &completed, "")?.to_png()?)
}

/// Completions of an example picture, known pixels as given.
fn complete(
    prior: &Prior,
    (name, hide): (&str, &str),
    prompt: Option<&str>,
    samples: usize,
    seed: u64,
) -> Result<Vec<Cell>> {
    let given = Examples::of("avatars").given(Some(name), Some(hide), seed)?;
    let (picture, mask) = (given.picture.clone(), given.mask.clone());
    let context = prompt.map(|text| priors::text(prior, "--prompt", text)).transpose()?.map(|read| read.context);
    let guided = [("cfg_scale".to_owned(), CFG_SCALE.to_owned())];
    let sets = if prompt.is_some() { &guided[..] } else { &[] };
    let settings = Settings::new("vipaint", Preset::Balanced, sets, parse_noise("gaussian:0.05")?)?;
    let condition = Condition { class: None, context };
    let (prior, negative) = (prior.clone(), Condition::default());
    let job = Job::new(Request { given: given.into(), prior, condition, negative, settings, seed })?;
    let outcome = job.run(Amount { samples, batch: samples }, &mut silent())?;
    let (width, height) = (picture.width(), picture.height());
    let cell = |sample: &Vec<f32>| {
        let byte = |unit: f32| (unit.clamp(0.0, 1.0) * 255.0).round() as u8;
        let shown = Raster::from_fn(width, height, |x, y| {
            let known = mask.known(x, y);
            [0, 1, 2].map(|channel| {
                let sampled = || sample[(channel * height + y) * width + x];
                byte(if known { picture.unit(x, y, channel) } else { sampled() })
            })
        });
        Cell { label: prompt.map_or_else(String::new, |text| format!("“{text}”")), picture: shown.for_eyes() }
    };
    Ok(outcome.samples.iter().map(cell).collect())
}
