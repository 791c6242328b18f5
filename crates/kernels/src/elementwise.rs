//! SiLU and nearest-neighbour upsampling.

use crate::simd::{Simd, multiversion};
use rayon::prelude::*;

/// Values of a task, small enough for the nearest cache.
const PIECE: usize = 4096;

/// `exp(x)` for `x` clamped to `[-87, 88]`, relative error below 3e-7.
///
/// `exp(x) = 2^n exp(r)` with `n = round(x / ln 2)` and `|r| <= ln(2) / 2`, and the Taylor polynomial of degree 6 for
/// `exp(r)`: its remainder is below `r^7 / 7! * 1.5 < 2e-7`, and rounding adds about one unit in the last place. There are
/// no branches or calls, so the compiler vectorises loops around it.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: f32) -> f32 {
    // Added to a small number, leaves its rounded integer in the low bits.
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    // ln 2 in two parts, so that n times the first is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = s.fma1(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = s.fma1(n, -LN2_LOW, s.fma1(n, -LN2_HIGH, x));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma1(p, r, c);
    }
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu1<S: Simd>(s: S, x: f32) -> f32 {
    x / (1.0 + exp(s, -x))
}

/// The derivative of `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu_slope<S: Simd>(s: S, x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp(s, -x));
    sigmoid * s.fma1(x, 1.0 - sigmoid, 1.0)
}

#[inline(always)]
fn silu_piece<S: Simd>(s: S, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = silu1(s, x);
    }
}

#[inline(always)]
fn silu_vjp_piece<S: Simd>(s: S, x: &[f32], g: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
        *dx = g * silu_slope(s, x);
    }
}

multiversion! { fn silu_fast(x: &[f32], y: &mut [f32]) => silu_piece }
multiversion! { fn silu_vjp_fast(x: &[f32], g: &[f32], dx: &mut [f32]) => silu_vjp_piece }

/// `y = x sigmoid(x)`.
pub fn silu(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| silu_fast(x, y));
}

/// `dx = g` times the derivative of [`silu`] at `x`.
pub fn silu_vjp(x: &[f32], g: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dx.len() && x.len() == g.len());
    dx.par_chunks_mut(PIECE)
        .zip(x.par_chunks(PIECE))
        .zip(g.par_chunks(PIECE))
        .for_each(|((dx, x), g)| silu_vjp_fast(x, g, dx));
}

/// Repeats every pixel of NHWC images twice in both directions; `x` has rows of `width` pixels of `channels`.
pub fn upsample2(width: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    let row = width * channels;
    assert!(x.len().is_multiple_of(row) && y.len() == 4 * x.len());
    y.par_chunks_mut(4 * row).zip(x.par_chunks(row)).for_each(|(y, x)| {
        let (upper, lower) = y.split_at_mut(2 * row);
        for (pair, pixel) in upper.chunks_exact_mut(2 * channels).zip(x.chunks_exact(channels)) {
            pair[..channels].copy_from_slice(pixel);
            pair[channels..].copy_from_slice(pixel);
        }
        lower.copy_from_slice(upper);
    });
}

/// The adjoint of [`upsample2`]: each pixel of `dx` is the sum of its four in `g`; `width` is that of `dx`.
pub fn upsample2_vjp(width: usize, channels: usize, g: &[f32], dx: &mut [f32]) {
    let row = width * channels;
    assert!(dx.len().is_multiple_of(row) && g.len() == 4 * dx.len());
    dx.par_chunks_mut(row).zip(g.par_chunks(4 * row)).for_each(|(dx, g)| {
        let (upper, lower) = g.split_at(2 * row);
        let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (pixel, (a, b)) in dx.chunks_exact_mut(channels).zip(pairs) {
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = (a[c] + a[c + channels]) + (b[c] + b[c + channels]);
            }
        }
    });
}
