//! Blocks as one operation give the bits of the operations they stand for, forward and backward.

use burn::tensor::{Device, Distribution, Tensor};
use vipaint_nn::ops::{
    self, FusedAttention, FusedResidual, GroupNormTail, NormWeights, PackedConv, conv2d_frozen, linear_frozen,
};

fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn norm(channels: usize) -> NormWeights {
    NormWeights { weight: noise([channels]), bias: noise([channels]), groups: channels / 8, eps: 1e-5 }
}

fn normalised(x: Tensor<4>, norm: &NormWeights, tail: GroupNormTail) -> Tensor<4> {
    ops::group_norm(x, norm.groups, norm.weight.clone(), norm.bias.clone(), norm.eps, tail)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().unwrap()
}

/// Value, value as computed for a gradient, and gradient.
fn results(x: &Tensor<4>, f: impl Fn(Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 3] {
    let leaf = x.clone().autodiff().require_grad();
    let y = f(leaf.clone());
    let mut gradients = (y.clone() * y.clone()).sum().backward();
    [values(f(x.clone())), values(y.inner()), values(leaf.grad_remove(&mut gradients).unwrap())]
}

#[test]
fn residual() {
    for (c_in, c_out, sides) in [(16, 16, [6, 5]), (48, 16, [8, 8]), (8, 24, [1, 3])] {
        let conv = |from: usize, to: usize, kernel: usize| {
            PackedConv::new(noise([to, from, kernel, kernel]), Some(noise([to])), 1, kernel / 2, sides)
        };
        let norms = [norm(c_in), norm(c_out)];
        let (conv_in, conv_out) = (conv(c_in, c_out, 3), conv(c_out, c_out, 3));
        let skip = (c_in != c_out).then(|| conv(c_in, c_out, 1));
        for (batch, shifts_only) in [(1, false), (3, false), (1, true), (3, true)] {
            let outputs = if shifts_only { c_out } else { 2 * c_out };
            let modulation = PackedConv::linear(noise([outputs, 12]), Some(noise([outputs])));
            let fused =
                FusedResidual::new(norms.clone(), [&conv_in, &conv_out], skip.as_ref(), Some(&modulation)).unwrap();
            let (x, embedding) = (noise([batch, sides[0], sides[1], c_in]), noise([batch, 12]));
            let composed = |x: Tensor<4>| {
                let h = normalised(x.clone(), &norms[0], GroupNormTail { modulation: None, silu: true });
                let h = conv2d_frozen(h, &conv_in, None);
                let rows = linear_frozen(embedding.clone(), &modulation);
                let h = if shifts_only {
                    let NormWeights { weight, bias, groups, eps } = norms[1].clone();
                    let tail = GroupNormTail { modulation: None, silu: true };
                    ops::group_norm_shifted(h, rows, groups, weight, bias, eps, tail)
                } else {
                    let modulation = Some((rows.clone().narrow(1, 0, c_out), rows.narrow(1, c_out, c_out)));
                    normalised(h, &norms[1], GroupNormTail { modulation, silu: true })
                };
                let past = match &skip {
                    Some(skip) => conv2d_frozen(x, skip, None),
                    None => x,
                };
                conv2d_frozen(h, &conv_out, Some(past))
            };
            let got = results(&x, |x| fused.forward(&x, Some(&embedding)).unwrap());
            assert!(
                got == results(&x, composed),
                "{c_in} to {c_out} channels, {sides:?}, batch {batch}, {outputs} outputs"
            );
        }
    }
}

#[test]
fn a_residual_block_without_an_embedding() {
    let sides = [6, 5];
    for (c_in, c_out) in [(16, 16), (48, 32)] {
        let conv = |from: usize, to: usize, kernel: usize| {
            PackedConv::new(noise([to, from, kernel, kernel]), Some(noise([to])), 1, kernel / 2, sides)
        };
        let norms = [norm(c_in), norm(c_out)];
        let convs = [conv(c_in, c_out, 3), conv(c_out, c_out, 3)];
        let skip = (c_in != c_out).then(|| conv(c_in, c_out, 1));
        let fused = FusedResidual::new(norms.clone(), convs.each_ref(), skip.as_ref(), None).unwrap();
        let tail = || GroupNormTail { modulation: None, silu: true };
        let composed = |x: Tensor<4>| {
            let h = conv2d_frozen(normalised(x.clone(), &norms[0], tail()), &convs[0], None);
            let past = skip.as_ref().map_or_else(|| x.clone(), |skip| conv2d_frozen(x.clone(), skip, None));
            conv2d_frozen(normalised(h, &norms[1], tail()), &convs[1], Some(past))
        };
        for batch in [1, 3] {
            let x = noise([batch, sides[0], sides[1], c_in]);
            let got = results(&x, |x| fused.forward(&x, None).unwrap());
            assert!(got == results(&x, composed), "{c_in} to {c_out} channels, batch {batch}");
        }
    }
}

#[test]
fn attention() {
    for (c, heads, [h, w]) in [(16, 2, [4, 5]), (24, 1, [8, 8]), (8, 1, [1, 1])] {
        let norm = norm(c);
        let map = || PackedConv::linear(noise([c, c]), Some(noise([c])));
        let (maps, out) = ([map(), map(), map()], map());
        let fused = FusedAttention::new(norm.clone(), maps.each_ref(), &out, heads, h * w).unwrap();
        for batch in [1, 3] {
            let x = noise([batch, h, w, c]);
            let composed = |x: Tensor<4>| {
                let n = normalised(x.clone(), &norm, GroupNormTail::default()).reshape([batch * h * w, c]);
                let [q, k, v] = maps.each_ref().map(|map| linear_frozen(n.clone(), map).reshape([batch, h * w, c]));
                let y = ops::attention(q, k, v, heads).reshape([batch * h * w, 1, 1, c]);
                let y = conv2d_frozen(y, &out, Some(x.reshape([batch * h * w, 1, 1, c])));
                y.reshape([batch, h, w, c])
            };
            let got = results(&x, |x| fused.forward(&x).unwrap());
            assert!(got == results(&x, composed), "{c} channels, {heads} heads, {h}x{w}, batch {batch}");
        }
    }
}

#[test]
fn an_embedding_with_a_gradient_is_left_to_the_operations() {
    let conv = || PackedConv::new(noise([8, 8, 3, 3]), None, 1, 1, [2, 2]);
    let modulation = PackedConv::linear(noise([16, 4]), None);
    let fused = FusedResidual::new([norm(8), norm(8)], [&conv(), &conv()], None, Some(&modulation)).unwrap();
    let (x, embedding) = (noise([1, 2, 2, 8]), noise([1, 4]));
    assert!(fused.forward(&x, Some(&embedding.clone().autodiff())).is_some());
    assert!(fused.forward(&x, Some(&embedding.autodiff().require_grad())).is_none());
}

#[test]
fn join() {
    let y = noise([2, 3, 4, 5]);
    for x in [noise([2, 3, 4, 2]), noise([2, 3, 4, 16])] {
        let both = |join: fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            [
                results(&x, |x| join(x.clone(), y.clone()) * join(x.clone(), y.clone())),
                results(&y, |y| join(x.clone(), y)),
            ]
        };
        assert!(both(ops::join) == both(|x, y| Tensor::cat(vec![x, y], 3)));
    }
}
