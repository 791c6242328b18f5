//! `cargo run --release -p vipaint-train --example classifier -- RECIPE.toml FILE`: trains the classifier on a recipe's
//! data and says how good it is on the held-out pictures.

use vipaint_eval::classifier::Classifier;
use vipaint_train::{ClassifierSettings, Recipe, train_classifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, file] = arguments.as_slice() else { return Err("RECIPE.toml FILE".into()) };
    let recipe = Recipe::load(recipe.as_ref())?;
    let data = recipe.data.load(recipe.shape())?;
    let values = train_classifier(&data.train, &ClassifierSettings::default(), &mut |images, loss| {
        println!("{images} pictures, loss {loss:.4}");
    })?;
    let bytes = Classifier::to_bytes(&values)?;
    let test: Vec<f32> = (0..data.test.len()).flat_map(|i| data.test.values(i)).collect();
    let named = Classifier::from_bytes(&bytes)?.classes(&test);
    let right = named.iter().zip(&data.test.labels).filter(|(a, b)| a == b).count();
    println!("accuracy on {} held-out pictures: {:.4}", data.test.len(), right as f64 / data.test.len() as f64);
    std::fs::write(file, bytes)?;
    Ok(())
}
