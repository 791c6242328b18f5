//! Operations of the networks, on NHWC tensors.
//!
//! Each function is differentiable in every tensor argument, and computes only the gradients that are tracked. On the CPU
//! backend, in single precision, they run the kernels of `vipaint-kernels`, with the promise made there: a sample's result
//! does not depend on its batch or on the number of threads. There, constant arguments may be on the plain device while
//! others are on its autodiff twin. Elsewhere [`mod@reference`] does the work.

mod activated;
mod attention;
mod buffers;
mod by_samples;
mod composed;
mod convolution;
mod elementwise;
mod external;
mod flex;
mod frozen;
mod fused;
mod gate;
mod join;
mod layer_norm;
mod norm;
mod recomputed;
pub mod reference;

pub use activated::linear_frozen_activated;
pub use by_samples::by_samples;
pub use composed::{add_channels, pad_end};
pub use external::{External, external};
pub use frozen::{PackedConv, Values, conv2d_frozen, linear_frozen};
pub use fused::{FusedAttention, FusedResidual, NormWeights};
pub use recomputed::{Segment, boundary, recomputed};
pub use vipaint_kernels::Activation;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use flex::on_flex;
use vipaint_kernels::conv::Conv;
use vipaint_kernels::{Attention, GroupNorm};

/// `y[b, i, j, o] = bias[o] + sum_{k, l, c} weight[o, c, k, l] x[b, i s + k - p, j s + l - p, c]`, a cross-correlation
/// with stride `s` and zero padding `p`.
///
/// Shapes: `x` `[batch, height, width, c_in]`, `weight` `[c_out, c_in, k, k]` (as PyTorch keeps it), `bias` `[c_out]`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    if !on_flex(&x) {
        return reference::conv2d(x, weight, bias, stride, padding);
    }
    let ([_, height, width, c_in], [c_out, c, kernel, k]) = (x.dims(), weight.dims());
    assert!(c == c_in && k == kernel, "weights {:?} for an input {:?}", weight.dims(), x.dims());
    let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
    convolution::run(x, weight, bias, conv)
}

/// `y = x W^T + b`. Shapes: `x` `[rows, c_in]`, `weight` `[c_out, c_in]`, `bias` `[c_out]`, `y` `[rows, c_out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if !on_flex(&x) {
        return reference::linear(x, weight, bias);
    }
    let ([_, c_in], [c_out, c]) = (x.dims(), weight.dims());
    assert_eq!(c, c_in, "weights {:?} for an input {:?}", weight.dims(), x.dims());
    convolution::run(x, weight, bias, Conv::linear(c_in, c_out))
}

/// What follows the normalisation inside [`group_norm`].
#[derive(Default)]
pub struct GroupNormTail {
    /// FiLM modulation `y (1 + scale) + shift`, each `[batch, channels]`.
    pub modulation: Option<(Tensor<2>, Tensor<2>)>,
    /// Ends with `y sigmoid(y)`.
    pub silu: bool,
}

/// Group normalisation (Wu and He, 2018): per sample and group of consecutive channels,
/// `y = (x - mean) / sqrt(var + eps) * weight + bias`, then the tail.
///
/// Shapes: `x` `[batch, height, width, channels]`, `weight` and `bias` `[channels]`; `groups` divides `channels`.
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    tail: GroupNormTail,
) -> Tensor<4> {
    normalised(x, None, groups, weight, bias, eps, tail)
}

/// [`group_norm`] of `x + shift`, `shift` `[batch, channels]`.
pub fn group_norm_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    tail: GroupNormTail,
) -> Tensor<4> {
    normalised(x, Some(shift), groups, weight, bias, eps, tail)
}

fn normalised(
    x: Tensor<4>,
    before: Option<Tensor<2>>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    tail: GroupNormTail,
) -> Tensor<4> {
    let [batch, height, width, channels] = x.dims();
    if !on_flex(&x) {
        let x = match before {
            Some(before) => x + before.reshape([batch, 1, 1, channels]),
            None => x,
        };
        return reference::group_norm(x, groups, weight, bias, eps, tail);
    }
    let norm = GroupNorm { pixels: height * width, channels, groups, eps, silu: tail.silu };
    norm::run(x, before, [weight, bias], tail.modulation, norm)
}

/// Layer normalisation (Ba et al., 2016): per row, `y = (x - mean) / sqrt(var + eps) * weight + bias`.
///
/// Shapes: `x` `[batch, length, channels]`, `weight` and `bias` `[channels]`.
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    if !on_flex(&x) {
        return reference::layer_norm(x, weight, bias, eps);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as layer_norm::RowNormalisation>::layer_norm(x, weight, bias, eps))
}

/// The gate of a feed-forward layer (Shazeer, 2020): `value * gelu(gate)`, with the exact `gelu(x) = x Phi(x)`.
pub fn geglu<const D: usize>(value: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
    if !on_flex(&value) {
        return reference::geglu(value, gate);
    }
    Tensor::from_dispatch(<Dispatch as gate::Gate>::geglu(value.into_dispatch(), gate.into_dispatch()))
}

/// Multi-head attention `softmax(q k^T / sqrt(d)) v`, with `d = channels / heads` and heads in consecutive channels.
///
/// Shapes: `q` `[batch, queries, channels]`, `k` and `v` `[batch, keys, channels]`, result as `q`.
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    if !on_flex(&q) {
        return reference::attention(q, k, v, heads);
    }
    let ([_, queries, channels], [_, keys, _]) = (q.dims(), k.dims());
    Tensor::from_dispatch(<Dispatch as attention::Attend>::attend(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        Attention { queries, keys, channels, heads },
    ))
}

/// The channels of `x` and then those of `y`: `[b, h, w, c]` and `[b, h, w, d]` to `[b, h, w, c + d]`.
pub fn join(x: Tensor<4>, y: Tensor<4>) -> Tensor<4> {
    if !on_flex(&x) {
        return Tensor::cat(vec![x, y], 3);
    }
    Tensor::from_dispatch(<Dispatch as join::Join>::join(x.into_dispatch(), y.into_dispatch()))
}

/// Nearest-neighbour upsampling by two: `[b, h, w, c]` to `[b, 2 h, 2 w, c]`.
pub fn upsample2(x: Tensor<4>) -> Tensor<4> {
    if !on_flex(&x) {
        return reference::upsample2(x);
    }
    Tensor::from_dispatch(<Dispatch as elementwise::Elementwise>::upsample2(x.into_dispatch()))
}

/// Means of 2x2 pixels: `[b, h, w, c]` to `[b, h / 2, w / 2, c]`, even sides.
pub fn average_pool2(x: Tensor<4>) -> Tensor<4> {
    if !on_flex(&x) {
        return reference::average_pool2(x);
    }
    Tensor::from_dispatch(<Dispatch as elementwise::Elementwise>::average_pool2(x.into_dispatch()))
}

/// `x sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !on_flex(&x) {
        return reference::silu(x);
    }
    Tensor::from_dispatch(<Dispatch as elementwise::Elementwise>::silu_fused(x.into_dispatch()))
}
