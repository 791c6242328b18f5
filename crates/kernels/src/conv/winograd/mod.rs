//! Convolution by Winograd's algorithm, for constant weights: 3x3, stride 1, padding 1.
//!
//! Tiles of the image are transformed, multiplied with the transformed weights (a matrix product over the channels at each
//! point) and transformed back. A sum over channels runs in order with one accumulator, as everywhere in this crate.

mod method;
mod points;
mod run;
mod weights;

use super::{Conv, Image};
use method::{FOUR, FOUR_ADJOINT, Method, TWO};
use run::{Factor, Run};
use weights::Weights;

/// Side of the tiles of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// `F(2x2, 3x3)`: 2.25 times fewer products than direct summation, and a smaller error.
    Two,
    /// `F(4x4, 3x3)`: 4 times fewer products, twice the error of direct summation.
    Four,
}

/// Pairs of channels up to which the adjoint has weights of its own: it runs a little faster with them.
const SMALL: usize = 1 << 16;

/// A convolution and its adjoint with weights packed for Winograd's algorithm.
#[derive(Clone, Debug)]
pub struct Winograd {
    image: Image,
    tile: Tile,
    weights: Weights,
    adjoint: Option<Weights>,
}

impl Winograd {
    /// Packs `weight` `[c_out, c_in, 3, 3]`; nothing if the algorithm does not serve `conv`: 3x3, stride 1, padding 1,
    /// channels in multiples of eight.
    pub fn new(conv: &Conv, weight: &[f32], tile: Tile) -> Option<Self> {
        let serves = (conv.kernel, conv.stride, conv.padding) == (3, 1, 1)
            && conv.c_in.is_multiple_of(8)
            && conv.c_out.is_multiple_of(8);
        if !serves {
            return None;
        }
        assert_eq!(weight.len(), conv.c_out * conv.c_in * 9, "weights of {conv:?}");
        let side = match tile {
            Tile::Two => TWO.side_in,
            Tile::Four => FOUR.side_in,
        };
        let weights = Weights::new(conv.c_in, conv.c_out, side, weight);
        let adjoint = (conv.c_in * conv.c_out <= SMALL).then(|| weights.adjoint());
        Some(Self { image: conv.source(), tile, weights, adjoint })
    }

    /// The convolution of a batch, plus `bias` (`[c_out]`), plus what is in `y` if `add`.
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, add: bool, y: &mut [f32]) {
        let method = match self.tile {
            Tile::Two => TWO,
            Tile::Four => FOUR,
        };
        self.run(method, Factor::Weights(&self.weights), x, bias, add, y);
    }

    /// The gradient of the input from `g`, that of the output.
    pub fn input_grad(&self, g: &[f32], dx: &mut [f32]) {
        let method = match self.tile {
            Tile::Two => TWO,
            Tile::Four => FOUR_ADJOINT,
        };
        let factor = self.adjoint.as_ref().map_or(Factor::Adjoint(&self.weights), Factor::Weights);
        self.run(method, factor, g, None, false, dx);
    }

    /// How many values the packed weights are.
    pub fn values(&self) -> usize {
        self.weights.len() + self.adjoint.as_ref().map_or(0, Weights::len)
    }

    fn run(&self, method: Method, factor: Factor, x: &[f32], bias: Option<&[f32]>, add: bool, y: &mut [f32]) {
        let source = Image { channels: factor.from(), ..self.image };
        let target = Image { channels: factor.to(), ..self.image };
        assert_eq!(source.count(x), target.count(y), "batch of input and output");
        Run::new(method, factor, source, target).run(x, bias, add, y);
    }
}
