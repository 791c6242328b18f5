//! Convolutions whose weights change from call to call.

use super::winograd::{self, Tile, serves};
use super::{Conv, Packed, bias_grad, direct_weight_grad};

/// The tiles for a layer in training, where batches are large: the largest that an image fills.
fn tile(conv: &Conv) -> Option<Tile> {
    match conv.height.min(conv.width) {
        side if !serves(conv) || side < 2 => None,
        2 => Some(Tile::Two),
        _ => Some(Tile::Four),
    }
}

/// The convolution of a batch with `weight` `[c_out, c_in, kernel, kernel]`, plus `bias` `[c_out]`.
///
/// The algorithm depends on the layer's shape only, here as in the gradients: Winograd's where it serves, or direct
/// summation.
pub fn forward(conv: &Conv, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    match tile(conv) {
        Some(tile) => winograd::forward(conv, tile, x, weight, bias, y),
        None => Packed::forward(conv, weight).apply(x, bias, false, y),
    }
}

/// The gradient of the input from `g`, that of the output.
pub fn input_grad(conv: &Conv, g: &[f32], weight: &[f32], dx: &mut [f32]) {
    match tile(conv) {
        Some(tile) => winograd::input_grad(conv, tile, g, weight, dx),
        None => Packed::input_grad(conv, weight).apply(g, None, false, dx),
    }
}

/// The gradient `dw` of the weights, `dw[o, c, k, l] = sum_{b, i, j} g[b, i, j, o] x[b, i s + k - p, j s + l - p, c]`, and
/// `db` of the bias.
pub fn weight_grad(conv: &Conv, x: &[f32], g: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    if let Some(tile) = tile(conv) {
        return winograd::weight_grad(conv, tile, x, g, dw, db);
    }
    direct_weight_grad(conv, x, g, dw);
    if let Some(db) = db {
        bias_grad(conv.c_out, g, db);
    }
}
