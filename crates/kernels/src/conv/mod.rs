//! Convolution, and the linear layer as a convolution of 1x1 images.

mod apply;
mod direct_weight_grad;
mod frozen;
mod narrow;
mod pack;
mod pass;
mod pixel_blocks;
mod pointwise;
mod storage;
mod tiled;
mod train;
mod transposed;
pub mod winograd;

pub use direct_weight_grad::{bias_grad, direct_weight_grad};
pub use frozen::Frozen;
pub use pack::Packed;
pub use train::{forward, input_grad, weight_grad};
pub(crate) use transposed::turn;

/// A two-dimensional convolution (a cross-correlation, as networks use it) of NHWC images with zero padding:
/// `y[i, j, o] = bias[o] + sum_{k, l, c} weight[o, c, k, l] x[i s + k - p, j s + l - p, c]`, without its batch.
///
/// Weights are `[c_out, c_in, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs, `s`.
    pub stride: usize,
    /// Zeros around the image, `p`.
    pub padding: usize,
}

impl Conv {
    /// `y = W x + b` on rows of `c_in` values, `W` `[c_out, c_in]`: the batch is the number of rows.
    pub fn linear(c_in: usize, c_out: usize) -> Self {
        Self { height: 1, width: 1, c_in, c_out, kernel: 1, stride: 1, padding: 0 }
    }

    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        self.out_side(self.height)
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        self.out_side(self.width)
    }

    fn out_side(&self, side: usize) -> usize {
        let padded = side + 2 * self.padding;
        assert!(padded >= self.kernel && self.stride > 0, "kernel {} on side {side}", self.kernel);
        (padded - self.kernel) / self.stride + 1
    }

    fn source(&self) -> Image {
        Image { height: self.height, width: self.width, channels: self.c_in }
    }

    fn target(&self) -> Image {
        Image { height: self.out_height(), width: self.out_width(), channels: self.c_out }
    }
}

/// The shape of one NHWC image.
#[derive(Clone, Copy, Debug)]
struct Image {
    height: usize,
    width: usize,
    channels: usize,
}

impl Image {
    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// How many images `data` holds.
    fn count(&self, data: &[f32]) -> usize {
        let size = self.pixels() * self.channels;
        assert!(size > 0 && data.len().is_multiple_of(size), "{} values are not images of {self:?}", data.len());
        data.len() / size
    }
}
