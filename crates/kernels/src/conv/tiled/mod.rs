//! Convolutions and linear layers by direct summation on tile registers ([`crate::amx`]).
//!
//! A tile's rows are evenly spaced in memory, and so are the pixels that a kernel position reads for consecutive outputs. The
//! input is split into two parts of half its size each, with zeros between its rows and between its images, so that a kernel position is an
//! offset. One copy of the weights serves both directions: for the adjoint its blocks are turned when they are used, for many
//! pixels at a time.

mod finish;
mod grid;
mod run;

use super::Conv;
use super::apply::End;
use super::winograd;
use crate::amx::{Blocks, SIDE};
use grid::Grid;
use run::Run;

/// Sixths of what a layer multiplies that its products on tiles, zeros that fill them included, may come to: up to there they are
/// faster than direct sums, and than Winograd's algorithm where that serves.
const MOST: [usize; 2] = [12, 8];
/// Pixels of an image after upsampling from which on fewer products are worth more weights.
const MANY_PIXELS: usize = 1024;

/// A convolution with constant weights, packed once, and its adjoint.
#[derive(Clone, Debug)]
pub(super) struct Tiled {
    weights: Blocks,
    ahead: Grid,
    back: Grid,
}

/// Whether the tiles are there, in use, and worth it for a layer: few channels leave them half empty.
pub(super) fn serves(conv: &Conv) -> bool {
    let filled = |channels: usize| channels.next_multiple_of(SIDE);
    let most = MOST[usize::from(winograd::serves(conv))];
    let worth = 6 * filled(conv.c_in) * filled(conv.c_out) <= most * conv.c_in * conv.c_out;
    crate::Version::current() == crate::Version::Amx && worth && conv.c_in.min(conv.c_out) >= SIDE / 2
}

impl Tiled {
    /// Packs `weight` `[c_out, c_in, kernel, kernel]`, rounded to half precision if `half`.
    pub fn new(conv: &Conv, weight: &[f32], half: bool) -> Self {
        let weights = Blocks::new(weight, [conv.c_out, conv.c_in, conv.kernel * conv.kernel], half);
        Self { weights, ahead: Grid::forward(conv), back: Grid::adjoint(conv) }
    }

    /// The same layer after nearest-neighbour upsampling by two, if it is worth more weights.
    ///
    /// Of two neighbouring kernel positions, every other output reads the same pixel: the layer is the transpose of one with
    /// stride 2 and kernels one wider, whose entries are sums of up to 2x2 of the kernel's. Outputs read `(k + 1)^2 / 4` pixels
    /// instead of `k^2`.
    pub fn after_upsampling(&self, conv: &Conv) -> Option<Self> {
        let Conv { height, width, c_in, c_out, kernel, stride, padding } = *conv;
        if stride != 1 || kernel != 2 * padding + 1 || kernel == 1 || height * width < MANY_PIXELS {
            return None;
        }
        // Along an axis, position `i` of the wider kernel has those of the kernel from its end: `i - 1` and `i`.
        let wide = kernel + 1;
        let axis = move |i: usize| (i.saturating_sub(1)..=i.min(kernel - 1)).map(move |i| kernel - 1 - i);
        let set =
            move |i: usize| axis(i / wide).flat_map(move |row| axis(i % wide).map(move |column| row * kernel + column));
        let sets: Vec<Vec<usize>> = (0..wide * wide).map(|i| set(i).collect()).collect();
        let transpose = Conv { height, width, c_in: c_out, c_out: c_in, kernel: wide, stride: 2, padding };
        Some(Self {
            weights: self.weights.summed(&sets),
            ahead: Grid::adjoint(&transpose),
            back: Grid::forward(&transpose),
        })
    }

    /// Maps a batch, of images that are each repeated 2x2 first if `doubled`; with an activation, `before` becomes what it is
    /// applied to.
    pub fn apply(&self, doubled: bool, x: &[f32], end: &End, y: &mut [f32], before: Option<&mut [f32]>) {
        Run::new(&self.ahead, &self.weights, false, doubled).run(x, end, y, before);
    }

    /// Maps a batch, as above, and adds `past`.
    pub fn apply_onto(&self, doubled: bool, x: &[f32], bias: &[f32], past: &[f32], y: &mut [f32]) {
        let end = End { bias: Some(bias), ..End::default() };
        Run::new(&self.ahead, &self.weights, false, doubled).onto(past).run(x, &end, y, None);
    }

    /// The gradient of the input from `g`, that of the output, before that of repeating.
    pub fn input_grad(&self, g: &[f32], dx: &mut [f32]) {
        Run::new(&self.back, &self.weights, true, false).run(g, &End::default(), dx, None);
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }
}
