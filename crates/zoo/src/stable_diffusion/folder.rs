//! A diffusers folder: `model_index.json`, and a part in each subfolder.

use std::path::Path;

use vipaint_core::Schedule;
use vipaint_core::prior::Head;

use super::{unet, vae};
use crate::diffusers::scheduler::Scheduler;
use crate::formats::{Folder, FormatError, read_json};
use crate::{Result, autoencoder, openai};

/// What the configurations of a folder say.
pub struct Described {
    /// The U-Net.
    pub unet: openai::Config,
    /// The autoencoder.
    pub autoencoder: autoencoder::Config,
    /// The noise schedule.
    pub schedule: Schedule,
    /// What the U-Net predicts.
    pub head: Head,
}

/// What the pipelines that are read are called, at the beginning.
pub(super) const PIPELINES: &str = "StableDiffusion";
/// Parts without an influence on what is generated from a text.
const UNREAD: [&str; 3] = ["safety_checker", "feature_extractor", "image_encoder"];
/// Parts that are read, each with its classes.
const PARTS: [(&str, &[&str]); 7] = [
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("tokenizer_2", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("scheduler", &[]),
];

/// Reads the configurations of a folder.
///
/// # Errors
/// [`crate::Error`] names the file, and what in it is missing or not supported.
pub fn describe(folder: &Path) -> Result<Described> {
    check_parts(folder)?;
    let unet = unet::describe(&folder.join("unet/config.json"))?;
    let autoencoder = vae::describe(&folder.join("vae/config.json"))?;
    let scheduler = read_json(&folder.join("scheduler/scheduler_config.json"))?;
    let Scheduler { schedule, head } = Scheduler::from_json(&scheduler)?;
    Ok(Described { unet, autoencoder, schedule, head })
}

fn check_parts(folder: &Path) -> Result<()> {
    let wrong = |problem: String| Err(FormatError::Folder { path: folder.join("model_index.json"), problem }.into());
    let Folder::Pipeline { parts, .. } = Folder::open(folder)? else { return wrong("is not there".into()) };
    for (name, part) in &parts {
        match PARTS.iter().find(|(known, _)| known == name) {
            Some((_, classes)) if classes.is_empty() || classes.contains(&part.class.as_str()) => {}
            Some((_, classes)) => return wrong(format!("{name}: is {}, not {}", part.class, classes.join(" or "))),
            None if UNREAD.contains(&name.as_str()) => {}
            None => return wrong(format!("{name}: a part of this name ({}) is not supported", part.class)),
        }
    }
    match ["unet", "vae", "text_encoder", "scheduler"].into_iter().find(|needed| !parts.contains_key(*needed)) {
        Some(missing) => wrong(format!("{missing}: is missing")),
        None => Ok(()),
    }
}

impl Described {
    /// The part that holds a tensor of the original code, and its name there. `old` are the names of attention in autoencoders
    /// before diffusers 0.16.
    pub fn place(&self, name: &str, old: bool) -> Option<(&'static str, String)> {
        if let Some(name) = name.strip_prefix("model.diffusion_model.") {
            return Some(("unet", unet::name(&self.unet, name)?));
        }
        let name = name.strip_prefix("first_stage_model.")?;
        Some(("vae", vae::name(&self.autoencoder, name, old)))
    }
}
