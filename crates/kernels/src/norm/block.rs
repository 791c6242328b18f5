//! Group normalisation on a block of pixels.

use super::Table;
use crate::elementwise::{silu_slope, silu1};
use crate::simd::{Simd, WIDE, multiversion};

/// Pixels whose values are added in single precision before going on in double.
const RUN: usize = 32;

multiversion! {
    /// Adds to `sums` the mean and the centred sum of squares of each channel; `sums` comes as zeros, `[2][channel]`.
    /// `scratch` holds twice the channels.
    pub(super) fn spread(channels: usize, x: &[f32], scratch: &mut [f32], sums: &mut [f64]) => spread_body
}

#[inline(always)]
fn spread_body<S: Simd>(s: S, c: usize, x: &[f32], scratch: &mut [f32], sums: &mut [f64]) {
    let pixels = (x.len() / c) as f64;
    let (run, mean) = scratch.split_at_mut(c);
    let (first, second) = sums.split_at_mut(c);
    for pixels in x.chunks(c * RUN) {
        run.fill(0.0);
        for pixel in pixels.chunks_exact(c) {
            lanes(s, [pixel], run, |s, [x], sum| s.add(sum, x), |[x], sum| sum + x);
        }
        drain(run, first);
    }
    for (first, mean) in first.iter_mut().zip(&mut *mean) {
        *first /= pixels;
        *mean = *first as f32;
    }
    let mean = &*mean;
    for pixels in x.chunks(c * RUN) {
        run.fill(0.0);
        for pixel in pixels.chunks_exact(c) {
            lanes(
                s,
                [pixel, mean],
                run,
                |s, [x, mean], sum| s.fma(s.sub(x, mean), s.sub(x, mean), sum),
                |[x, mean], sum| s.fma1(x - mean, x - mean, sum),
            );
        }
        drain(run, second);
    }
}

multiversion! {
    /// `y` of a block from its `x`.
    pub(super) fn apply(table: Table, silu: bool, x: &[f32], y: &mut [f32]) => apply_body
}

#[inline(always)]
fn apply_body<S: Simd>(s: S, table: Table, silu: bool, x: &[f32], y: &mut [f32]) {
    let c = table.mean.len();
    if silu && c.is_multiple_of(WIDE) {
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            pixel(s, (table.mean, table.gain, table.offset), x, y);
        }
        return;
    }
    // Whole runs go through the activation, since few channels are no long loop.
    for (x, y) in x.chunks(c * RUN).zip(y.chunks_mut(c * RUN)) {
        affine(s, &table, x, y);
        if silu {
            for y in y {
                *y = silu1(s, *y);
            }
        }
    }
}

/// `y` of a pixel of whole vectors, with SiLU: nothing is written between the affine map and the activation.
#[inline(always)]
fn pixel<S: Simd>(s: S, (mean, gain, offset): (&[f32], &[f32], &[f32]), x: &[f32], y: &mut [f32]) {
    let tables = mean.iter().zip(gain).zip(offset);
    for ((y, &x), ((&mean, &gain), &offset)) in y.iter_mut().zip(x).zip(tables) {
        *y = silu1(s, s.fma1(x - mean, gain, offset));
    }
}

/// `(x - mean) gain + offset`.
#[inline(always)]
fn affine<S: Simd>(s: S, table: &Table, x: &[f32], u: &mut [f32]) {
    let c = table.mean.len();
    for (x, u) in x.chunks_exact(c).zip(u.chunks_exact_mut(c)) {
        lanes(
            s,
            [x, table.mean, table.gain, table.offset],
            u,
            |s, [x, mean, gain, offset], _| s.fma(s.sub(x, mean), gain, offset),
            |[x, mean, gain, offset], _| s.fma1(x - mean, gain, offset),
        );
    }
}

multiversion! {
    /// Writes `du`, the gradient of the value before SiLU, and adds to `sums` those of `du` and of `du (x - mean)`,
    /// `[2][channel]`. `scratch` holds twice the channels.
    pub(super) fn slopes(
        table: Table,
        silu: bool,
        x: &[f32],
        g: &[f32],
        du: &mut [f32],
        scratch: &mut [f32],
        sums: &mut [f64],
    ) => slopes_body
}

#[inline(always)]
fn slopes_body<S: Simd>(
    s: S,
    table: Table,
    silu: bool,
    x: &[f32],
    g: &[f32],
    du: &mut [f32],
    scratch: &mut [f32],
    sums: &mut [f64],
) {
    let c = table.mean.len();
    let (first, second) = scratch.split_at_mut(c);
    let (first_sums, second_sums) = sums.split_at_mut(c);
    for ((x, g), du) in x.chunks(c * RUN).zip(g.chunks(c * RUN)).zip(du.chunks_mut(c * RUN)) {
        if silu && c.is_multiple_of(WIDE) {
            first.fill(0.0);
            second.fill(0.0);
            for ((x, g), du) in x.chunks_exact(c).zip(g.chunks_exact(c)).zip(du.chunks_exact_mut(c)) {
                pixel_slope(s, (table.mean, table.gain, table.offset), [x, g], du, first, second);
            }
            drain(first, first_sums);
            drain(second, second_sums);
            continue;
        }
        if silu {
            affine(s, &table, x, du);
            for (du, &g) in du.iter_mut().zip(g) {
                *du = g * silu_slope(s, *du);
            }
        } else {
            du.copy_from_slice(g);
        }
        first.fill(0.0);
        second.fill(0.0);
        for (x, du) in x.chunks_exact(c).zip(du.chunks_exact(c)) {
            lanes(s, [du], first, |s, [du], sum| s.add(sum, du), |[du], sum| sum + du);
            lanes(
                s,
                [du, x, table.mean],
                second,
                |s, [du, x, mean], sum| s.fma(du, s.sub(x, mean), sum),
                |[du, x, mean], sum| s.fma1(du, x - mean, sum),
            );
        }
        drain(first, first_sums);
        drain(second, second_sums);
    }
}

/// `du` of a pixel of whole vectors, with SiLU, and what it adds to the sums of `du` and of `du (x - mean)`.
#[inline(always)]
fn pixel_slope<S: Simd>(
    s: S,
    (mean, gain, offset): (&[f32], &[f32], &[f32]),
    [x, g]: [&[f32]; 2],
    du: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let (tables, sums) = (mean.iter().zip(gain).zip(offset), first.iter_mut().zip(second));
    for ((du, (&x, &g)), (((&mean, &gain), &offset), (first, second))) in
        du.iter_mut().zip(x.iter().zip(g)).zip(tables.zip(sums))
    {
        let centred = x - mean;
        *du = g * silu_slope(s, s.fma1(centred, gain, offset));
        *first += *du;
        *second = s.fma1(*du, centred, *second);
    }
}

multiversion! {
    /// Turns `du` into `dx = du gain + (x - mean) slope + offset`, plus `onto` if it is not empty.
    pub(super) fn finish(table: Table, slope: &[f32], x: &[f32], onto: &[f32], dx: &mut [f32]) => finish_body
}

#[inline(always)]
fn finish_body<S: Simd>(s: S, table: Table, slope: &[f32], x: &[f32], onto: &[f32], dx: &mut [f32]) {
    let c = table.mean.len();
    if !onto.is_empty() {
        for ((dx, x), onto) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(onto.chunks_exact(c)) {
            lanes(
                s,
                [x, table.mean, table.gain, table.offset, slope, onto],
                dx,
                |s, [x, mean, gain, offset, slope, onto], du| {
                    s.add(s.fma(du, gain, s.fma(s.sub(x, mean), slope, offset)), onto)
                },
                |[x, mean, gain, offset, slope, onto], du| s.fma1(du, gain, s.fma1(x - mean, slope, offset)) + onto,
            );
        }
        return;
    }
    for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        lanes(
            s,
            [x, table.mean, table.gain, table.offset, slope],
            dx,
            |s, [x, mean, gain, offset, slope], du| s.fma(du, gain, s.fma(s.sub(x, mean), slope, offset)),
            |[x, mean, gain, offset, slope], du| s.fma1(du, gain, s.fma1(x - mean, slope, offset)),
        );
    }
}

/// `y[i] = f(inputs[..][i], y[i])`, in vectors and then for single values, which must agree.
///
/// The compiler left short rows of its own loops to single values.
#[inline(always)]
fn lanes<S: Simd, const N: usize>(
    s: S,
    inputs: [&[f32]; N],
    y: &mut [f32],
    vector: impl Fn(S, [S::V; N], S::V) -> S::V,
    single: impl Fn([f32; N], f32) -> f32,
) {
    let len = y.len();
    assert!(inputs.iter().all(|input| input.len() == len));
    let whole = len / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: `i + S::LANES <= len`, the length of each input and of `y`.
        unsafe {
            let mut at = [s.splat(0.0); N];
            for n in 0..N {
                at[n] = s.load(inputs[n].as_ptr().add(i));
            }
            let y = y.as_mut_ptr().add(i);
            s.store(y, vector(s, at, s.load(y)));
        }
    }
    for i in whole..len {
        let mut at = [0.0; N];
        for n in 0..N {
            at[n] = inputs[n][i];
        }
        y[i] = single(at, y[i]);
    }
}

#[inline(always)]
fn drain(run: &[f32], sums: &mut [f64]) {
    sums.iter_mut().zip(run).for_each(|(sum, &run)| *sum += f64::from(run));
}
