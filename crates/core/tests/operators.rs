//! Properties of every operator in the list, over random shapes.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec};
use proptest::prelude::*;
use std::sync::Arc;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::{Dense, KINDS, Operator, Shape3, load};

fn random(shape: Shape3, seed: u64) -> Tensor<4> {
    let mut rng = stream(seed, 12, 0);
    let [c, h, w] = shape;
    let values: Vec<f32> = (0..c * h * w).map(|_| normal(&mut rng) as f32).collect();
    Tensor::from_data(TensorData::new(values, [1, c, h, w]), &device())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Sides that factors divide, and sides that none does.
fn side() -> impl Strategy<Value = usize> {
    prop_oneof![1..10usize, Just(8), Just(12), Just(16), Just(24)]
}

/// The gradient of `<v, A(x)>` with respect to `x`: what samplers get.
fn vjp(operator: &dyn Operator, x: &Tensor<4>, v: &Tensor<4>) -> Tensor<4> {
    let leaf = x.clone().autodiff().require_grad();
    let mut gradients = (operator.apply(leaf.clone()) * v.clone().autodiff()).sum().backward();
    leaf.grad_remove(&mut gradients).unwrap_or_else(|| x.zeros_like())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_operator(c in 1..4usize, h in side(), w in side(), seed in 0..1000u64) {
        for kind in KINDS {
            let shape = [c, h, w];
            let operator = (kind.example)(shape, seed, &device());
            prop_assert_eq!(operator.kind(), kind.name);
            prop_assert_eq!(operator.input_shape(), shape);
            let x = random(shape, seed);
            let y = operator.apply(x.clone());
            let [oc, oh, ow] = operator.output_shape();
            prop_assert_eq!(y.dims(), [1, oc, oh, ow]);
            prop_assert_eq!(operator.rough_inverse(y.clone()).dims(), [1, c, h, w]);

            // A stored operator is the same operator.
            let again = load(&operator.save(), &device()).unwrap();
            prop_assert_eq!(to_vec(again.apply(x.clone())), to_vec(y.clone()));

            // The result for a picture does not depend on its batch.
            let batch = operator.apply(Tensor::cat(vec![random(shape, seed + 2), x.clone(), random(shape, seed + 3)], 0));
            prop_assert_eq!(to_vec(batch.narrow(0, 1, 1)), to_vec(y.clone()), "{}: batch", kind.name);

            // The gradient is the adjoint of a linear map, A itself if A is linear: <L x, v> = <x, L^T v>; f32 sums of at most
            // 1728 products, relative to the norms.
            let v = random(operator.output_shape(), seed + 1);
            let (xv, vv) = (to_vec(x.clone()), to_vec(v.clone()));
            let lx = to_vec(operator.tangent(x.clone()));
            let pulled = to_vec(vjp(operator.as_ref(), &x, &v));
            let scale = |a: &[f32], b: &[f32]| norm(a) * norm(&vv) + norm(&xv) * norm(b) + 1e-6;
            prop_assert!((dot(&lx, &vv) - dot(&xv, &pulled)).abs() < 1e-5 * scale(&lx, &pulled), "{}: gradient", kind.name);

            let Some(linear) = operator.linear() else { continue };
            let yv = to_vec(y.clone());
            prop_assert_eq!(&lx, &yv);
            let av = to_vec(linear.adjoint(v.clone()));
            prop_assert!((dot(&yv, &vv) - dot(&xv, &av)).abs() < 1e-5 * scale(&yv, &av), "{}: adjoint", kind.name);

            // The spectrum diagonalises A A^T in the rotated basis: U^T A A^T v = s U^T v; U^T keeps lengths and has an inverse.
            let spectrum = to_vec(linear.spectrum());
            let left = to_vec(linear.rotate(operator.apply(linear.adjoint(v.clone()))));
            let right = to_vec(linear.rotate(v.clone()) * linear.spectrum());
            let largest = right.iter().fold(1e-6f32, |a, b| a.max(b.abs()));
            for (l, r) in left.iter().zip(&right) {
                prop_assert!((l - r).abs() < 1e-4 * largest, "{}: spectrum {l} {r}", kind.name);
            }
            prop_assert!((norm(&to_vec(linear.rotate(v.clone()))) - norm(&vv)).abs() < 1e-4 * norm(&vv) + 1e-6);
            for (back, v) in to_vec(linear.unrotate(linear.rotate(v.clone()))).iter().zip(&vv) {
                prop_assert!((back - v).abs() < 1e-4, "{}: the rotation's inverse {back} {v}", kind.name);
            }

            // The rough inverse explains what is measured: A A+ y = y for y in A's range. Blurs give up what is damped more than
            // tenfold: at s the residual is n / (s + n) times sqrt(s) |x|, n = .01 s_max, which is largest at s = n, .05 of
            // sqrt(s_max) |x|.
            let back = to_vec(operator.apply(operator.rough_inverse(y)));
            let gaps: Vec<f32> = back.iter().zip(&yv).map(|(b, y)| b - y).collect();
            let most = f64::from(spectrum.iter().fold(0.0f32, |a, b| a.max(*b)));
            match kind.name {
                "gaussian" | "kernel" => prop_assert!(norm(&gaps) < 0.051 * most.sqrt() * norm(&xv), "{}", kind.name),
                "composition" => {} // the parts' own inverses, one after the other
                _ => for (gap, y) in gaps.iter().zip(&yv) {
                    prop_assert!(gap.abs() < 1e-3 * (1.0 + y.abs()), "{}: rough inverse {gap}", kind.name);
                },
            }
        }
    }

    /// The likelihood of every linear operator against that of its matrix, whose singular values are found by rotations.
    #[test]
    fn the_widened_likelihood_is_that_of_the_matrix(c in 1..3usize, h in 1..6usize, w in 1..6usize, seed in 0..1000u64) {
        for kind in KINDS {
            let operator = (kind.example)([c, h, w], seed, &device());
            if operator.linear().is_none() {
                continue;
            }
            let (n, m) = (c * h * w, operator.output_shape().iter().product::<usize>());
            let unit = Tensor::<2>::eye(n, &device()).reshape([n, c, h, w]);
            let matrix = to_vec(operator.apply(unit).reshape([n, m]).transpose());
            let dense = Arc::new(Dense::new(&matrix, [c, h, w], &device()).unwrap());
            let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.3 };
            let (truth, a, b) = (random([c, h, w], seed), random([c, h, w], seed + 1), random([c, h, w], seed + 2));
            // Noiseless, so that directions without any signal, which one of the two may leave out, say nothing.
            let y = operator.apply(truth);
            let gain = |operator: Arc<dyn Operator>, y: Tensor<4>| {
                let measurement = Measurement::new(operator, y, likelihood).unwrap();
                let nll = to_vec(measurement.nll(Tensor::cat(vec![a.clone(), b.clone()], 0), &[0.7, 0.7]));
                f64::from(nll[0]) - f64::from(nll[1])
            };
            let (fast, slow) = (gain(operator, y.clone()), gain(dense, y.reshape([1, m, 1, 1])));
            prop_assert!((fast - slow).abs() < 1e-3 * (1.0 + slow.abs()), "{}: {fast} {slow}", kind.name);
        }
    }
}

#[test]
fn bad_operators_are_refused_with_a_reason() {
    use vipaint_core::operator::{
        Blocks, Composition, Downsample, GaussianBlur, HighRange, Jpeg, Kernel, Mask, Saved, Shrink, Taps, Window,
        motion_taps,
    };
    let device = device();
    let message = |e: vipaint_core::Error| e.to_string();
    assert!(message(Mask::new(&[1.0; 3], [1, 2, 2], &device).unwrap_err()).contains("expected shape [1, 2, 2]"));
    assert!(message(Mask::new(&[0.0; 4], [1, 2, 2], &device).unwrap_err()).contains("nothing is known"));
    assert!(message(Mask::new(&[0.5; 4], [1, 2, 2], &device).unwrap_err()).contains("0 (hidden) or 1 (known)"));
    assert!(message(Dense::new(&[1.0; 3], [1, 2, 2], &device).unwrap_err()).contains("matrix"));
    let unknown = Saved { kind: "nonsense".into(), arrays: vec![] };
    assert!(message(load(&unknown, &device).err().unwrap()).contains("nonsense"));
    let empty = Saved { kind: "mask".into(), arrays: vec![] };
    assert!(message(load(&empty, &device).err().unwrap()).contains("no array known"));
    let shape = [1, 8, 6];
    for sigma in [0.0, -1.0, 1e9, f64::NAN] {
        assert!(message(GaussianBlur::new(sigma, shape, &device).unwrap_err()).contains("sigma"), "{sigma}");
    }
    assert!(message(GaussianBlur::new(1.0, [1, 0, 6], &device).unwrap_err()).contains("between 1 and 4096"));
    let taps = |height, width, values: Vec<f32>| Kernel::new(Taps { height, width, values }, shape, &device);
    assert!(message(taps(2, 2, vec![1.0; 3]).unwrap_err()).contains("equally long"));
    assert!(message(taps(1, 2, vec![0.0; 2]).unwrap_err()).contains("not all of them 0"));
    assert!(message(taps(1, 2, vec![f32::NAN; 2]).unwrap_err()).contains("finite"));
    assert!(message(taps(0, 2, vec![]).unwrap_err()).contains("between 1 and 511"));
    assert!(message(motion_taps(0.5, 0.0).unwrap_err()).contains("length"));
    assert!(message(motion_taps(3.0, f64::INFINITY).unwrap_err()).contains("angle"));
    let factor = |factor| message(Downsample::new(Shrink::Box, factor, shape, &device).unwrap_err());
    assert!(factor(4).contains("4 does not divide the picture's sides, 6x8") && factor(0).contains("between 1 and 64"));
    assert!(message(Blocks::new(5, shape, &device).unwrap_err()).contains("5 does not divide"));
    assert!(message(Window::new((3, 3), (6, 2), shape, &device).unwrap_err()).contains("not inside 6x8"));
    assert!(message(Jpeg::new(0, shape, (-1.0, 1.0), &device).unwrap_err()).contains("quality"));
    assert!(message(Jpeg::new(10, shape, (1.0, 1.0), &device).unwrap_err()).contains("range"));
    assert!(message(HighRange::new(0.5, shape, (-1.0, 1.0)).unwrap_err()).contains("gain"));
    let blur: Arc<dyn Operator> = Arc::new(GaussianBlur::new(1.0, shape, &device).unwrap());
    let halve: Arc<dyn Operator> = Arc::new(Downsample::new(Shrink::Box, 2, shape, &device).unwrap());
    assert!(message(Composition::new(vec![halve, blur.clone()]).err().unwrap()).contains("composition"));
    assert!(message(Composition::new(vec![]).err().unwrap()).contains("at least one part"));
    let one: Arc<dyn Operator> = Arc::new(Composition::new(vec![blur.clone()]).unwrap());
    assert!(message(Composition::new(vec![one]).err().unwrap()).contains("all parts at once"));
}

/// A stored operator whose numbers are damaged is refused, or is some operator, but never brings the program down.
#[test]
fn damaged_operators_are_refused_or_operators() {
    use rand::RngExt;
    let mut rng = stream(1, 1, 1);
    for kind in KINDS {
        for round in 0..60 {
            let mut saved = (kind.example)([2, 8, 8], round, &device()).save();
            let array = rng.random_range(0..saved.arrays.len());
            let values = &mut saved.arrays[array].2;
            let at = rng.random_range(0..values.len());
            values[at] = [f32::NAN, f32::INFINITY, -1.0, 0.0, 1e30, 7.0][rng.random_range(0..6)];
            if let Ok(operator) = load(&saved, &device()) {
                let [c, h, w] = operator.input_shape();
                assert_eq!(operator.apply(random([c, h, w], 0)).dims()[1..], operator.output_shape());
            }
        }
    }
}
