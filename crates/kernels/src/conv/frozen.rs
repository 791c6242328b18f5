//! Convolutions with constant weights, packed once.

use super::apply::{End, activate_after};
use super::pointwise::{self, Pointwise};
use super::tiled::{self, Tiled};
use super::winograd::{Tile, Winograd, serves};
use super::{Conv, Packed};
use crate::elementwise::{Activation, activate_vjp, copy};
use crate::parallel::with_scratch;
use crate::resample::{upsample2, upsample2_vjp};

/// Pairs of channels up to which the larger tiles are worth their memory, four times that of the weights.
const LARGE: usize = 1 << 19;
/// The same for images of few tiles.
const MEDIUM: usize = 1 << 18;
/// The same for images of very few tiles, whose transformed weights are read from memory anew for each.
const SMALL: usize = 1 << 16;

/// A convolution whose weights never change, and its adjoint.
///
/// The algorithm depends on the layer's shape only: direct summation on tile registers where there are such and channels fill
/// them ([`Version::Amx`](crate::Version::Amx)), or else [`Winograd`] for 3x3 convolutions in single precision that it
/// serves, direct summation ([`Packed`]) for all else.
#[derive(Clone, Debug)]
pub struct Frozen {
    conv: Conv,
    kind: Kind,
    bias: Vec<f32>,
    /// Whether nearest-neighbour upsampling by two comes before.
    doubled: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Tiled(Tiled),
    /// The upsampling and the convolution after it.
    Upsampling(Tiled),
    Winograd(Winograd),
    Pointwise(Pointwise),
    Direct {
        forward: Packed,
        adjoint: Packed,
    },
}

impl Frozen {
    /// Packs `weight` `[c_out, c_in, kernel, kernel]` and `bias` `[c_out]`.
    pub fn new(conv: &Conv, weight: &[f32], bias: &[f32]) -> Self {
        if !tiled::serves(conv) {
            return Self::in_vectors(conv, weight, bias);
        }
        check(conv, weight, bias);
        Self { conv: *conv, kind: Kind::Tiled(Tiled::new(conv, weight, false)), bias: bias.to_vec(), doubled: false }
    }

    /// The same with products of vectors where [`Self::new`] would take tile registers: an error of single precision's rounding, for
    /// functions that magnify errors, such as gradients through many ReLUs.
    pub fn in_vectors(conv: &Conv, weight: &[f32], bias: &[f32]) -> Self {
        check(conv, weight, bias);
        let kind = match tile(conv) {
            Some(tile) => Kind::Winograd(Winograd::new(conv, weight, tile)),
            None => summed(conv, weight, false),
        };
        Self { conv: *conv, kind, bias: bias.to_vec(), doubled: false }
    }

    /// The same with weights rounded to half precision; arithmetic stays in single precision.
    ///
    /// Each weight is off by at most `2^-11` of itself (and `2^-25` where it is below `2^-14`), a result by that share of the sum of its
    /// terms' magnitudes, as in every program that rounds weights. So these layers sum directly: Winograd's algorithm keeps its
    /// weights transformed, and rounding those made results two to ten times as inexact.
    pub fn halved(conv: &Conv, weight: &[f32], bias: &[f32]) -> Self {
        check(conv, weight, bias);
        let kind =
            if tiled::serves(conv) { Kind::Tiled(Tiled::new(conv, weight, true)) } else { summed(conv, weight, true) };
        Self { conv: *conv, kind, bias: bias.to_vec(), doubled: false }
    }

    /// The same layer after nearest-neighbour upsampling by two: its input has half the sides of the convolution's, which are
    /// even.
    #[must_use]
    pub fn after_upsampling(self) -> Self {
        let Conv { height, width, .. } = self.conv;
        assert!(height.is_multiple_of(2) && width.is_multiple_of(2), "sides of an upsampled image: {:?}", self.conv);
        if let Kind::Tiled(tiled) = &self.kind
            && let Some(tiled) = tiled.after_upsampling(&self.conv)
        {
            return Self { kind: Kind::Upsampling(tiled), doubled: true, ..self };
        }
        Self { doubled: true, ..self }
    }

    /// Height and width of the input.
    pub fn input_sides(&self) -> [usize; 2] {
        let shift = u32::from(self.doubled);
        [self.conv.height >> shift, self.conv.width >> shift]
    }

    /// The layer's shape.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// The convolution of a batch, plus what is in `y` if `add`.
    pub fn apply(&self, x: &[f32], add: bool, y: &mut [f32]) {
        self.run(x, add, None, y, None);
    }

    /// The convolution of a batch plus `past`, which is shaped as the result.
    pub fn apply_onto(&self, x: &[f32], past: &[f32], y: &mut [f32]) {
        match &self.kind {
            Kind::Tiled(tiled) => tiled.apply_onto(self.doubled, x, &self.bias, past, y),
            Kind::Upsampling(tiled) => tiled.apply_onto(false, x, &self.bias, past, y),
            _ => {
                copy(past, y);
                self.apply(x, true, y);
            }
        }
    }

    /// The activated convolution of a batch, which `z` becomes without the activation: what [`activate_vjp`] needs before
    /// [`Self::input_grad`].
    pub fn apply_activated(&self, x: &[f32], activation: Activation, y: &mut [f32], z: Option<&mut [f32]>) {
        self.run(x, false, Some(activation), y, z);
    }

    fn run(&self, x: &[f32], add: bool, activation: Option<Activation>, y: &mut [f32], z: Option<&mut [f32]>) {
        let bias = Some(&self.bias[..]);
        let end = End { bias, add, activation };
        let packed = match &self.kind {
            Kind::Tiled(tiled) => return tiled.apply(self.doubled, x, &end, y, z),
            Kind::Upsampling(tiled) => return tiled.apply(false, x, &end, y, z),
            Kind::Winograd(winograd) => {
                winograd.apply(self.doubled, x, bias, add, y);
                return activate_after(activation, y, z);
            }
            Kind::Pointwise(pointwise) => pointwise.packed(),
            Kind::Direct { forward, .. } => forward,
        };
        if !self.doubled {
            return packed.run(x, end, y, z);
        }
        with_scratch(4 * x.len(), |large| {
            upsample2(self.conv.width / 2, self.conv.c_in, x, large);
            packed.run(large, end, y, z);
        });
    }

    /// The gradient of the input of an activated layer from `g`, that of the output, and `z` of
    /// [`Self::apply_activated`].
    pub fn input_grad_activated(&self, activation: Activation, z: &[f32], g: &[f32], dx: &mut [f32]) {
        with_scratch(g.len(), |dz| {
            activate_vjp(activation, z, g, dz);
            self.input_grad(dz, dx);
        });
    }

    /// The gradient of the input from `g`, that of the output.
    pub fn input_grad(&self, g: &[f32], dx: &mut [f32]) {
        let before_halving = |dx: &mut [f32]| match &self.kind {
            Kind::Tiled(tiled) | Kind::Upsampling(tiled) => tiled.input_grad(g, dx),
            Kind::Winograd(winograd) => winograd.input_grad(self.doubled, g, dx),
            Kind::Pointwise(pointwise) => pointwise.input_grad(g, dx),
            Kind::Direct { adjoint, .. } => adjoint.apply(g, None, false, dx),
        };
        if !self.doubled || matches!(self.kind, Kind::Winograd(_) | Kind::Upsampling(_)) {
            return before_halving(dx);
        }
        with_scratch(4 * dx.len(), |large| {
            before_halving(large);
            upsample2_vjp(self.conv.width / 2, self.conv.c_in, large, dx);
        });
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        let weights = match &self.kind {
            Kind::Tiled(tiled) | Kind::Upsampling(tiled) => tiled.bytes(),
            Kind::Winograd(winograd) => winograd.bytes(),
            Kind::Pointwise(pointwise) => pointwise.packed().bytes(),
            Kind::Direct { forward, adjoint } => forward.bytes() + adjoint.bytes(),
        };
        weights + size_of_val(&self.bias[..])
    }
}

fn check(conv: &Conv, weight: &[f32], bias: &[f32]) {
    assert_eq!(weight.len(), conv.c_out * conv.c_in * conv.kernel * conv.kernel, "weights of {conv:?}");
    assert_eq!(bias.len(), conv.c_out, "bias of {conv:?}");
}

/// Direct summation without tile registers, with weights rounded to half precision if `half`.
fn summed(conv: &Conv, weight: &[f32], half: bool) -> Kind {
    if pointwise::serves(conv) {
        Kind::Pointwise(Pointwise::new(conv, weight, half))
    } else {
        let forward = Packed::forward_in(conv, weight, half);
        Kind::Direct { forward, adjoint: Packed::input_grad_in(conv, weight, half) }
    }
}

/// The tiles for a layer. Large tiles need the fewest products, but an image of few tiles leaves the micro-kernel's rows
/// empty and reads many weights for each; the batch, which would decide otherwise for some, must not have a say.
fn tile(conv: &Conv) -> Option<Tile> {
    let pairs = conv.c_in * conv.c_out;
    let tiles = conv.height.div_ceil(4) * conv.width.div_ceil(4);
    match (tiles, pairs) {
        _ if !serves(conv) || conv.height * conv.width == 1 => None, // one kernel position of nine meets such an image
        (4.., ..=SMALL) | (16.., ..=MEDIUM) | (64.., ..=LARGE) => Some(Tile::Four),
        _ => Some(Tile::Two),
    }
}
