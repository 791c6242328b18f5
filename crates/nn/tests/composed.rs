//! Operations put together from others, against their definitions in f64.
//!
//! Tolerance 1e-5: values are of order 1 and sums have at most a few dozen terms, each rounded to f32 (6e-8).

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use vipaint_nn::ops::{Activation, add_channels, average_pool2, geglu, layer_norm, pad_end, reference};

/// Values of order 1 that follow no pattern of the shape.
fn values(n: usize, phase: f64) -> Vec<f32> {
    (0..n).map(|i| ((i as f64 * 12.9898 + phase).sin() * 2.0) as f32).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

fn close<const D: usize>(got: Tensor<D>, expected: &[f64]) {
    let got = got.try_into_vec_as::<f32>().unwrap();
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} is not {expected}");
    }
}

/// `Phi(x)` by Simpson's rule.
fn normal_cdf(x: f64) -> f64 {
    let (n, density) = (2000, |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt());
    let h = x / f64::from(n);
    let inner: f64 = (1..n).map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    0.5 + h / 3.0 * (density(0.0) + inner + density(x))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn layer_norm_normalises_every_row(b in 1usize..3, l in 1usize..5, c in 2usize..40) {
        let (x, weight, bias) = (values(b * l * c, 0.1), values(c, 0.2), values(c, 0.3));
        let expected: Vec<f64> = x.chunks(c).flat_map(|row| {
            let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / c as f64;
            let var = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / c as f64;
            let norm = |(i, v): (usize, &f32)| (f64::from(*v) - mean) / (var + 1e-5).sqrt() * f64::from(weight[i]) + f64::from(bias[i]);
            row.iter().enumerate().map(norm).collect::<Vec<_>>()
        }).collect();
        // A row of two nearly equal values divides rounding by its small deviation.
        let spread = x.chunks(c).all(|row| row.iter().any(|v| (v - row[0]).abs() > 0.1));
        prop_assume!(spread);
        close(layer_norm(tensor(&x, [b, l, c]), tensor(&weight, [c]), tensor(&bias, [c]), 1e-5), &expected);
    }

    #[test]
    fn pooling_padding_and_shifting(b in 1usize..3, h in 1usize..4, w in 1usize..4, c in 1usize..6) {
        let (h, w) = (2 * h, 2 * w);
        let (x, shift) = (values(b * h * w * c, 0.4), values(b * c, 0.5));
        let at = |n: usize, y: usize, x_: usize, k: usize| f64::from(x[((n * h + y) * w + x_) * c + k]);
        let all = |rows: usize, columns: usize| (0..b * rows * columns * c)
            .map(move |i| (i / c / columns / rows, i / c / columns % rows, i / c % columns, i % c));
        let pooled: Vec<f64> = all(h / 2, w / 2).map(|(n, y, x, k)| {
            (at(n, 2 * y, 2 * x, k) + at(n, 2 * y, 2 * x + 1, k) + at(n, 2 * y + 1, 2 * x, k) + at(n, 2 * y + 1, 2 * x + 1, k)) / 4.0
        }).collect();
        close(average_pool2(tensor(&x, [b, h, w, c])), &pooled);
        let padded: Vec<f64> =
            all(h + 1, w + 1).map(|(n, y, x, k)| if y < h && x < w { at(n, y, x, k) } else { 0.0 }).collect();
        close(pad_end(tensor(&x, [b, h, w, c])), &padded);
        let shifted: Vec<f64> = all(h, w).map(|(n, y, x, k)| at(n, y, x, k) + f64::from(shift[n * c + k])).collect();
        close(add_channels(tensor(&x, [b, h, w, c]), tensor(&shift, [b, c])), &shifted);
    }

    #[test]
    fn geglu_gates_by_the_exact_gelu(n in 1usize..50) {
        let (value, gate) = (values(n, 0.6), values(n, 0.7));
        let expected: Vec<f64> = value.iter().zip(&gate)
            .map(|(v, g)| f64::from(*v) * f64::from(*g) * normal_cdf(f64::from(*g))).collect();
        close(geglu(tensor(&value, [1, n]), tensor(&gate, [1, n])), &expected);
    }
}

/// What other devices run, on the CPU: `d/dx x Phi(x) = Phi(x) + x phi(x)`.
#[test]
fn gelu_of_other_devices_has_its_own_gradient_not_that_of_an_approximation() {
    let x: Vec<f32> = (-60..=60).map(|i| i as f32 / 10.0).collect();
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let exact: Vec<f64> = x.iter().map(|x| f64::from(*x)).map(|x| normal_cdf(x) + x * density(x)).collect();
    let leaf = || tensor(&x, [1, x.len()]).autodiff().require_grad();
    let gradient = |f: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let x = leaf();
        x.grad(&f(x.clone()).sum().backward()).unwrap()
    };
    close(gradient(&|x| reference::activate(x, Activation::Gelu)), &exact);
    close(gradient(&|x| reference::geglu(x.ones_like(), x)), &exact);
    // The kernels' own, by the same measure.
    close(gradient(&|x| geglu(x.ones_like(), x)), &exact);
}
