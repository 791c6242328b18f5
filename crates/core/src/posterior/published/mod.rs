//! VIPaint as the authors' two releases compute it, for comparison with published results.

pub mod ldm;
pub mod sd3;

use burn::tensor::Tensor;

use super::bound::sum_elements;

/// Means over everything but the batch: `[batch, c, h, w]` to `[batch]`.
fn mean_elements(x: Tensor<4>) -> Tensor<1> {
    let size = x.dims()[1..].iter().product::<usize>() as f64;
    sum_elements(x) / size
}
