//! Convolution.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Init;
use super::packing::Packing;
use crate::ops::{self, PackedConv};

/// [`ops::conv2d`] with "same" padding for odd kernels.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[c_out, c_in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[c_out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    packing: Packing,
}

impl Conv2d {
    /// `c_in` to `c_out` channels with an odd `kernel`.
    pub fn new(c_in: usize, c_out: usize, kernel: usize, stride: usize, init: &mut Init) -> Self {
        let weight = init.uniform([c_out, c_in, kernel, kernel], c_in * kernel * kernel);
        Self { weight, bias: init.constant([c_out], 0.0), stride, packing: Packing::default() }
    }

    /// As [`Self::new`], stride 1, with weights that start at zero.
    pub fn zero(c_in: usize, c_out: usize, kernel: usize, init: &mut Init) -> Self {
        let weight = init.constant([c_out, c_in, kernel, kernel], 0.0);
        Self { weight, bias: init.constant([c_out], 0.0), stride: 1, packing: Packing::default() }
    }

    /// From now on the weights are constants: calls are faster, and only the input's gradient is computed.
    pub fn pack(&mut self) {
        self.packing = Packing::frozen();
    }

    /// `[batch, height, width, c_in]` to `[batch, height / stride, width / stride, c_out]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None)
    }

    /// [`Self::forward`] plus `residual`, shaped as the result.
    pub fn forward_onto(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.run(x, Some(residual))
    }

    fn padding(&self) -> usize {
        self.weight.dims()[2] / 2
    }

    /// The packed weights for pictures with these sides; `None` unless frozen.
    pub(super) fn packed(&self, sides: [usize; 2]) -> Option<PackedConv> {
        let make = || PackedConv::new(self.weight.val(), Some(self.bias.val()), self.stride, self.padding(), sides);
        self.packing.get(sides, make)
    }

    fn run(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let [_, height, width, _] = x.dims();
        if let Some(packed) = self.packed([height, width]) {
            return ops::conv2d_frozen(x, &packed, residual);
        }
        let y = ops::conv2d(x, self.weight.val(), Some(self.bias.val()), self.stride, self.padding());
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }
}
