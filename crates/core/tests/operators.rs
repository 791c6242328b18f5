//! Properties of every operator in the list, over random shapes.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec};
use proptest::prelude::*;
use vipaint_core::noise::stream;
use vipaint_core::operator::{KINDS, Shape3, load};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_operator(c in 1..4usize, h in 1..7usize, w in 1..7usize, seed in 0..1000u64) {
        for kind in KINDS {
            let shape = [c, h, w];
            let operator = (kind.example)(shape, seed, &device());
            prop_assert_eq!(operator.kind(), kind.name);
            prop_assert_eq!(operator.input_shape(), shape);
            let x = random(shape, seed);
            let y = operator.apply(x.clone());
            let [oc, oh, ow] = operator.output_shape();
            prop_assert_eq!(y.dims(), [1, oc, oh, ow]);

            // A stored operator is the same operator.
            let again = load(&operator.save(), &device()).unwrap();
            prop_assert_eq!(to_vec(again.apply(x.clone())), to_vec(y.clone()));

            let Some(linear) = operator.linear() else { continue };
            // <A x, v> = <x, A^T v>; f32 sums of at most 126 products, relative to the norms.
            let v = random(operator.output_shape(), seed + 1);
            let (av, vv, xv) = (to_vec(linear.adjoint(v.clone())), to_vec(v.clone()), to_vec(x.clone()));
            let yv = to_vec(y.clone());
            let scale = norm(&yv) * norm(&vv) + norm(&xv) * norm(&av) + 1e-6;
            prop_assert!((dot(&yv, &vv) - dot(&xv, &av)).abs() < 1e-5 * scale, "{}: adjoint", kind.name);

            // The spectrum diagonalises A A^T in the rotated basis: U^T A A^T v = s U^T v; and U^T keeps lengths.
            let left = to_vec(linear.rotate(operator.apply(linear.adjoint(v.clone()))));
            let right = to_vec(linear.rotate(v.clone()) * linear.spectrum());
            let largest = right.iter().fold(1e-6f32, |a, b| a.max(b.abs()));
            for (l, r) in left.iter().zip(&right) {
                prop_assert!((l - r).abs() < 1e-4 * largest, "{}: spectrum {l} {r}", kind.name);
            }
            prop_assert!((norm(&to_vec(linear.rotate(v.clone()))) - norm(&vv)).abs() < 1e-4 * norm(&vv) + 1e-6);

            // The rough inverse explains what is measured: A A+ y = y for y in A's range.
            let back = to_vec(operator.apply(operator.rough_inverse(y)));
            for (b, y) in back.iter().zip(&yv) {
                prop_assert!((b - y).abs() < 1e-3 * (1.0 + y.abs()), "{}: rough inverse {b} {y}", kind.name);
            }
        }
    }
}

#[test]
fn bad_operators_are_refused_with_a_reason() {
    use vipaint_core::operator::{Dense, Mask, Saved};
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
}
