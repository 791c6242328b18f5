//! Measurement operators `A` in `y = A(x) + noise`: one file each, listed once in [`KINDS`].

mod dense;
mod mask;
mod protocol;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

pub use dense::Dense;
pub use mask::Mask;
pub use protocol::{PROTOCOLS, Protocol};

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

    /// A rough picture that explains `y`, to start from: `[batch, ..output_shape]` to `[batch, ..input_shape]`.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4>;

    /// What else a linear operator offers.
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

/// Every operator: its name, how it is loaded, and an example of an input shape for the property tests.
pub const KINDS: &[Kind] = &[mask::KIND, dense::KIND];

/// A row of [`KINDS`].
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Builds it from its stored form.
    pub load: Loader,
    /// A random instance for an input shape, for the property tests.
    pub example: fn(Shape3, u64, &Device) -> Arc<dyn Operator>,
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

/// A tensor's values in row-major order.
pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    // Every tensor of this crate is a readable float tensor, so this cannot fail short of a lost device.
    tensor.try_to_vec_as::<f32>().unwrap_or_default()
}

fn tensor(values: &[f32], shape: Shape3, device: &Device) -> Tensor<4> {
    let [c, h, w] = shape;
    Tensor::from_data(TensorData::new(values.to_vec(), [1, c, h, w]), device)
}
