//! The operations and their gradients against Burn's own.

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use vipaint_nn::ops::{self, Activation, GroupNormTail, PackedConv, reference};

/// Both compute in single precision, in different orders; the values are of order one to ten.
const TOLERANCE: f32 = 2e-4;

fn device() -> Device {
    Device::flex().autodiff()
}

fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// A copy that has a gradient.
fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(x.to_data(), &device()).require_grad()
}

/// A sum in which every element has a weight of its own.
fn loss<const D: usize>(y: Tensor<D>) -> Tensor<1> {
    let weights: Vec<f32> = (0..y.shape().num_elements()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let weights = Tensor::from_data(TensorData::new(weights, y.shape()), &y.device());
    (y * weights).sum()
}

fn close(ours: &TensorData, theirs: &TensorData, what: &str) {
    assert_eq!(ours.shape(), theirs.shape(), "{what}");
    let (ours, theirs) = (ours.try_to_vec::<f32>().unwrap(), theirs.try_to_vec::<f32>().unwrap());
    let size = theirs.iter().fold(1f32, |max, x| max.max(x.abs()));
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() <= TOLERANCE * size, "{what}: {a} instead of {b}");
    }
}

/// The value of an expression and the gradients of the tensors in it, each made a leaf.
macro_rules! value_and_gradients {
    ([$($x:ident),+], $y:expr) => {{
        $(let $x = leaf(&$x);)+
        let y = $y;
        let gradients = loss(y.clone()).backward();
        vec![y.to_data(), $($x.grad(&gradients).unwrap().to_data()),+]
    }};
}

macro_rules! compare {
    ($what:expr, [$($x:ident),+], $ours:expr, $theirs:expr) => {{
        let ours = value_and_gradients!([$($x),+], $ours);
        let theirs = value_and_gradients!([$($x),+], $theirs);
        for ((ours, theirs), name) in ours.iter().zip(&theirs).zip(["the result", $(stringify!($x)),+]) {
            close(ours, theirs, &format!("{name} of {}", $what));
        }
    }};
}

#[test]
fn conv2d() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0)] {
        for [b, h, w, ci, co] in [[1, 1, 1, 1, 1], [2, 7, 5, 3, 18], [3, 8, 8, 16, 16]] {
            let (x, weight, bias) = (noise([b, h, w, ci]), noise([co, ci, kernel, kernel]), noise([co]));
            let what = format!("conv2d {kernel} {stride} {padding} {:?}", [b, h, w, ci, co]);
            compare!(
                what,
                [x, weight, bias],
                ops::conv2d(x.clone(), weight.clone(), Some(bias.clone()), stride, padding),
                reference::conv2d(x.clone(), weight.clone(), Some(bias.clone()), stride, padding)
            );
            compare!(
                what,
                [x, weight],
                ops::conv2d(x.clone(), weight.clone(), None, stride, padding),
                reference::conv2d(x.clone(), weight.clone(), None, stride, padding)
            );
        }
    }
}

#[test]
fn linear() {
    for [rows, ci, co] in [[1, 1, 1], [5, 7, 20], [300, 32, 48]] {
        let (x, weight, bias) = (noise([rows, ci]), noise([co, ci]), noise([co]));
        compare!(
            format!("linear {rows} {ci} {co}"),
            [x, weight, bias],
            ops::linear(x.clone(), weight.clone(), Some(bias.clone())),
            reference::linear(x.clone(), weight.clone(), Some(bias.clone()))
        );
    }
}

#[test]
fn group_norm() {
    for ([b, h, w, c], groups) in [([1, 2, 3, 4], 2), ([3, 5, 5, 24], 3), ([2, 8, 8, 32], 32)] {
        let (x, weight, bias) = (noise([b, h, w, c]), noise([c]), noise([c]));
        let (scale, shift) = (noise([b, c]), noise([b, c]));
        for silu in [false, true] {
            let what = format!("group_norm {:?}, {groups}, silu {silu}", [b, h, w, c]);
            let (norm, burn) = (ops::group_norm, reference::group_norm);
            let tail = || GroupNormTail { modulation: None, silu };
            compare!(
                what,
                [x, weight, bias],
                norm(x.clone(), groups, weight.clone(), bias.clone(), 1e-5, tail()),
                burn(x.clone(), groups, weight.clone(), bias.clone(), 1e-5, tail())
            );
            let tail = |scale: &Tensor<2>, shift: &Tensor<2>| GroupNormTail {
                modulation: Some((scale.clone(), shift.clone())),
                silu,
            };
            compare!(
                what,
                [x, weight, bias, scale, shift],
                norm(x.clone(), groups, weight.clone(), bias.clone(), 1e-5, tail(&scale, &shift)),
                burn(x.clone(), groups, weight.clone(), bias.clone(), 1e-5, tail(&scale, &shift))
            );
        }
    }
}

#[test]
fn group_norm_shifted() {
    let (x, shift, weight, bias) = (noise([3, 5, 4, 24]), noise([3, 24]), noise([24]), noise([24]));
    let tail = || GroupNormTail { modulation: None, silu: true };
    let (norm, burn) = (ops::group_norm_shifted, reference::group_norm);
    compare!(
        "group_norm_shifted",
        [x, shift, weight, bias],
        norm(x.clone(), shift.clone(), 3, weight.clone(), bias.clone(), 1e-5, tail()),
        burn(x.clone() + shift.clone().reshape([3, 1, 1, 24]), 3, weight.clone(), bias.clone(), 1e-5, tail())
    );
    let (scale, offset) = (noise([3, 24]), noise([3, 24]));
    let tail = |scale: &Tensor<2>, offset: &Tensor<2>| GroupNormTail {
        modulation: Some((scale.clone(), offset.clone())),
        silu: true,
    };
    compare!(
        "group_norm_shifted with scale and shift",
        [x, shift, weight, bias, scale, offset],
        norm(x.clone(), shift.clone(), 3, weight.clone(), bias.clone(), 1e-5, tail(&scale, &offset)),
        burn(
            x.clone() + shift.clone().reshape([3, 1, 1, 24]),
            3,
            weight.clone(),
            bias.clone(),
            1e-5,
            tail(&scale, &offset)
        )
    );
}

#[test]
fn layer_norm_geglu_and_pooling() {
    let (x, weight, bias) = (noise([3, 40, 24]), noise([24]), noise([24]));
    compare!(
        "layer_norm",
        [x, weight, bias],
        ops::layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5),
        reference::layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5)
    );
    let gate = noise([3, 40, 24]) * 3.0;
    compare!("geglu", [x, gate], ops::geglu(x.clone(), gate.clone()), reference::geglu(x.clone(), gate.clone()));
    let x = noise([2, 6, 4, 5]);
    compare!("average_pool2", [x], ops::average_pool2(x.clone()), reference::average_pool2(x.clone()));
}

#[test]
fn attention() {
    for ([b, queries, keys, c], heads) in [([1, 1, 1, 2], 1), ([2, 16, 16, 32], 2), ([3, 70, 9, 20], 4)] {
        let (q, k, v) = (noise([b, queries, c]), noise([b, keys, c]), noise([b, keys, c]));
        compare!(
            format!("attention {:?}, {heads}", [b, queries, keys, c]),
            [q, k, v],
            ops::attention(q.clone(), k.clone(), v.clone(), heads),
            reference::attention(q.clone(), k.clone(), v.clone(), heads)
        );
    }
}

#[test]
fn upsample2_and_silu() {
    let x = noise([2, 3, 5, 7]);
    compare!("upsample2", [x], ops::upsample2(x.clone()), reference::upsample2(x.clone()));
    compare!("silu", [x], ops::silu(x.clone()), reference::silu(x.clone()));
}

#[test]
fn views_are_read_as_their_values() {
    // Permuted, sliced and broadcast tensors, whose gradients are such too.
    let x = noise([2, 6, 5, 4]);
    let weight = noise([6, 3, 3, 4]);
    compare!(
        "conv2d of views",
        [x, weight],
        ops::conv2d(
            x.clone().permute([0, 3, 2, 1]).slice([0..2, 0..4, 1..5, 0..4]),
            weight.clone().permute([0, 3, 1, 2]),
            None,
            1,
            1
        )
        .permute([0, 3, 1, 2]),
        reference::conv2d(
            x.clone().permute([0, 3, 2, 1]).slice([0..2, 0..4, 1..5, 0..4]),
            weight.clone().permute([0, 3, 1, 2]),
            None,
            1,
            1
        )
        .permute([0, 3, 1, 2])
    );
    let (x, bias) = (noise([2, 4, 4, 8]), noise([8]));
    let both = noise([1, 16]);
    let halves = |both: &Tensor<2>| {
        let both = both.clone().expand([2, 16]);
        (both.clone().slice([0..2, 0..8]), both.slice([0..2, 8..16]))
    };
    let tail = |both: &Tensor<2>| GroupNormTail { modulation: Some(halves(both)), silu: true };
    compare!(
        "group_norm of views",
        [x, bias, both],
        ops::group_norm(x.clone(), 2, bias.clone(), bias.clone(), 1e-5, tail(&both)),
        reference::group_norm(x.clone(), 2, bias.clone(), bias.clone(), 1e-5, tail(&both))
    );
}

#[test]
fn constants_may_be_on_the_plain_device() {
    let x = noise([2, 4, 4, 8]);
    let (weight, bias) = (noise([8, 8, 3, 3]), noise([8]));
    let network = |x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>| {
        let x = ops::conv2d(x, weight, Some(bias.clone()), 1, 1);
        ops::group_norm(x, 2, bias.clone(), bias, 1e-5, GroupNormTail { modulation: None, silu: true })
    };
    let tracked = leaf(&x);
    let y = network(tracked.clone(), weight.clone(), bias.clone());
    let dx = tracked.grad(&loss(y.clone()).backward()).unwrap().to_data();

    let all = [leaf(&x)];
    let on_autodiff = network(all[0].clone(), leaf(&weight), leaf(&bias));
    assert_eq!(y.to_data(), on_autodiff.to_data());
    assert_eq!(dx, all[0].grad(&loss(on_autodiff).backward()).unwrap().to_data());
}

#[test]
fn only_tracked_arguments_have_gradients() {
    let (x, weight, bias) = (noise([2, 4, 4, 3]), noise([5, 3, 3, 3]), noise([5]));
    // The weight alone: the images of the first layer.
    let w = leaf(&weight);
    let image = Tensor::<4>::from_data(x.to_data(), &device());
    let y = ops::conv2d(image.clone(), w.clone(), Some(bias.clone()), 1, 1);
    let grads = loss(y).backward();
    assert!(w.grad(&grads).is_some() && image.grad(&grads).is_none());
    // The bias alone.
    let b = leaf(&bias);
    let y = ops::conv2d(image, weight, Some(b.clone()), 1, 1);
    assert!(b.grad(&loss(y).backward()).is_some());
    // Nothing: the result is not tracked, on the plain device neither.
    let plain = ops::conv2d(x.clone(), noise([5, 3, 3, 3]), None, 1, 1);
    assert!(!plain.device().is_autodiff());
}

#[test]
fn frozen_layers() {
    for (kernel, stride, padding, c) in [(3, 1, 1, 16), (3, 1, 1, 3), (3, 2, 1, 8), (1, 1, 0, 24)] {
        let (x, weight, bias) = (noise([2, 8, 12, c]), noise([16, c, kernel, kernel]), noise([16]));
        let packed = PackedConv::new(weight.clone(), Some(bias.clone()), stride, padding, [8, 12]);
        assert!(packed.bytes() >= 4 * 16 * c * kernel * kernel);
        let constant = |t: &Tensor<4>| Tensor::<4>::from_data(t.to_data(), &device());
        let (weight, bias) = (constant(&weight), Tensor::<1>::from_data(bias.to_data(), &device()));
        let burn = |x: &Tensor<4>| reference::conv2d(x.clone(), weight.clone(), Some(bias.clone()), stride, padding);
        let what = format!("frozen {kernel} {stride} {padding} {c}");
        compare!(what, [x], ops::conv2d_frozen(x.clone(), &packed, None), burn(&x));
        let residual = noise(burn(&constant(&x)).dims());
        compare!(
            what,
            [x, residual],
            ops::conv2d_frozen(x.clone(), &packed, Some(residual.clone())),
            burn(&x) + residual.clone()
        );
        // On the plain device, as for sampling without gradients; the residual is kept if someone holds it.
        let before = residual.to_data();
        let y = ops::conv2d_frozen(x.clone(), &packed, Some(residual.clone()));
        close(&y.to_data(), &(burn(&constant(&x)) + constant(&residual)).to_data(), &what);
        assert_eq!(before, residual.to_data());
    }
    for c in [3, 16] {
        let (x, weight, bias) = (noise([2, 4, 6, c]), noise([16, c, 3, 3]), noise([16]));
        let packed = PackedConv::new(weight.clone(), Some(bias.clone()), 1, 1, [8, 12]).after_upsampling();
        let weight = Tensor::<4>::from_data(weight.to_data(), &device());
        let bias = Tensor::<1>::from_data(bias.to_data(), &device());
        compare!(
            format!("frozen after upsampling, {c}"),
            [x],
            ops::conv2d_frozen(x.clone(), &packed, None),
            reference::conv2d(reference::upsample2(x.clone()), weight.clone(), Some(bias.clone()), 1, 1)
        );
    }
    let (x, weight, bias) = (noise([5, 7]), noise([9, 7]), noise([9]));
    let packed = PackedConv::linear(weight.clone(), Some(bias.clone()));
    compare!(
        "frozen linear",
        [x],
        ops::linear_frozen(x.clone(), &packed),
        reference::linear(
            x.clone(),
            Tensor::from_data(weight.to_data(), &device()),
            Some(Tensor::from_data(bias.to_data(), &device()))
        )
    );
}

#[test]
fn activated_linear_layers() {
    for [rows, c_in, c_out] in [[5, 7, 9], [40, 264, 256], [1, 3, 1]] {
        let (x, weight, bias) = (noise([rows, c_in]), noise([c_out, c_in]) * 0.2, noise([c_out]));
        let packed = PackedConv::linear(weight.clone(), Some(bias.clone()));
        let weight = Tensor::<2>::from_data(weight.to_data(), &device());
        let bias = Tensor::<1>::from_data(bias.to_data(), &device());
        for f in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
            let burn = |x: &Tensor<2>| {
                reference::activate(reference::linear(x.clone(), weight.clone(), Some(bias.clone())), f)
            };
            let what = format!("{f:?} of a layer {:?}", [rows, c_in, c_out]);
            compare!(what, [x], ops::linear_frozen_activated(x.clone(), &packed, f), burn(&x));
            // Without gradients nothing else is kept, and the result is the same.
            let plain = ops::linear_frozen_activated(x.clone(), &packed, f);
            assert_eq!(plain.to_data(), ops::linear_frozen_activated(leaf(&x), &packed, f).to_data(), "{what}");
        }
    }
}
