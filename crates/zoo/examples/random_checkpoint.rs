//! A checkpoint of a known architecture with random weights, as large as the published one, to measure loading with:
//!
//! ```text
//! cargo run --release -p vipaint-zoo --example random_checkpoint -- sd-1.5 FILE.safetensors
//! cargo run --release -p vipaint-zoo --example random_checkpoint -- sdxl FILE.safetensors f16
//! vipaint prior bench FILE.safetensors,preset=sd-1.5 --rounds 1 --json      # load_ms, loaded_bytes, load_peak_bytes
//! ```
//!
//! Networks that read texts of Stable Diffusion 1's or XL's encoders have them in the file, too.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex};

use half::f16;
use vipaint_nn::layers::weights::Entry;
use vipaint_zoo::clip::{self, Naming, Weights};
use vipaint_zoo::presets::Preset;
use vipaint_zoo::{Family, Header, RandomWeights, Source};

/// Of the tensors, as every writer of such files has it.
const ALIGNMENT: usize = 8;
/// Width of the texts that OpenAI's encoder makes, and of those of both that XL reads.
const CLIP_L: usize = 768;
const BOTH: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, path, half) = match &arguments[..] {
        [name, path] => (name, path, false),
        [name, path, precision] if precision == "f16" => (name, path, true),
        _ => return Err("give the name of a preset, a file, and perhaps f16".into()),
    };
    let header = Preset::named(name).ok_or("there is no such preset")?.header();
    let mut entries = header.inventory()?.entries;
    entries.extend(encoders(&header)?);
    let values = write(&entries, path, half)?;
    println!("{path}: {} tensors, {values} values", entries.len());
    Ok(())
}

/// The tensors of the text encoders, with the names of single files.
fn encoders(header: &Header) -> Result<Vec<Entry>, Box<dyn Error>> {
    let Family::Openai(config) = &header.network else { return Ok(Vec::new()) };
    let width = config.transformer.as_ref().filter(|t| t.n_classes == 0).map(|t| t.context_dim);
    let root = match width {
        Some(CLIP_L) => "cond_stage_model.transformer.",
        Some(BOTH) => "conditioner.embedders.0.transformer.",
        _ => return Ok(Vec::new()),
    };
    let first = clip::Config::clip_l().inventory()?.entries.into_iter();
    let mut entries: Vec<Entry> = first.map(|entry| Entry { name: format!("{root}{}", entry.name), ..entry }).collect();
    if width == Some(BOTH) {
        entries.extend(open_clip(&clip::Config::open_clip_big_g(), "conditioner.embedders.1.model.")?);
    }
    Ok(entries)
}

/// The tensors of an encoder under `OpenCLIP`'s names: what is asked of its file when it is read.
fn open_clip(config: &clip::Config, root: &str) -> Result<Vec<Entry>, Box<dyn Error>> {
    let asked = Arc::new(Asked::default());
    let weights = Weights::new(asked.clone(), Naming::OpenClip { root: root.to_owned() });
    for Entry { name, shape } in config.inventory()?.entries {
        weights.values(&name, &shape)?;
    }
    drop(weights);
    let list = Arc::into_inner(asked).and_then(|asked| asked.0.into_inner().ok());
    list.ok_or_else(|| "the list of tensors is lost".into())
}

/// Notes what is asked for, once, and gives zeros.
#[derive(Default)]
struct Asked(Mutex<Vec<Entry>>);

impl Source for Asked {
    fn tensor(&self, name: &str, shape: &[usize]) -> vipaint_zoo::Result<Vec<f32>> {
        if let Ok(mut list) = self.0.lock()
            && list.iter().all(|entry| entry.name != name)
        {
            list.push(Entry { name: name.to_owned(), shape: shape.to_vec() });
        }
        Ok(vec![0.0; shape.iter().product()])
    }
}

/// Writes tensor by tensor, so that nothing large is held.
fn write(entries: &[Entry], path: &str, half: bool) -> Result<usize, Box<dyn Error>> {
    let (mut at, mut table) = (0, serde_json::Map::new());
    let (dtype, size) = if half { ("F16", size_of::<f16>()) } else { ("F32", size_of::<f32>()) };
    for entry in entries {
        let end = at + entry.len() * size;
        let described = serde_json::json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [at, end] });
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
        let values = source.tensor(&entry.name, &entry.shape)?.into_iter();
        let bytes: Vec<u8> = if half {
            values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect()
        } else {
            values.flat_map(f32::to_le_bytes).collect()
        };
        file.write_all(&bytes)?;
    }
    file.flush()?;
    Ok(at / size)
}
