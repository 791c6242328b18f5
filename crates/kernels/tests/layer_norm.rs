//! Layer normalisation against double precision.

mod common;

use common::{noise, with_threads};
use vipaint_kernels::{layer_norm, layer_norm_vjp};

const EPS: f64 = 1e-5;

struct Case {
    width: usize,
    /// Rows, weight, bias.
    inputs: [Vec<f32>; 3],
    g: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let shapes = [(1, 1), (3, 2), (40, 5), (33, 24), (70, 100), (2, 1000)];
    let case = |(rows, width)| {
        let x = noise(rows * width, 1).iter().enumerate().map(|(i, x)| x + (i / width) as f32 * 0.1 - 2.0).collect();
        Case { width, inputs: [x, noise(width, 2), noise(width, 3)], g: noise(rows * width, 4) }
    };
    shapes.map(case).into()
}

impl Case {
    /// Output and the three gradients.
    fn run(&self) -> [Vec<f32>; 4] {
        let [x, weight, bias] = &self.inputs;
        let (mut y, mut dx, mut alone) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        layer_norm(x, weight, bias, EPS, &mut y);
        let [dw, db] = layer_norm_vjp(x, weight, EPS, &self.g, &mut dx, true).unwrap();
        assert!(layer_norm_vjp(x, weight, EPS, &self.g, &mut alone, false).is_none());
        assert_eq!(dx, alone);
        [y, dx, dw, db]
    }

    /// The result with `delta` added to one value of one input.
    fn exact(&self, input: usize, index: usize, delta: f64) -> Vec<f64> {
        let get = |which: usize, i: usize| {
            f64::from(self.inputs[which][i]) + if which == input && i == index { delta } else { 0.0 }
        };
        let row = |row: usize| {
            let x: Vec<f64> = (0..self.width).map(|i| get(0, row * self.width + i)).collect();
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64;
            let y = |(i, x): (usize, &f64)| (x - mean) / (var + EPS).sqrt() * get(1, i) + get(2, i);
            x.iter().enumerate().map(y).collect::<Vec<f64>>()
        };
        (0..self.inputs[0].len() / self.width).flat_map(row).collect()
    }
}

/// Values below ten, a few roundings each, and sums over at most 1000 terms in eight lanes: a few hundred units of 2^-24,
/// measured ten times lower. Rows of one or two values divide by deviations down to `sqrt(EPS)`.
const TOLERANCE: f64 = 2e-5;

fn forward_matches_double_precision() {
    for case in cases() {
        for (y, exact) in case.run()[0].iter().zip(case.exact(usize::MAX, 0, 0.0)) {
            assert!((f64::from(*y) - exact).abs() <= 10.0 * TOLERANCE, "{}: {y} instead of {exact}", case.width);
        }
    }
}

fn gradients_match_central_differences() {
    let step = 1e-5;
    for case in cases() {
        let got = case.run();
        for input in 0..3 {
            let grad = &got[input + 1];
            for index in (0..grad.len()).step_by(grad.len().div_ceil(9)) {
                let loss = |delta: f64| -> f64 {
                    case.exact(input, index, delta).iter().zip(&case.g).map(|(y, &g)| y * f64::from(g)).sum()
                };
                let exact = (loss(step) - loss(-step)) / (2.0 * step);
                // A row's gradient is divided by its deviation.
                let bound = TOLERANCE * exact.abs().max(100.0);
                assert!((f64::from(grad[index]) - exact).abs() <= bound, "{input}: {} not {exact}", grad[index]);
            }
        }
    }
}

fn bits_do_not_depend_on_threads() {
    for case in cases() {
        assert_eq!(with_threads(1, || case.run()), with_threads(3, || case.run()));
    }
}

in_every_version!(forward_matches_double_precision, gradients_match_central_differences, bits_do_not_depend_on_threads,);
