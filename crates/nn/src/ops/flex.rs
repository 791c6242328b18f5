//! Between tensors and the slices of the kernels.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_flex::{FlexTensor, Layout};

use super::buffers::{self, Buffer};
use crate::device::is_cpu;

/// Whether the kernels serve this tensor: in single precision, on the CPU backend or its autodiff twin.
pub(super) fn on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    is_cpu(&x.device()) && x.dtype() == DType::F32
}

/// A tensor whose storage is its values in order: itself if it is one already, or else a copy.
pub(super) fn dense(x: &FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

/// As [`dense`], without a second handle to the same storage.
pub(super) fn into_dense(x: FlexTensor) -> FlexTensor {
    let whole = x.layout().start_offset() == 0 && x.bytes().len() == x.shape().num_elements() * size_of::<f32>();
    if whole && x.is_contiguous() { x } else { x.to_contiguous() }
}

/// A new tensor, every value of which `fill` writes.
pub(super) fn filled(shape: Shape, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut values = buffers::take(shape.num_elements());
    fill(&mut values);
    filled_with(values, shape)
}

/// A tensor of the values of a buffer, which goes back to the others with it.
pub(super) fn filled_with(values: Buffer, shape: Shape) -> FlexTensor {
    FlexTensor::new(buffers::storage(values), Layout::contiguous(shape), DType::F32)
}

/// A tensor of these values.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// The sizes of a tensor's dimensions.
pub(super) fn sizes(x: &FlexTensor) -> Vec<usize> {
    x.shape().iter().copied().collect()
}
