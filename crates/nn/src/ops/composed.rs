//! Operations put together from Burn's own.

use burn::tensor::{Tensor, ops::PadMode};

/// `x` plus a vector for each sample: `x` `[b, h, w, c]`, `shift` `[b, c]`.
pub fn add_channels(x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
    let [b, _, _, c] = x.dims();
    x + shift.reshape([b, 1, 1, c])
}

/// A row of zeros below and a column of zeros on the right: `[b, h, w, c]` to `[b, h + 1, w + 1, c]`.
pub fn pad_end(x: Tensor<4>) -> Tensor<4> {
    x.pad([(0, 0), (0, 1), (0, 1), (0, 0)], PadMode::Constant(0.0))
}
