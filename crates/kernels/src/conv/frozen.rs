//! Convolutions with constant weights, packed once.

use super::winograd::{Tile, Winograd, serves};
use super::{Conv, Packed};

/// Pairs of channels up to which the larger tiles are worth their memory, four times that of the weights.
const LARGE: usize = 1 << 19;
/// Pairs of channels whose transformed weights are read from memory anew for every block of tiles.
const MEDIUM: usize = 1 << 16;

/// A convolution whose weights never change, and its adjoint.
///
/// The algorithm depends on the layer's shape only: [`Winograd`] for 3x3 convolutions that it serves, direct summation
/// ([`Packed`]) for all else.
#[derive(Clone, Debug)]
pub struct Frozen {
    conv: Conv,
    kind: Kind,
    bias: Vec<f32>,
}

#[derive(Clone, Debug)]
enum Kind {
    Winograd(Winograd),
    Direct { forward: Packed, adjoint: Packed },
}

impl Frozen {
    /// Packs `weight` `[c_out, c_in, kernel, kernel]` and `bias` `[c_out]`.
    pub fn new(conv: &Conv, weight: &[f32], bias: &[f32]) -> Self {
        assert_eq!(weight.len(), conv.c_out * conv.c_in * conv.kernel * conv.kernel, "weights of {conv:?}");
        assert_eq!(bias.len(), conv.c_out, "bias of {conv:?}");
        let kind = match tile(conv) {
            Some(tile) => Kind::Winograd(Winograd::new(conv, weight, tile)),
            None => Kind::Direct { forward: Packed::forward(conv, weight), adjoint: Packed::input_grad(conv, weight) },
        };
        Self { conv: *conv, kind, bias: bias.to_vec() }
    }

    /// The layer's shape.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// The convolution of a batch, plus what is in `y` if `add`.
    pub fn apply(&self, x: &[f32], add: bool, y: &mut [f32]) {
        match &self.kind {
            Kind::Winograd(winograd) => winograd.apply(x, Some(&self.bias), add, y),
            Kind::Direct { forward, .. } => forward.apply(x, Some(&self.bias), add, y),
        }
    }

    /// The gradient of the input from `g`, that of the output.
    pub fn input_grad(&self, g: &[f32], dx: &mut [f32]) {
        match &self.kind {
            Kind::Winograd(winograd) => winograd.input_grad(g, dx),
            Kind::Direct { adjoint, .. } => adjoint.apply(g, None, false, dx),
        }
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        let values = match &self.kind {
            Kind::Winograd(winograd) => winograd.values(),
            Kind::Direct { forward, adjoint } => forward.values() + adjoint.values(),
        };
        (values + self.bias.len()) * size_of::<f32>()
    }
}

/// The tiles for a layer. Large tiles need the fewest products, but an image of few tiles leaves the micro-kernel's rows
/// empty and reads many weights for each; the batch, which would decide otherwise for some, must not have a say.
fn tile(conv: &Conv) -> Option<Tile> {
    let pairs = conv.c_in * conv.c_out;
    let tiles = conv.height.div_ceil(4) * conv.width.div_ceil(4);
    match (tiles, pairs) {
        _ if !serves(conv) || conv.height * conv.width == 1 => None, // one kernel position of nine meets such an image
        (4.., ..=MEDIUM) | (16.., ..=LARGE) => Some(Tile::Four),
        _ => Some(Tile::Two),
    }
}
