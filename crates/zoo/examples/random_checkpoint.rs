//! A checkpoint of a known architecture with random weights, as large as the published one, to measure loading with:
//!
//! ```text
//! cargo run --release -p vipaint-zoo --example random_checkpoint -- sd-1.5 FILE.safetensors
//! vipaint prior bench FILE.safetensors,preset=sd-1.5 --rounds 1 --json      # load_ms, loaded_bytes, load_peak_bytes
//! ```
//!
//! Where the network reads texts of width 768, OpenAI's encoder is in the file, too.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use vipaint_nn::layers::weights::Entry;
use vipaint_zoo::presets::Preset;
use vipaint_zoo::{Family, Inventory, RandomWeights, Source, clip};

/// Of the tensors, as every writer of such files has it.
const ALIGNMENT: usize = 8;
/// Width of the texts that OpenAI's encoder makes.
const CLIP_L: usize = 768;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, path] = &arguments[..] else { return Err("give the name of a preset and a file".into()) };
    let header = Preset::named(name).ok_or("there is no such preset")?.header();
    let mut entries = header.network.inventory()?.entries;
    if let Some(config) = &header.autoencoder {
        let side = header.network.shape()[1];
        entries.extend(Inventory::of(|loader| config.build(loader, side))?.entries);
    }
    if let Family::Openai(config) = &header.network
        && config.transformer.as_ref().is_some_and(|t| t.n_classes == 0 && t.context_dim == CLIP_L)
    {
        let encoder = clip::Config::clip_l().inventory()?.entries;
        let named = |entry: Entry| Entry { name: format!("cond_stage_model.transformer.{}", entry.name), ..entry };
        entries.extend(encoder.into_iter().map(named));
    }
    let values = write(&entries, path)?;
    println!("{path}: {} tensors, {values} values", entries.len());
    Ok(())
}

/// Writes tensor by tensor, so that nothing large is held.
fn write(entries: &[Entry], path: &str) -> Result<usize, Box<dyn Error>> {
    let (mut at, mut table) = (0, serde_json::Map::new());
    for entry in entries {
        let end = at + entry.len() * size_of::<f32>();
        let described = serde_json::json!({ "dtype": "F32", "shape": entry.shape, "data_offsets": [at, end] });
        table.insert(entry.name.clone(), described);
        at = end;
    }
    let mut header = serde_json::to_vec(&table)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let source = RandomWeights::default();
    for entry in entries {
        let bytes: Vec<u8> = source.tensor(&entry.name, &entry.shape)?.iter().flat_map(|x| x.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    file.flush()?;
    Ok(at / size_of::<f32>())
}
