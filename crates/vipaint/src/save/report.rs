//! `report.json`: what was asked, what it cost, what came out.

use serde_json::{Value, json};
use vipaint_core::moments::Widen;
use vipaint_core::posterior::{Fit, FitOptions, Objective, Together};
use vipaint_eval::importance::Trust;
use vipaint_eval::metrics::{psnr, ssim};
use vipaint_nn::device::name;

use super::credible;
use super::summary::Summary;
use crate::job::{Outcome, Stage};
use crate::memory::{self, Plan};

/// The report of an outcome; `command` is what was run.
pub fn report(outcome: &Outcome, command: &str) -> Value {
    let job = &outcome.job;
    let (prior, settings) = (&job.problem.prior, &job.settings);
    let class = job.problem.guidance.condition.class;
    let stage = |stage: &Stage| json!({ "denoiser": stage.calls.denoiser, "vjp": stage.calls.vjp });
    let total = outcome.fitting + outcome.sampling;
    let (warnings, notes, _) = job.scene.told();
    let notes = [warnings, notes].concat();
    json!({
        "program": "vipaint",
        "version": env!("CARGO_PKG_VERSION"),
        "command": command,
        "interrupted": outcome.interrupted,
        "inputs": job.scene.inputs(),
        "notes": notes,
        "prior": { "name": prior.name, "hash": prior.hash, "shape": prior.shape() },
        "condition": {
            "class": class.and_then(|class| prior.classes.get(class)),
            "class_index": class,
            "text": job.problem.guidance.condition.context.is_some(),
            "negative_text": job.problem.guidance.negative.context.is_some(),
            "cfg_scale": settings.cfg_scale,
        },
        "noise": job.problem.measurement.likelihood,
        "method": settings.method.name,
        "options": settings.options,
        "context": settings.context,
        "seed": job.seed,
        "samples": {
            "asked": outcome.amount.map(|amount| amount.samples),
            "drawn": outcome.samples.len(),
            "batch": outcome.amount.map(|amount| amount.batch),
        },
        "against_truth": against_truth(outcome),
        "credible_intervals": credible::report(outcome),
        "log_weights": outcome.log_weights,
        "order": outcome.order(),
        "importance": outcome.log_weights.as_deref().filter(|logs| !logs.is_empty()).map(importance),
        "bound": outcome.fit.as_ref().and_then(bound),
        "calls": {
            "fit": stage(&outcome.fitting),
            "sample": stage(&outcome.sampling),
            "denoiser": total.calls.denoiser,
            "vjp": total.calls.vjp,
            "cost": total.calls.cost(),
            "cost_means": "a denoiser call is 1, its vector-Jacobian product 2 more; a batch of 8 counts 8",
        },
        "seconds": {
            "fit": outcome.fitting.seconds,
            "sample": outcome.sampling.seconds,
            "total": total.seconds,
        },
        "peak_memory_bytes": memory::peak(),
        "memory": memory_of(&outcome.plan),
        "device": name(&prior.device),
    })
}

/// How the work was split, and what it was estimated to take.
fn memory_of(plan: &Plan) -> Value {
    let Together { starts, paths } = plan.together;
    let some = |n: usize| (n != usize::MAX).then_some(n);
    json!({
        "estimated_peak_bytes": plan.peak(),
        "features_bytes": plan.features,
        "recomputed": plan.recompute,
        "starts_together": some(starts),
        "paths_together": some(paths),
        "batch": plan.batch,
    })
}

/// How near the samples and their mean are to the truth, if that is known.
fn against_truth(outcome: &Outcome) -> Option<Value> {
    let scene = &outcome.job.scene;
    let (truth, shape) = scene.truth().filter(|_| !outcome.samples.is_empty())?;
    let clamped = |values: Vec<f32>| values.into_iter().map(|v| v.clamp(0.0, 1.0)).collect::<Vec<f32>>();
    let samples: Vec<Vec<f32>> = outcome.samples.iter().map(|sample| clamped(scene.values(sample))).collect();
    let mut summary = Summary::default();
    outcome.samples.iter().for_each(|sample| summary.add(scene.values(sample)));
    let mean = clamped(summary.mean().to_vec());
    let over = |f: &dyn Fn(&[f32]) -> f64| samples.iter().map(|s| f(s)).sum::<f64>() / samples.len() as f64;
    Some(json!({
        "psnr_of_mean": psnr(&mean, truth),
        "ssim_of_mean": ssim(&mean, truth, shape),
        "mean_psnr_of_samples": over(&|sample| psnr(sample, truth)),
        "mean_ssim_of_samples": over(&|sample| ssim(sample, truth, shape)),
        "means": "PSNR in dB over the whole restored picture, values in [0, 1]; SSIM as Wang et al., 2004",
    }))
}

fn bound(fit: &Fit) -> Option<Value> {
    let last = fit.trace.last()?;
    Some(json!({
        "unit": "nats",
        "reconstruction": last.reconstruction,
        "hierarchy": last.hierarchy,
        "prior": last.prior,
        "start": last.start,
        "total": last.total(),
        "total_is": "reconstruction - hierarchy - prior - start, a Monte-Carlo estimate at the last iteration",
        "bounds": what_it_bounds(fit),
        "keypoints": fit.posterior.keypoints.iter().map(|k| k.level).collect::<Vec<_>>(),
        "iterations": fit.trace.len(),
        "totals": fit.trace.iter().map(vipaint_core::posterior::Terms::total).collect::<Vec<_>>(),
    }))
}

/// What the total is a bound of, if of anything.
fn what_it_bounds(fit: &Fit) -> String {
    if let Some(why) = why_no_bound(fit) {
        return format!("nothing: {why}");
    }
    let likelihood = if fit.options.widen == Widen::None { "plug-in" } else { "widened" };
    let weighted = if fit.options.beta_prior == 1.0 && fit.options.beta_hierarchy == 1.0 {
        ""
    } else {
        " The fit itself maximised another sum, with the weights beta."
    };
    format!(
        "log p~(y) of this generative chain from below: the fine grid above the top keypoint, one hop between keypoints, \
         and the {likelihood} one-step likelihood at the last keypoint. It is not log p(y) of the data model, and not \
         comparable across keypoints, eta, likelihoods or priors.{weighted}"
    )
}

/// The same for a plot.
pub(super) fn bound_in_short(fit: &Fit) -> String {
    match why_no_bound(fit) {
        None => "The total bounds log p~(y) of this chain (grid, hops, one-step likelihood) from below, not log p(y) of the data model.".into(),
        Some(why) => format!("The total bounds nothing: {why}."),
    }
}

/// Why the total is no bound, if it is none.
fn why_no_bound(fit: &Fit) -> Option<&'static str> {
    let FitOptions { fit_cfg_scale, prior_steps, widen, objective, lpips, .. } = &fit.options;
    if *objective != Objective::Bound {
        Some("it is the loss of a release, which bounds nothing")
    } else if *lpips > 0.0 {
        Some("lpips adds a distance that is no likelihood")
    } else if *fit_cfg_scale != 1.0 {
        Some("with guidance other than 1 the reverse steps are no longer those of a normalised model")
    } else if *prior_steps == 0 {
        Some("prior_steps=0 leaves out the prior's term")
    } else if *widen == Widen::Krylov {
        Some("widen=krylov knows its likelihood up to a constant only")
    } else {
        None
    }
}

/// What the importance weights are worth.
fn importance(log_weights: &[f64]) -> Value {
    let trust = Trust::of(log_weights);
    json!({
        "effective_sample_size": trust.effective,
        "pareto_k": trust.pareto_k,
        "verdict": trust.to_string(),
    })
}
