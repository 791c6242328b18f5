//! Operations put together from others.

use super::{GroupNormTail, group_norm};
use burn::tensor::{Tensor, activation, ops::PadMode};

/// Layer normalisation (Ba et al., 2016): per row, `y = (x - mean) / sqrt(var + eps) * weight + bias`.
///
/// Shapes: `x` `[batch, length, channels]`, `weight` and `bias` `[channels]`.
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    // A row is an image of one pixel whose channels form one group.
    let [b, l, c] = x.dims();
    group_norm(x.reshape([b * l, 1, 1, c]), 1, weight, bias, eps, GroupNormTail::default()).reshape([b, l, c])
}

/// The gate of a feed-forward layer (Shazeer, 2020): `value * gelu(gate)`, with the exact `gelu(x) = x Phi(x)`.
pub fn geglu<const D: usize>(value: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
    value * activation::gelu(gate)
}

/// Means of 2x2 pixels: `[b, h, w, c]` to `[b, h / 2, w / 2, c]`, even sides.
pub fn average_pool2(x: Tensor<4>) -> Tensor<4> {
    let [b, h, w, c] = x.dims();
    let rows = pairwise(x.reshape([b * h / 2, 2, w * c]));
    pairwise(rows.reshape([b * h * w / 4, 2, c])).reshape([b, h / 2, w / 2, c]) * 0.25
}

/// The sum over the middle dimension, of size two.
fn pairwise(x: Tensor<3>) -> Tensor<3> {
    x.clone().narrow(1, 0, 1) + x.narrow(1, 1, 1)
}

/// `x` plus a vector for each sample: `x` `[b, h, w, c]`, `shift` `[b, c]`.
pub fn add_channels(x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
    let [b, _, _, c] = x.dims();
    x + shift.reshape([b, 1, 1, c])
}

/// A row of zeros below and a column of zeros on the right: `[b, h, w, c]` to `[b, h + 1, w + 1, c]`.
pub fn pad_end(x: Tensor<4>) -> Tensor<4> {
    x.pad([(0, 0), (0, 1), (0, 1), (0, 0)], PadMode::Constant(0.0))
}
