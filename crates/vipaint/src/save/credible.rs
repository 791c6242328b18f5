//! Credible intervals of the samples' new values.

use serde_json::{Value, json};
use vipaint_eval::metrics::{Intervals, central};

use crate::job::Outcome;

/// The level that is aimed at.
const LEVEL: f64 = 0.9;

/// The fewest samples whose smallest and largest value enclose a further draw with that probability.
pub(super) const FEWEST: usize = 19;

/// The intervals' ends for every new value, in [0, 1]; none without two samples.
pub(super) fn intervals(outcome: &Outcome) -> Option<Intervals> {
    let clamped = |sample| outcome.job.scene.values(sample).into_iter().map(|v| v.clamp(0.0, 1.0)).collect();
    let samples: Vec<Vec<f32>> = outcome.samples.iter().map(|sample| clamped(sample)).collect();
    central(&samples.iter().map(Vec::as_slice).collect::<Vec<_>>(), LEVEL)
}

/// The report's part on them.
pub(super) fn report(outcome: &Outcome) -> Option<Value> {
    let (intervals, n) = (intervals(outcome)?, outcome.samples.len());
    let widths = intervals.high.iter().zip(&intervals.low).map(|(high, low)| f64::from(high - low));
    let coverage = outcome.job.scene.truth().and_then(|(truth, _)| intervals.coverage(truth, None));
    let words = if n < FEWEST {
        format!(
            "too few: {n} samples give intervals of level {:.2}; draw {FEWEST} or more for {LEVEL}",
            intervals.nominal
        )
    } else {
        format!("{n} samples; a further one lies inside with probability {:.2}", intervals.nominal)
    };
    Some(json!({
        "asked": LEVEL,
        "level": intervals.nominal,
        "mean_width": widths.sum::<f64>() / intervals.low.len().max(1) as f64,
        "values": intervals.low.len(),
        "truth_inside": coverage.map(|coverage| coverage.share),
        "verdict": words,
        "means": "central intervals of each new value, which is in [0, 1]; truth_inside is the share of true values inside",
    }))
}
