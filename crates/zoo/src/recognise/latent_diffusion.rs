//! CompVis' latent diffusion (Rombach et al., 2022) and what was trained with its code: in one file a U-Net below
//! `model.diffusion_model`, an autoencoder below `first_stage_model`, and a class or text encoder.

use serde_json::{Value, json};
use vipaint_core::Schedule;

use super::{Described, Family, Opened, Result, Table, autoencoder, openai};
use crate::formats::{Checkpoint, Layout, TextEncoder, text_encoder};
use crate::presets::PRESETS;

pub(super) const FAMILY: Family =
    Family { name: "latent diffusion (CompVis)", is: |opened| opened.layout() == Some(Layout::CompVis), describe };

const MODEL: &str = "model.diffusion_model.";
const FIRST_STAGE: &str = "first_stage_model.";
/// Below these are the encoders of text, besides the table of classes.
const TEXT: [&str; 2] = ["cond_stage_model.", "conditioner."];
/// The tensor of the schedule, one of many that follow from it.
const SCHEDULE: &str = "alphas_cumprod";
/// What the training code stores besides weights.
const UNREAD: [&str; 15] = [
    "betas",
    SCHEDULE,
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "lvlb_weights",
    "logvar",
    "scale_factor",
];

fn describe(opened: &Opened) -> Result<Described<'_>> {
    let mut table = Table::default();
    let Some(part) = opened.whole() else { return Err(crate::Error::Unrecognised(String::new())) };
    let file = &part.checkpoint;
    // Without transformers the network is guided diffusion's, with its names.
    let plain = !file.names().any(|name| name.starts_with(MODEL) && name.contains(".transformer_blocks."));
    for tensor in file.tensors() {
        let name = tensor.name();
        table.insert(name.strip_prefix(MODEL).filter(|_| plain).unwrap_or(name), tensor);
    }
    let mut network = openai::network(&table.below(if plain { "" } else { MODEL }))?;
    let mut open = openai::OPEN.to_vec();
    if plain {
        open.push(openai::ORDER);
    }
    let classes = text_encoder(file.names()) == Some(TextEncoder::Classes);
    if classes {
        network["transformer"]["n_classes"] = json!(rows(file, "cond_stage_model.embedding.weight"));
    }
    let mut known = json!({ "network": network });
    known["autoencoder"] = autoencoder::autoencoder(&table.below(FIRST_STAGE))?;
    open.extend(autoencoder::OPEN);
    if let Some([scale]) = values(file, "scale_factor").as_deref() {
        known["autoencoder"]["scale_factor"] = json!(scale_factor(*scale));
        known["autoencoder"]["shift_factor"] = json!(0.0);
    }
    if let Some(table) = values(file, SCHEDULE) {
        known["schedule"] = schedule(&table);
    }
    open.extend([&["/schedule"] as super::Group, &["/parameterization"]]);
    Ok(Described { table, known, open, allowed, notes: Vec::new() })
}

fn allowed(name: &str) -> bool {
    UNREAD.contains(&name)
        || name.starts_with("first_stage_model.loss.")
        || TEXT.iter().any(|prefix| name.starts_with(prefix))
}

fn rows(file: &Checkpoint, name: &str) -> usize {
    file.get(name).ok().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(0)
}

fn values(file: &Checkpoint, name: &str) -> Option<Vec<f32>> {
    file.get(name).ok()?.to_f32().ok()
}

/// Files in half precision round these numbers, too.
const ROUNDING: f64 = 1e-3;

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * b.abs()
}

/// The scale factor of a preset that this one is, or itself.
fn scale_factor(stored: f32) -> f64 {
    let known = PRESETS.iter().filter_map(|preset| Some(preset.header().autoencoder?.scale_factor));
    known.into_iter().find(|known| near(f64::from(stored), *known)).unwrap_or(f64::from(stored))
}

/// The schedule of a stored table: that of a preset that has it, exactly and in few words, or the table itself.
fn schedule(alphas_cumprod: &[f32]) -> Value {
    let is = |schedule: &Schedule| {
        let square = |(i, stored): (usize, &f32)| near(f64::from(*stored), schedule.level(i as f64).alpha.powi(2));
        matches!(schedule, Schedule::Vp(_))
            && schedule.top().t == (alphas_cumprod.len() as f64 - 1.0)
            && alphas_cumprod.iter().enumerate().all(square)
    };
    match PRESETS.iter().map(|preset| preset.header().schedule).find(is) {
        Some(schedule) => json!(schedule),
        None => json!({ "kind": "vp", "betas": "table", "alphas_cumprod": alphas_cumprod }),
    }
}
