//! The same operations from Burn's own: what other backends than the CPU's run, and what the kernels are tested against.

use std::f64::consts::FRAC_1_SQRT_2;

use super::GroupNormTail;
use burn::tensor::{Tensor, activation, module::conv2d as burn_conv2d, ops::ConvOptions};
use vipaint_kernels::Activation;

/// [`super::conv2d`].
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    let options = ConvOptions::new([stride, stride], [padding, padding], [1, 1], 1);
    burn_conv2d(x.permute([0, 3, 1, 2]), weight, bias, options).permute([0, 2, 3, 1])
}

/// [`super::linear`].
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// [`super::group_norm`].
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
    tail: GroupNormTail,
) -> Tensor<4> {
    let [b, h, w, c] = x.dims();
    let g = x.reshape([b, h * w, groups, c / groups]);
    let mean = g.clone().mean_dim(3).mean_dim(1); // [batch, 1, groups, 1]
    let centred = g - mean;
    let var = centred.clone().square().mean_dim(3).mean_dim(1);
    let y = (centred / (var + eps).sqrt()).reshape([b, h, w, c]);
    let mut y = y * weight.reshape([1, 1, 1, c]) + bias.reshape([1, 1, 1, c]);
    if let Some((scale, shift)) = tail.modulation {
        y = y * (scale.reshape([b, 1, 1, c]) + 1.0) + shift.reshape([b, 1, 1, c]);
    }
    if tail.silu { activation::silu(y) } else { y }
}

/// [`super::layer_norm`].
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    // A row is an image of one pixel whose channels form one group.
    let [b, l, c] = x.dims();
    group_norm(x.reshape([b * l, 1, 1, c]), 1, weight, bias, eps, GroupNormTail::default()).reshape([b, l, c])
}

/// [`super::geglu`].
pub fn geglu<const D: usize>(value: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
    value * gelu(gate)
}

/// `x Phi(x)`, by the error function: Burn's own has the derivative of its approximation by tanh, up to 5e-4 off.
fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let cdf = ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * cdf
}

/// [`super::average_pool2`].
pub fn average_pool2(x: Tensor<4>) -> Tensor<4> {
    let [b, h, w, c] = x.dims();
    let rows = pairwise(x.reshape([b * h / 2, 2, w * c]));
    pairwise(rows.reshape([b * h * w / 4, 2, c])).reshape([b, h / 2, w / 2, c]) * 0.25
}

/// The sum over the middle dimension, of size two.
fn pairwise(x: Tensor<3>) -> Tensor<3> {
    x.clone().narrow(1, 0, 1) + x.narrow(1, 1, 1)
}

/// [`super::attention`].
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize) -> Tensor<3> {
    let [b, l, c] = q.dims();
    let d = c / heads;
    let split = |t: Tensor<3>| {
        let len = t.dims()[1];
        t.reshape([b, len, heads, d]).swap_dims(1, 2) // [batch, heads, len, d]
    };
    let scores = split(q).matmul(split(k).swap_dims(2, 3)) / (d as f64).sqrt();
    activation::softmax(scores, 3).matmul(split(v)).swap_dims(1, 2).reshape([b, l, c])
}

/// [`super::upsample2`].
pub fn upsample2(x: Tensor<4>) -> Tensor<4> {
    let [b, h, w, c] = x.dims();
    x.reshape([b, h, 1, w, 1, c]).expand([b, h, 2, w, 2, c]).reshape([b, 2 * h, 2 * w, c])
}

/// [`super::silu`].
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// An activation of the kernels.
pub fn activate<const D: usize>(x: Tensor<D>, f: Activation) -> Tensor<D> {
    match f {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => gelu(x),
        Activation::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
    }
}
