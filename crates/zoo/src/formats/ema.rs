//! Averaged weights, as CompVis' `LitEma` keeps them: under `model_ema.` and the name of the weight without its dots.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use super::error::{FormatError, Result};

const PREFIX: &str = "model_ema.";
/// The average belongs to what is under this prefix, or, in an autoencoder's own file, to the whole.
const MODEL: &str = "model.";

/// Puts averages in the place of the weights they are of, and removes them from where they were. Says whether there were any.
pub(super) fn prefer(tensors: &mut BTreeMap<String, Place>) -> Result<bool> {
    let averages: BTreeSet<String> = tensors.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect();
    if averages.is_empty() {
        return Ok(false);
    }
    let names: Vec<String> = tensors.keys().filter(|name| !averages.contains(*name)).cloned().collect();
    let mut used = BTreeMap::new();
    for name in names {
        let flat = |name: &str| format!("{PREFIX}{}", name.replace('.', ""));
        let candidates = [flat(name.strip_prefix(MODEL).unwrap_or(&name)), flat(&name)];
        let same_shape = |average: &String| {
            let (weight, average) = (tensors.get(&name), tensors.get(average));
            weight.zip(average).is_some_and(|(weight, average)| weight.strided.shape == average.strided.shape)
        };
        let Some(average) = candidates.into_iter().find(same_shape) else { continue };
        if let Some(other) = used.insert(average.clone(), name.clone()) {
            let problem = format!("may be the average of {other} and of {name}");
            return Err(FormatError::Tensor { name: average, problem });
        }
    }
    for (average, name) in &used {
        if let Some(place) = tensors.remove(average) {
            tensors.insert(name.clone(), place);
        }
    }
    // What is left is the average's own book-keeping (decay, num_updates).
    tensors.retain(|name, _| !averages.contains(name));
    Ok(!used.is_empty())
}
