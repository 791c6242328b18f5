//! The network's layers, in the order in which their random weights are drawn.

use vipaint_nn::layers::{AttentionBlock, Conv2d, CrossAttentionBlock, GroupNorm, Init, Linear, ResidualBlock};

use super::Config;
use super::network::{Down, Stage, UNet, Up};
use crate::Result;

/// A network of a configuration that is checked here.
pub(super) fn network(config: &Config, init: &mut Init) -> Result<UNet> {
    config.validate()?;
    let (e, g) = (config.embedding, config.group_width);
    let depth = config.channels * config.patch * config.patch;
    let (finest, coarsest) = (config.widths[0], config.widths[config.widths.len() - 1]);
    let attention = |level: usize, c: usize, init: &mut Init| {
        config
            .attention
            .contains(&level)
            .then(|| AttentionBlock::new(c, c / config.head_width, c / config.group_width, init))
    };

    let cross = |attends: bool, c: usize, init: &mut Init| {
        let heads = c / config.head_width;
        (attends && config.context > 0).then(|| CrossAttentionBlock::new(c, config.context, heads, c / g, init))
    };
    let attends = |level: usize| config.attention.contains(&level);

    let time_in = Linear::new(e, e, init);
    let class = (config.classes > 0).then(|| Linear::table(config.classes + 1, e, init));
    let time_out = Linear::new(e, e, init);
    let stem = Conv2d::new(depth, finest, 3, 1, init);
    let mut c = finest;
    let mut skips = Vec::new();
    let mut down = Vec::new();
    for (level, (&width, &blocks)) in config.widths.iter().zip(&config.blocks).enumerate() {
        let halve = (level > 0).then(|| Conv2d::new(c, c, 3, 2, init));
        let mut stages = Vec::new();
        for _ in 0..blocks {
            let residual = ResidualBlock::new(c, width, e, g, init);
            let attention = attention(level, width, init);
            stages.push(Stage { residual, attention, cross: cross(attends(level), width, init) });
            c = width;
            skips.push(c);
        }
        down.push(Down { halve, stages });
    }
    let mid_in = ResidualBlock::new(c, c, e, g, init);
    let mid_attention = AttentionBlock::new(c, c / config.head_width, c / g, init);
    let mid_cross = cross(true, coarsest, init);
    let mid_out = ResidualBlock::new(coarsest, coarsest, e, g, init);
    let mut up = Vec::new();
    for (level, (&width, &blocks)) in config.widths.iter().zip(&config.blocks).enumerate().rev() {
        let mut stages = Vec::new();
        for _ in 0..blocks {
            let skip = skips.pop().unwrap_or(0); // one was pushed for each of these blocks
            let residual = ResidualBlock::new(c + skip, width, e, g, init);
            let attention = attention(level, width, init);
            stages.push(Stage { residual, attention, cross: cross(attends(level), width, init) });
            c = width;
        }
        up.push(Up { stages });
    }
    let norm = GroupNorm::new(finest, finest / g, init);
    let out = Conv2d::zero(finest, depth, 3, init);
    let config = config.clone();
    let (packed, by_samples) = (false, false);
    Ok(UNet {
        time_in,
        class,
        time_out,
        stem,
        down,
        mid_in,
        mid_attention,
        mid_cross,
        mid_out,
        up,
        norm,
        out,
        config,
        packed,
        by_samples,
    })
}
