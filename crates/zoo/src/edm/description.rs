//! What `scripts/edm_to_safetensors.py` says about a network, in the metadata of the file it writes.

use serde_json::{Map, Value};
use vipaint_core::Schedule;

use super::{Config, ModelType};
use crate::presets::{PIXEL_STD, class_names};
use crate::{Error, Family, HEADER_FORMAT, Header, Parameterization, Result};

/// The key of the metadata.
pub const METADATA_KEY: &str = "edm";

/// The largest and smallest noise levels, and the curvature, of the grids of EDM's `generate.py`.
const SIGMAS: [f64; 2] = [0.002, 80.0];
const RHO: f64 = 7.0;

/// The description of a prior called `name` from the JSON of the metadata: the arguments its preconditioning was made with
/// in the original code, and `class`, which preconditioning it is.
///
/// # Errors
/// [`Error::Header`] names what is missing, unknown or wrong, [`Error::Config`] what cannot be built.
pub fn header(name: &str, json: &str) -> Result<Header> {
    let value: Value = serde_json::from_str(json).map_err(|e| wrong(&e.to_string()))?;
    let Value::Object(fields) = value else { return Err(wrong("must be an object")) };
    let mut fields = Fields(fields);
    let class = fields.text("class")?.ok_or_else(|| wrong("names no class"))?;
    let (parameterization, sigmas) = preconditioning(&class, &mut fields)?;
    let network = network(&class, fields)?;
    let sigma_min = SIGMAS[0].max(sigmas[0]);
    let sigma_max = SIGMAS[1].min(sigmas[1]);
    let header = Header {
        format: HEADER_FORMAT,
        name: name.to_owned(),
        classes: class_names(network.label_dim),
        network: Family::Edm(network),
        schedule: Schedule::Ve { sigma_min, sigma_max, rho: RHO },
        parameterization,
        data_std: PIXEL_STD,
        value_range: (-1.0, 1.0),
        autoencoder: None,
    };
    header.check()?;
    Ok(header)
}

/// The preconditioning, and the noise levels it is for.
fn preconditioning(class: &str, fields: &mut Fields) -> Result<(Parameterization, [f64; 2])> {
    // Where the original computes its range, the script writes it down.
    let range = |fields: &mut Fields, low, high| -> Result<[f64; 2]> {
        Ok([fields.number("sigma_min", low)?, fields.number("sigma_max", high)?])
    };
    Ok(match class {
        "EDMPrecond" => {
            let sigma_data = fields.number("sigma_data", PIXEL_STD)?;
            (Parameterization::Edm { sigma_data }, range(fields, 0.0, f64::INFINITY)?)
        }
        "VPPrecond" => {
            let (beta_d, beta_min) = (fields.number("beta_d", 19.9)?, fields.number("beta_min", 0.1)?);
            let (steps, epsilon_t) = (fields.number("M", 1000.0)?, fields.number("epsilon_t", 1e-5)?);
            let sigma = |t: f64| (0.5 * beta_d * t * t + beta_min * t).exp_m1().sqrt();
            let sigmas = range(fields, sigma(epsilon_t), sigma(1.0))?;
            (Parameterization::Vp { beta_d, beta_min, steps }, sigmas)
        }
        "VEPrecond" => (Parameterization::Ve, range(fields, 0.02, 100.0)?),
        "iDDPMPrecond" => {
            let (c_1, c_2) = (fields.number("C_1", 0.001)?, fields.number("C_2", 0.008)?);
            let steps = fields.number("M", 1000.0)?;
            let steps = if steps.fract() == 0.0 && steps >= 0.0 { steps as usize } else { 0 }; // 0 is refused later
            (Parameterization::Iddpm { c_1, c_2, steps }, range(fields, 0.0, f64::INFINITY)?)
        }
        _ => return Err(wrong(&format!("class {class} is unknown"))),
    })
}

/// The network, from what is left.
fn network(class: &str, mut fields: Fields) -> Result<Config> {
    let usual = if matches!(class, "VPPrecond" | "VEPrecond") { "SongUNet" } else { "DhariwalUNet" };
    // The script calls it `model_class`, the original code `model_type`.
    let made = fields.text("model_class")?;
    let asked = fields.text("model_type")?;
    let config = match made.or(asked).as_deref().unwrap_or(usual) {
        "SongUNet" => Config::song(0),
        "DhariwalUNet" => Config::dhariwal(0),
        other => return Err(wrong(&format!("model_type {other} is unknown"))),
    };
    for ignored in ["dropout", "use_fp16"] {
        fields.0.remove(ignored); // of training, and of GPUs
    }
    if config.model_type == ModelType::DhariwalUNet
        && let Some(key) = SONG_ONLY.iter().find(|key| fields.0.contains_key(**key))
    {
        return Err(wrong(&format!("{key}: DhariwalUNet has no such option")));
    }
    let Ok(Value::Object(mut all)) = serde_json::to_value(config) else { return Err(wrong("cannot be read")) };
    let channels = fields.0.get("img_channels").cloned();
    if let Some(Value::Number(channels)) = channels.or_else(|| Some(all["img_channels"].clone())) {
        let factor = if class == "iDDPMPrecond" { 2 } else { 1 };
        let out = channels.as_u64().and_then(|n| n.checked_mul(factor)).unwrap_or(0);
        all.insert("out_channels".into(), out.into());
    }
    for (key, value) in fields.0 {
        if key == "out_channels" || !all.contains_key(&key) {
            return Err(wrong(&format!("option {key} is unknown")));
        }
        all.insert(key, value);
    }
    let config: Config = serde_json::from_value(Value::Object(all)).map_err(|e| wrong(&e.to_string()))?;
    config.validate()?;
    Ok(config)
}

const SONG_ONLY: [&str; 5] =
    ["embedding_type", "channel_mult_noise", "encoder_type", "decoder_type", "resample_filter"];

fn wrong(problem: &str) -> Error {
    Error::Header(format!("metadata key `{METADATA_KEY}`: {problem}"))
}

/// Arguments not yet read.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(&format!("{key}: must be a name"))),
        }
    }

    fn number(&mut self, key: &str, default: f64) -> Result<f64> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| wrong(&format!("{key}: must be a number"))),
        }
    }
}
