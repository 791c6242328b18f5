//! diffusers' AutoencoderKL as the autoencoder of latent diffusion's own code: hyperparameters and names.

use std::path::Path;

use serde_json::json;

use super::options::Options;
use crate::Result;
use crate::autoencoder::Config;

/// Reads a `config.json`.
pub(super) fn describe(path: &Path) -> Result<Config> {
    let mut options = Options::open(path)?;
    options.fixed(&[("act_fn", json!("silu")), ("norm_num_groups", json!(32))])?;
    // Of training, or of numerical precision (here everything is computed in f32).
    options.ignore(&["sample_size", "force_upcast"]);
    let widths: Vec<usize> = options.or("block_out_channels", vec![64])?;
    let Some(ch) = widths.first().copied().filter(|ch| *ch > 0 && widths.iter().all(|w| w.is_multiple_of(*ch))) else {
        return Err(options.wrong("block_out_channels: must be multiples of the first"));
    };
    for (key, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
        let kinds: Vec<String> = options.or(key, vec![kind.to_owned(); widths.len()])?;
        if kinds.len() != widths.len() || kinds.iter().any(|other| other != kind) {
            return Err(options.wrong(format!("{key}: must be {kind} for each level")));
        }
    }
    let (in_channels, out_channels): (usize, usize) = (options.or("in_channels", 3)?, options.or("out_channels", 3)?);
    if in_channels != out_channels {
        return Err(options.wrong("in_channels: differs from out_channels"));
    }
    let latent: usize = options.or("latent_channels", 4)?;
    let quant: [bool; 2] = [options.or("use_quant_conv", true)?, options.or("use_post_quant_conv", true)?];
    if quant[0] != quant[1] {
        return Err(options.wrong("use_quant_conv: differs from use_post_quant_conv"));
    }
    let config = Config {
        in_channels,
        ch,
        ch_mult: widths.iter().map(|width| width / ch).collect(),
        num_res_blocks: options.or("layers_per_block", 1)?,
        mid_attention: options.or("mid_block_add_attention", true)?,
        z_channels: latent,
        embed_dim: latent,
        quant_conv: quant[0],
        linear_attention: true,
        scale_factor: options.or("scaling_factor", 0.18215)?,
        shift_factor: options.or("shift_factor", 0.0)?,
        ..Config::default()
    };
    options.done()?;
    config.validate()?;
    Ok(config)
}

/// diffusers' name of a tensor, from that of latent diffusion's own code (without `first_stage_model.`). `old` attention
/// names are those before diffusers 0.16.
pub(super) fn name(config: &Config, name: &str, old: bool) -> String {
    let last = config.ch_mult.len() - 1;
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    // The decoder's levels are counted from the coarsest.
    if parts.starts_with(&["decoder".into(), "up".into()])
        && let Some(level) = parts[2].parse().ok().and_then(|level: usize| last.checked_sub(level))
    {
        parts[2] = level.to_string();
    }
    let name = parts.join(".");
    let attention = if old { OLD } else { NEW };
    let rows = PARTS.iter().chain(if name.contains(".attn_1.") { attention } else { &[] });
    rows.fold(name, |name, (from, to)| name.replacen(from, to, 1))
}

const PARTS: &[(&str, &str)] = &[
    (".down.", ".down_blocks."),
    (".up.", ".up_blocks."),
    (".block.", ".resnets."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".downsample.conv.", ".downsamplers.0.conv."),
    (".upsample.conv.", ".upsamplers.0.conv."),
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".norm_out.", ".conv_norm_out."),
];
const NEW: &[(&str, &str)] = &[
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
];
const OLD: &[(&str, &str)] = &[
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.query."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.key."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.value."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.proj_attn."),
];
