//! Convolution.

use burn::tensor::Tensor;

use crate::ops::{self, PackedConv, Values};

/// Where a convolution sees zeros around its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// `kernel / 2` on each side.
    Same,
    /// One below and one on the right, as autoencoders of latent diffusion halve their input.
    End,
}

/// [`ops::conv2d`] for pictures of one size.
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub(super) packed: PackedConv,
    padding: Padding,
}

impl Conv2d {
    /// `shape` is `[c_out, c_in, k]` of weights with an odd kernel, `sides` the height and width of the input.
    ///
    /// # Panics
    /// If there are more or fewer values than that.
    pub fn new(values: Values<'_>, shape: [usize; 3], stride: usize, padding: Padding, sides: [usize; 2]) -> Self {
        let (zeros, sides) = match padding {
            Padding::Same => (shape[2] / 2, sides),
            Padding::End => (0, sides.map(|side| side + 1)),
        };
        Self { packed: PackedConv::from_values(values, shape, stride, zeros, sides), padding }
    }

    /// See [`PackedConv::after_upsampling`].
    #[must_use]
    pub fn after_upsampling(self) -> Self {
        Self { packed: self.packed.after_upsampling(), ..self }
    }

    /// `[batch, height, width, c_in]` to `[batch, height / stride, width / stride, c_out]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None)
    }

    /// [`Self::forward`] plus `residual`, shaped as the result.
    pub fn forward_onto(&self, x: Tensor<4>, residual: Tensor<4>) -> Tensor<4> {
        self.run(x, Some(residual))
    }

    fn run(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let x = match self.padding {
            Padding::Same => x,
            Padding::End => ops::pad_end(x),
        };
        ops::conv2d_frozen(x, &self.packed, residual)
    }
}
