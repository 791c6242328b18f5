//! The U-Net from its tensors. The loops are those in which the library numbers its blocks.

use std::sync::Arc;

use vipaint_nn::layers::frozen::Padding;

use super::network::{Layer, Row, UNet};
use super::{Config, DownBlock, Resampling, TimeScaleShift, UpBlock};
use crate::blocks::{AttentionBlock, Change, Form, Names, ResBlock, group_norm};
use crate::loader::{Loader, Shape, self_attention};
use crate::recompute::Recompute;
use crate::resample::Filter;
use crate::time::frequencies;
use crate::{Error, Result};

const NAMES: Names =
    Names { norms: ["norm1", "norm2"], convs: ["conv1", "conv2"], embed: "time_emb_proj", skip: "conv_shortcut" };

pub(super) fn network(config: &Config, loader: &Loader<'_>) -> Result<UNet> {
    let (sides, first) = ([config.sample_size; 2], config.block_out_channels[0]);
    let conv_in = loader.conv("conv_in", Shape::same(config.in_channels, first, 3, sides))?;
    let mut builder = Builder { config, sides, c: first, skips: vec![first] };
    let down = builder.down(&loader.at("down_blocks"))?;
    let middle = match config.mid_block_type {
        Some(_) => {
            let at = loader.at("mid_block");
            loader.part(builder.values(), || builder.middle(&at))?
        }
        None => Vec::new(),
    };
    let up = builder.up(&loader.at("up_blocks"))?;
    let embedding = config.embedding();
    let norm = group_norm(loader, "conv_norm_out", first, config.norm_num_groups, config.norm_eps)?;
    let time = loader.at("time_embedding");
    Ok(UNet {
        frequencies: frequencies(first / 2, config.freq_shift),
        time: [
            time.linear("linear_1", [first, embedding], true, 1)?,
            time.linear("linear_2", [embedding, embedding], true, 1)?,
        ],
        classes: config
            .num_class_embeds
            .map(|classes| loader.tensor("class_embedding.weight", [classes, embedding]))
            .transpose()?,
        conv_in,
        down,
        middle: Arc::new(Row(middle)),
        up,
        norm,
        recompute: Recompute::default(),
        conv_out: loader.conv("conv_out", Shape::same(first, config.out_channels, 3, sides))?,
        config: config.clone(),
    })
}

struct Builder<'a> {
    config: &'a Config,
    /// Height and width at this point of the network.
    sides: [usize; 2],
    /// Channels.
    c: usize,
    /// Channels of the features kept for the way up.
    skips: Vec<usize>,
}

impl Builder<'_> {
    /// Values of the features at this point.
    fn values(&self) -> usize {
        self.c * self.sides[0] * self.sides[1]
    }

    fn residual(&mut self, loader: &Loader<'_>, c: usize, change: Change, scale: f64) -> Result<Layer> {
        let (config, c_in, sides) = (self.config, self.c, self.sides);
        (self.c, self.sides) = (c, change.sides(sides));
        let form = Form {
            channels: [c_in, c],
            embedding: config.embedding(),
            change,
            sides,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
            groups: [config.norm_num_groups; 2],
            eps: config.norm_eps,
            project: c_in != c,
            scale,
        };
        Ok(Layer::Res(Box::new(ResBlock::load(loader, &NAMES, form)?)))
    }

    /// With a normalisation of `groups`, if any.
    fn attention(&self, loader: &Loader<'_>, groups: Option<usize>, scale: f64) -> Result<Layer> {
        let (c, cells) = (self.c, self.sides[0] * self.sides[1]);
        let d = self.config.attention_head_dim.unwrap_or(c);
        if d == 0 || !c.is_multiple_of(d) {
            let problem = format!("must divide the channels of each block with attention, and {d} does not divide {c}");
            return Err(Error::Config { key: "attention_head_dim", problem });
        }
        let linear = |name: &str| loader.linear(name, [c, c], true, cells);
        let maps = [linear("to_q")?, linear("to_k")?, linear("to_v")?];
        loader.count_attention(cells, cells, c);
        let norm =
            groups.map(|groups| group_norm(loader, "group_norm", c, groups, self.config.norm_eps)).transpose()?;
        let attention = self_attention(maps, linear("to_out.0")?, c / d);
        Ok(Layer::Attention(Box::new(AttentionBlock { norm, attention, scale })))
    }

    /// A residual block, with attention if the block has it.
    fn stage(&mut self, loader: &Loader<'_>, index: usize, c: usize, attends: bool) -> Result<Vec<Layer>> {
        let mut layers = vec![self.residual(&loader.at("resnets").at(index), c, Change::None, 1.0)?];
        if attends {
            let groups = Some(self.config.norm_num_groups);
            layers.push(self.attention(&loader.at("attentions").at(index), groups, 1.0)?);
        }
        Ok(layers)
    }

    fn down(&mut self, loader: &Loader<'_>) -> Result<Vec<Arc<Row>>> {
        let (config, mut steps) = (self.config, Vec::new());
        for (level, (kind, c)) in config.down_block_types.iter().zip(&config.block_out_channels).enumerate() {
            let (at, attends) = (loader.at(level), *kind == DownBlock::AttnDownBlock2D);
            for i in 0..config.layers_per_block {
                let row = loader.part(self.values(), || self.stage(&at, i, *c, attends))?;
                steps.push(Arc::new(Row(row)));
                self.skips.push(self.c);
            }
            if level + 1 < config.block_out_channels.len() {
                let layer = self.halve(&at.at("downsamplers.0"), attends)?;
                steps.push(Arc::new(Row(vec![layer])));
                self.skips.push(self.c);
            }
        }
        Ok(steps)
    }

    fn halve(&mut self, loader: &Loader<'_>, attends: bool) -> Result<Layer> {
        // Blocks without attention read neither of the two options.
        if attends && self.config.downsample_type == Resampling::Resnet {
            return self.residual(loader, self.c, Change::Down(Filter::nearest()), 1.0);
        }
        let padding = if self.config.downsample_padding == 0 { Padding::End } else { Padding::Same };
        let shape = Shape { c_in: self.c, c_out: self.c, kernel: 3, stride: 2, padding, sides: self.sides };
        self.sides = self.sides.map(|side| side / 2);
        Ok(Layer::Resize(loader.conv("conv", shape)?))
    }

    fn double(&mut self, loader: &Loader<'_>, attends: bool) -> Result<Layer> {
        if attends && self.config.upsample_type == Resampling::Resnet {
            return self.residual(loader, self.c, Change::Up(Filter::nearest()), 1.0);
        }
        self.sides = self.sides.map(|side| 2 * side);
        let conv = loader.conv_after_upsampling("conv", Shape::same(self.c, self.c, 3, self.sides))?;
        Ok(Layer::Resize(conv))
    }

    fn middle(&mut self, loader: &Loader<'_>) -> Result<Vec<Layer>> {
        let (config, c, resnets) = (self.config, self.c, loader.at("resnets"));
        let scale = 1.0 / config.mid_block_scale_factor;
        let mut layers = vec![self.residual(&resnets.at(0), c, Change::None, scale)?];
        if config.add_attention {
            let plain = config.resnet_time_scale_shift == TimeScaleShift::Default;
            let groups = config.attn_norm_num_groups.or(plain.then_some(config.norm_num_groups));
            layers.push(self.attention(&loader.at("attentions.0"), groups, scale)?);
        }
        layers.push(self.residual(&resnets.at(1), c, Change::None, scale)?);
        Ok(layers)
    }

    fn up(&mut self, loader: &Loader<'_>) -> Result<Vec<Arc<Row>>> {
        let (config, mut steps) = (self.config, Vec::new());
        let channels = config.block_out_channels.iter().rev();
        for (level, (kind, c)) in config.up_block_types.iter().zip(channels).enumerate() {
            let (at, attends) = (loader.at(level), *kind == UpBlock::AttnUpBlock2D);
            for i in 0..=config.layers_per_block {
                self.c += self.skips.pop().unwrap_or(0); // one was pushed for each of these blocks
                let row = loader.part(self.values(), || {
                    let mut layers = self.stage(&at, i, *c, attends)?;
                    if i == config.layers_per_block && level + 1 < config.block_out_channels.len() {
                        layers.push(self.double(&at.at("upsamplers.0"), attends)?);
                    }
                    Ok(layers)
                })?;
                steps.push(Arc::new(Row(row)));
            }
        }
        Ok(steps)
    }
}
