//! Blur by any kernel: `y = k * x` for every channel, the picture continued periodically, so that the Fourier transform
//! diagonalises it whatever the kernel. As a real orthogonal basis the two-dimensional Hartley transform is used
//! (Bracewell, 1983): `cas(t) = cos(t) + sin(t)` at frequency (u, v) mixes the Fourier modes of (u, v) and (-u, -v), and
//! `A A^T`, with eigenvalues `|k_hat(u, v)|^2`, has the same on both.

use std::f64::consts::PI;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use super::matrix::{Matrix, check_shape, sandwich, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3, gaussian::ROUGH_NOISE, motion, tensor};
use crate::{Error, Result, noise::stream};

/// Weights of a kernel, row by row: output (y, x) is the sum of `values[i, j]` times input
/// (y - i + height / 2, x - j + width / 2), a convolution about the kernel's middle.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Taps {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The weights, `height * width` of them.
    pub values: Vec<f32>,
}

/// The longest side of a kernel that is taken.
const MAX_TAPS: usize = 511;

/// Convolves with a kernel, around the edges.
#[derive(Debug, Clone)]
pub struct Kernel {
    taps: Taps,
    basis: [Tensor<2>; 2], // [2 h, h]: cosines above sines; [2 w, w]
    real: Tensor<4>,       // of k_hat, [1, 1, h, w]
    imaginary: Tensor<4>,  // k_hat = real - i imaginary
    spectrum: Tensor<4>,
    shape: Shape3,
}

pub(super) const KIND: Kind = Kind {
    name: "kernel",
    load: |saved, device| {
        let (size, values) = saved.array("taps")?;
        let [height, width] = size.try_into().map_err(|_| saved.bad("the taps are not a table"))?;
        let taps = Taps { height, width, values: values.to_vec() };
        Ok(Arc::new(Kernel::new(taps, saved.shape("input_shape")?, device)?))
    },
    example: |shape, seed, device| {
        let mut rng = stream(seed, 0, 0);
        let taps = if seed % 2 == 0 {
            motion::taps(rng.random_range(1.0..6.0), rng.random_range(0.0..360.0))
        } else {
            let (height, width) = (rng.random_range(1..5), rng.random_range(1..5));
            Taps { height, width, values: (0..height * width).map(|_| rng.random_range(-0.3..1.0)).collect() }
        };
        Arc::new(Kernel::build(taps, shape, device))
    },
    settings: |shape, _, _, device| {
        let motion = motion::taps(7.0, 30.0);
        let disc = |i: usize| f32::from(u8::from((i / 5).abs_diff(2).pow(2) + (i % 5).abs_diff(2).pow(2) <= 5));
        let disc: Vec<f32> = (0..25).map(disc).collect();
        let sum: f32 = disc.iter().sum();
        let disc = Taps { height: 5, width: 5, values: disc.into_iter().map(|v| v / sum).collect() };
        let motion = Kernel::new(motion, shape, device)?;
        Ok(vec![
            Setting::new("motion:7:30", "motion of 7 pixels at 30 degrees", motion),
            Setting::new(
                "kernel:disc",
                "any kernel: a lens out of focus, 5 pixels wide",
                Kernel::new(disc, shape, device)?,
            ),
        ])
    },
};

impl Kernel {
    /// A kernel of at most 511 x 511 finite weights, not all of them 0.
    ///
    /// # Errors
    /// Other weights, or a shape out of range.
    pub fn new(taps: Taps, shape: Shape3, device: &Device) -> Result<Self> {
        let bad = |problem: &str| Err(Error::option("operator", format!("kernel: {problem}")));
        let sides = 1..=MAX_TAPS;
        if !sides.contains(&taps.height) || !sides.contains(&taps.width) {
            return bad(&format!("it must have between 1 and {MAX_TAPS} weights a side"));
        }
        if taps.values.len() != taps.height * taps.width {
            return bad("its rows are not equally long");
        }
        if taps.values.iter().any(|v| !v.is_finite() || v.abs() > 1e6) || taps.values.iter().all(|v| *v == 0.0) {
            return bad("its weights must be finite numbers, at most a million, and not all of them 0");
        }
        Ok(Self::build(taps, check_shape(shape)?, device))
    }

    fn build(taps: Taps, shape: Shape3, device: &Device) -> Self {
        let [channels, h, w] = shape;
        let (rows, columns) = (waves(h), waves(w));
        // The kernel laid around the corner, then its transform by the same waves.
        let mut kernel = Matrix::zeros(h, w);
        let wrap = |at: usize, middle: usize, n: usize| (at as isize - middle as isize).rem_euclid(n as isize) as usize;
        for (k, value) in taps.values.iter().enumerate() {
            let (i, j) = (k / taps.width, k % taps.width);
            kernel.add(wrap(i, taps.height / 2, h), wrap(j, taps.width / 2, w), f64::from(*value));
        }
        let all = rows.times(&kernel).times(&columns.transposed()); // [2 h, 2 w]
        let at = |u: usize, v: usize| all.values[u * 2 * w + v];
        let real = Matrix::from_fn(h, w, |u, v| at(u, v) - at(u + h, v + w));
        let imaginary = Matrix::from_fn(h, w, |u, v| at(u + h, v) + at(u, v + w));
        let power: Vec<f32> =
            real.values.iter().zip(&imaginary.values).map(|(a, b)| (a * a + b * b) as f32).collect::<Vec<_>>();
        let plane = |m: &Matrix| tensor(&m.values.iter().map(|v| *v as f32).collect::<Vec<_>>(), [1, h, w], device);
        Self {
            taps,
            basis: [rows.tensor(device), columns.tensor(device)],
            real: plane(&real),
            imaginary: plane(&imaginary),
            spectrum: tensor(&power.repeat(channels), shape, device),
            shape,
        }
    }

    /// `(P, Q)` with `P - i Q` the Fourier transform.
    fn transform(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [_, h, w] = self.shape;
        let all = sandwich(x, &self.basis[0], &self.basis[1]);
        let part = |u: usize, v: usize| all.clone().narrow(2, u * h, h).narrow(3, v * w, w);
        (part(0, 0) - part(1, 1), part(1, 0) + part(0, 1))
    }

    /// Multiplies the transform by `real - i imaginary` and transforms back.
    fn filter(&self, x: Tensor<4>, imaginary: Tensor<4>) -> Tensor<4> {
        let [_, h, w] = self.shape;
        let (p, q) = self.transform(x);
        let (a, b) = (self.real.clone(), imaginary);
        let (new_p, new_q) = (a.clone() * p.clone() - b.clone() * q.clone(), a * q + b * p);
        // Back: the sum over frequencies of P cos + Q sin; the waves are symmetric in place and frequency.
        let (cosines, _) = self.transform(new_p);
        let (_, sines) = self.transform(new_q);
        (cosines + sines) / (h * w) as f64
    }
}

/// `cos(2 pi u i / n)` above `sin(2 pi u i / n)`: `[2 n, n]`.
fn waves(n: usize) -> Matrix {
    Matrix::from_fn(2 * n, n, |u, i| {
        // The product modulo n keeps the angle small, and exact.
        let angle = 2.0 * PI * ((u % n * i) % n) as f64 / n as f64;
        if u < n { angle.cos() } else { angle.sin() }
    })
}

impl Operator for Kernel {
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
        self.filter(x, self.imaginary.clone())
    }

    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        self.regularised_inverse(y, ROUGH_NOISE)
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let Taps { height, width, values } = self.taps.clone();
        let arrays = vec![("taps", vec![height, width], values), shape_array("input_shape", self.shape)];
        Saved::new(KIND.name, arrays)
    }
}

impl Linear for Kernel {
    /// The correlation with the kernel: the transform is multiplied by the conjugate.
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        self.filter(y, self.imaginary.clone() * -1.0)
    }

    fn spectrum(&self) -> Tensor<4> {
        self.spectrum.clone()
    }

    fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        let [_, h, w] = self.shape;
        let (p, q) = self.transform(y);
        (p + q) / ((h * w) as f64).sqrt()
    }

    /// The Hartley transform is its own inverse.
    fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        self.rotate(y)
    }
}
