//! A linear operator by its singular values: `A = U diag(s) V^T`, for samplers that work in the measured coordinates
//! `V^T x` (DDRM, DDNM, MCGDiff).

use burn::tensor::Tensor;

use super::{Linear, values};
use crate::problem::Problem;
use crate::{Error, Result};

/// The measured coordinates of pictures. Tensors of coordinates are shaped like `y`; entries that measure nothing are 0.
pub(crate) struct Spectral<'a> {
    linear: &'a dyn Linear,
    /// Singular values `s`, in the order of `y`'s entries.
    pub singular: Vec<f64>,
    /// `1 / s`, 0 where nothing is measured, `[1, ..output_shape]`.
    inverse: Tensor<4>,
    /// `V^T A^+ y`: the measured coordinates themselves, `[1, ..output_shape]`.
    pub y: Tensor<4>,
}

impl<'a> Spectral<'a> {
    /// Of a problem's operator.
    ///
    /// # Errors
    /// When the operator is not linear or the prior is not one on pictures; `method` is what needs it.
    pub fn new(problem: &'a Problem, method: &str) -> Result<Self> {
        let linear = problem.measurement.operator.linear().filter(|_| problem.prior.autoencoder.is_identity());
        let Some(linear) = linear else {
            let text = format!("{method} needs a linear operator and a pixel prior; use vipaint or dps");
            return Err(Error::option("method", text));
        };
        Ok(Self::of(linear, &problem.measurement.y))
    }

    fn of(linear: &'a dyn Linear, y: &Tensor<4>) -> Self {
        let spectrum = linear.spectrum();
        let largest = values(&spectrum).into_iter().fold(0.0, f32::max);
        // Directions a million times weaker than the strongest, in energy, carry nothing but rounding.
        let measured = spectrum.clone().greater_elem(1e-6 * largest).float();
        let inverse = measured / spectrum.clone().clamp_min(1e-6 * largest).sqrt();
        let singular = values(&inverse).into_iter().map(|i| if i > 0.0 { 1.0 / f64::from(i) } else { 0.0 }).collect();
        let y = linear.rotate(y.clone()) * inverse.clone();
        Self { linear, singular, inverse, y }
    }

    /// `V^T x`, `[batch, ..input_shape]` to `[batch, ..output_shape]`.
    pub fn coordinates(&self, x: Tensor<4>) -> Tensor<4> {
        self.linear.rotate(self.linear.apply(x)) * self.inverse.clone()
    }

    /// `V c`: the picture with these measured coordinates and nothing else.
    pub fn picture(&self, c: Tensor<4>) -> Tensor<4> {
        self.linear.adjoint(self.linear.unrotate(c * self.inverse.clone()))
    }

    /// A value for each entry from its singular value, 0 where nothing is measured, `[1, ..output_shape]`.
    pub fn each(&self, f: impl Fn(f64) -> f64) -> Tensor<4> {
        self.listed(|i| if self.singular[i] > 0.0 { f(self.singular[i]) } else { 0.0 })
    }

    /// A value for each entry from its index, `[1, ..output_shape]`.
    pub fn listed(&self, f: impl FnMut(usize) -> f64) -> Tensor<4> {
        let each: Vec<f32> = (0..self.singular.len()).map(f).map(|v| v as f32).collect();
        super::tensor(&each, self.linear.output_shape(), &self.y.device())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::operator::{KINDS, Shape3};
    use burn::tensor::Device;

    fn norm(x: &Tensor<4>) -> f64 {
        values(x).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    /// `V` is an isometry from the measured coordinates, `A` sees nothing of what is left of a picture without them, and `y = A x`
    /// has the coordinates of `x`; for every linear operator.
    #[test]
    fn measured_coordinates_are_those_of_the_singular_vectors() {
        let device = Device::flex();
        let mut linear_ones = 0;
        for (seed, shape) in [(0, [1, 8, 8]), (1, [3, 12, 8]), (2, [2, 5, 7]), (3, [1, 1, 6])] as [(u64, Shape3); 4] {
            for kind in KINDS {
                let operator = (kind.example)(shape, seed, &device);
                let Some(linear) = operator.linear() else { continue };
                linear_ones += 1;
                let mut noise = Noise::new(seed, 3, [0]);
                let x = noise.normal(shape, &device);
                let spectral = Spectral::of(linear, &linear.apply(x.clone()));
                let largest = spectral.singular.iter().copied().fold(0.0, f64::max);
                // Eigenvalues are known to f32's rounding relative to the largest: the inverse root of those above a thousandth of it
                // to four digits.
                let well = spectral.each(|s| f64::from(u8::from(s * s > 1e-3 * largest * largest)));
                let c = noise.normal(linear.output_shape(), &device) * well.clone();
                let picture = spectral.picture(c.clone());
                assert!((norm(&picture) - norm(&c)).abs() <= 1e-3 * norm(&c), "{}: no isometry", kind.name);
                let gap = (spectral.coordinates(picture) - c.clone()) * well.clone();
                assert!(norm(&gap) <= 1e-3 * norm(&c), "{}: {}", kind.name, norm(&gap));
                // Directions below a thousandth of the largest singular value are left out.
                let rest = x.clone() - spectral.picture(spectral.coordinates(x.clone()));
                let seen = norm(&linear.apply(rest));
                assert!(seen <= 2e-3 * largest * norm(&x), "{}: {seen}", kind.name);
                let gap = (spectral.y.clone() - spectral.coordinates(x.clone())) * well;
                assert!(norm(&gap) <= 1e-3 * norm(&x), "{}: {}", kind.name, norm(&gap));
            }
        }
        assert!(linear_ones >= 20, "{linear_ones}");
    }
}
