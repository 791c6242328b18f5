//! Changes of resolution.

use crate::simd::{Simd, multiversion};
use crate::team::parts;

/// Repeats every pixel of NHWC images twice in both directions; `x` has rows of `width` pixels of `channels`.
pub fn upsample2(width: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    let row = width * channels;
    assert!(x.len().is_multiple_of(row) && y.len() == 4 * x.len());
    parts(y, 4 * row, |i, y| {
        let (upper, lower) = y.split_at_mut(2 * row);
        for (pair, pixel) in upper.chunks_exact_mut(2 * channels).zip(x[i * row..].chunks_exact(channels)) {
            pair[..channels].copy_from_slice(pixel);
            pair[channels..].copy_from_slice(pixel);
        }
        lower.copy_from_slice(upper);
    });
}

/// The adjoint of [`upsample2`]: each pixel of `dx` is the sum of its four in `g`; `width` is that of `dx`.
pub fn upsample2_vjp(width: usize, channels: usize, g: &[f32], dx: &mut [f32]) {
    pool(width, channels, 1.0, g, dx);
}

/// Means of squares of 2x2 pixels; `width` is that of `y`.
pub fn average_pool2(width: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    pool(width, channels, 0.25, x, y);
}

/// The adjoint of [`average_pool2`]: a quarter of each pixel of `g` for its four in `dx`; `width` is that of `g`.
pub fn average_pool2_vjp(width: usize, channels: usize, g: &[f32], dx: &mut [f32]) {
    let row = width * channels;
    assert!(g.len().is_multiple_of(row) && dx.len() == 4 * g.len());
    parts(dx, 4 * row, |i, dx| {
        let (upper, lower) = dx.split_at_mut(2 * row);
        for (pair, pixel) in upper.chunks_exact_mut(2 * channels).zip(g[i * row..].chunks_exact(channels)) {
            let (first, second) = pair.split_at_mut(channels);
            for ((first, second), value) in first.iter_mut().zip(second).zip(pixel) {
                (*first, *second) = (value * 0.25, value * 0.25);
            }
        }
        lower.copy_from_slice(upper);
    });
}

fn pool(width: usize, channels: usize, factor: f32, x: &[f32], y: &mut [f32]) {
    let row = width * channels;
    assert!(y.len().is_multiple_of(row) && x.len() == 4 * y.len());
    parts(y, row, |i, y| pool_row(channels, factor, &x[i * 4 * row..][..4 * row], y));
}

multiversion! { fn pool_row(channels: usize, factor: f32, x: &[f32], y: &mut [f32]) => pool_row_body }

#[inline(always)]
fn pool_row_body<S: Simd>(_: S, channels: usize, factor: f32, x: &[f32], y: &mut [f32]) {
    let (upper, lower) = x.split_at(2 * y.len());
    let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
    for (pixel, (a, b)) in y.chunks_exact_mut(channels).zip(pairs) {
        let (a, b) = (a.split_at(channels), b.split_at(channels));
        let four = a.0.iter().zip(a.1).zip(b.0.iter().zip(b.1));
        for (value, ((a0, a1), (b0, b1))) in pixel.iter_mut().zip(four) {
            *value = ((a0 + a1) + (b0 + b1)) * factor;
        }
    }
}
