//! Colour to grey: the luma of ITU-R BT.601, `y = .299 R + .587 G + .114 B`, as PIL's mode L and JPEG have it.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::matrix::{check_shape, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3, tensor};
use crate::Result;

/// Weights of red, green and blue.
pub(super) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A weighted mean over channels; pictures without three channels have equal weights.
#[derive(Debug, Clone)]
pub struct Grey {
    weights: Tensor<4>, // [1, c, 1, 1]
    square: f32,        // sum of squared weights
    shape: Shape3,
}

pub(super) const KIND: Kind = Kind {
    name: "grey",
    load: |saved, device| Ok(Arc::new(Grey::new(saved.shape("input_shape")?, device)?)),
    example: |shape, _, device| Arc::new(Grey::build(shape, device)),
    settings: |shape, _, _, device| {
        if shape[0] == 1 {
            return Ok(Vec::new());
        }
        Ok(vec![Setting::new("grey", "colours are lost", Grey::new(shape, device)?)])
    },
};

impl Grey {
    /// For pictures of this shape.
    ///
    /// # Errors
    /// A shape out of range.
    pub fn new(shape: Shape3, device: &Device) -> Result<Self> {
        Ok(Self::build(check_shape(shape)?, device))
    }

    fn build(shape: Shape3, device: &Device) -> Self {
        let channels = shape[0];
        let weights = if channels == 3 { LUMA.to_vec() } else { vec![1.0 / channels as f32; channels] };
        let square = weights.iter().map(|w| w * w).sum();
        Self { weights: tensor(&weights, [channels, 1, 1], device), square, shape }
    }
}

impl Operator for Grey {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.shape
    }

    fn output_shape(&self) -> Shape3 {
        [1, self.shape[1], self.shape[2]]
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        (x * self.weights.clone()).sum_dim(1)
    }

    /// The grey in all channels: the weights sum to one.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        y.repeat_dim(1, self.shape[0])
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        Saved::new(KIND.name, vec![shape_array("input_shape", self.shape)])
    }
}

impl Linear for Grey {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        y * self.weights.clone()
    }

    fn spectrum(&self) -> Tensor<4> {
        let [c, h, w] = self.output_shape();
        Tensor::full([1, c, h, w], self.square, &self.weights.device())
    }
}
