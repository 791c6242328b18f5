//! Affine maps.

use burn::tensor::Tensor;

use crate::ops::{self, Activation, PackedConv, Values};

/// `y = x W^T + b`, [`ops::linear`].
#[derive(Clone, Debug)]
pub struct Linear {
    pub(super) packed: PackedConv,
}

impl Linear {
    /// `shape` is `[c_out, c_in]`.
    ///
    /// # Panics
    /// If there are more or fewer values than that.
    pub fn new(values: Values<'_>, shape: [usize; 2]) -> Self {
        Self { packed: PackedConv::linear_from_values(values, shape) }
    }

    /// `[rows, c_in]` to `[rows, c_out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::linear_frozen(x, &self.packed)
    }

    /// The same for every position of a sequence, `[batch, length, c_in]` to `[batch, length, c_out]`.
    pub fn forward_sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let y = self.forward(x.reshape([b * l, c]));
        let c_out = y.dims()[1];
        y.reshape([b, l, c_out])
    }

    /// [`Self::forward`] and an activation. // [rows, c_out]
    pub fn forward_activated(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        ops::linear_frozen_activated(x, &self.packed, activation)
    }

    /// [`Self::forward_sequence`] and an activation. // [batch, length, c_out]
    pub fn forward_sequence_activated(&self, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let y = self.forward_activated(x.reshape([b * l, c]), activation);
        let c_out = y.dims()[1];
        y.reshape([b, l, c_out])
    }

    /// [`Self::forward_sequence`] plus `residual`, shaped as the result.
    pub fn forward_onto(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        // A row is a picture of one pixel.
        let ([b, l, c], [.., c_out]) = (x.dims(), residual.dims());
        let residual = residual.reshape([b * l, 1, 1, c_out]);
        ops::conv2d_frozen(x.reshape([b * l, 1, 1, c]), &self.packed, Some(residual)).reshape([b, l, c_out])
    }
}
