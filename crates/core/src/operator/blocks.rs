//! Sums of the pixels in blocks: a coarse detector. `A A^T = factor^2 I`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::downsample::divides;
use super::matrix::{Matrix, Separable, check_shape, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3};
use crate::Result;

/// Adds up the pixels of each `factor` x `factor` block.
#[derive(Debug, Clone)]
pub struct Blocks {
    factor: usize,
    map: Separable,
}

pub(super) const KIND: Kind = Kind {
    name: "blocks",
    load: |saved, device| {
        let factor = saved.number("factor")? as usize;
        Ok(Arc::new(Blocks::new(factor, saved.shape("input_shape")?, device)?))
    },
    example: |shape, _, device| {
        let factor = [8, 4, 3, 2].into_iter().find(|f| shape[1].is_multiple_of(*f) && shape[2].is_multiple_of(*f));
        Arc::new(Blocks::build(factor.unwrap_or(1), shape, device))
    },
    settings: |shape, _, _, device| {
        if divides("blocks", 4, shape).is_err() {
            return Ok(Vec::new());
        }
        let sums = Setting::new("blocks:4", "sums over blocks of 4x4", Blocks::new(4, shape, device)?);
        Ok(vec![Setting { scale: 16.0, ..sums }])
    },
};

impl Blocks {
    /// `factor` between 1 and 64; it must divide height and width.
    ///
    /// # Errors
    /// Another factor, or a shape out of range.
    pub fn new(factor: usize, shape: Shape3, device: &Device) -> Result<Self> {
        let shape = check_shape(shape)?;
        divides("blocks", factor, shape)?;
        Ok(Self::build(factor, shape, device))
    }

    fn build(factor: usize, shape: Shape3, device: &Device) -> Self {
        let [channels, h, w] = shape;
        let matrix = |n| Matrix::from_fn(n / factor, n, |i, j| f64::from(u8::from(j / factor == i)));
        Self { factor, map: Separable::new(&matrix(h), &matrix(w), channels, false, device) }
    }
}

impl Operator for Blocks {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.map.input
    }

    fn output_shape(&self) -> Shape3 {
        self.map.output
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        self.map.apply(x)
    }

    /// Every sum spread evenly over its block.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        self.regularised_inverse(y, 0.0)
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let arrays = vec![("factor", vec![1], vec![self.factor as f32]), shape_array("input_shape", self.map.input)];
        Saved::new(KIND.name, arrays)
    }
}

impl Linear for Blocks {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        self.map.adjoint(y)
    }

    fn spectrum(&self) -> Tensor<4> {
        self.map.spectrum()
    }
}
