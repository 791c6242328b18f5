//! Group normalisation against double precision.

mod common;

use common::{noise, with_threads};
use vipaint_kernels::{GroupNorm, GroupNormGrads, Tail, group_norm, group_norm_vjp, group_norm_vjp_onto};

struct Case {
    norm: GroupNorm,
    batch: usize,
    modulated: bool,
    x: Vec<f32>,
    g: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    before: Vec<f32>,
}

struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    grads: GroupNormGrads,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, pixels, channels, groups) in [
        (1, 1, 4, 2),
        (3, 16, 12, 3),
        (2, 49, 30, 5),
        (1, 700, 40, 8),
        (2, 1030, 32, 32),
        (5, 64, 33, 1),
        (3, 70, 48, 6),
    ] {
        for (silu, modulated) in [(false, false), (true, false), (false, true), (true, true)] {
            let norm = GroupNorm { pixels, channels, groups, eps: 1e-5, silu };
            let len = batch * pixels * channels;
            // A mean that depends on the channel, larger than the spread.
            let x = noise(len, 1).iter().enumerate().map(|(i, x)| x + (i % channels) as f32 * 0.1 - 1.0).collect();
            cases.push(Case {
                norm,
                batch,
                modulated,
                x,
                g: noise(len, 2),
                weight: noise(channels, 3),
                bias: noise(channels, 4),
                scale: noise(batch * channels, 5),
                shift: noise(batch * channels, 6),
                before: noise(batch * channels, 7),
            });
        }
    }
    cases
}

impl Case {
    fn len(&self) -> usize {
        self.norm.pixels * self.norm.channels
    }

    /// The kernels on samples `from..to`.
    fn run(&self, from: usize, to: usize) -> Results {
        let part = |v: &[f32]| v[from * v.len() / self.batch..to * v.len() / self.batch].to_vec();
        let (x, g, scale, shift) = (part(&self.x), part(&self.g), part(&self.scale), part(&self.shift));
        let before = part(&self.before);
        let modulation = self.modulated.then_some((&scale[..], &shift[..]));
        let before = self.modulated.then_some(&before[..]);
        let tail = Tail { before, weight: &self.weight, bias: &self.bias, modulation };
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        let moments = group_norm(&self.norm, &x, &tail, &mut y);
        let grads = group_norm_vjp(&self.norm, &x, &moments, &tail, &g, &mut dx, true).unwrap();
        let mut alone = vec![f32::NAN; x.len()];
        assert!(group_norm_vjp(&self.norm, &x, &moments, &tail, &g, &mut alone, false).is_none());
        assert_eq!(dx, alone);
        group_norm_vjp_onto(&self.norm, &x, &moments, &tail, &g, &x, &mut alone);
        assert!(alone.iter().zip(dx.iter().zip(&x)).all(|(both, (dx, onto))| *both == dx + onto));
        Results { y, dx, grads }
    }

    /// `sum g y` in double precision, with `delta` added to one value of one input.
    fn loss(&self, input: usize, index: usize, delta: f64) -> f64 {
        self.outputs(input, index, delta).iter().zip(&self.g).map(|(y, &g)| y * f64::from(g)).sum()
    }

    fn outputs(&self, input: usize, index: usize, delta: f64) -> Vec<f64> {
        let get = |which: usize, v: &[f32], i: usize| {
            f64::from(v[i]) + if which == input && i == index { delta } else { 0.0 }
        };
        let GroupNorm { pixels, channels, groups, eps, silu } = self.norm;
        let width = channels / groups;
        let mut y = vec![0.0; self.x.len()];
        for (b, group) in (0..self.batch * groups).map(|i| (i / groups, i % groups)) {
            let places: Vec<usize> =
                (0..pixels * width).map(|i| (b * pixels + i / width) * channels + group * width + i % width).collect();
            let before = |i: usize| {
                let i = i / (pixels * channels) * channels + i % channels;
                if self.modulated { get(5, &self.before, i) } else { 0.0 }
            };
            let x: Vec<f64> = places.iter().map(|&i| get(0, &self.x, i) + before(i)).collect();
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64;
            for (&place, x) in places.iter().zip(x) {
                let c = place % channels;
                let mut u = (x - mean) / (var + eps).sqrt() * get(1, &self.weight, c) + get(2, &self.bias, c);
                if self.modulated {
                    let i = b * channels + c;
                    u = u * (1.0 + get(3, &self.scale, i)) + get(4, &self.shift, i);
                }
                y[place] = if silu { u / (1.0 + (-u).exp()) } else { u };
            }
        }
        y
    }
}

/// For gradients: roundings of a few operations on values below about ten, and of sums of up to a thousand terms that go on in
/// double precision after 32: a few hundred units of 2^-24, measured ten times lower.
const TOLERANCE: f64 = 2e-5;

fn close(got: f32, exact: f64, size: f64, what: &str) {
    assert!((f64::from(got) - exact).abs() <= TOLERANCE * size, "{what}: {got} instead of {exact}");
}

/// A bound on the error of each result, to first order in `u = 2^-24`, with `|x|`, means and deviations over the group.
///
/// Sums run over 32 terms in single precision and go on in double, so the mean is off by at most `33 u mean|x|`. The squares
/// are of values rounded once, so their sum is off by `35 u` of itself and one over the deviation by `18 u`, rounded to `19 u`; the
/// factors of the gain and its products add 4, the subtraction from the mean one, products rounded by themselves two. What is added before costs a rounding of the
/// mean and of itself, the offset three. SiLU's slope is below 1.1 and its error below `5e-7` of the result.
fn bounds(case: &Case) -> Vec<f64> {
    let u = f64::from(f32::EPSILON) / 2.0;
    let GroupNorm { pixels, channels, groups, eps, silu } = case.norm;
    let width = channels / groups;
    let wide = |v: &[f32], i: usize| f64::from(v[i]);
    let before = |i: usize| {
        let at = i / (pixels * channels) * channels + i % channels;
        if case.modulated { wide(&case.before, at) } else { 0.0 }
    };
    let mut bounds = vec![0.0; case.x.len()];
    for (b, group) in (0..case.batch * groups).map(|i| (i / groups, i % groups)) {
        let places: Vec<usize> =
            (0..pixels * width).map(|i| (b * pixels + i / width) * channels + group * width + i % width).collect();
        let mean_of = |f: &dyn Fn(usize) -> f64| places.iter().map(|&i| f(i)).sum::<f64>() / places.len() as f64;
        let x = |i: usize| wide(&case.x, i) + before(i);
        let (mean, size) = (mean_of(&x), mean_of(&|i| wide(&case.x, i).abs() + before(i).abs()));
        let deviation = (mean_of(&|i| (x(i) - mean).powi(2)) + eps).sqrt();
        for &i in &places {
            let (c, at) = (i % channels, b * channels + i % channels);
            let (scale, shift) =
                if case.modulated { (1.0 + wide(&case.scale, at), wide(&case.shift, at)) } else { (1.0, 0.0) };
            let gain = (wide(&case.weight, c) * scale / deviation).abs();
            let offset = (wide(&case.bias, c) * scale).abs() + shift.abs();
            let centred = (x(i) - mean).abs();
            let value = gain * centred + offset;
            let sum = gain * (33.0 * size + mean.abs() + 2.0 * before(i).abs() + 26.0 * centred) + 3.0 * offset + value;
            bounds[i] = if silu { 1.1 * u * sum + 5e-7 * value } else { u * sum };
        }
    }
    bounds
}

fn forward_matches_double_precision() {
    for case in cases() {
        let (exact, bounds) = (case.outputs(usize::MAX, 0, 0.0), bounds(&case));
        for (i, &y) in case.run(0, case.batch).y.iter().enumerate() {
            let error = (f64::from(y) - exact[i]).abs();
            assert!(error <= bounds[i], "y[{i}] of {:?}: {error:.1e} above {:.1e}", case.norm, bounds[i]);
        }
    }
}

fn gradients_match_central_differences() {
    // Central differences in double precision, error about 1e-8.
    let step = 1e-4;
    for case in cases() {
        let got = case.run(0, case.batch);
        let GroupNormGrads { before, weight, bias, scale, shift } = &got.grads;
        let grads = [&got.dx, weight, bias, scale, shift, before].map(Vec::as_slice);
        for (input, grad) in grads.iter().enumerate().take(if case.modulated { 6 } else { 3 }) {
            for index in (0..grad.len()).step_by(grad.len().div_ceil(7)) {
                let exact = (case.loss(input, index, step) - case.loss(input, index, -step)) / (2.0 * step);
                // Parameters collect as many terms as there are pixels.
                let size = if input == 0 { 10.0 } else { (10 * case.norm.pixels * case.batch) as f64 };
                close(grad[index], exact, size, &format!("input {input}, index {index} of {:?}", case.norm));
            }
        }
    }
}

fn a_large_mean_costs_no_accuracy() {
    let norm = GroupNorm { pixels: 4096, channels: 8, groups: 2, eps: 0.0, silu: false };
    let x: Vec<f32> = noise(4096 * 8, 1).iter().map(|x| 1000.0 + x).collect();
    let tail = Tail { before: None, weight: &[1.0; 8], bias: &[0.0; 8], modulation: None };
    let moments = group_norm(&norm, &x, &tail, &mut vec![0.0; x.len()]);
    for (group, moments) in moments.iter().enumerate() {
        let values: Vec<f64> = x.chunks(4).skip(group).step_by(2).flatten().map(|&x| f64::from(x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let var = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
        assert!((f64::from(moments.mean) / mean - 1.0).abs() < 1e-7);
        assert!((f64::from(moments.rstd) * var.sqrt() - 1.0).abs() < 1e-5);
    }
}

fn bits_do_not_depend_on_batch_or_threads() {
    for case in cases() {
        let all = with_threads(1, || case.run(0, case.batch));
        let two = with_threads(2, || case.run(0, case.batch));
        assert!(all.y == two.y && all.dx == two.dx, "{:?}", case.norm);
        assert!(all.grads.weight == two.grads.weight && all.grads.scale == two.grads.scale, "{:?}", case.norm);
        for b in 0..case.batch {
            let one = case.run(b, b + 1);
            let at = b * case.len()..(b + 1) * case.len();
            assert!(all.y[at.clone()] == one.y && all.dx[at] == one.dx, "{:?}", case.norm);
        }
    }
}

in_every_version!(
    forward_matches_double_precision,
    gradients_match_central_differences,
    a_large_mean_costs_no_accuracy,
    bits_do_not_depend_on_batch_or_threads,
);
