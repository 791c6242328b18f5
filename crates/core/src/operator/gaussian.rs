//! Gaussian blur: `y = G x` for every channel, the picture continued by reflection about its edges (c b a | a b c), so that
//! the DCT diagonalises it. (DPS's code reflects about the outermost pixels' centres instead, which no fast basis fits.)

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use super::matrix::{Matrix, Separable, check_shape, reflect, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3};
use crate::{Error, Result, noise::stream};

/// Blurs with a Gaussian of a standard deviation in pixels, cut off at four of them.
#[derive(Debug, Clone)]
pub struct GaussianBlur {
    sigma: f64,
    map: Separable,
}

/// The largest standard deviation that is taken, in pixels.
const MAX_SIGMA: f64 = 100.0;

/// What rough inverses take for the noise's variance relative to the picture's: frequencies that are damped more than
/// tenfold are not restored.
pub(super) const ROUGH_NOISE: f64 = 0.01;

pub(super) const KIND: Kind = Kind {
    name: "gaussian",
    load: |saved, device| Ok(Arc::new(GaussianBlur::new(saved.number("sigma")?, saved.shape("input_shape")?, device)?)),
    example: |shape, seed, device| {
        let sigma = stream(seed, 0, 0).random_range(0.3..2.5);
        Arc::new(GaussianBlur::build(f64::from(sigma as f32), shape, device))
    },
    settings: |shape, _, _, device| {
        let blur = GaussianBlur::new(2.0, shape, device)?;
        Ok(vec![Setting::new("gaussian:2", "Gaussian blur of 2 pixels", blur)])
    },
};

impl GaussianBlur {
    /// `sigma` in pixels, in (0, 100].
    ///
    /// # Errors
    /// A `sigma` or a shape out of range.
    pub fn new(sigma: f64, shape: Shape3, device: &Device) -> Result<Self> {
        if !(sigma > 0.0 && sigma <= MAX_SIGMA) {
            let problem = format!("sigma must be above 0 and at most {MAX_SIGMA} pixels, not {sigma}");
            return Err(Error::option("operator", format!("gaussian: {problem}")));
        }
        Ok(Self::build(sigma, check_shape(shape)?, device))
    }

    fn build(sigma: f64, shape: Shape3, device: &Device) -> Self {
        // What is stored is an f32, and a stored operator is the same operator.
        let sigma = f64::from(sigma as f32);
        let [channels, h, w] = shape;
        let map = Separable::new(&blur(h, sigma), &blur(w, sigma), channels, true, device);
        Self { sigma, map }
    }
}

/// The blur of `n` samples as a matrix: weights `exp(-j^2 / (2 sigma^2))`, `|j| <= 4 sigma`, that sum to one.
fn blur(n: usize, sigma: f64) -> Matrix {
    let radius = (4.0 * sigma).ceil() as isize;
    let weight = |j: isize| (-0.5 * (j as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-radius..=radius).map(weight).sum();
    let mut matrix = Matrix::zeros(n, n);
    for i in 0..n {
        for j in -radius..=radius {
            matrix.add(i, reflect(i as isize + j, n), weight(j) / sum);
        }
    }
    matrix
}

impl Operator for GaussianBlur {
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
        self.regularised_inverse(y, ROUGH_NOISE)
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let arrays = vec![("sigma", vec![1], vec![self.sigma as f32]), shape_array("input_shape", self.map.input)];
        Saved::new(KIND.name, arrays)
    }
}

impl Linear for GaussianBlur {
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
