//! What the tensors of an autoencoder of CompVis' code tell about it.

use serde_json::{Value, json};

use super::table::Below;
use super::{Group, Result};

/// What no tensor tells.
pub(super) const OPEN: [Group; 2] = [&["/autoencoder/scale_factor"], &["/autoencoder/shift_factor"]];

/// Only quotients of sides matter; more than the levels of any autoencoder halve.
const RESOLUTION: usize = 256;

/// The hyperparameters that the tensors tell, as in [`crate::autoencoder::Config`].
pub(super) fn autoencoder(at: &Below<'_, '_>) -> Result<Value> {
    let [ch, in_channels, ..] = at.dims::<4>("encoder.conv_in.weight")?;
    let [_, z_channels, ..] = at.dims::<4>("decoder.conv_in.weight")?;
    let [_, embed_dim, ..] = at.dims::<4>("post_quant_conv.weight")?;
    let levels = at.count("encoder.down.").min(8);
    let width = |level: usize| at.dims::<4>(&format!("encoder.down.{level}.block.0.conv1.weight"));
    let widths: Vec<usize> = (0..levels).map(|level| Ok(width(level)?[0])).collect::<Result<_>>()?;
    let attends = |level: &usize| at.any(&format!("encoder.down.{level}.attn."));
    Ok(json!({
        "resolution": RESOLUTION,
        "in_channels": in_channels,
        "ch": ch,
        "ch_mult": widths.iter().map(|width| width / ch.max(1)).collect::<Vec<_>>(),
        "num_res_blocks": at.count("encoder.down.0.block."),
        "attn_resolutions": (0..levels).filter(attends).map(|level| RESOLUTION >> level).collect::<Vec<_>>(),
        "mid_attention": at.any("encoder.mid.attn_1."),
        "z_channels": z_channels,
        "embed_dim": embed_dim,
        "n_embed": at.shape("quantize.embedding.weight").map_or(0, |shape| shape[0]),
    }))
}
