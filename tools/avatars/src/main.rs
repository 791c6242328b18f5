//! Makes the data of the prior `avatars`: portraits with known attributes, and captions.
//!
//! `vipaint-avatars --count 50000 --seed 1 -o train` writes `train.idx` (unsigned bytes `[count, 3, 64, 64]`, red, green and
//! blue planes) and `train.jsonl` (for each picture its attributes and some captions). Picture `i` depends on the seed
//! and `i` only; different seeds share no picture but by chance.

mod caption;
mod render;
mod table;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::json;

use crate::render::Painter;
use crate::table::Table;

const SIDE: u32 = 64;
/// Pictures made at once.
const CHUNK: usize = 1024;

#[derive(Parser)]
#[command(about = "Makes the data of the prior `avatars`")]
struct Arguments {
    /// The declared distribution
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../priors/avatars/attributes.toml"))]
    table: PathBuf,
    /// How many portraits
    #[arg(long)]
    count: u32,
    /// Seed; training and held-out portraits need different ones
    #[arg(long)]
    seed: u64,
    /// Captions of each portrait
    #[arg(long, default_value_t = 4)]
    captions: usize,
    /// Where to write, without extension
    #[arg(short, long)]
    output: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let table = Table::load(&arguments.table)?;
    let painter = Painter::new(&table, SIDE)?;
    let create = |extension: &str| {
        let path = arguments.output.with_extension(extension);
        Ok::<_, anyhow::Error>(BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?))
    };
    let (mut pictures, mut lines) = (create("idx")?, create("jsonl")?);
    pictures.write_all(&[0, 0, 8, 4])?; // unsigned bytes, four dimensions
    for size in [arguments.count, 3, SIDE, SIDE] {
        pictures.write_all(&size.to_be_bytes())?;
    }
    let numbers: Vec<u64> = (0..u64::from(arguments.count)).collect();
    for chunk in numbers.chunks(CHUNK) {
        let made = chunk.par_iter().map(|number| portrait(&table, &painter, &arguments, *number));
        for (bytes, line) in made.collect::<Result<Vec<_>>>()? {
            pictures.write_all(&bytes)?;
            writeln!(lines, "{line}")?;
        }
    }
    pictures.flush()?;
    lines.flush()?;
    Ok(())
}

/// The picture, and the line that describes it.
fn portrait(table: &Table, painter: &Painter, arguments: &Arguments, number: u64) -> Result<(Vec<u8>, String)> {
    let mut rng = ChaCha8Rng::seed_from_u64(arguments.seed);
    rng.set_stream(number);
    let drawn = table.draw(&mut rng)?;
    let bytes = painter.draw(table, &drawn)?;
    let captions = (0..arguments.captions).map(|_| caption::caption(table, &drawn, &mut rng));
    let captions = captions.collect::<Result<Vec<String>>>()?;
    let named = table.attributes.iter().zip(&drawn).map(|(a, v)| (a.name.clone(), json!(a.values[*v].name)));
    let attributes: serde_json::Map<String, serde_json::Value> = named.collect();
    Ok((bytes, json!({ "attributes": attributes, "captions": captions }).to_string()))
}
