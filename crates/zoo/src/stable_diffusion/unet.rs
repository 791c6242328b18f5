//! diffusers' UNet2DConditionModel as the U-Net of Stable Diffusion's own code: hyperparameters and names.

use std::path::Path;

use serde_json::json;

use super::options::Options;
use crate::Result;
use crate::openai::{Config, Transformer};

/// As many as the U-Net itself takes.
const MAX_LEVELS: usize = 10;
const ATTENDING: [&str; 2] = ["CrossAttnDownBlock2D", "CrossAttnUpBlock2D"];
const PLAIN: [&str; 2] = ["DownBlock2D", "UpBlock2D"];

/// Reads a `config.json`.
pub(super) fn describe(path: &Path) -> Result<Config> {
    let mut options = Options::open(path)?;
    options.fixed(&[
        ("act_fn", json!("silu")),
        ("attention_type", json!("default")),
        ("center_input_sample", json!(false)),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("downsample_padding", json!(1)),
        ("flip_sin_to_cos", json!(true)),
        ("freq_shift", json!(0)),
        ("mid_block_scale_factor", json!(1)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("norm_eps", json!(1e-5)),
        ("norm_num_groups", json!(32)),
        ("resnet_out_scale_factor", json!(1)),
        ("resnet_time_scale_shift", json!("default")),
        ("time_embedding_type", json!("positional")),
    ])?;
    // Of training, of numerical precision, or without effect beside those that are fixed.
    options.ignore(&["dropout", "upcast_attention", "addition_embed_type_num_heads", "class_embeddings_concat"]);
    let widths: Vec<usize> = options.or("block_out_channels", vec![320, 640, 1280, 1280])?;
    let levels = widths.len();
    let Some(base) = widths.first().copied().filter(|width| *width > 0 && levels <= MAX_LEVELS) else {
        return Err(options.wrong("block_out_channels: must be positive numbers, at most 10"));
    };
    let blocks = options.per_level("layers_per_block", 2, levels)?;
    if blocks.windows(2).any(|two| two[0] != two[1]) {
        return Err(options.wrong("layers_per_block: must be the same for all levels"));
    }
    let (in_channels, out_channels) = (options.or("in_channels", 4)?, options.or("out_channels", 4)?);
    if in_channels != out_channels {
        let problem = "in_channels: differs from out_channels; models that are trained to inpaint, to enlarge or to edit read \
                       more than a noisy latent and are no priors";
        return Err(options.wrong(problem));
    }
    let attends = attending(&mut options, levels)?;
    let (num_heads, num_head_channels) = heads(&mut options, &widths, &attends)?;
    let adm_in_channels = added(&mut options)?;
    let transformer = Transformer {
        context_dim: options.or("cross_attention_dim", 1280)?,
        depth: options.per_level("transformer_layers_per_block", 1, levels)?,
        use_linear: options.or("use_linear_projection", false)?,
        n_classes: 0,
    };
    let config = Config {
        image_size: options.need("sample_size")?,
        in_channels,
        out_channels,
        model_channels: base,
        num_res_blocks: blocks[0],
        channel_mult: widths.iter().map(|width| *width as f64 / base as f64).collect(),
        attention_resolutions: (0..levels).filter(|level| attends[*level]).map(|level| 1 << level).collect(),
        num_heads,
        num_head_channels,
        transformer: Some(transformer),
        adm_in_channels,
        ..Config::default()
    };
    options.done()?;
    config.validate()?;
    Ok(config)
}

/// Which levels have transformers.
fn attending(options: &mut Options, levels: usize) -> Result<Vec<bool>> {
    let mut way = |key: &str, up: usize| -> Result<Vec<bool>> {
        let mut kinds = vec![ATTENDING[up].to_owned(); levels];
        if let Some(last) = kinds.get_mut(if up == 0 { levels.saturating_sub(1) } else { 0 }) {
            PLAIN[up].clone_into(last);
        }
        let kinds = options.or(key, kinds)?;
        if let Some(other) = kinds.iter().find(|kind| **kind != ATTENDING[up] && **kind != PLAIN[up]) {
            return Err(options.wrong(format!("{key}: {other} is not supported")));
        }
        Ok(kinds.iter().map(|kind| kind == ATTENDING[up]).collect())
    };
    let (down, mut up) = (way("down_block_types", 0)?, way("up_block_types", 1)?);
    up.reverse();
    if down.len() != levels || up != down {
        return Err(options.wrong("down_block_types and up_block_types: must mirror each other, one for each level"));
    }
    Ok(down)
}

/// The number of heads, or the channels of each. `attention_head_dim` is a number of heads, in spite of its name.
fn heads(options: &mut Options, widths: &[usize], attends: &[bool]) -> Result<(usize, Option<usize>)> {
    let named = options.per_level("attention_head_dim", 8, widths.len())?;
    let counts = options.per_level("num_attention_heads", 0, widths.len())?;
    let counts = if counts.iter().all(|count| *count == 0) { named } else { counts };
    let last = widths.len() - 1;
    let used: Vec<(usize, usize)> = (0..widths.len())
        .filter(|level| attends[*level] || *level == last)
        .map(|level| (widths[level], counts[level]))
        .collect();
    let fits = |(width, count): &(usize, usize)| *count > 0 && width.is_multiple_of(*count);
    if !used.iter().all(fits) {
        return Err(options.wrong("attention_head_dim: must be numbers of heads that divide the levels' channels"));
    }
    let (width, count) = used[0]; // the last level is always among them
    if used.iter().all(|(_, other)| *other == count) {
        return Ok((count, None));
    }
    if used.iter().all(|(w, n)| w / n == width / count) {
        return Ok((1, Some(width / count)));
    }
    Err(options.wrong("attention_head_dim: must be one number of heads, or give all heads as many channels"))
}

/// Width of the vector added to the time's embedding: of a text as a whole, and of six numbers about the picture.
fn added(options: &mut Options) -> Result<usize> {
    let width: Option<usize> = options.take("addition_time_embed_dim")?;
    let total: Option<usize> = options.take("projection_class_embeddings_input_dim")?;
    match options.take::<String>("addition_embed_type")?.as_deref() {
        None => Ok(0),
        Some("text_time") => {
            match (width, total) {
                (Some(width), Some(total)) if total > 6 * width => Ok(total),
                _ => Err(options
                    .wrong("addition_time_embed_dim or projection_class_embeddings_input_dim: is missing or wrong")),
            }
        }
        Some(other) => Err(options.wrong(format!("addition_embed_type: {other} is not supported"))),
    }
}

/// diffusers' name of a tensor, from that of Stable Diffusion's own code (without `model.diffusion_model.`).
pub(super) fn name(config: &Config, name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |at: usize| parts.get(at)?.parse::<usize>().ok();
    let rest = |from: usize| parts.get(from..).map(|rest| rest.join("."));
    let per_level = config.num_res_blocks + 1;
    Some(match parts[0] {
        "time_embed" => format!("time_embedding.linear_{}.{}", number(1)? / 2 + 1, rest(2)?),
        "label_emb" => format!("add_embedding.linear_{}.{}", number(2)? / 2 + 1, rest(3)?),
        "out" if parts[1] == "0" => format!("conv_norm_out.{}", rest(2)?),
        "out" => format!("conv_out.{}", rest(2)?),
        "input_blocks" if number(1)? == 0 => format!("conv_in.{}", rest(3)?),
        "input_blocks" => {
            let (level, i) = ((number(1)? - 1) / per_level, (number(1)? - 1) % per_level);
            let block = format!("down_blocks.{level}");
            match number(2)? {
                _ if i + 1 == per_level => format!("{block}.downsamplers.0.conv.{}", rest(4)?),
                0 => format!("{block}.resnets.{i}.{}", residual(&rest(3)?)),
                _ => format!("{block}.attentions.{i}.{}", rest(3)?),
            }
        }
        "middle_block" => match number(1)? {
            1 => format!("mid_block.attentions.0.{}", rest(2)?),
            i => format!("mid_block.resnets.{}.{}", i / 2, residual(&rest(2)?)),
        },
        "output_blocks" => {
            let block = format!("up_blocks.{}", number(1)? / per_level);
            let i = number(1)? % per_level;
            match number(2)? {
                _ if parts[3] == "conv" => format!("{block}.upsamplers.0.conv.{}", rest(4)?),
                0 => format!("{block}.resnets.{i}.{}", residual(&rest(3)?)),
                _ => format!("{block}.attentions.{i}.{}", rest(3)?),
            }
        }
        _ => return None,
    })
}

fn residual(name: &str) -> String {
    let parts = [
        ("in_layers.0", "norm1"),
        ("in_layers.2", "conv1"),
        ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"),
        ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ];
    parts.iter().fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1))
}
