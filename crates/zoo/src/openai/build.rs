//! The U-Net from its tensors. The loops are those in which the original numbers its blocks.

use std::sync::Arc;

use super::blocks::{self, down, residual, up};
use super::network::{Class, Layer, Row, UNet};
use super::transformer::SpatialTransformer;
use super::{Config, GROUPS};
use crate::Result;
use crate::blocks::Change;
use crate::loader::{Loader, Shape};
use crate::recompute::Recompute;
use crate::resample::Filter;

pub(super) fn network(config: &Config, root: &Loader<'_>) -> Result<UNet> {
    let loader = match config.transformer {
        Some(_) => root.at("model").at("diffusion_model"),
        None => root.clone(),
    };
    let (base, embedding) = (config.model_channels, 4 * config.model_channels);
    let levels = config.channel_mult.len();
    let last = levels - 1;
    let mut sides = [config.image_size; 2];
    let mut c = config.width(0);
    let stem = loader.at("input_blocks").at(0).conv(0, Shape::same(config.in_channels, c, 3, sides))?;

    let mut skips = vec![c];
    let mut input = vec![Arc::new(Row(vec![Layer::Conv(stem)]))];
    for level in 0..levels {
        for _ in 0..config.num_res_blocks {
            let at = loader.at("input_blocks").at(input.len());
            let width = config.width(level);
            let row = at.part(c * sides[0] * sides[1], || {
                let block = residual(config, &at.at(0), [c, width], Change::None, sides)?;
                let attention = attention(config, &at.at(1), level, width, Way::Down, sides)?;
                Ok([Layer::Res(Box::new(block))].into_iter().chain(attention).collect())
            })?;
            c = width;
            input.push(Arc::new(Row(row)));
            skips.push(c);
        }
        if level != last {
            let at = loader.at("input_blocks").at(input.len()).at(0);
            input.push(Arc::new(Row(vec![if config.resblock_updown {
                let block = || {
                    residual(config, &at, [c, c], Change::Down(Filter::nearest()), sides).map(Box::new).map(Layer::Res)
                };
                at.part(c * sides[0] * sides[1], block)?
            } else {
                Layer::Down(down(config, &at, c, sides)?)
            }])));
            skips.push(c);
            sides = sides.map(|side| side / 2);
        }
    }

    let at = loader.at("middle_block");
    let block = |i: usize| residual(config, &at.at(i), [c, c], Change::None, sides).map(Box::new).map(Layer::Res);
    let middle = at.part(c * sides[0] * sides[1], || {
        Ok(vec![block(0)?, attend(config, &at.at(1), last, c, Way::Middle, sides)?, block(2)?])
    })?;

    let mut output = Vec::new();
    for level in (0..levels).rev() {
        for i in 0..=config.num_res_blocks {
            let at = loader.at("output_blocks").at(output.len());
            let skip = skips.pop().unwrap_or(0); // one was pushed for each of these blocks
            let width = config.width(level);
            let channels = [c + skip, width];
            c = width;
            let rises = level > 0 && i == config.num_res_blocks;
            let row = at.part(channels[0] * sides[0] * sides[1], || {
                let block = residual(config, &at.at(0), channels, Change::None, sides)?;
                let mut layers = vec![Layer::Res(Box::new(block))];
                layers.extend(attention(config, &at.at(1), level, c, Way::Up, sides)?);
                if rises {
                    let at = at.at(layers.len());
                    layers.push(if config.resblock_updown {
                        Layer::Res(Box::new(residual(config, &at, [c, c], Change::Up(Filter::nearest()), sides)?))
                    } else {
                        Layer::Up(up(config, &at, c, sides)?)
                    });
                }
                Ok(layers)
            })?;
            if rises {
                sides = sides.map(|side| 2 * side);
            }
            output.push(Arc::new(Row(row)));
        }
    }

    let time = [
        loader.linear("time_embed.0", [base, embedding], true, 1)?,
        loader.linear("time_embed.2", [embedding, embedding], true, 1)?,
    ];
    let class = match &config.transformer {
        _ if config.num_classes > 0 => {
            Class::Added(loader.tensor("label_emb.weight", [config.num_classes, embedding])?)
        }
        Some(t) if t.n_classes > 0 => {
            Class::Context(root.tensor("cond_stage_model.embedding.weight", [t.n_classes, t.context_dim])?)
        }
        _ => Class::None,
    };
    let vector = match config.adm_in_channels {
        0 => None,
        width => Some([
            loader.linear("label_emb.0.0", [width, embedding], true, 1)?,
            loader.linear("label_emb.0.2", [embedding, embedding], true, 1)?,
        ]),
    };
    let norm = loader.group_norm("out.0", c, GROUPS, 1e-5)?;
    let out = loader.conv("out.2", Shape::same(c, config.out_channels, 3, sides))?;
    let (config, middle) = (config.clone(), Arc::new(Row(middle)));
    let recompute = Recompute::default();
    Ok(UNet { config, time, class, vector, input, middle, output, norm, out, null: None, recompute })
}

/// Where in the network an attention is.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Down,
    Middle,
    Up,
}

/// The attention after a residual block, if its level has one.
fn attention(
    config: &Config,
    loader: &Loader<'_>,
    level: usize,
    c: usize,
    way: Way,
    sides: [usize; 2],
) -> Result<Option<Layer>> {
    let has = config.attention_resolutions.contains(&(1 << level));
    has.then(|| attend(config, loader, level, c, way, sides)).transpose()
}

fn attend(config: &Config, loader: &Loader<'_>, level: usize, c: usize, way: Way, sides: [usize; 2]) -> Result<Layer> {
    // Only attention without a context knows a number of heads of its own for the way up.
    let heads = match (config.num_head_channels, config.num_heads_upsample) {
        (Some(d), _) => c / d,
        (None, Some(heads)) if way == Way::Up && config.transformer.is_none() => heads,
        _ => config.num_heads,
    };
    Ok(match &config.transformer {
        Some(t) => Layer::Transformer(Box::new(SpatialTransformer::load(t, loader, t.depth(level), c, heads, sides)?)),
        None => Layer::Attention(Box::new(blocks::attention(config, loader, c, heads, sides)?)),
    })
}
