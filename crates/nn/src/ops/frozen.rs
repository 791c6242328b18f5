//! Convolutions and linear layers with constant weights, packed once.

use super::flex::{dense, filled, into_dense, on_flex};
use super::{convolution::output_shape, reference};
use crate::device::is_cpu;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use burn_flex::FlexTensor;
use std::borrow::Cow;
use std::sync::Arc;
use vipaint_kernels::conv::{Conv, Frozen};

/// The weights and bias of a convolution or linear layer that never change, in the form that is fastest to use.
///
/// Neither it nor anything made from it keeps the tensors it was made from, except on other backends than the CPU's, where
/// it is these tensors. Clones share the weights.
#[derive(Clone, Debug)]
pub struct PackedConv(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Kernels(Arc<Frozen>),
    Tensors(Box<Tensors>),
}

/// The arguments of the operation themselves.
#[derive(Clone, Debug)]
struct Tensors {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
    doubled: bool,
}

/// Numbers in single precision, as they are where they are kept so: a network has a billion of them.
fn values(data: &TensorData) -> Cow<'_, [f32]> {
    data.as_slice().map_or_else(|_| Cow::Owned(data.iter::<f32>().collect()), Cow::Borrowed)
}

/// Weights and bias in PyTorch's order, to be kept on a (plain) device.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `[c_out, c_in, kernel, kernel]`, or `[c_out, c_in]` of a linear map.
    pub weight: &'a [f32],
    /// `[c_out]`.
    pub bias: Option<&'a [f32]>,
    /// Where they will be.
    pub device: &'a Device,
    /// In which precision.
    pub precision: Precision,
}

/// The precision of a frozen layer on the CPU; on other devices it is theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single, with the fastest kernels: an error of at most `2^-15` of each product where the processor has tile registers.
    #[default]
    Single,
    /// The same with weights rounded to half precision.
    HalfWeights,
    /// Single to the last bit but one: every product is one of vectors.
    Vectors,
}

impl PackedConv {
    /// [`Self::new`] from values that need be in memory only as long as this takes; `kernel` is its side.
    ///
    /// # Panics
    /// If there are more or fewer values than the sizes say.
    pub fn from_values(
        values: Values<'_>,
        [c_out, c_in, kernel]: [usize; 3],
        stride: usize,
        padding: usize,
        [height, width]: [usize; 2],
    ) -> Self {
        let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
        if is_cpu(values.device) {
            let none = if values.bias.is_none() { vec![0.0; c_out] } else { Vec::new() };
            let bias = values.bias.unwrap_or(&none);
            let make = match values.precision {
                Precision::Single => Frozen::new,
                Precision::HalfWeights => Frozen::halved,
                Precision::Vectors => Frozen::in_vectors,
            };
            return Self(Inner::Kernels(Arc::new(make(&conv, values.weight, bias))));
        }
        let tensor = |values: &[f32], shape: &[usize]| TensorData::new(values.to_vec(), shape.to_vec());
        let weight = Tensor::from_data(tensor(values.weight, &[c_out, c_in, kernel, kernel]), values.device);
        let bias = values.bias.map(|bias| Tensor::from_data(tensor(bias, &[c_out]), values.device));
        Self::pack(weight, bias, conv)
    }

    /// [`Self::linear`] likewise.
    ///
    /// # Panics
    /// As there.
    pub fn linear_from_values(values: Values<'_>, [c_out, c_in]: [usize; 2]) -> Self {
        Self::from_values(values, [c_out, c_in, 1], 1, 0, [1, 1])
    }

    /// Packs the arguments of [`super::conv2d`] for images with `[height, width]` `sides`.
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize, sides: [usize; 2]) -> Self {
        let [c_out, c_in, kernel, _] = weight.dims();
        let [height, width] = sides;
        Self::pack(weight, bias, Conv { height, width, c_in, c_out, kernel, stride, padding })
    }

    /// Packs the arguments of [`super::linear`].
    pub fn linear(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let [c_out, c_in] = weight.dims();
        Self::pack(weight.reshape([c_out, c_in, 1, 1]), bias, Conv::linear(c_in, c_out))
    }

    fn pack(weight: Tensor<4>, bias: Option<Tensor<1>>, conv: Conv) -> Self {
        let bias = bias.unwrap_or_else(|| Tensor::zeros([conv.c_out], &weight.device()));
        if !on_flex(&weight) {
            let (stride, padding) = (conv.stride, conv.padding);
            return Self(Inner::Tensors(Box::new(Tensors { weight, bias, stride, padding, doubled: false })));
        }
        let (weight, bias) = (weight.into_data(), bias.into_data());
        Self(Inner::Kernels(Arc::new(Frozen::new(&conv, &values(&weight), &values(&bias)))))
    }

    /// The same convolution after [`super::upsample2`], which is never written out where the kernels allow it: the input has
    /// half the sides that the weights are packed for.
    #[must_use]
    pub fn after_upsampling(self) -> Self {
        Self(match self.0 {
            Inner::Kernels(frozen) => Inner::Kernels(Arc::new(Arc::unwrap_or_clone(frozen).after_upsampling())),
            Inner::Tensors(tensors) => Inner::Tensors(Box::new(Tensors { doubled: true, ..*tensors })),
        })
    }

    /// The layer of the kernels, where they run.
    pub(super) fn kernels(&self) -> Option<&Arc<Frozen>> {
        match &self.0 {
            Inner::Kernels(frozen) => Some(frozen),
            Inner::Tensors(_) => None,
        }
    }

    /// Bytes that the packed weights take.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Inner::Kernels(frozen) => frozen.bytes(),
            Inner::Tensors(tensors) => {
                let Tensors { weight, bias, .. } = &**tensors;
                (weight.shape().num_elements() + bias.shape().num_elements()) * weight.dtype().size()
            }
        }
    }
}

/// [`super::conv2d`] with constant weights, plus `residual` (shaped as the result) if there is one.
///
/// Differentiable in `x` and `residual`, keeping neither. A residual that nobody else holds becomes the result in place.
pub fn conv2d_frozen(x: Tensor<4>, packed: &PackedConv, residual: Option<Tensor<4>>) -> Tensor<4> {
    match &packed.0 {
        Inner::Kernels(frozen) => {
            let ([_, height, width, channels], [rows, columns]) = (x.dims(), frozen.input_sides());
            let packed_for = [rows, columns, frozen.conv().c_in];
            assert_eq!([height, width, channels], packed_for, "height, width and channels the weights are packed for");
            run(x, frozen, residual)
        }
        Inner::Tensors(tensors) => {
            let Tensors { weight, bias, stride, padding, doubled } = (**tensors).clone();
            let x = if doubled { reference::upsample2(x) } else { x };
            let y = reference::conv2d(x, weight, Some(bias), stride, padding);
            match residual {
                Some(residual) => y + residual,
                None => y,
            }
        }
    }
}

/// [`super::linear`] with constant weights.
pub fn linear_frozen(x: Tensor<2>, packed: &PackedConv) -> Tensor<2> {
    match &packed.0 {
        Inner::Kernels(frozen) => {
            let conv = frozen.conv();
            assert_eq!(*conv, Conv::linear(x.dims()[1], conv.c_out), "weights of a linear layer for this input");
            run(x, frozen, None)
        }
        Inner::Tensors(tensors) => {
            let Tensors { weight, bias, .. } = (**tensors).clone();
            let [c_out, c_in, ..] = weight.dims();
            reference::linear(x, weight.reshape([c_out, c_in]), Some(bias))
        }
    }
}

fn run<const D: usize>(x: Tensor<D>, frozen: &Arc<Frozen>, residual: Option<Tensor<D>>) -> Tensor<D> {
    let (x, frozen) = (x.into_dispatch(), frozen.clone());
    Tensor::from_dispatch(match residual {
        None => <Dispatch as FrozenConvolution>::convolve(x, frozen),
        Some(residual) => <Dispatch as FrozenConvolution>::convolve_onto(x, residual.into_dispatch(), frozen),
    })
}

#[backend_extension(Flex, Autodiff)]
pub trait FrozenConvolution: Backend {
    /// The layer's result.
    fn convolve(x: FloatTensor<Self>, frozen: Arc<Frozen>) -> FloatTensor<Self>;
    /// The layer's result plus `residual`.
    fn convolve_onto(x: FloatTensor<Self>, residual: FloatTensor<Self>, frozen: Arc<Frozen>) -> FloatTensor<Self>;
}

impl FrozenConvolution for Flex {
    fn convolve(x: FlexTensor, frozen: Arc<Frozen>) -> FlexTensor {
        let x = dense(&x);
        filled(output_shape(&x, frozen.conv()), |y| frozen.apply(x.storage(), false, y))
    }

    fn convolve_onto(x: FlexTensor, residual: FlexTensor, frozen: Arc<Frozen>) -> FlexTensor {
        let x = dense(&x);
        assert_eq!(residual.shape(), output_shape(&x, frozen.conv()), "shape of the residual");
        let mut residual = into_dense(residual);
        if let Some(y) = residual.try_storage_mut() {
            frozen.apply(x.storage(), true, y);
            return residual;
        }
        filled(residual.shape(), |y| frozen.apply_onto(x.storage(), residual.storage(), y))
    }
}

/// The gradient of the residual is that of the result; that of `x` needs the weights only.
#[derive(Debug)]
struct FrozenBackward;

impl<const N: usize> Backward<Flex, N> for FrozenBackward {
    type State = (Arc<Frozen>, Shape);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = grads.consume::<Flex>(&ops.node);
        let (frozen, shape) = ops.state;
        let mut parents = ops.parents.into_iter();
        if let Some(node) = parents.next().flatten() {
            let g = dense(&g);
            grads.register::<Flex>(node.id, filled(shape, |dx| frozen.input_grad(g.storage(), dx)));
        }
        if let Some(node) = parents.next().flatten() {
            grads.register::<Flex>(node.id, g);
        }
    }
}

impl<C: CheckpointStrategy> FrozenConvolution for Autodiff<Flex, C> {
    fn convolve(x: FloatTensor<Self>, frozen: Arc<Frozen>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let shape = x.shape();
        let y = Flex::convolve(x, frozen.clone());
        match Backward::<Flex, 1>::prepare::<C>(FrozenBackward, [node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((frozen, shape), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn convolve_onto(x: FloatTensor<Self>, residual: FloatTensor<Self>, frozen: Arc<Frozen>) -> FloatTensor<Self> {
        let ((x, node), (residual, residual_node)) = (x.into_parts(), residual.into_parts());
        let shape = x.shape();
        let y = Flex::convolve_onto(x, residual, frozen.clone());
        let nodes = [node, residual_node];
        match Backward::<Flex, 2>::prepare::<C>(FrozenBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((frozen, shape), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
