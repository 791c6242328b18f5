//! Group normalisation on a block of pixels.

use super::Channels;
use crate::elementwise::{silu_slope, silu1};
use crate::simd::{Simd, multiversion};

/// Pixels whose values are added in single precision before going on in double.
const RUN: usize = 32;

/// Two sums for each channel, over some pixels.
pub(super) struct Sums {
    pub pixels: f64,
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

/// Adds up sums of blocks, in order.
pub(super) fn total(parts: &[Sums]) -> Sums {
    let channels = parts.first().map_or(0, |part| part.first.len());
    let sum = |of: fn(&Sums) -> &[f64]| (0..channels).map(|c| parts.iter().map(|part| of(part)[c]).sum()).collect();
    Sums { pixels: parts.iter().map(|part| part.pixels).sum(), first: sum(|p| &p.first), second: sum(|p| &p.second) }
}

multiversion! {
    /// Mean (`first`) and centred sum of squares (`second`) of each channel.
    pub(super) fn spread(channels: usize, x: &[f32]) -> Sums => spread_body
}

#[inline(always)]
fn spread_body<S: Simd>(s: S, channels: usize, x: &[f32]) -> Sums {
    let pixels = (x.len() / channels) as f64;
    let mut run = vec![0.0; channels];
    let mut first = vec![0.0; channels];
    for pixels in x.chunks(channels * RUN) {
        run.fill(0.0);
        for pixel in pixels.chunks_exact(channels) {
            run.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += x);
        }
        drain(&run, &mut first);
    }
    for sum in &mut first {
        *sum /= pixels;
    }

    let mean: Vec<f32> = first.iter().map(|&mean| mean as f32).collect();
    let mut second = vec![0.0; channels];
    for pixels in x.chunks(channels * RUN) {
        run.fill(0.0);
        for pixel in pixels.chunks_exact(channels) {
            for ((sum, &x), &mean) in run.iter_mut().zip(pixel).zip(&mean) {
                *sum = s.fma1(x - mean, x - mean, *sum);
            }
        }
        drain(&run, &mut second);
    }
    Sums { pixels, first, second }
}

multiversion! {
    /// `y` of a block from its `x`.
    pub(super) fn apply(channels: &Channels, silu: bool, x: &[f32], y: &mut [f32]) => apply_body
}

#[inline(always)]
fn apply_body<S: Simd>(s: S, channels: &Channels, silu: bool, x: &[f32], y: &mut [f32]) {
    let c = channels.mean.len();
    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        let terms = x.iter().zip(&channels.mean).zip(&channels.gain).zip(&channels.offset);
        for (y, (((&x, &mean), &gain), &offset)) in y.iter_mut().zip(terms) {
            *y = s.fma1(x - mean, gain, offset);
        }
        if silu {
            for y in y.iter_mut() {
                *y = silu1(s, *y);
            }
        }
    }
}

multiversion! {
    /// Writes `du`, the gradient of the value before SiLU, and returns its sums alone and times `xhat`.
    pub(super) fn slopes(channels: &Channels, silu: bool, x: &[f32], g: &[f32], du: &mut [f32]) -> Sums => slopes_body
}

#[inline(always)]
fn slopes_body<S: Simd>(s: S, channels: &Channels, silu: bool, x: &[f32], g: &[f32], du: &mut [f32]) -> Sums {
    let c = channels.mean.len();
    let mut runs = [vec![0.0; c], vec![0.0; c]];
    let mut sums = Sums { pixels: (x.len() / c) as f64, first: vec![0.0; c], second: vec![0.0; c] };
    for ((x, g), du) in x.chunks(c * RUN).zip(g.chunks(c * RUN)).zip(du.chunks_mut(c * RUN)) {
        for run in &mut runs {
            run.fill(0.0);
        }
        let [first, second] = &mut runs;
        for ((x, g), du) in x.chunks_exact(c).zip(g.chunks_exact(c)).zip(du.chunks_exact_mut(c)) {
            if silu {
                let terms = x.iter().zip(g).zip(&channels.mean).zip(&channels.gain).zip(&channels.offset);
                for (du, ((((&x, &g), &mean), &gain), &offset)) in du.iter_mut().zip(terms) {
                    *du = g * silu_slope(s, s.fma1(x - mean, gain, offset));
                }
            } else {
                du.copy_from_slice(g);
            }
            first.iter_mut().zip(&*du).for_each(|(sum, &du)| *sum += du);
            for (((sum, &du), &x), &mean) in second.iter_mut().zip(&*du).zip(x).zip(&channels.mean) {
                *sum = s.fma1(du, x - mean, *sum);
            }
        }
        drain(first, &mut sums.first);
        drain(second, &mut sums.second);
    }
    // The sums above are of `du (x - mean)`.
    sums.second.iter_mut().zip(&channels.rstd).for_each(|(sum, &rstd)| *sum *= f64::from(rstd));
    sums
}

multiversion! {
    /// Turns `du` into `dx`, given the two means of the formula.
    pub(super) fn finish(channels: &Channels, means: &[Vec<f32>; 2], x: &[f32], dx: &mut [f32]) => finish_body
}

#[inline(always)]
fn finish_body<S: Simd>(s: S, channels: &Channels, means: &[Vec<f32>; 2], x: &[f32], dx: &mut [f32]) {
    let c = channels.mean.len();
    let shift: Vec<f32> = means[0].iter().zip(&channels.rstd).map(|(m, rstd)| -m * rstd).collect();
    let slope: Vec<f32> = means[1].iter().zip(&channels.rstd).map(|(m, rstd)| -m * rstd * rstd).collect();
    for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        let terms = x.iter().zip(&channels.mean).zip(&channels.gain).zip(&shift).zip(&slope);
        for (dx, ((((&x, &mean), &gain), &shift), &slope)) in dx.iter_mut().zip(terms) {
            *dx = s.fma1(*dx, gain, s.fma1(x - mean, slope, shift));
        }
    }
}

#[inline(always)]
fn drain(run: &[f32], sums: &mut [f64]) {
    sums.iter_mut().zip(run).for_each(|(sum, &run)| *sum += f64::from(run));
}
