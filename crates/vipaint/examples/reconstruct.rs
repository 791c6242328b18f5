//! The autoencoder of the prior `avatars` on held-out portraits: their mean PSNR, and a sheet of the first of them, each above its
//! reconstruction. `cargo run --release -p vipaint --example reconstruct -- [FILE]`; priors/avatars/reconstructions.png by default.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint::Result;
use vipaint::draw::{Cell, Raster, grid};
use vipaint::portraits::{portraits, world};
use vipaint::priors::Source;
use vipaint::save::write_atomically;

/// Portraits on the sheet.
const SHOWN: usize = 12;
/// Portraits in the mean.
const COUNTED: usize = 160;
/// Portraits that go through together.
const BATCH: usize = 20;

fn main() -> Result<()> {
    let file =
        std::env::args().nth(1).map_or_else(|| PathBuf::from("priors/avatars/reconstructions.png"), PathBuf::from);
    let prior = Source::named("avatars")?.load()?;
    let all = portraits(&world()?)?;
    let [c, h, w] = prior.autoencoder.image_shape(prior.shape());
    let (mut psnr, mut shown) = (Vec::new(), Vec::new());
    for batch in all[..COUNTED.min(all.len())].chunks(BATCH) {
        let pixels: Vec<f32> = batch.iter().flat_map(|p| p.pixels.iter().copied()).collect();
        let x: Tensor<4> = Tensor::from_data(TensorData::new(pixels, [batch.len(), c, h, w]), &Device::flex());
        let decoded = prior.autoencoder.decode(prior.autoencoder.encode(x));
        let decoded = decoded.clamp(-1.0, 1.0).try_into_vec_as::<f32>().unwrap_or_default();
        for (portrait, decoded) in batch.iter().zip(decoded.chunks_exact(c * h * w)) {
            let errors = portrait.pixels.iter().zip(decoded).map(|(a, b)| f64::from(a - b).powi(2));
            psnr.push(10.0 * (4.0 / (errors.sum::<f64>() / (c * h * w) as f64)).log10());
            let cell = |pixels: &[f32]| {
                let byte = |v: f32| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
                let raster =
                    Raster::from_fn(w, h, |x, y| [0, 1, 2].map(|channel| byte(pixels[(channel * h + y) * w + x])));
                Cell { label: String::new(), picture: raster.for_eyes() }
            };
            if shown.len() < SHOWN {
                shown.push([cell(&portrait.pixels), cell(decoded)]);
            }
        }
    }
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{} portraits: {:.1} dB, the worst {worst:.1} dB",
        psnr.len(),
        psnr.iter().sum::<f64>() / psnr.len() as f64
    );
    let (given, decoded): (Vec<Cell>, Vec<Cell>) = shown.into_iter().map(|[a, b]| (a, b)).unzip();
    write_atomically(&file, &grid(&given, &decoded, "")?.to_png()?)
}
