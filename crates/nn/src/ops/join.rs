//! Channels of two images side by side.

use super::buffers;
use super::flex::{dense, filled, filled_with};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use vipaint_kernels::{join, split};

#[backend_extension(Flex, Autodiff)]
pub trait Join: Backend {
    /// Both are `[batch, height, width, ..]`, with channels of their own.
    fn join(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Join for Flex {
    fn join(x: FlexTensor, y: FlexTensor) -> FlexTensor {
        let (x, y) = (dense(&x), dense(&y));
        let ([batch, height, width, a], [.., b]) = (x.shape().dims::<4>(), y.shape().dims::<4>());
        filled(Shape::from([batch, height, width, a + b]), |to| join([x.storage(), y.storage()], [a, b], to))
    }
}

#[derive(Debug)]
struct JoinBackward;

impl Backward<Flex, 2> for JoinBackward {
    /// The shapes of both.
    type State = [Shape; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let shapes = ops.state;
        let channels = shapes.each_ref().map(|shape| shape.dims::<4>()[3]);
        let mut values = shapes.each_ref().map(|shape| buffers::take(shape.num_elements()));
        let [dx, dy] = &mut values;
        split(g.storage(), channels, [dx, dy]);
        for ((node, values), shape) in ops.parents.into_iter().zip(values).zip(shapes) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, filled_with(values, shape));
            }
        }
    }
}

impl<C: CheckpointStrategy> Join for Autodiff<Flex, C> {
    fn join(x: FloatTensor<Self>, y: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (y, y_node)) = (x.into_parts(), y.into_parts());
        let shapes = [x.shape(), y.shape()];
        let z = Flex::join(x, y);
        match JoinBackward.prepare::<C>([x_node, y_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(shapes, z),
            OpsKind::UnTracked(prep) => prep.finish(z),
        }
    }
}
