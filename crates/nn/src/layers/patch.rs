//! The edge of a network: pictures to patches and back.

use burn::tensor::Tensor;

/// Space to depth: `[b, c, h, w]` to `[b, h / p, w / p, c p p]`.
pub fn to_patches(x: Tensor<4>, p: usize) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h / p, p, w / p, p]).permute([0, 2, 4, 1, 3, 5]).reshape([b, h / p, w / p, c * p * p])
}

/// Depth to space, the inverse of [`to_patches`]: `[b, h, w, c p p]` to `[b, c, h p, w p]`.
pub fn from_patches(x: Tensor<4>, p: usize) -> Tensor<4> {
    let [b, h, w, d] = x.dims();
    let c = d / (p * p);
    x.reshape([b, h, w, c, p, p]).permute([0, 3, 1, 4, 2, 5]).reshape([b, c, h * p, w * p])
}
