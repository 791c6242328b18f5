//! The U-Net from its tensors. The loops are those in which the original names its blocks.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::blocks::{Block, Role, groups};
use super::network::{Decode, Encode, Noise, UNet};
use super::{Config, DecoderType, EmbeddingType, EncoderType, ModelType};
use crate::Result;
use crate::blocks::{Change, group_norm};
use crate::loader::{Loader, Shape};
use crate::recompute::Recompute;
use crate::resample::Filter;
use crate::time::frequencies;

pub(super) fn network(config: &Config, root: &Loader<'_>) -> Result<UNet> {
    let loader = root.at("model");
    let mut builder = Builder { config, filter: config.filter(), c: config.img_channels, skips: Vec::new() };
    let encoder = builder.encoder(&loader.at("enc"))?;
    let mut decoder = builder.decoder(&loader.at("dec"))?;
    if !config.is_song() {
        let norm = group_norm(&loader, "out_norm", builder.c, groups(builder.c), 1e-5)?;
        let sides = [config.img_resolution; 2];
        let conv = loader.conv("out_conv", Shape::same(builder.c, config.out_channels, 3, sides))?;
        decoder.push(Decode::Out { norm, conv });
    }
    let (noise, embedding) = (config.noise(), config.embedding());
    if config.augment_dim > 0 {
        loader.unused("map_augment.weight");
    }
    root.unused("u"); // the table of iDDPM's preconditioning
    Ok(UNet {
        noise: noise_embedding(config, &loader)?,
        classes: classes(config, &loader)?,
        map: [
            loader.linear("map_layer0", [noise, embedding], true, 1)?,
            loader.linear("map_layer1", [embedding, embedding], true, 1)?,
        ],
        encoder,
        decoder,
        filter: builder.filter,
        recompute: Recompute::default(),
        config: config.clone(),
    })
}

fn noise_embedding(config: &Config, loader: &Loader<'_>) -> Result<Noise> {
    let half = config.noise() / 2;
    Ok(match (config.model_type, config.embedding_type) {
        (ModelType::SongUNet, EmbeddingType::Fourier) => {
            let freqs = loader.values("map_noise.freqs", &[half])?.unwrap_or_default();
            let turns = freqs.iter().map(|f| std::f64::consts::TAU * f64::from(*f));
            Noise { frequencies: turns.collect(), sines_first: true }
        }
        (ModelType::SongUNet, EmbeddingType::Positional) => {
            Noise { frequencies: frequencies(half, 1.0), sines_first: true }
        }
        (ModelType::DhariwalUNet, _) => Noise { frequencies: frequencies(half, 0.0), sines_first: false },
    })
}

/// What each class adds to the embedding, and in the last row what no class does. // [classes + 1, width]
fn classes(config: &Config, loader: &Loader<'_>) -> Result<Option<Tensor<2>>> {
    let n = config.label_dim;
    if n == 0 {
        return Ok(None);
    }
    // DDPM++ multiplies labels, which then have unit variance, and adds a bias to the noise embedding.
    let (width, factor) =
        if config.is_song() { (config.noise(), (n as f32).sqrt()) } else { (config.embedding(), 1.0) };
    let weight = loader.values("map_label.weight", &[width, n])?;
    let bias = if config.is_song() { loader.values("map_label.bias", &[width])? } else { None };
    let Some(weight) = weight else { return Ok(None) };
    let bias = bias.unwrap_or_else(|| vec![0.0; width]);
    let row = |class: usize| (0..width).map(move |i| (class, i));
    let value = |(class, i): (usize, usize)| if class < n { factor * weight[i * n + class] + bias[i] } else { bias[i] };
    let values: Vec<f32> = (0..=n).flat_map(row).map(value).collect();
    Ok(Some(Tensor::from_data(TensorData::new(values, [n + 1, width]), loader.device())))
}

struct Builder<'a> {
    config: &'a Config,
    filter: Filter,
    /// Channels at this point of the network.
    c: usize,
    /// Channels of the features kept for the way up.
    skips: Vec<usize>,
}

impl Builder<'_> {
    fn side(&self, level: usize) -> usize {
        self.config.img_resolution >> level
    }

    fn block(&mut self, loader: &Loader<'_>, c: usize, level: usize, attention: bool) -> Result<Arc<Block>> {
        let side = self.side(level);
        let role = Role { channels: [self.c, c], change: Change::None, sides: [side; 2], attention };
        let values = self.c * side * side;
        self.c = c;
        loader.part(values, || Block::load(self.config, loader, role)).map(Arc::new)
    }

    /// A block to `level`, from the finer or the coarser one.
    fn resample(&self, loader: &Loader<'_>, change: Change, from: usize) -> Result<Arc<Block>> {
        let side = self.side(from);
        let role = Role { channels: [self.c; 2], change, sides: [side; 2], attention: false };
        loader.part(self.c * side * side, || Block::load(self.config, loader, role)).map(Arc::new)
    }

    fn encoder(&mut self, loader: &Loader<'_>) -> Result<Vec<Encode>> {
        let config = self.config;
        let (mut aux, mut steps) = (self.c, Vec::new());
        for (level, mult) in config.channel_mult.iter().enumerate() {
            let (res, width) = (self.side(level), config.model_channels * mult);
            let at = |name: &str| loader.at(format!("{res}x{res}_{name}"));
            if level == 0 {
                // DDPM++ begins at multiplier one, ADM at the first level's.
                let c = if config.is_song() { config.model_channels } else { width };
                let name = format!("{res}x{res}_conv");
                steps.push(Encode::Conv(loader.conv(name, Shape::same(self.c, c, 3, [res; 2]))?));
                self.c = c;
            } else {
                let block = self.resample(&at("down"), Change::Down(self.filter.clone()), level - 1)?;
                steps.push(Encode::Block(block));
                steps.extend(self.auxiliary(loader, &mut aux, level)?);
            }
            self.skips.push(self.c);
            for i in 0..config.num_blocks {
                let attention = config.attn_resolutions.contains(&res);
                let block = self.block(&at(&format!("block{i}")), width, level, attention)?;
                steps.push(Encode::Block(block));
                self.skips.push(width);
            }
        }
        Ok(steps)
    }

    /// What the picture, or what was made of it, adds after the way down to `level`.
    fn auxiliary(&self, loader: &Loader<'_>, aux: &mut usize, level: usize) -> Result<Option<Encode>> {
        let res = self.side(level);
        let name = |part: &str| format!("{res}x{res}_aux_{part}");
        if !self.config.is_song() {
            return Ok(None);
        }
        Ok(match self.config.encoder_type {
            EncoderType::Standard => None,
            EncoderType::Skip => {
                loader.at(name("down")).unused("resample_filter");
                Some(Encode::Skip(loader.conv(name("skip"), Shape::same(*aux, self.c, 1, [res; 2]))?))
            }
            EncoderType::Residual => {
                loader.at(name("residual")).unused("resample_filter");
                // The convolution sees the zeros that the filter after it needs.
                let sides = [2 * res + 2 * self.filter.padding(); 2];
                let conv = loader.conv(name("residual"), Shape::same(*aux, self.c, 3, sides))?;
                *aux = self.c;
                Some(Encode::Residual(conv))
            }
        })
    }

    fn decoder(&mut self, loader: &Loader<'_>) -> Result<Vec<Decode>> {
        let (config, mut steps) = (self.config, Vec::new());
        let last = config.channel_mult.len() - 1;
        for (level, mult) in config.channel_mult.iter().enumerate().rev() {
            let (res, width) = (self.side(level), config.model_channels * mult);
            let at = |name: &str| loader.at(format!("{res}x{res}_{name}"));
            if level == last {
                steps.push(Decode::Block(self.block(&at("in0"), self.c, level, true)?));
                steps.push(Decode::Block(self.block(&at("in1"), self.c, level, false)?));
            } else {
                let block = self.resample(&at("up"), Change::Up(self.filter.clone()), level + 1)?;
                steps.push(Decode::Block(block));
            }
            for i in 0..=config.num_blocks {
                self.c += self.skips.pop().unwrap_or(0); // one was pushed for each of these blocks
                // DDPM++ has it in the last block only.
                let here = !config.is_song() || i == config.num_blocks;
                let attention = here && config.attn_resolutions.contains(&res);
                let block = self.block(&at(&format!("block{i}")), width, level, attention)?;
                steps.push(Decode::Onto(block));
            }
            let skip = config.decoder_type == DecoderType::Skip;
            if config.is_song() && (skip || level == 0) {
                if skip && level < last {
                    at("aux_up").unused("resample_filter");
                    steps.push(Decode::Up);
                }
                let at = |part: &str| format!("{res}x{res}_aux_{part}");
                let norm = group_norm(loader, &at("norm"), self.c, groups(self.c), 1e-6)?;
                let conv = loader.conv(at("conv"), Shape::same(self.c, config.out_channels, 3, [res; 2]))?;
                steps.push(Decode::Out { norm, conv });
            }
        }
        Ok(steps)
    }
}
