//! What the tensors of a U-Net of OpenAI's code, or of CompVis', tell about it. The places of its blocks are those of
//! [`crate::openai`].

use serde_json::{Value, json};

use super::table::Below;
use super::{Group, Result};
use crate::Error;

/// What no tensor tells.
pub(super) const OPEN: [Group; 2] =
    [&["/network/image_size"], &["/network/num_heads", "/network/num_head_channels", "/network/num_heads_upsample"]];
/// The same, of a U-Net without transformers.
pub(super) const ORDER: Group = &["/network/use_new_attention_order"];

/// The hyperparameters that the tensors tell, as in [`crate::openai::Config`].
pub(super) fn network(at: &Below<'_, '_>) -> Result<Value> {
    let [_, base] = at.dims("time_embed.0.weight")?;
    let [_, in_channels, ..] = at.dims::<4>("input_blocks.0.0.weight")?;
    let [out_channels, ..] = at.dims::<4>("out.2.weight")?;
    // There are as many blocks on the way down as up, `blocks` for each level.
    let all = at.count("output_blocks.");
    let blocks = blocks(at, all);
    if all == 0 || !all.is_multiple_of(blocks) {
        return Err(Error::Structure(format!("{all} output_blocks, in levels of {blocks}")));
    }
    let levels: Vec<Level> = (0..all / blocks).map(|level| Level::read(at, level, blocks)).collect::<Result<_>>()?;
    let [rows, _] = at.dims("input_blocks.1.0.emb_layers.1.weight")?;
    let attention: Vec<usize> =
        levels.iter().enumerate().filter(|(_, level)| level.attention).map(|(i, _)| 1 << i).collect();
    let changes = format!("input_blocks.{blocks}.0.");
    let deep = levels.len() > 1;
    let mut network = json!({
        "family": "openai",
        "in_channels": in_channels,
        "out_channels": out_channels,
        "model_channels": base,
        "num_res_blocks": blocks - 1,
        "channel_mult": levels.iter().map(|level| level.channels as f64 / base.max(1) as f64).collect::<Vec<_>>(),
        "attention_resolutions": attention,
        "num_classes": at.shape("label_emb.weight").map_or(0, |shape| shape[0]),
        "use_scale_shift_norm": rows == 2 * levels[0].channels,
        "resblock_updown": deep && at.any(&format!("{changes}in_layers.")),
        "conv_resample": !deep || at.any(&changes),
        "adm_in_channels": match at.shape("label_emb.0.0.weight") { Some([_, width]) => *width, _ => 0 },
    });
    if let Some(transformer) = transformer(at, &levels)? {
        network["transformer"] = transformer;
        network["use_new_attention_order"] = json!(false);
    }
    Ok(network)
}

/// Blocks of a level, the change of resolution included: the first block that changes it tells.
fn blocks(at: &Below<'_, '_>, all: usize) -> usize {
    let up = |i: usize| {
        let second = |k: usize| format!("output_blocks.{i}.{k}.");
        (1..=2).any(|k| at.any(&format!("{}in_layers.", second(k))) || at.has(&format!("{}conv.weight", second(k))))
    };
    // Without a convolution there is nothing where the resolution changes.
    let nothing = |i: usize| i > 0 && !at.any(&format!("input_blocks.{i}."));
    (0..all).find(|i| up(*i)).map(|i| i + 1).or_else(|| (0..all).find(|i| nothing(*i))).unwrap_or(all)
}

struct Level {
    channels: usize,
    attention: bool,
    /// Blocks of a transformer.
    depth: usize,
}

impl Level {
    fn read(at: &Below<'_, '_>, level: usize, blocks: usize) -> Result<Self> {
        let first = format!("input_blocks.{}.", 1 + level * blocks);
        let [channels, ..] = at.dims::<4>(&format!("{first}0.out_layers.3.weight"))?;
        let attention = at.any(&format!("{first}1."));
        Ok(Self { channels, attention, depth: at.count(&format!("{first}1.transformer_blocks.")) })
    }
}

/// [`crate::openai::Transformer`], if the middle has one.
fn transformer(at: &Below<'_, '_>, levels: &[Level]) -> Result<Option<Value>> {
    let middle = at.count("middle_block.1.transformer_blocks.");
    if middle == 0 {
        return Ok(None);
    }
    let [_, context_dim] = at.dims("middle_block.1.transformer_blocks.0.attn2.to_k.weight")?;
    let last = levels.len() - 1;
    let depth = |(i, level): (usize, &Level)| match level.attention {
        _ if i == last => Some(middle),
        true => Some(level.depth),
        false => None,
    };
    let depth: Vec<Option<usize>> = levels.iter().enumerate().map(depth).collect();
    let uniform = depth.iter().flatten().all(|blocks| *blocks == middle);
    // One number is for all levels; where there is no attention, any is right.
    let depth: Vec<usize> =
        if uniform { vec![middle] } else { depth.into_iter().map(|blocks| blocks.unwrap_or(1)).collect() };
    let linear = at.shape("middle_block.1.proj_in.weight").is_some_and(|shape| shape.len() == 2);
    Ok(Some(json!({ "context_dim": context_dim, "depth": depth, "use_linear": linear, "n_classes": 0 })))
}
