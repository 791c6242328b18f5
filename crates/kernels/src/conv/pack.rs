//! Weights in the order in which the micro-kernel reads them.

use super::narrow::Narrow;
use super::pass::{self, Pass};
use super::storage::Values;
use super::{Conv, Image};
use crate::tile::COLS;

/// A convolution, or its adjoint, with its weights packed: a linear map of images.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(super) source: Image,
    pub(super) target: Image,
    pub(super) passes: Vec<PackedPass>,
    /// Instead of the passes, where it serves.
    pub(super) narrow: Option<Narrow>,
}

/// A pass and its weights, `[panel][tap][source channel][COLS]` with zeros past the last target channel.
#[derive(Clone, Debug)]
pub(super) struct PackedPass {
    pub pass: Pass,
    pub weight: Values,
}

impl Packed {
    /// The convolution with `weight` `[c_out, c_in, kernel, kernel]`.
    pub fn forward(conv: &Conv, weight: &[f32]) -> Self {
        Self::forward_in(conv, weight, false)
    }

    /// The same, with weights rounded to half precision if `half`.
    pub(super) fn forward_in(conv: &Conv, weight: &[f32], half: bool) -> Self {
        let area = conv.kernel * conv.kernel;
        let at = move |o: usize, c: usize, tap: usize| (o * conv.c_in + c) * area + tap;
        Self::new(conv.source(), conv.target(), pass::forward(conv), (weight, half), at)
    }

    /// Its adjoint, which maps gradients of the output to gradients of the input.
    pub fn input_grad(conv: &Conv, weight: &[f32]) -> Self {
        Self::input_grad_in(conv, weight, false)
    }

    /// The same, with weights rounded to half precision if `half`.
    pub(super) fn input_grad_in(conv: &Conv, weight: &[f32], half: bool) -> Self {
        let area = conv.kernel * conv.kernel;
        let at = move |c: usize, o: usize, tap: usize| (o * conv.c_in + c) * area + tap;
        Self::new(conv.target(), conv.source(), pass::adjoint(conv), (weight, half), at)
    }

    /// `at(target channel, source channel, tap)` is the index of a weight.
    fn new(
        source: Image,
        target: Image,
        passes: Vec<Pass>,
        (weight, half): (&[f32], bool),
        at: impl Fn(usize, usize, usize) -> usize + Sync,
    ) -> Self {
        if let [pass] = &passes[..]
            && super::narrow::serves(source, target, pass)
        {
            let mut narrow = Narrow::new(source, target, pass, weight, at);
            if half {
                narrow.halve();
            }
            return Self { source, target, passes: Vec::new(), narrow: Some(narrow) };
        }
        let pack = |pass: Pass| {
            let panel_len = pass.taps.len() * source.channels * COLS;
            let weight = Values::panels(target.channels.div_ceil(COLS), panel_len, half, |panel, values| {
                let first = panel * COLS;
                let cols = COLS.min(target.channels - first);
                let mut rows = values.chunks_exact_mut(COLS);
                for tap in &pass.taps {
                    for c in 0..source.channels {
                        let row = rows.next().expect("the panel holds every tap and channel");
                        for (j, value) in row[..cols].iter_mut().enumerate() {
                            *value = weight[at(first + j, c, tap.index)];
                        }
                    }
                }
            });
            PackedPass { pass, weight }
        };
        Self { source, target, passes: passes.into_iter().map(pack).collect(), narrow: None }
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        let passes: usize = self.passes.iter().map(|pass| pass.weight.bytes()).sum();
        passes + self.narrow.as_ref().map_or(0, Narrow::bytes)
    }

    /// Values of one source image.
    pub fn source_len(&self) -> usize {
        self.source.pixels() * self.source.channels
    }

    /// Values of one target image.
    pub fn target_len(&self) -> usize {
        self.target.pixels() * self.target.channels
    }
}
