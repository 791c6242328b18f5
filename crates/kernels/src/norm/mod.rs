//! Group normalisation with its affine map, modulation and SiLU in one step.

mod block;

use crate::parallel::{Shared, pieces};
use crate::team::{each, map};
use block::Sums;
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

/// What each channel of a sample needs: `u = (x - mean) gain + offset`, with `gain = rstd affine`; the mean is less what is
/// added to `x`.
struct Channels {
    mean: Vec<f32>,
    rstd: Vec<f32>,
    affine: Vec<f32>,
    gain: Vec<f32>,
    offset: Vec<f32>,
}

/// Writes the result to `y` and returns the moments, `[batch, groups]`.
///
/// Each block of pixels gives each channel's mean and centred sum of squares; these are combined in double precision
/// (Chan, Golub and LeVeque, 1983), so a large mean costs no accuracy.
pub fn group_norm(norm: &GroupNorm, x: &[f32], tail: &Tail, y: &mut [f32]) -> Vec<Moments> {
    norm.check(x, tail);
    assert_eq!(x.len(), y.len());
    let blocks = norm.blocks(x.len());
    let parts = map(blocks.len(), |i| block::spread(norm.channels, &x[blocks[i].clone()]));
    let per_sample = norm.blocks_per_sample();
    let samples = parts.chunks(per_sample).enumerate();
    let moments: Vec<Vec<Moments>> = samples.map(|(sample, parts)| norm.combine(parts, tail.before(sample))).collect();
    let channels: Vec<Channels> =
        moments.iter().enumerate().map(|(sample, moments)| norm.channels_of(sample, moments, tail)).collect();
    let y = Shared::new(y);
    each(blocks.len(), |i| {
        let block = blocks[i].clone();
        // SAFETY: the block is this task's.
        let y = unsafe { y.slice(block.start, block.len()) };
        block::apply(&channels[i / per_sample], norm.silu, &x[block], y);
    });
    moments.concat()
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
    norm.check(x, tail);
    assert!(x.len() == g.len() && dx.len() == x.len());
    let (blocks, per_sample) = (norm.blocks(x.len()), norm.blocks_per_sample());
    let channels: Vec<Channels> =
        moments.chunks(norm.groups).enumerate().map(|(i, moments)| norm.channels_of(i, moments, tail)).collect();
    let shared = Shared::new(dx);
    let parts = map(blocks.len(), |i| {
        let block = blocks[i].clone();
        // SAFETY: the block is this task's.
        let du = unsafe { shared.slice(block.start, block.len()) };
        block::slopes(&channels[i / per_sample], norm.silu, &x[block.clone()], &g[block], du)
    });
    let totals: Vec<Sums> = parts.chunks(per_sample).map(block::total).collect();
    let means: Vec<_> =
        channels.iter().zip(&totals).map(|(channels, total)| norm.group_means(channels, total)).collect();
    each(blocks.len(), |i| {
        let (block, sample) = (blocks[i].clone(), i / per_sample);
        // SAFETY: as above; those tasks are done.
        let dx = unsafe { shared.slice(block.start, block.len()) };
        block::finish(&channels[sample], &means[sample], &x[block], dx);
    });
    parameters.then(|| norm.parameter_grads(&totals, tail, dx))
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

    /// The blocks of a batch of `len` values, none across samples.
    fn blocks(&self, len: usize) -> Vec<Range<usize>> {
        let within = pieces(self.sample_len(), self.block_len());
        let samples = (0..len).step_by(self.sample_len());
        let of_sample =
            |start: usize| (0..self.blocks_per_sample()).map(&within).map(move |r| start + r.start..start + r.end);
        samples.flat_map(of_sample).collect()
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

    /// Moments of a sample's groups from the blocks' sums: `first` the means, `second` the centred squares.
    fn combine(&self, parts: &[Sums], before: Option<&[f32]>) -> Vec<Moments> {
        let count = (self.pixels * self.group_len()) as f64;
        let mean = |part: &Sums, c: usize| part.first[c] + before.map_or(0.0, |before| f64::from(before[c]));
        let group = |i: usize| {
            let channels = i * self.group_len()..(i + 1) * self.group_len();
            let each = || {
                parts
                    .iter()
                    .flat_map(|part| channels.clone().map(move |c| (part.pixels, mean(part, c), part.second[c])))
            };
            let mean = each().map(|(n, mean, _)| n * mean).sum::<f64>() / count;
            let square = each().map(|(n, m, square)| square + n * (m - mean) * (m - mean)).sum::<f64>() / count;
            Moments { mean: mean as f32, rstd: (1.0 / (square + self.eps).sqrt()) as f32 }
        };
        (0..self.groups).map(group).collect()
    }

    fn channels_of(&self, sample: usize, moments: &[Moments], tail: &Tail) -> Channels {
        let spread = |of: fn(&Moments) -> f32| -> Vec<f32> {
            moments.iter().flat_map(|m| std::iter::repeat_n(of(m), self.group_len())).collect()
        };
        let (mut mean, rstd) = (spread(|m| m.mean), spread(|m| m.rstd));
        if let Some(before) = tail.before(sample) {
            mean.iter_mut().zip(before).for_each(|(mean, before)| *mean -= before);
        }
        let (affine, offset): (Vec<f32>, Vec<f32>) = match tail.modulation {
            Some((scale, shift)) => {
                let channels = sample * self.channels..(sample + 1) * self.channels;
                let (scale, shift) = (&scale[channels.clone()], &shift[channels]);
                let terms = tail.weight.iter().zip(tail.bias).zip(scale.iter().zip(shift));
                terms
                    .map(|((weight, bias), (scale, shift))| (weight * (1.0 + scale), bias * (1.0 + scale) + shift))
                    .unzip()
            }
            None => (tail.weight.to_vec(), tail.bias.to_vec()),
        };
        let gain = rstd.iter().zip(&affine).map(|(rstd, affine)| rstd * affine).collect();
        Channels { mean, rstd, affine, gain, offset }
    }

    /// The two means in the formula of `dx`, for each channel.
    fn group_means(&self, channels: &Channels, total: &Sums) -> [Vec<f32>; 2] {
        let count = (self.pixels * self.group_len()) as f64;
        [&total.first, &total.second].map(|sums| {
            let weighted: Vec<f64> = sums.iter().zip(&channels.affine).map(|(s, &a)| s * f64::from(a)).collect();
            let means = weighted.chunks(self.group_len()).map(|group| group.iter().sum::<f64>() / count);
            means.flat_map(|mean| std::iter::repeat_n(mean as f32, self.group_len())).collect()
        })
    }

    /// Sums over the batch in order, from each sample's `s1` and `s2`, and over the pixels of `dx`.
    fn parameter_grads(&self, totals: &[Sums], tail: &Tail, dx: &[f32]) -> GroupNormGrads {
        let c = self.channels;
        let factor =
            |sample: usize, i: usize| tail.modulation.map_or(1.0, |(scale, _)| 1.0 + f64::from(scale[sample * c + i]));
        let over_batch = |sums: fn(&Sums) -> &[f64]| {
            let channel =
                |i: usize| totals.iter().enumerate().map(|(b, total)| factor(b, i) * sums(total)[i]).sum::<f64>();
            (0..c).map(|i| channel(i) as f32).collect()
        };
        let scale = |total: &Sums| -> Vec<f32> {
            let term =
                |i: usize| f64::from(tail.weight[i]) * total.second[i] + f64::from(tail.bias[i]) * total.first[i];
            (0..c).map(|i| term(i) as f32).collect()
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
            weight: over_batch(|total| &total.second),
            bias: over_batch(|total| &total.first),
            scale: totals.iter().flat_map(scale).collect(),
            shift: totals.iter().flat_map(|total| total.first.iter().map(|&s| s as f32)).collect(),
        }
    }
}
