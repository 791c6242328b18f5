//! diffusers' schedulers: of their options, those that say what the network was trained for.

use std::path::Path;

use serde_json::json;
use vipaint_core::Schedule;
use vipaint_core::prior::Head;
use vipaint_core::schedule::Betas;

use super::options::Options;
use crate::Result;

/// Reads a `scheduler_config.json`. How a sampler spends its steps is no property of the network and is not read.
pub(super) fn describe(path: &Path) -> Result<(Schedule, Head)> {
    let mut options = Options::open(path)?;
    let steps: usize = options.or("num_train_timesteps", 1000)?;
    if !(2..=100_000).contains(&steps) {
        return Err(options.wrong("num_train_timesteps: must be 2 to 100000"));
    }
    // Only schedulers of continuous noise levels (EDM, flow matching) have these.
    options.fixed(&[("use_flow_sigmas", json!(false)), ("use_beta_sigmas", json!(false))])?;
    for key in ["sigma_data", "shift"] {
        if options.take::<serde_json::Value>(key)?.is_some() {
            return Err(options.wrong(format!("{key}: is an option of schedules that are not discrete diffusion's")));
        }
    }
    let (start, end): (f64, f64) = (options.or("beta_start", 1e-4)?, options.or("beta_end", 0.02)?);
    if !(start > 0.0 && start < end && end < 1.0) {
        return Err(options.wrong("beta_start and beta_end: must rise between 0 and 1"));
    }
    let named: String = options.or("beta_schedule", "linear".to_owned())?;
    let trained = options.take::<Vec<f64>>("trained_betas")?;
    let fits = |betas: &Vec<f64>| betas.len() == steps && betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0);
    if !trained.as_ref().is_none_or(fits) {
        return Err(options.wrong("trained_betas: must be num_train_timesteps numbers between 0 and 1"));
    }
    let mut betas = match (trained, named.as_str()) {
        (Some(betas), _) => Betas::Table { alphas_cumprod: products(&betas) },
        (None, "linear") => Betas::Linear { start, end, steps },
        (None, "scaled_linear") => Betas::ScaledLinear { start, end, steps },
        (None, "squaredcos_cap_v2") => Betas::Cosine { steps },
        (None, other) => return Err(options.wrong(format!("beta_schedule: {other} is not supported"))),
    };
    let head = match options.or("prediction_type", "epsilon".to_owned())?.as_str() {
        "epsilon" => Head::Eps,
        "v_prediction" => Head::V,
        "sample" => Head::X0,
        other => return Err(options.wrong(format!("prediction_type: {other} is not supported"))),
    };
    if options.or("rescale_betas_zero_snr", false)? {
        if head == Head::Eps {
            return Err(
                options.wrong("rescale_betas_zero_snr: noise says nothing about a picture where there is only noise")
            );
        }
        betas = zero_terminal(betas);
    }
    Ok((Schedule::vp(betas), head))
}

fn products(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    betas.iter().map(|beta| (product *= 1.0 - beta, product).1).collect()
}

/// `alpha^2` at the last time, 0 in the paper; a schedule needs a logarithm of it, and diffusers puts the same in its place.
const LAST: f64 = 1.0 / (1 << 24) as f64;

/// `alpha` shifted and stretched so that it ends at zero and begins as before (Lin et al., 2024, algorithm 1).
fn zero_terminal(betas: Betas) -> Betas {
    let schedule = Schedule::vp(betas);
    let steps = schedule.top().t as usize + 1;
    let alphas: Vec<f64> = (0..steps).map(|t| schedule.level(t as f64).alpha).collect();
    let (first, last) = (alphas[0], alphas[steps - 1]);
    let squares = alphas.iter().map(|alpha| ((alpha - last) * first / (first - last)).powi(2).max(LAST));
    Betas::Table { alphas_cumprod: squares.collect() }
}
