//! Affine maps.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Init;
use super::packing::Packing;
use crate::ops::{self, PackedConv};

/// `y = x W^T + b`, [`ops::linear`].
#[derive(Module, Debug)]
pub struct Linear {
    /// `[c_out, c_in]`.
    pub weight: Param<Tensor<2>>,
    /// `[c_out]`, if there is a bias.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    packing: Packing,
}

impl Linear {
    /// With a bias, which starts at zero.
    pub fn new(c_in: usize, c_out: usize, init: &mut Init) -> Self {
        let weight = init.uniform([c_out, c_in], c_in);
        Self { weight, bias: Some(init.constant([c_out], 0.0)), packing: Packing::default() }
    }

    /// A table of `rows` embeddings, applied to one-hot vectors; entries have unit variance.
    pub fn table(rows: usize, c_out: usize, init: &mut Init) -> Self {
        Self { weight: init.uniform([c_out, rows], 1), bias: None, packing: Packing::default() }
    }

    /// As [`Self::new`], with weights that start at zero.
    pub fn zero(c_in: usize, c_out: usize, init: &mut Init) -> Self {
        let weight = init.constant([c_out, c_in], 0.0);
        Self { weight, bias: Some(init.constant([c_out], 0.0)), packing: Packing::default() }
    }

    /// From now on the weights are constants: calls are faster, and only the input's gradient is computed.
    pub fn pack(&mut self) {
        self.packing = Packing::frozen();
    }

    /// The packed weights; `None` unless frozen.
    pub(super) fn packed(&self) -> Option<PackedConv> {
        self.packing.get([1, 1], || PackedConv::linear(self.weight.val(), self.bias.as_ref().map(Param::val)))
    }

    /// `[rows, c_in]` to `[rows, c_out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self.packed() {
            Some(packed) => ops::linear_frozen(x, &packed),
            None => ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val)),
        }
    }

    /// [`Self::forward_sequence`] plus `residual`, shaped as the result.
    pub fn forward_onto(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        match self.packed() {
            Some(packed) => {
                // A row is a picture of one pixel.
                let ([b, l, c], [.., c_out]) = (x.dims(), residual.dims());
                let residual = residual.reshape([b * l, 1, 1, c_out]);
                ops::conv2d_frozen(x.reshape([b * l, 1, 1, c]), &packed, Some(residual)).reshape([b, l, c_out])
            }
            None => residual + self.forward_sequence(x),
        }
    }

    /// The same for every position of a sequence, `[batch, length, c_in]` to `[batch, length, c_out]`.
    pub fn forward_sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, l, c] = x.dims();
        let y = self.forward(x.reshape([b * l, c]));
        let c_out = y.dims()[1];
        y.reshape([b, l, c_out])
    }
}
