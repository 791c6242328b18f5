//! Clipped high dynamic range: `y = clip(2 x, -1, 1)`, an overexposed photograph, as DAPS (Zhang et al., 2024) and others
//! use it; for other ranges of values about their middle.
//!
//! Its gradient is straight-through, that of `2 x` everywhere. The exact one is zero wherever `x_hat` is clipped, and would
//! never bring back an estimate that is too bright; with this one a pixel descends a convex function of its own (quadratic
//! where `A(x_hat)` is inside the range, linear beyond it), and nothing pulls where both `y` and `A(x_hat)` are clipped.

use std::sync::Arc;

use burn::tensor::Tensor;
use rand::RngExt;

use super::matrix::{check_shape, shape_array};
use super::{Kind, Operator, Saved, Setting, Shape3, straight_through};
use crate::{Error, Result, noise::stream};

/// Multiplies contrast by a gain and clips.
#[derive(Debug, Clone)]
pub struct HighRange {
    gain: f64,
    range: (f64, f64),
    shape: Shape3,
}

/// The largest gain that is taken.
const MAX_GAIN: f64 = 100.0;

pub(super) const KIND: Kind = Kind {
    name: "hdr",
    load: |saved, _| {
        let range = (saved.number("low")?, saved.number("high")?);
        Ok(Arc::new(HighRange::new(saved.number("gain")?, saved.shape("input_shape")?, range)?))
    },
    example: |shape, seed, _| {
        let gain = stream(seed, 0, 0).random_range(1.0..4.0f32);
        Arc::new(HighRange { gain: f64::from(gain), range: (-1.0, 1.0), shape })
    },
    settings: |shape, range, _, _| {
        let operator = HighRange::new(2.0, shape, range)?;
        Ok(vec![Setting::new("hdr:2", "twice the contrast, clipped", operator)])
    },
};

impl HighRange {
    /// `gain` from 1 to 100, 2 by custom; `range` are the values of black and white.
    ///
    /// # Errors
    /// A gain, a shape or a range that makes no sense.
    pub fn new(gain: f64, shape: Shape3, range: (f64, f64)) -> Result<Self> {
        if !(1.0..=MAX_GAIN).contains(&gain) {
            let problem = format!("hdr: the gain must be between 1 and {MAX_GAIN}, not {gain}");
            return Err(Error::option("operator", problem));
        }
        super::check_range("hdr", range)?;
        // What is stored is an f32, and a stored operator is the same operator.
        Ok(Self { gain: f64::from(gain as f32), range, shape: check_shape(shape)? })
    }

    fn middle(&self) -> f64 {
        f64::midpoint(self.range.0, self.range.1)
    }
}

impl Operator for HighRange {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.shape
    }

    fn output_shape(&self) -> Shape3 {
        self.shape
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let (low, high) = self.range;
        let clip = |x: Tensor<4>| ((x - self.middle()) * self.gain + self.middle()).clamp(low, high);
        straight_through(x, |x| self.tangent(x), clip)
    }

    fn tangent(&self, x: Tensor<4>) -> Tensor<4> {
        x * self.gain
    }

    /// What is not clipped as it was, the rest at the limit.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        (y - self.middle()) / self.gain + self.middle()
    }

    fn save(&self) -> Saved {
        let number = |name, value: f64| (name, vec![1], vec![value as f32]);
        let arrays = vec![
            number("gain", self.gain),
            number("low", self.range.0),
            number("high", self.range.1),
            shape_array("input_shape", self.shape),
        ];
        Saved::new(KIND.name, arrays)
    }
}
