//! Parts of a network whose features are not held for a gradient, but computed again when it is taken (Chen et al., 2016).

use std::fmt::{self, Debug};
use std::sync::Arc;

use super::flex::{dense, filled};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Device, Tensor, TensorData};
use burn_flex::FlexTensor;

/// A function that is the same whenever it is called, differentiable where its argument is tracked. Whatever else it reads is
/// constant and on the plain device.
pub type Segment = Arc<dyn Fn(Tensor<4>) -> Tensor<4> + Send + Sync>;

/// `segment(x)`, of which only `x` is held until the gradient is taken, for one more forward pass then. Values and gradients are
/// those of `segment(boundary(x))`, bit for bit.
///
/// On the CPU backend in single precision; elsewhere, and where nothing is tracked, it is `segment(x)` itself.
pub fn recomputed(x: Tensor<4>, segment: Segment) -> Tensor<4> {
    if !x.is_tracked() || !super::on_flex(&x) {
        return segment(x);
    }
    let y = segment(x.clone().inner()).autodiff();
    Tensor::from_dispatch(<Dispatch as Recompute>::recompute(x.into_dispatch(), y.into_dispatch(), Again(segment)))
}

/// `x` itself. The gradients that reach it through the result are added up on their own before those that reach it otherwise: sums in
/// floating point depend on their order.
pub fn boundary(x: Tensor<4>) -> Tensor<4> {
    if !x.is_tracked() || !super::on_flex(&x) {
        return x;
    }
    Tensor::from_dispatch(<Dispatch as Recompute>::boundary(x.into_dispatch()))
}

/// A segment to be run again.
#[derive(Clone)]
pub struct Again(Segment);

impl Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a network")
    }
}

impl Again {
    /// The gradient of `<v, segment(x)>` with respect to `x`.
    fn vjp(&self, x: &FlexTensor, v: &FlexTensor) -> FlexTensor {
        let leaf = lifted(x).autodiff().require_grad();
        let mut gradients = ((self.0)(leaf.clone()) * lifted(v).autodiff()).sum().backward();
        let dx = leaf.grad_remove(&mut gradients).map(|dx| dx.into_data());
        filled(x.shape(), |place| match dx {
            Some(dx) => place.iter_mut().zip(dx.iter::<f32>()).for_each(|(place, value)| *place = value),
            None => place.fill(0.0),
        })
    }
}

/// A plain tensor with four dimensions of the same values.
fn lifted(x: &FlexTensor) -> Tensor<4> {
    let x = dense(x);
    Tensor::from_data(TensorData::new(x.storage::<f32>().to_vec(), x.shape()), &Device::flex())
}

#[backend_extension(Flex, Autodiff)]
pub trait Recompute: Backend {
    /// `y`, which `again` makes of `x`.
    fn recompute(x: FloatTensor<Self>, y: FloatTensor<Self>, again: Again) -> FloatTensor<Self>;

    /// `x`, another node of the graph.
    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Recompute for Flex {
    fn recompute(_: FlexTensor, y: FlexTensor, _: Again) -> FlexTensor {
        y
    }

    fn boundary(x: FlexTensor) -> FlexTensor {
        x
    }
}

#[derive(Debug)]
struct RecomputeBackward;

impl Backward<Flex, 1> for RecomputeBackward {
    type State = (FlexTensor, Again);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let v = grads.consume::<Flex>(&ops.node);
        let (x, again) = ops.state;
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, again.vjp(&x, &v));
        }
    }
}

#[derive(Debug)]
struct BoundaryBackward;

impl Backward<Flex, 1> for BoundaryBackward {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let v = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, v);
        }
    }
}

impl<C: CheckpointStrategy> Recompute for Autodiff<Flex, C> {
    fn recompute(x: FloatTensor<Self>, y: FloatTensor<Self>, again: Again) -> FloatTensor<Self> {
        let ((x, node), (y, _)) = (x.into_parts(), y.into_parts());
        match RecomputeBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, again), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match BoundaryBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((), x),
            OpsKind::UnTracked(prep) => prep.finish(x),
        }
    }
}
