//! Linear layers with constant weights and an activation, which is applied while their results are in a near cache.

use super::flex::{dense, filled, filled_with, on_flex};
use super::frozen::{PackedConv, linear_frozen};
use super::{buffers, convolution::output_shape, reference};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;
use std::sync::Arc;
use vipaint_kernels::Activation;
use vipaint_kernels::conv::{Conv, Frozen};

/// `f(x W^T + b)`: [`super::linear_frozen`] and an activation.
///
/// Differentiable in `x`. What `f` is applied to is kept only if a gradient may be asked for.
pub fn linear_frozen_activated(x: Tensor<2>, packed: &PackedConv, activation: Activation) -> Tensor<2> {
    match packed.kernels() {
        Some(frozen) if on_flex(&x) => {
            let conv = frozen.conv();
            assert_eq!(*conv, Conv::linear(x.dims()[1], conv.c_out), "weights of a linear layer for this input");
            let (x, frozen) = (x.into_dispatch(), frozen.clone());
            Tensor::from_dispatch(<Dispatch as ActivatedLinear>::linear_activated(x, frozen, activation))
        }
        _ => reference::activate(linear_frozen(x, packed), activation),
    }
}

#[backend_extension(Flex, Autodiff)]
pub trait ActivatedLinear: Backend {
    /// The layer's result.
    fn linear_activated(x: FloatTensor<Self>, frozen: Arc<Frozen>, activation: Activation) -> FloatTensor<Self>;
}

impl ActivatedLinear for Flex {
    fn linear_activated(x: FlexTensor, frozen: Arc<Frozen>, activation: Activation) -> FlexTensor {
        let x = dense(&x);
        filled(output_shape(&x, frozen.conv()), |y| frozen.apply_activated(x.storage(), activation, y, None))
    }
}

#[derive(Debug)]
struct ActivatedBackward;

impl Backward<Flex, 1> for ActivatedBackward {
    /// The layer, what its activation is applied to, the shape of `x`.
    type State = (Arc<Frozen>, Activation, FlexTensor, Shape);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let (frozen, activation, z, shape) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = filled(shape, |dx| frozen.input_grad_activated(activation, z.storage(), g.storage(), dx));
            grads.register::<Flex>(node.id, dx);
        }
    }
}

impl<C: CheckpointStrategy> ActivatedLinear for Autodiff<Flex, C> {
    fn linear_activated(x: FloatTensor<Self>, frozen: Arc<Frozen>, activation: Activation) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let prep = match ActivatedBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep,
            OpsKind::UnTracked(prep) => return prep.finish(Flex::linear_activated(x, frozen, activation)),
        };
        let x = dense(&x);
        let shape = output_shape(&x, frozen.conv());
        let mut z = buffers::take(shape.num_elements());
        let y = filled(shape.clone(), |y| frozen.apply_activated(x.storage(), activation, y, Some(&mut z)));
        let z = filled_with(z, shape);
        prep.finish((frozen, activation, z, x.shape()), y)
    }
}
