//! Inpainting: `A x = m x` with `m` 1 where known and 0 where hidden.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use super::{Kind, Linear, Operator, PROTOCOLS, Protocol, Saved, Setting, Shape3, tensor, values};
use crate::{Error, Result, noise::stream};

/// Keeps the known pixels; hidden ones measure nothing.
#[derive(Debug, Clone)]
pub struct Mask {
    known: Tensor<4>, // [1, c, h, w], 0 or 1
    shape: Shape3,
}

pub(super) const KIND: Kind = Kind {
    name: "mask",
    load: |saved, device| {
        let (shape, known) = saved.array("known")?;
        let shape = shape.try_into().map_err(|_| Error::PosteriorFile("mask: the shape has not three sides".into()))?;
        Ok(Arc::new(Mask::new(known, shape, device)?))
    },
    example: |shape, seed, device| {
        let mut rng = stream(seed, 0, 0);
        let mut known: Vec<f32> = (0..shape.iter().product()).map(|_| f32::from(rng.random::<bool>())).collect();
        known[0] = 1.0; // a mask knows something
        Arc::new(Mask { known: tensor(&known, shape, device), shape })
    },
    settings: |shape, _, seed, device| {
        let setting = |p: &Protocol| {
            let mut known = p.mask(shape, seed);
            if known.iter().all(|k| *k == 0.0) {
                known[0] = 1.0; // a mask knows something
            }
            Ok(Setting::new(format!("mask:{}", p.name), p.about, Mask::new(&known, shape, device)?))
        };
        PROTOCOLS.iter().map(setting).collect()
    },
};

impl Mask {
    /// `known` in `[c, h, w]` order, 1 = known, 0 = hidden.
    ///
    /// # Errors
    /// When the length does not fit, a value is neither 0 nor 1, or nothing is known.
    pub fn new(known: &[f32], shape: Shape3, device: &Device) -> Result<Self> {
        if known.len() != shape.iter().product::<usize>() {
            return Err(Error::Shape { what: "mask", expected: shape.to_vec(), got: vec![known.len()] });
        }
        if known.iter().any(|m| *m != 0.0 && *m != 1.0) {
            return Err(Error::option("mask", "values must be 0 (hidden) or 1 (known)"));
        }
        if known.iter().all(|m| *m == 0.0) {
            return Err(Error::option("mask", "nothing is known; leave some pixels white"));
        }
        Ok(Self { known: tensor(known, shape, device), shape })
    }

    /// 1 where known, `[1, c, h, w]`.
    pub fn known(&self) -> Tensor<4> {
        self.known.clone()
    }
}

impl Operator for Mask {
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
        x * self.known.clone()
    }

    /// Known pixels as they are, the hole filled with each channel's mean known value.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        let sum = |t: Tensor<4>| t.sum_dim(3).sum_dim(2);
        let known = y * self.known.clone();
        let mean = sum(known.clone()) / sum(self.known.clone()).clamp_min(1.0);
        known + (self.known.clone() * -1.0 + 1.0) * mean
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        Saved::new(KIND.name, vec![("known", self.shape.to_vec(), values(&self.known))])
    }
}

impl Linear for Mask {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        y * self.known.clone()
    }

    fn spectrum(&self) -> Tensor<4> {
        self.known.clone()
    }
}
