//! Group normalisation with its affine map, modulation and SiLU in one step.

mod block;

use crate::parallel::{Shared, pieces, with_scratch};
use crate::team::{each, parts};
use std::ops::Range;

/// Values of a block of pixels: a block is read several times while it is in cache.
const BLOCK_VALUES: usize = 16 * 1024;

/// Group normalisation (Wu and He, 2018) of NHWC images, without the batch: per sample and group of consecutive channels
/// `xhat = (x - mean) / sqrt(var + eps)`, then `u = (xhat weight + bias) (1 + scale) + shift`, then `y = u` or
/// `y = u sigmoid(u)`.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Groups; they divide the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Ends with `u sigmoid(u)`.
    pub silu: bool,
}

/// The affine maps after the normalisation, and what is added before it.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// Added to every pixel of `x` first, `[batch, channels]`.
    pub before: Option<&'a [f32]>,
    /// `[channels]`.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: &'a [f32],
    /// `scale` and `shift`, each `[batch, channels]`.
    pub modulation: Option<(&'a [f32], &'a [f32])>,
}

impl<'a> Tail<'a> {
    /// What is added to a sample.
    fn before(&self, sample: usize) -> Option<&'a [f32]> {
        let c = self.weight.len();
        self.before.map(|before| &before[sample * c..][..c])
    }
}

/// Mean and `1 / sqrt(var + eps)` of a sample and group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: f32,
    /// One over the standard deviation.
    pub rstd: f32,
}

/// Gradients of [`group_norm`] besides that of `x`.
#[derive(Clone, Debug)]
pub struct GroupNormGrads {
    /// Of what is added before, `[batch, channels]`.
    pub before: Vec<f32>,
    /// `[channels]`.
    pub weight: Vec<f32>,
    /// `[channels]`.
    pub bias: Vec<f32>,
    /// `[batch, channels]`.
    pub scale: Vec<f32>,
    /// `[batch, channels]`.
    pub shift: Vec<f32>,
}

/// Rows of the table of a sample: mean, gain, offset, slope.
const ROWS: usize = 4;

/// What each channel of a sample needs: `u = (x - mean) gain + offset`, with `gain = rstd weight (1 + scale)`; the mean is less
/// what is added to `x`.
#[derive(Clone, Copy)]
struct Table<'a> {
    mean: &'a [f32],
    gain: &'a [f32],
    offset: &'a [f32],
}

/// Writes the result to `y` and returns the moments, `[batch, groups]`.
///
/// Each block of pixels gives each channel's mean and centred sum of squares; these are combined in double precision
/// (Chan, Golub and LeVeque, 1983), so a large mean costs no accuracy.
pub fn group_norm(norm: &GroupNorm, x: &[f32], tail: &Tail, y: &mut [f32]) -> Vec<Moments> {
    norm.check(x, tail);
    assert_eq!(x.len(), y.len());
    let (c, per_sample) = (norm.channels, norm.blocks_per_sample());
    let samples = x.len() / norm.sample_len();
    let mut sums = vec![0.0; samples * per_sample * 2 * c]; // [block][2][channel]
    parts(&mut sums, 2 * c, |i, sums| {
        with_scratch(2 * c, |scratch| block::spread(c, &x[norm.block(i)], scratch, sums));
    });
    let mut moments = Vec::with_capacity(samples * norm.groups);
    let mut tables = vec![0.0; samples * ROWS * c];
    for (sample, sums) in sums.chunks_exact(per_sample * 2 * c).enumerate() {
        norm.combine(sums, tail.before(sample), &mut moments);
        let moments = &moments[sample * norm.groups..];
        norm.fill(sample, moments, tail, &mut tables[sample * ROWS * c..]);
    }
    let y = Shared::new(y);
    each(samples * per_sample, |i| {
        let block = norm.block(i);
        let (table, _) = norm.table(&tables, i / per_sample);
        // SAFETY: the block is this task's.
        let y = unsafe { y.slice(block.start, block.len()) };
        block::apply(table, norm.silu, &x[block], y);
    });
    moments
}

/// The vector-Jacobian product of [`group_norm`] with `g`, recomputing what lies between `x` and `y`. The other gradients are
/// computed if `parameters` is true.
///
/// With `du = g dy/du`, `s1 = sum du` and `s2 = sum du xhat` over the pixels of a channel, and `affine = weight (1 + scale)`:
/// `dx = rstd (du affine - mean(affine s1) - xhat mean(affine s2))`, means over the elements of the group.
pub fn group_norm_vjp(
    norm: &GroupNorm,
    x: &[f32],
    moments: &[Moments],
    tail: &Tail,
    g: &[f32],
    dx: &mut [f32],
    parameters: bool,
) -> Option<GroupNormGrads> {
    let sums = input_grad(norm, x, moments, tail, g, &[], dx);
    let block_sums = norm.blocks_per_sample() * 2 * norm.channels;
    let totals = || sums.chunks_exact(block_sums).map(|sums| sums[..2 * norm.channels].split_at(norm.channels));
    parameters.then(|| norm.parameter_grads(totals, tail, dx))
}

/// The gradient of `x` as [`group_norm_vjp`] computes it, plus `onto`: what reaches `x` on another way, past the normalisation.
pub fn group_norm_vjp_onto(
    norm: &GroupNorm,
    x: &[f32],
    moments: &[Moments],
    tail: &Tail,
    g: &[f32],
    onto: &[f32],
    dx: &mut [f32],
) {
    assert_eq!(onto.len(), x.len(), "another gradient of x");
    input_grad(norm, x, moments, tail, g, onto, dx);
}

/// Writes the gradient of `x`, plus `onto` if it is not empty. Of each sample's sums the first `[2][channel]` are those of its
/// pixels, of `du` and of `du xhat`.
fn input_grad(
    norm: &GroupNorm,
    x: &[f32],
    moments: &[Moments],
    tail: &Tail,
    g: &[f32],
    onto: &[f32],
    dx: &mut [f32],
) -> Vec<f64> {
    norm.check(x, tail);
    assert!(x.len() == g.len() && dx.len() == x.len());
    let (c, per_sample) = (norm.channels, norm.blocks_per_sample());
    let samples = x.len() / norm.sample_len();
    assert_eq!(moments.len(), samples * norm.groups, "moments of each sample and group");
    let mut tables = vec![0.0; samples * ROWS * c];
    for (sample, (table, moments)) in tables.chunks_exact_mut(ROWS * c).zip(moments.chunks(norm.groups)).enumerate() {
        norm.fill(sample, moments, tail, table);
    }
    let shared = Shared::new(dx);
    let mut sums = vec![0.0; samples * per_sample * 2 * c]; // [block][2][channel]
    parts(&mut sums, 2 * c, |i, sums| {
        let block = norm.block(i);
        let (table, _) = norm.table(&tables, i / per_sample);
        // SAFETY: the block is this task's.
        let du = unsafe { shared.slice(block.start, block.len()) };
        let (x, g) = (&x[block.clone()], &g[block]);
        with_scratch(2 * c, |scratch| block::slopes(table, norm.silu, x, g, du, scratch, sums));
    });
    for sample in 0..samples {
        let (total, others) = sums[sample * per_sample * 2 * c..][..per_sample * 2 * c].split_at_mut(2 * c);
        for sums in others.chunks_exact(2 * c) {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let moments = &moments[sample * norm.groups..][..norm.groups];
        norm.turn(moments, total, &mut tables[sample * ROWS * c..][..ROWS * c]);
    }
    each(samples * per_sample, |i| {
        let block = norm.block(i);
        let (table, slope) = norm.table(&tables, i / per_sample);
        // SAFETY: as above; those tasks are done.
        let dx = unsafe { shared.slice(block.start, block.len()) };
        let onto = if onto.is_empty() { onto } else { &onto[block.clone()] };
        block::finish(table, slope, &x[block], onto, dx);
    });
    sums
}

impl GroupNorm {
    fn sample_len(&self) -> usize {
        self.pixels * self.channels
    }

    fn group_len(&self) -> usize {
        self.channels / self.groups
    }

    /// Values of a block of whole pixels.
    fn block_len(&self) -> usize {
        (BLOCK_VALUES / self.channels).max(1) * self.channels
    }

    fn blocks_per_sample(&self) -> usize {
        self.sample_len().div_ceil(self.block_len())
    }

    /// The values of block `i` of a batch; none goes across samples.
    fn block(&self, i: usize) -> Range<usize> {
        let (sample, i) = (i / self.blocks_per_sample(), i % self.blocks_per_sample());
        let (start, within) = (sample * self.sample_len(), pieces(self.sample_len(), self.block_len())(i));
        start + within.start..start + within.end
    }

    /// A sample's part of the tables, and its last row.
    fn table<'a>(&self, tables: &'a [f32], sample: usize) -> (Table<'a>, &'a [f32]) {
        let row = |i: usize| &tables[(sample * ROWS + i) * self.channels..][..self.channels];
        (Table { mean: row(0), gain: row(1), offset: row(2) }, row(3))
    }

    fn check(&self, x: &[f32], tail: &Tail) {
        assert!(self.groups > 0 && self.channels.is_multiple_of(self.groups), "groups divide channels: {self:?}");
        assert!(self.sample_len() > 0 && x.len().is_multiple_of(self.sample_len()), "images of {self:?}");
        assert!(tail.weight.len() == self.channels && tail.bias.len() == self.channels, "weight and bias");
        let len = x.len() / self.pixels;
        assert!(tail.before.is_none_or(|before| before.len() == len), "what is added to each sample and channel");
        if let Some((scale, shift)) = tail.modulation {
            assert!(scale.len() == len && shift.len() == len, "scale and shift for each sample and channel");
        }
    }

    /// Appends the moments of a sample's groups from its blocks' sums, the means and the centred squares.
    fn combine(&self, sums: &[f64], before: Option<&[f32]>, moments: &mut Vec<Moments>) {
        let c = self.channels;
        let count = (self.pixels * self.group_len()) as f64;
        for first in (0..c).step_by(self.group_len()) {
            let channels = first..first + self.group_len();
            // Pixels, mean and centred square of each block and channel.
            let each = || {
                sums.chunks_exact(2 * c).enumerate().flat_map(|(i, sums)| {
                    let pixels = (self.block(i).len() / c) as f64;
                    channels.clone().map(move |c_| {
                        let before = before.map_or(0.0, |before| f64::from(before[c_]));
                        (pixels, sums[c_] + before, sums[c + c_])
                    })
                })
            };
            let mean = each().map(|(n, mean, _)| n * mean).sum::<f64>() / count;
            let square = each().map(|(n, m, square)| square + n * (m - mean) * (m - mean)).sum::<f64>() / count;
            moments.push(Moments { mean: mean as f32, rstd: (1.0 / (square + self.eps).sqrt()) as f32 });
        }
    }

    /// `weight (1 + scale)` and `bias (1 + scale) + shift` of a channel.
    fn affine(&self, sample: usize, c: usize, tail: &Tail) -> (f32, f32) {
        match tail.modulation {
            Some((scale, shift)) => {
                let (scale, shift) = (1.0 + scale[sample * self.channels + c], shift[sample * self.channels + c]);
                (tail.weight[c] * scale, tail.bias[c] * scale + shift)
            }
            None => (tail.weight[c], tail.bias[c]),
        }
    }

    /// Fills a sample's table but for the slopes.
    fn fill(&self, sample: usize, moments: &[Moments], tail: &Tail, table: &mut [f32]) {
        let c = self.channels;
        let before = tail.before(sample);
        for (group, moments) in moments.iter().enumerate().take(self.groups) {
            for i in group * self.group_len()..(group + 1) * self.group_len() {
                let (affine, offset) = self.affine(sample, i, tail);
                table[i] = moments.mean - before.map_or(0.0, |before| before[i]);
                table[c + i] = moments.rstd * affine;
                table[2 * c + i] = offset;
            }
        }
    }

    /// Makes a sample's table that of the gradient, `dx = du gain + (x - mean) slope + offset`, from the sums of `du` and of
    /// `du (x - mean)`; the latter become those of `du xhat`.
    fn turn(&self, moments: &[Moments], total: &mut [f64], table: &mut [f32]) {
        let c = self.channels;
        let count = (self.pixels * self.group_len()) as f64;
        for (group, moments) in moments.iter().enumerate() {
            let channels = group * self.group_len()..(group + 1) * self.group_len();
            let mut means = [0.0; 2];
            for i in channels.clone() {
                total[c + i] *= f64::from(moments.rstd);
                // The gain is `rstd affine`: one factor of the formula is in it.
                means[0] += total[i] * f64::from(table[c + i]);
                means[1] += total[c + i] * f64::from(table[c + i]);
            }
            table[2 * c..][channels.clone()].fill((-means[0] / count) as f32);
            table[3 * c..][channels].fill((-means[1] / count) as f32 * moments.rstd);
        }
    }

    /// Sums over the batch in order, from each sample's `s1` and `s2`, and over the pixels of `dx`.
    fn parameter_grads<'a, I: Iterator<Item = (&'a [f64], &'a [f64])>>(
        &self,
        totals: impl Fn() -> I,
        tail: &Tail,
        dx: &[f32],
    ) -> GroupNormGrads {
        let c = self.channels;
        let (mut weight, mut bias) = (vec![0.0; c], vec![0.0; c]);
        for (sample, (first, second)) in totals().enumerate() {
            for i in 0..c {
                let factor = tail.modulation.map_or(1.0, |(scale, _)| 1.0 + f64::from(scale[sample * c + i]));
                weight[i] += factor * second[i];
                bias[i] += factor * first[i];
            }
        }
        let single = |sums: Vec<f64>| sums.into_iter().map(|sum| sum as f32).collect();
        let scale = |(first, second): (&'a [f64], &'a [f64])| {
            let terms = tail.weight.iter().zip(tail.bias).zip(first.iter().zip(second));
            terms.map(|((&w, &b), (s1, s2))| (f64::from(w) * s2 + f64::from(b) * s1) as f32).collect::<Vec<_>>()
        };
        let pixels = |sample: &[f32]| {
            let mut sums = vec![0f64; c];
            for pixel in sample.chunks_exact(c) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &dx)| *sum += f64::from(dx));
            }
            sums.into_iter().map(|sum| sum as f32)
        };
        GroupNormGrads {
            before: if tail.before.is_some() {
                dx.chunks(self.sample_len()).flat_map(pixels).collect()
            } else {
                vec![]
            },
            weight: single(weight),
            bias: single(bias),
            scale: totals().flat_map(scale).collect(),
            shift: totals().flat_map(|(first, _)| first.iter().map(|&s| s as f32)).collect(),
        }
    }
}
