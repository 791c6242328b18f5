//! LPIPS as a data term of a fit.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Tensor;
use vipaint_core::posterior::{Perceptual, Problem};
use vipaint_eval::metrics::Lpips;

use super::{networks, weights};
use crate::error::{Error, Result};

/// The weights that are used unless this variable names others: those of the package `stlpips-pytorch` for VGG-16.
const FILE: &str = "VIPAINT_LPIPS";

struct Look {
    network: Lpips,
    /// From the prior's range to [-1, 1]: factor and offset.
    range: (f64, f64),
}

impl Perceptual for Look {
    fn distance(&self, predicted: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        let (factor, offset) = self.range;
        self.network.distance(predicted * factor + offset, y * factor + offset)
    }

    fn where_known(&self, predicted: Tensor<4>, y: Tensor<4>, known: Tensor<4>) -> Tensor<1> {
        self.network.where_known(predicted, y, &known)
    }
}

/// The network that compares what a problem measures.
///
/// # Errors
/// [`Error::Usage`] when its weights are not here, or what is measured is not a picture of three channels that is large enough.
pub(crate) fn perceptual(problem: &Problem) -> Result<Arc<dyn Perceptual>> {
    let leave = "leave it out with --set lpips=0";
    let [channels, height, width] = problem.measurement.operator.output_shape();
    if channels != 3 {
        let problem = format!("compares pictures of 3 channels, and {channels} are measured");
        return Err(Error::usage("--set lpips", problem, leave));
    }
    let file = std::env::var_os(FILE).map(PathBuf::from).or_else(|| weights::find("lpips-st-vgg"));
    let missing = || {
        let remedy = format!("run `vipaint metrics pull`, or name a file of AlexNet or VGG-16 in {FILE}, or {leave}");
        Error::usage("--set lpips", "needs the weights of a network, which are not here", remedy)
    };
    let file = file.ok_or_else(missing)?;
    let network = networks::lpips(&file)?.at([height, width], &problem.device());
    let network = network.map_err(|error| match error {
        vipaint_eval::Error::TooSmall { .. } => Error::usage("--set lpips", error.to_string(), leave),
        error => networks::refuse(&super::shown(&file), &error),
    })?;
    let (low, high) = problem.prior.value_range;
    let factor = 2.0 / (high - low);
    Ok(Arc::new(Look { network, range: (factor, -1.0 - low * factor) }))
}
