//! Attention.

use super::buffers::{self, Buffer};
use super::flex::{dense, filled, filled_with};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn_flex::FlexTensor;
use vipaint_kernels::{Attention, attention, attention_vjp};

#[backend_extension(Flex, Autodiff)]
pub trait Attend: Backend {
    /// `q` is `[batch, queries, channels]`, `k` and `v` are `[batch, keys, channels]`.
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, shape: Attention) -> FloatTensor<Self>;
}

impl Attend for Flex {
    fn attend(q: FlexTensor, k: FlexTensor, v: FlexTensor, shape: Attention) -> FlexTensor {
        let (q, k, v) = (dense(&q), dense(&k), dense(&v));
        filled(q.shape(), |y| attention(&shape, q.storage(), k.storage(), v.storage(), y))
    }
}

#[derive(Debug)]
struct AttendBackward;

impl Backward<Flex, 3> for AttendBackward {
    type State = (Attention, [FlexTensor; 3]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let (shape, inputs) = ops.state;
        let mut values: [Option<Buffer>; 3] =
            std::array::from_fn(|i| ops.parents[i].as_ref().map(|_| buffers::take(inputs[i].shape().num_elements())));
        let [q, k, v] = inputs.each_ref().map(FlexTensor::storage);
        let [dq, dk, dv] = values.each_mut().map(Option::as_deref_mut);
        attention_vjp(&shape, q, k, v, g.storage(), dq, dk, dv);
        for ((node, values), input) in ops.parents.iter().zip(values).zip(&inputs) {
            if let (Some(node), Some(values)) = (node, values) {
                grads.register::<Flex>(node.id, filled_with(values, input.shape()));
            }
        }
    }
}

impl<C: CheckpointStrategy> Attend for Autodiff<Flex, C> {
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, shape: Attention) -> FloatTensor<Self> {
        let parts = [q, k, v].map(|t| {
            let (primitive, node) = t.into_parts();
            (dense(&primitive), node)
        });
        let inputs = parts.each_ref().map(|(primitive, _)| primitive.clone());
        let [q, k, v] = inputs.clone();
        let y = Flex::attend(q, k, v, shape);
        match AttendBackward.prepare::<C>(parts.map(|(_, node)| node)).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((shape, inputs), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
