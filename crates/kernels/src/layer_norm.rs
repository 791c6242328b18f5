//! Layer normalisation (Ba et al., 2016): for each row `xhat = (x - mean) / sqrt(var + eps)`, `y = xhat weight + bias`.

use crate::parallel::Shared;
use crate::simd::{Simd, WIDE, multiversion};
use crate::team::map;

/// Rows of a task; gradients of parameters are summed over them in single precision before going on in double.
const ROWS: usize = 32;

/// Writes the result for rows of `weight.len()` values.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32]) {
    let c = weight.len();
    assert!(bias.len() == c && x.len() == y.len() && x.len().is_multiple_of(c), "rows of {c} values");
    crate::team::parts(y, ROWS * c, |i, y| rows(&x[i * ROWS * c..][..y.len()], weight, bias, eps, y));
}

/// The vector-Jacobian product with `g`: `dx = rstd (u - mean(u) - xhat mean(u xhat))` with `u = g weight`, and if they are
/// asked for the gradients of weight and bias, `sum g xhat` and `sum g` over the rows.
pub fn layer_norm_vjp(
    x: &[f32],
    weight: &[f32],
    eps: f64,
    g: &[f32],
    dx: &mut [f32],
    parameters: bool,
) -> Option<[Vec<f32>; 2]> {
    let c = weight.len();
    assert!(x.len() == dx.len() && x.len() == g.len() && x.len().is_multiple_of(c), "rows of {c} values");
    let dx = Shared::new(dx);
    let sums = map(x.len().div_ceil(ROWS * c), |i| {
        let start = i * ROWS * c;
        let len = (ROWS * c).min(x.len() - start);
        let (x, g) = (&x[start..][..len], &g[start..][..len]);
        let mut sums = [vec![0.0; if parameters { c } else { 0 }], vec![0.0; if parameters { c } else { 0 }]];
        // SAFETY: these rows are this task's.
        rows_vjp(x, weight, eps, g, unsafe { dx.slice(start, len) }, &mut sums);
        sums
    });
    let total = |i: usize| {
        (0..c).map(|j| sums.iter().map(|sums| f64::from(sums[i][j])).sum::<f64>() as f32).collect::<Vec<f32>>()
    };
    parameters.then(|| [total(0), total(1)])
}

multiversion! { fn rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32]) => rows_body }

#[inline(always)]
fn rows_body<S: Simd>(s: S, x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32]) {
    let c = weight.len();
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let (mean, rstd) = moments(s, x, eps);
        for (y, ((&x, &weight), &bias)) in y.iter_mut().zip(x.iter().zip(weight).zip(bias)) {
            *y = s.fma1((x - mean) * rstd, weight, bias);
        }
    }
}

multiversion! {
    fn rows_vjp(x: &[f32], weight: &[f32], eps: f64, g: &[f32], dx: &mut [f32], sums: &mut [Vec<f32>; 2]) => rows_vjp_body
}

#[inline(always)]
fn rows_vjp_body<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    eps: f64,
    g: &[f32],
    dx: &mut [f32],
    sums: &mut [Vec<f32>; 2],
) {
    let c = weight.len();
    for ((x, g), dx) in x.chunks_exact(c).zip(g.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        let (mean, rstd) = moments(s, x, eps);
        let first = (lane_sum(c, |i| g[i] * weight[i]) / c as f64) as f32;
        let second = (lane_sum(c, |i| g[i] * weight[i] * ((x[i] - mean) * rstd)) / c as f64) as f32;
        for (dx, ((&x, &g), &weight)) in dx.iter_mut().zip(x.iter().zip(g).zip(weight)) {
            let xhat = (x - mean) * rstd;
            *dx = rstd * s.fma1(-xhat, second, s.fma1(g, weight, -first));
        }
        let [dw, db] = sums;
        for (((dw, db), &x), &g) in dw.iter_mut().zip(db).zip(x).zip(g) {
            *dw = s.fma1(g, (x - mean) * rstd, *dw);
            *db += g;
        }
    }
}

/// Mean and `1 / sqrt(var + eps)` of a row.
#[inline(always)]
fn moments<S: Simd>(_: S, x: &[f32], eps: f64) -> (f32, f32) {
    let mean = lane_sum(x.len(), |i| x[i]) / x.len() as f64;
    let centre = mean as f32;
    let square = lane_sum(x.len(), |i| (x[i] - centre) * (x[i] - centre)) / x.len() as f64;
    // The centre is rounded: what it misses of the mean belongs to neither.
    let square = square - (mean - f64::from(centre)).powi(2);
    (centre, (1.0 / (square.max(0.0) + eps).sqrt()) as f32)
}

/// `sum_i term(i)`, in [`WIDE`] partial sums, added up in double precision.
#[inline(always)]
fn lane_sum(len: usize, term: impl Fn(usize) -> f32) -> f64 {
    let mut lanes = [0f32; WIDE];
    let whole = len / WIDE * WIDE;
    for i in (0..whole).step_by(WIDE) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(i + lane);
        }
    }
    for i in whole..len {
        lanes[i - whole] += term(i);
    }
    lanes.iter().map(|&lane| f64::from(lane)).sum()
}
