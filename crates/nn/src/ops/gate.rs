//! The gate of feed-forward layers.

use super::flex::{dense, filled, into_dense};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn_flex::FlexTensor;
use vipaint_kernels::{geglu, geglu_vjp};

#[backend_extension(Flex, Autodiff)]
pub trait Gate: Backend {
    /// Both have one shape.
    fn geglu(value: FloatTensor<Self>, gate: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Gate for Flex {
    fn geglu(value: FlexTensor, gate: FlexTensor) -> FlexTensor {
        let (value, gate) = (dense(&value), dense(&gate));
        filled(value.shape(), |y| geglu(value.storage(), gate.storage(), y))
    }
}

#[derive(Debug)]
struct GateBackward;

impl Backward<Flex, 2> for GateBackward {
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        // The gradient of the value takes the place of that of the result, if nobody else holds it.
        let mut dvalue = into_dense(grads.consume::<Flex>(&ops.node));
        let [value, gate] = ops.state;
        let dgate = filled(gate.shape(), |dgate| {
            geglu_vjp(value.storage(), gate.storage(), dvalue.storage_mut(), dgate);
        });
        let [value_node, gate_node] = ops.parents;
        if let Some(node) = value_node {
            grads.register::<Flex>(node.id, dvalue);
        }
        if let Some(node) = gate_node {
            grads.register::<Flex>(node.id, dgate);
        }
    }
}

impl<C: CheckpointStrategy> Gate for Autodiff<Flex, C> {
    fn geglu(value: FloatTensor<Self>, gate: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((value, value_node), (gate, gate_node)) = (value.into_parts(), gate.into_parts());
        let (value, gate) = (dense(&value), dense(&gate));
        let y = Flex::geglu(value.clone(), gate.clone());
        match GateBackward.prepare::<C>([value_node, gate_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([value, gate], y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
