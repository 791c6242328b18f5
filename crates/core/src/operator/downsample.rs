//! Downsampling by a whole factor: means over blocks, or the antialiased bicubic kernel of PIL and MATLAB (Keys, 1981, with
//! a = -0.5, stretched by the factor).
//!
//! Beyond the edges the picture is continued by reflection (c b a | a b c), as MATLAB's `imresize` does; PIL leaves out what
//! lies beyond and normalises the rest. Reflection makes `A A^T` diagonal in the DCT's basis: on the coarse grid's places the
//! picture's frequencies `k` look like frequencies below the coarse grid's limit, whole groups of them like the same one.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::matrix::{Matrix, Separable, check_shape, reflect, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3};
use crate::{Error, Result};

/// How a coarse pixel is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shrink {
    /// The mean over its area.
    Box,
    /// Antialiased Keys kernel, a = -0.5.
    Bicubic,
}

/// Shrinks both sides by a factor that divides them.
#[derive(Debug, Clone)]
pub struct Downsample {
    shrink: Shrink,
    factor: usize,
    map: Separable,
}

/// The largest factor that is taken.
const MAX_FACTOR: usize = 64;

pub(super) const KIND: Kind = Kind {
    name: "downsample",
    load: |saved, device| {
        let shrink = if saved.number("bicubic")? == 0.0 { Shrink::Box } else { Shrink::Bicubic };
        let factor = saved.number("factor")? as usize;
        Ok(Arc::new(Downsample::new(shrink, factor, saved.shape("input_shape")?, device)?))
    },
    example: |shape, seed, device| {
        let factor = [8, 4, 3, 2].into_iter().find(|f| shape[1].is_multiple_of(*f) && shape[2].is_multiple_of(*f));
        let shrink = if seed % 2 == 0 { Shrink::Box } else { Shrink::Bicubic };
        Arc::new(Downsample::build(shrink, factor.unwrap_or(1), shape, device))
    },
    settings: |shape, _, _, device| {
        let mut settings = Vec::new();
        for (shrink, name) in [(Shrink::Box, "box"), (Shrink::Bicubic, "bicubic")] {
            for factor in [2, 4, 8].into_iter().filter(|f| divides("downsample", *f, shape).is_ok()) {
                let about = format!("{factor} times smaller ({name})");
                let operator = Downsample::new(shrink, factor, shape, device)?;
                settings.push(Setting::new(format!("{name}:{factor}"), about, operator));
            }
        }
        Ok(settings)
    },
};

impl Downsample {
    /// `factor` between 1 and 64; it must divide height and width.
    ///
    /// # Errors
    /// Another factor, or a shape out of range.
    pub fn new(shrink: Shrink, factor: usize, shape: Shape3, device: &Device) -> Result<Self> {
        let shape = check_shape(shape)?;
        divides("downsample", factor, shape)?;
        Ok(Self::build(shrink, factor, shape, device))
    }

    fn build(shrink: Shrink, factor: usize, shape: Shape3, device: &Device) -> Self {
        let [channels, h, w] = shape;
        let matrix = |n| match shrink {
            Shrink::Box => {
                Matrix::from_fn(n / factor, n, |i, j| if j / factor == i { 1.0 / factor as f64 } else { 0.0 })
            }
            Shrink::Bicubic => bicubic(n, factor),
        };
        // Means over blocks do not overlap: A A^T is a multiple of the identity.
        let map = Separable::new(&matrix(h), &matrix(w), channels, shrink == Shrink::Bicubic, device);
        Self { shrink, factor, map }
    }
}

/// Checks that `factor` is in range and divides both sides.
pub(super) fn divides(kind: &str, factor: usize, [_, h, w]: Shape3) -> Result<()> {
    if !(1..=MAX_FACTOR).contains(&factor) {
        let problem = format!("{kind}: the factor must be between 1 and {MAX_FACTOR}, not {factor}");
        return Err(Error::option("operator", problem));
    }
    if !h.is_multiple_of(factor) || !w.is_multiple_of(factor) {
        let problem = format!("{kind}: {factor} does not divide the picture's sides, {w}x{h}");
        return Err(Error::option("operator", problem));
    }
    Ok(())
}

/// `[n / factor, n]`; rows sum to one.
fn bicubic(n: usize, factor: usize) -> Matrix {
    let mut matrix = Matrix::zeros(n / factor, n);
    let scale = factor as f64;
    for i in 0..n / factor {
        let centre = (i as f64 + 0.5) * scale - 0.5;
        let places = (centre - 2.0 * scale).ceil() as isize..=(centre + 2.0 * scale).floor() as isize;
        let weight = |j: isize| keys((j as f64 - centre) / scale);
        let sum: f64 = places.clone().map(weight).sum();
        for j in places {
            matrix.add(i, reflect(j, n), weight(j) / sum);
        }
    }
    matrix
}

/// The cubic convolution kernel (Keys, 1981, eq. 15) with a = -0.5.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0
    } else if x < 2.0 {
        -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0
    } else {
        0.0
    }
}

impl Operator for Downsample {
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

    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        self.regularised_inverse(y, 0.0)
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let bicubic = f32::from(u8::from(self.shrink == Shrink::Bicubic));
        let arrays = vec![
            ("bicubic", vec![1], vec![bicubic]),
            ("factor", vec![1], vec![self.factor as f32]),
            shape_array("input_shape", self.map.input),
        ];
        Saved::new(KIND.name, arrays)
    }
}

impl Linear for Downsample {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        self.map.adjoint(y)
    }

    fn spectrum(&self) -> Tensor<4> {
        self.map.spectrum()
    }

    fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        self.map.rotate(y)
    }

    fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        self.map.unrotate(y)
    }
}
