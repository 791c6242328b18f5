//! Convolution by Winograd's algorithm: 3x3, stride 1, padding 1.
//!
//! Tiles of the image are transformed, multiplied with the transformed weights (a matrix product over the channels at each
//! point) and transformed back. A sum over channels runs in order with one accumulator, as everywhere in this crate.

mod method;
mod points;
mod run;
mod tiles;
mod weight_grad;
mod weights;

use super::{Conv, Image};
use crate::parallel::{give, take};
use crate::simd::UNIT;
use method::{FOUR, FOUR_ADJOINT, Method, TWO};
use run::{Doubled, Factor, Run};
use weights::Weights;

/// Side of the tiles of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// `F(2x2, 3x3)`: 2.25 times fewer products than direct summation, and a smaller error.
    Two,
    /// `F(4x4, 3x3)`: 4 times fewer products, twice the error of direct summation.
    Four,
}

impl Tile {
    fn forward(self) -> Method {
        match self {
            Self::Two => TWO,
            Self::Four => FOUR,
        }
    }

    fn adjoint(self) -> Method {
        match self {
            Self::Two => TWO,
            Self::Four => FOUR_ADJOINT,
        }
    }
}

/// Whether the algorithm serves a convolution: 3x3, stride 1, padding 1, channels in multiples of eight.
pub fn serves(conv: &Conv) -> bool {
    let whole = |channels: usize| channels.is_multiple_of(UNIT);
    (conv.kernel, conv.stride, conv.padding) == (3, 1, 1) && whole(conv.c_in) && whole(conv.c_out)
}

/// [`super::forward`].
pub(super) fn forward(conv: &Conv, tile: Tile, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let method = tile.forward();
    let weights = Weights::forward(conv.c_in, conv.c_out, method.side_in, weight, take(0));
    run(conv.source(), method, Factor::Weights(&weights), Doubled::Neither, x, bias, false, y);
    give(weights.into_place());
}

/// [`super::input_grad`].
pub(super) fn input_grad(conv: &Conv, tile: Tile, g: &[f32], weight: &[f32], dx: &mut [f32]) {
    let method = tile.adjoint();
    let weights = Weights::adjoint(conv.c_out, conv.c_in, method.side_in, weight, take(0));
    run(conv.source(), method, Factor::Weights(&weights), Doubled::Neither, g, None, false, dx);
    give(weights.into_place());
}

/// [`super::weight_grad`].
pub(super) fn weight_grad(conv: &Conv, tile: Tile, x: &[f32], g: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    weight_grad::weight_grad(conv, tile.forward(), x, g, dw, db);
}

/// Pairs of channels up to which the adjoint has weights of its own: it runs a little faster with them.
const SMALL: usize = 1 << 16;

/// A convolution and its adjoint with constant weights, packed once.
#[derive(Clone, Debug)]
pub struct Winograd {
    image: Image,
    tile: Tile,
    weights: Weights,
    adjoint: Option<Weights>,
}

impl Winograd {
    /// Packs `weight` `[c_out, c_in, 3, 3]` of a convolution that the algorithm [`serves`].
    pub fn new(conv: &Conv, weight: &[f32], tile: Tile) -> Self {
        assert!(serves(conv), "Winograd's algorithm does not serve {conv:?}");
        assert_eq!(weight.len(), conv.c_out * conv.c_in * 9, "weights of {conv:?}");
        let side = tile.forward().side_in;
        let weights = Weights::forward(conv.c_in, conv.c_out, side, weight, Vec::new());
        let small = conv.c_in * conv.c_out <= SMALL;
        let adjoint = small.then(|| Weights::adjoint(conv.c_out, conv.c_in, side, weight, Vec::new()));
        Self { image: conv.source(), tile, weights, adjoint }
    }

    /// The convolution of a batch, plus `bias` (`[c_out]`), plus what is in `y` if `add`.
    ///
    /// If `doubled`, of images twice as high and wide as `x`, each of whose pixels is repeated 2x2.
    pub fn apply(&self, doubled: bool, x: &[f32], bias: Option<&[f32]>, add: bool, y: &mut [f32]) {
        let doubled = if doubled { Doubled::Source } else { Doubled::Neither };
        run(self.image, self.tile.forward(), Factor::Weights(&self.weights), doubled, x, bias, add, y);
    }

    /// The gradient of the input from `g`, that of the output.
    pub fn input_grad(&self, doubled: bool, g: &[f32], dx: &mut [f32]) {
        let factor = self.adjoint.as_ref().map_or(Factor::Adjoint(&self.weights), Factor::Weights);
        let doubled = if doubled { Doubled::Target } else { Doubled::Neither };
        run(self.image, self.tile.adjoint(), factor, doubled, g, None, false, dx);
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        self.weights.bytes() + self.adjoint.as_ref().map_or(0, Weights::bytes)
    }
}

fn run(
    image: Image,
    method: Method,
    factor: Factor,
    doubled: Doubled,
    x: &[f32],
    bias: Option<&[f32]>,
    add: bool,
    y: &mut [f32],
) {
    let source = Image { channels: factor.from(), ..image };
    let target = Image { channels: factor.to(), ..image };
    let repeats = |side| if doubled == side { 4 } else { 1 };
    let (source_len, target_len) = (source.pixels() * source.channels, target.pixels() * target.channels);
    let batch = x.len() * repeats(Doubled::Source) / source_len;
    assert_eq!(x.len() * repeats(Doubled::Source), batch * source_len, "images of {source:?}");
    assert_eq!(y.len() * repeats(Doubled::Target), batch * target_len, "as many images of {target:?}");
    Run::new(method, factor, source, target, doubled).run(batch, x, bias, add, y);
}
