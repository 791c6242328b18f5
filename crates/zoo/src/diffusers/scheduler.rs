//! The forward process in a `scheduler_config.json`, whichever sampler it was written for.

use serde::Deserialize;
use serde_json::Value;
use vipaint_core::Schedule;
use vipaint_core::prior::Head;
use vipaint_core::schedule::Betas;

use super::passable;
use crate::limits::{fail, within};
use crate::{Error, Result};

/// A noise schedule, and what networks under it predict.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// The schedule.
    pub schedule: Schedule,
    /// The prediction.
    pub head: Head,
}

/// What defines the forward process; the defaults are diffusers'.
#[derive(Deserialize)]
#[serde(default)]
struct Options {
    num_train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    trained_betas: Option<Vec<f64>>,
    prediction_type: String,
    rescale_betas_zero_snr: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            prediction_type: "epsilon".into(),
            rescale_betas_zero_snr: false,
        }
    }
}

const KEYS: [&str; 7] = [
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
];

/// Options of diffusers' samplers, which do not run here. That they clip what the network predicts is one of them: a
/// denoiser's gradient would vanish where it is clipped.
const OF_SAMPLERS: [&str; 27] = [
    "algorithm_type",
    "clip_sample",
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "final_sigmas_type",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "sample_max_value",
    "set_alpha_to_one",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_type",
    "steps_offset",
    "thresholding",
    "timestep_spacing",
    "timestep_type",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
    "tensor_format",
    "disable_corrector",
];

/// Samplers of a forward process by betas.
const CLASSES: [&str; 13] = [
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
];

impl Scheduler {
    /// From the whole of a `scheduler_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is unknown or not supported.
    pub fn from_json(config: &Value) -> Result<Self> {
        let fields = config.as_object().ok_or_else(|| wrong("must be an object"))?;
        if let Some(class) = config.get("_class_name").and_then(Value::as_str)
            && !CLASSES.contains(&class)
        {
            return Err(wrong(&format!("{class} is not supported")));
        }
        let known = |key: &str| KEYS.contains(&key) || OF_SAMPLERS.contains(&key);
        if let Some((key, _)) = fields.iter().find(|(key, value)| !known(key) && !passable(key, value)) {
            return Err(wrong(&format!("option {key} is unknown")));
        }
        let set = fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
        let options = serde_json::from_value(Value::Object(set.collect())).map_err(|e| wrong(&e.to_string()))?;
        let head = head(&options)?;
        let zero_terminal = options.rescale_betas_zero_snr;
        if zero_terminal && head == Head::Eps {
            return fail("rescale_betas_zero_snr", "noise says nothing about a picture where there is only noise");
        }
        let schedule = Schedule::vp(betas(options)?);
        Ok(Self { schedule: if zero_terminal { ending_in_noise(&schedule) } else { schedule }, head })
    }
}

fn head(options: &Options) -> Result<Head> {
    match options.prediction_type.as_str() {
        "epsilon" => Ok(Head::Eps),
        "sample" => Ok(Head::X0),
        "v_prediction" => Ok(Head::V),
        other => fail("prediction_type", &format!("{other} is not supported")),
    }
}

fn betas(options: Options) -> Result<Betas> {
    let (start, end, steps) = (options.beta_start, options.beta_end, options.num_train_timesteps);
    within("num_train_timesteps", steps, 2..=MAX_STEPS)?;
    if let Some(betas) = options.trained_betas {
        within("trained_betas", betas.len(), 2..=MAX_STEPS)?;
        if !betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0) {
            return fail("trained_betas", "must be between 0 and 1");
        }
        return Ok(table(betas));
    }
    if !(start > 0.0 && end < 1.0 && start <= end) {
        return fail("beta_start", "must be positive, and at most beta_end, which must be below 1");
    }
    Ok(match options.beta_schedule.as_str() {
        "linear" => Betas::Linear { start, end, steps },
        "scaled_linear" => Betas::ScaledLinear { start, end, steps },
        "squaredcos_cap_v2" => Betas::Cosine { steps },
        "sigmoid" => {
            let at = |i: usize| -6.0 + 12.0 * i as f64 / (steps - 1) as f64;
            table((0..steps).map(|i| (end - start) / (1.0 + (-at(i)).exp()) + start).collect())
        }
        other => return fail("beta_schedule", &format!("{other} is not supported")),
    })
}

/// More timesteps than any schedule has.
const MAX_STEPS: usize = 100_000;

fn table(betas: Vec<f64>) -> Betas {
    let products = betas.into_iter().scan(1.0, |product, beta| {
        *product *= 1.0 - beta;
        Some(*product)
    });
    Betas::Table { alphas_cumprod: products.collect() }
}

/// `alpha^2` at the last time, 0 in the paper; a schedule needs a logarithm of it, and diffusers puts the same in its place.
const LAST: f64 = 1.0 / (1 << 24) as f64;

/// `alpha` shifted and stretched so that it ends at zero and begins as before (Lin et al., 2024, algorithm 1).
fn ending_in_noise(schedule: &Schedule) -> Schedule {
    let steps = schedule.top().t as usize + 1;
    let alphas: Vec<f64> = (0..steps).map(|t| schedule.level(t as f64).alpha).collect();
    let (first, last) = (alphas[0], alphas[steps - 1]);
    let squares = alphas.iter().map(|alpha| ((alpha - last) * first / (first - last)).powi(2).max(LAST));
    Schedule::vp(Betas::Table { alphas_cumprod: squares.collect() })
}

fn wrong(problem: &str) -> Error {
    Error::Config { key: "scheduler_config.json", problem: problem.to_owned() }
}
