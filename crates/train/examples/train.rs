//! `cargo run --release -p vipaint-train --example train -- RECIPE.toml RUN_DIR [--export FILE]`

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use vipaint_train::{Options, Recipe, export, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, folder, rest @ ..] = arguments.as_slice() else {
        return Err("RECIPE.toml RUN_DIR [--export FILE]".into());
    };
    let folder = PathBuf::from(folder);
    if let [flag, file] = rest
        && flag == "--export"
    {
        println!("{:?}", export(&folder, file.as_ref())?);
        return Ok(());
    }
    let recipe = Recipe::load(recipe.as_ref())?;
    let options = Options::default();
    let stop = options.stop.clone();
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))?;
    let outcome = train(&recipe, &folder, &options, &mut |event| println!("{event:?}"))?;
    println!("{outcome:?}");
    Ok(())
}
