//! Attention against double precision.

mod common;

use common::{noise, with_threads};
use vipaint_kernels::{Attention, attention, attention_vjp};

struct Case {
    shape: Attention,
    batch: usize,
    inputs: [Vec<f32>; 3],
    g: Vec<f32>,
}

fn cases() -> Vec<Case> {
    [
        (1, 1, 1, 1, 1),
        (2, 16, 16, 64, 4),
        (3, 7, 5, 6, 2),
        (1, 150, 130, 34, 2),
        (2, 64, 64, 32, 1),
        (1, 3, 77, 40, 8),
        (2, 70, 90, 100, 2),
    ]
    .map(|(batch, queries, keys, channels, heads)| {
        let shape = Attention { queries, keys, channels, heads };
        let (q, k) = (batch * queries * channels, batch * keys * channels);
        Case { shape, batch, inputs: [noise(q, 1), noise(k, 2), noise(k, 3)], g: noise(q, 4) }
    })
    .into()
}

impl Case {
    fn exact(&self, inputs: &[Vec<f64>; 3]) -> Vec<f64> {
        let Attention { queries, keys, channels, heads } = self.shape;
        let d = channels / heads;
        let [q, k, v] = inputs;
        let mut y = vec![0.0; q.len()];
        for (b, h) in (0..self.batch * heads).map(|i| (i / heads, i % heads)) {
            for i in 0..queries {
                let q_at = (b * queries + i) * channels + h * d;
                let k_at = |j: usize| (b * keys + j) * channels + h * d;
                let score = |j: usize| (0..d).map(|c| q[q_at + c] * k[k_at(j) + c]).sum::<f64>() / (d as f64).sqrt();
                let p: Vec<f64> = (0..keys).map(|j| score(j).exp()).collect();
                let sum: f64 = p.iter().sum();
                for c in 0..d {
                    y[q_at + c] = (0..keys).map(|j| p[j] / sum * v[k_at(j) + c]).sum();
                }
            }
        }
        y
    }

    fn wide(&self) -> [Vec<f64>; 3] {
        self.inputs.clone().map(|v| v.into_iter().map(f64::from).collect())
    }

    /// Output and gradients for samples `from..to`.
    fn run(&self, from: usize, to: usize) -> [Vec<f32>; 4] {
        let part = |v: &[f32]| v[from * v.len() / self.batch..to * v.len() / self.batch].to_vec();
        let [q, k, v] = self.inputs.each_ref().map(|v| part(v));
        let nan = |v: &[f32]| vec![f32::NAN; v.len()];
        let (mut y, mut dq, mut dk, mut dv) = (nan(&q), nan(&q), nan(&k), nan(&v));
        attention(&self.shape, &q, &k, &v, &mut y);
        let g = part(&self.g);
        attention_vjp(&self.shape, &q, &k, &v, &g, Some(&mut dq), Some(&mut dk), Some(&mut dv));
        [y, dq, dk, dv]
    }
}

/// Values below one and scores below `sqrt(d) < 6`, whose rounding passes through the exponential:
/// about `gamma_d sqrt(d) + gamma_keys`, 2e-5 at these sizes.
const TOLERANCE: f64 = 2e-5;

fn forward_matches_double_precision() {
    for case in cases() {
        let exact = case.exact(&case.wide());
        for (y, exact) in case.run(0, case.batch)[0].iter().zip(exact) {
            assert!((f64::from(*y) - exact).abs() < TOLERANCE, "{:?}: {y} instead of {exact}", case.shape);
        }
    }
}

fn gradients_match_central_differences() {
    let step = 1e-5;
    for case in cases() {
        let got = case.run(0, case.batch);
        for input in 0..3 {
            let grad = &got[input + 1];
            for index in (0..grad.len()).step_by(grad.len().div_ceil(9)) {
                let loss = |delta: f64| {
                    let mut inputs = case.wide();
                    inputs[input][index] += delta;
                    case.exact(&inputs).iter().zip(&case.g).map(|(y, &g)| y * f64::from(g)).sum::<f64>()
                };
                let exact = (loss(step) - loss(-step)) / (2.0 * step);
                let size = if input == 0 { 1.0 } else { (case.shape.queries as f64).sqrt() };
                assert!(
                    (f64::from(grad[index]) - exact).abs() < TOLERANCE * size.max(1.0),
                    "{:?}, input {input}: {} instead of {exact}",
                    case.shape,
                    grad[index]
                );
            }
        }
    }
}

fn bits_do_not_depend_on_batch_threads_or_what_is_asked_for() {
    for case in cases() {
        let all = with_threads(1, || case.run(0, case.batch));
        assert_eq!(all, with_threads(2, || case.run(0, case.batch)));
        for b in 0..case.batch {
            for (all, one) in all.iter().zip(case.run(b, b + 1)) {
                assert_eq!(all[b * one.len()..(b + 1) * one.len()], one, "{:?}", case.shape);
            }
        }
        let [q, k, v] = &case.inputs;
        for input in 0..3 {
            let mut grads = [q, k, v].map(|v| vec![f32::NAN; v.len()]);
            let mut wanted = grads.each_mut().map(|g| Some(g.as_mut_slice()));
            let [dq, dk, dv] = std::array::from_fn(|i| if i == input { wanted[i].take() } else { None });
            attention_vjp(&case.shape, q, k, v, &case.g, dq, dk, dv);
            assert_eq!(grads[input], all[input + 1]);
        }
    }
}

in_every_version!(
    forward_matches_double_precision,
    gradients_match_central_differences,
    bits_do_not_depend_on_batch_threads_or_what_is_asked_for,
);
