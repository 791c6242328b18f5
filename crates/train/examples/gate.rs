//! `cargo run --release -p vipaint-train --example gate -- PRIOR CLASSIFIER RECIPE.toml DIR [SAMPLES_PER_CLASS]`: what a
//! class-conditional prior reaches, as `gate.json`, `samples.png` and `neighbours.png` in DIR.

use std::path::Path;

use rayon::prelude::*;
use vipaint_eval::classifier::Classifier;
use vipaint_eval::gate::{Pictures, judge, nearest};
use vipaint_train::data::Images;
use vipaint_train::{Recipe, class_samples, grid_png};

const STEPS: usize = 25;
const SEED: u64 = 1;
const SHOWN: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [prior, classifier, recipe, folder, rest @ ..] = arguments.as_slice() else {
        return Err("PRIOR CLASSIFIER RECIPE.toml DIR [SAMPLES_PER_CLASS]".into());
    };
    let per_class: usize = rest.first().map_or(Ok(100), |n| n.parse())?;
    let prior = vipaint_zoo::load_file(prior.as_ref())?;
    let classifier = Classifier::from_bytes(&std::fs::read(classifier)?)?;
    let recipe = Recipe::load(recipe.as_ref())?;
    let data = recipe.data.load(recipe.shape())?;
    let (train, held_out) = (pictures(&data.train), pictures(&data.test));

    let samples = class_samples(&prior, per_class, STEPS, SEED, recipe.optimizer.pieces)?;
    let labels = (0..samples.len()).map(|i| i / per_class).collect();
    let samples =
        Pictures { size: train.size, values: samples.concat().iter().map(|v| v.clamp(-1.0, 1.0)).collect(), labels };
    let report = judge(&classifier, &prior.classes, &samples, &train, &held_out);

    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(&report)?;
    println!("{json}");
    std::fs::write(folder.join("gate.json"), json + "\n")?;
    let shown: Vec<usize> =
        (0..prior.classes.len()).flat_map(|k| (0..SHOWN.min(per_class)).map(move |j| k * per_class + j)).collect();
    let grid: Vec<Vec<f32>> = shown.iter().map(|i| samples.get(*i).to_vec()).collect();
    grid_png(&folder.join("samples.png"), &grid, prior.shape(), SHOWN.min(per_class), 2)?;
    // Each sample of the first columns with the training picture nearest to it on its right.
    let pairs: Vec<usize> = shown.into_iter().filter(|i| i % per_class < SHOWN / 2).collect();
    let pairs: Vec<[Vec<f32>; 2]> = pairs
        .par_iter()
        .map(|i| [samples.get(*i).to_vec(), train.get(nearest(samples.get(*i), &train).0).to_vec()])
        .collect();
    grid_png(&folder.join("neighbours.png"), &pairs.concat(), prior.shape(), SHOWN, 2)?;
    Ok(())
}

fn pictures(images: &Images) -> Pictures {
    let values = (0..images.len()).flat_map(|i| images.values(i)).collect();
    Pictures { size: images.shape.iter().product(), values, labels: images.labels.clone() }
}
