//! Measurement operators `A` in `y = A(x) + noise`: one file each, listed once in [`KINDS`].

mod blocks;
mod composition;
mod dense;
mod downsample;
mod gaussian;
mod grey;
mod hdr;
mod jpeg;
mod kernel;
mod mask;
mod matrix;
mod motion;
mod protocol;
mod spectral;
mod strokes;
mod window;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

pub use blocks::Blocks;
pub use composition::Composition;
pub use dense::Dense;
pub(crate) use dense::{in_blocks, symmetric_eigen};
pub use downsample::{Downsample, Shrink};
pub use gaussian::GaussianBlur;
pub use grey::Grey;
pub use hdr::HighRange;
pub use jpeg::Jpeg;
pub use kernel::{Kernel, Taps};
pub use mask::Mask;
pub use motion::motion_taps;
pub use protocol::{PROTOCOLS, Protocol};
pub(crate) use spectral::Spectral;
pub use window::Window;

use crate::{Error, Result};

/// Shape of one picture or measurement, `[channels, height, width]`.
pub type Shape3 = [usize; 3];

/// A measurement operator on pictures, differentiable.
pub trait Operator: Send + Sync {
    /// Its name in [`KINDS`].
    fn kind(&self) -> &'static str;

    /// Shape of `x`.
    fn input_shape(&self) -> Shape3;

    /// Shape of `y`.
    fn output_shape(&self) -> Shape3;

    /// `A(x)`, `[batch, ..input_shape]` to `[batch, ..output_shape]`.
    fn apply(&self, x: Tensor<4>) -> Tensor<4>;

    /// The linear map `L` whose gradient [`Self::apply`] has everywhere: `A` itself, unless it is non-linear and its gradient
    /// is straight-through (Bengio et al., 2013).
    fn tangent(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x)
    }

    /// A rough picture that explains `y`, to start from: `[batch, ..output_shape]` to `[batch, ..input_shape]`.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4>;

    /// What else a linear operator offers whose singular values are known in closed form.
    fn linear(&self) -> Option<&dyn Linear> {
        None
    }

    /// Everything needed to build it again, see [`load`].
    fn save(&self) -> Saved;
}

/// A linear operator with `A A^T = U diag(s) U^T`.
pub trait Linear: Operator {
    /// `A^T y`.
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4>;

    /// The eigenvalues `s >= 0` of `A A^T`, `[1, ..output_shape]`. Entries of `y` with `s = 0` measure nothing and
    /// are left out of likelihoods.
    fn spectrum(&self) -> Tensor<4>;

    /// `U^T y`: the basis in which `A A^T` is diagonal. An orthogonal map, the identity unless said otherwise.
    fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        y
    }

    /// `U y`, the inverse of [`Self::rotate`]; it must be given along with it.
    fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        y
    }

    /// `A^T (A A^T + noise s_max I)^-1 y`: the mean of white `x` given `y` with noise of a variance relative to the largest
    /// measured one. Without noise the least-norm solution, in which directions that are hardly measured
    /// (`s < 1e-6 s_max`) are left out.
    fn regularised_inverse(&self, y: Tensor<4>, noise: f64) -> Tensor<4> {
        let spectrum = self.spectrum();
        let largest = values(&spectrum).into_iter().fold(0.0f32, f32::max);
        let measured = spectrum.clone().greater_equal_elem(1e-6 * largest).float();
        let damped = spectrum + (noise as f32 * largest).max(f32::MIN_POSITIVE);
        self.adjoint(self.unrotate(self.rotate(y) * measured / damped))
    }
}

/// A stored operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Name in [`KINDS`].
    pub kind: String,
    /// Named arrays: name, shape, values.
    pub arrays: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Saved {
    fn new(kind: &str, arrays: Vec<(&str, Vec<usize>, Vec<f32>)>) -> Self {
        Self { kind: kind.into(), arrays: arrays.into_iter().map(|(n, s, v)| (n.into(), s, v)).collect() }
    }

    fn array(&self, name: &str) -> Result<(&[usize], &[f32])> {
        self.arrays
            .iter()
            .find(|(n, shape, values)| n == name && shape.iter().product::<usize>() == values.len())
            .map(|(_, shape, values)| (shape.as_slice(), values.as_slice()))
            .ok_or_else(|| Error::PosteriorFile(format!("operator {} has no array {name}", self.kind)))
    }
}

/// How an operator is built from its stored form.
pub type Loader = fn(&Saved, &Device) -> Result<Arc<dyn Operator>>;

/// Settings for pictures of a shape, the values of their black and white, and a seed.
pub type Settings = fn(Shape3, (f64, f64), u64, &Device) -> Result<Vec<Setting>>;

/// Every operator: its name, how it is loaded, and an example of an input shape for the property tests.
pub const KINDS: &[Kind] = &[
    mask::KIND,
    dense::KIND,
    gaussian::KIND,
    kernel::KIND,
    downsample::KIND,
    blocks::KIND,
    grey::KIND,
    window::KIND,
    jpeg::KIND,
    hdr::KIND,
    composition::KIND,
];

/// A row of [`KINDS`].
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Builds it from its stored form.
    pub load: Loader,
    /// A random instance for an input shape, for the property tests.
    pub example: fn(Shape3, u64, &Device) -> Arc<dyn Operator>,
    /// Settings by which `vipaint bench operators` judges methods, for pictures of a shape whose black and white have the given
    /// values; what is random in them comes from the seed. None where it has no use for such pictures.
    pub settings: Settings,
}

/// A setting of an operator that is of interest in itself.
pub struct Setting {
    /// How it is written, such as `gaussian:2`.
    pub name: String,
    /// What it does to a picture.
    pub about: String,
    /// The operator.
    pub operator: Arc<dyn Operator>,
    /// What a measured value stands for, over the picture's values: sums are larger than means. Noise is scaled by it.
    pub scale: f64,
}

impl Setting {
    fn new(name: impl Into<String>, about: impl Into<String>, operator: impl Operator + 'static) -> Self {
        Self { name: name.into(), about: about.into(), operator: Arc::new(operator), scale: 1.0 }
    }
}

/// Every operator's settings, see [`Kind::settings`].
///
/// # Errors
/// Shapes that an operator cannot take.
pub fn settings(shape: Shape3, range: (f64, f64), seed: u64, device: &Device) -> Result<Vec<Setting>> {
    let each = KINDS.iter().map(|kind| (kind.settings)(shape, range, seed, device)).collect::<Result<Vec<_>>>()?;
    Ok(each.into_iter().flatten().collect())
}

/// Builds a stored operator.
///
/// # Errors
/// An unknown kind, or arrays that do not fit it.
pub fn load(saved: &Saved, device: &Device) -> Result<Arc<dyn Operator>> {
    let kind = KINDS.iter().find(|kind| kind.name == saved.kind);
    let kind = kind.ok_or_else(|| Error::PosteriorFile(format!("unknown operator {:?}", saved.kind)))?;
    (kind.load)(saved, device)
}

/// `f(x)` with the gradient of `tangent(x)`, which is linear.
fn straight_through(
    x: Tensor<4>,
    tangent: impl Fn(Tensor<4>) -> Tensor<4>,
    f: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let fixed = x.clone().detach();
    let value = f(fixed.clone());
    // A sum that is exact in value: where nothing is tracked, tangent(x) - tangent(x) is 0.
    value + (tangent(x) - tangent(fixed))
}

/// Checks the values of black and white that a non-linear operator is told.
fn check_range(kind: &str, (low, high): (f64, f64)) -> Result<()> {
    if low.is_finite() && high.is_finite() && high - low > 1e-3 {
        return Ok(());
    }
    Err(Error::option("operator", format!("{kind}: the values of black and white make no range: {low} to {high}")))
}

/// A tensor's values in row-major order.
pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    // Every tensor of this crate is a readable float tensor, so this cannot fail short of a lost device.
    tensor.try_to_vec_as::<f32>().unwrap_or_default()
}

fn tensor(values: &[f32], shape: Shape3, device: &Device) -> Tensor<4> {
    let [c, h, w] = shape;
    Tensor::from_data(TensorData::new(values.to_vec(), [1, c, h, w]), device)
}
