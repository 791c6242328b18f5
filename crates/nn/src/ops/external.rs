//! Functions computed outside of Burn, with a vector-Jacobian product computed outside, too.

use std::fmt::Debug;
use std::sync::Arc;

use super::flex::{dense, filled};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

/// A function on slices. What goes wrong inside is for the implementation to keep and its owner to ask for: it fills the
/// result with NaN then.
pub trait External: Debug + Send + Sync {
    /// `y = f(x)`; `y` comes filled with zeros.
    fn forward(&self, x: &[f32], y: &mut [f32]);

    /// `dx = J_f(x)^T v`; `dx` comes filled with zeros.
    fn vjp(&self, x: &[f32], v: &[f32], dx: &mut [f32]);
}

/// `f(x)`, of shape `shape`, differentiable in `x` by the function's own product.
///
/// On the CPU backend in single precision; elsewhere `None`.
pub fn external(x: Tensor<4>, function: Arc<dyn External>, shape: [usize; 4]) -> Option<Tensor<4>> {
    super::on_flex(&x).then(|| {
        let (x, shape) = (x.into_dispatch(), Shape::from(shape));
        Tensor::from_dispatch(<Dispatch as Outside>::outside(x, function, shape))
    })
}

#[backend_extension(Flex, Autodiff)]
pub trait Outside: Backend {
    /// The function's result.
    fn outside(x: FloatTensor<Self>, function: Arc<dyn External>, shape: Shape) -> FloatTensor<Self>;
}

impl Outside for Flex {
    fn outside(x: FlexTensor, function: Arc<dyn External>, shape: Shape) -> FlexTensor {
        let x = dense(&x);
        filled(shape, |y| {
            y.fill(0.0);
            function.forward(x.storage(), y);
        })
    }
}

#[derive(Debug)]
struct OutsideBackward;

impl Backward<Flex, 1> for OutsideBackward {
    type State = (FlexTensor, Arc<dyn External>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let v = dense(&grads.consume::<Flex>(&ops.node));
        let (x, function) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = filled(x.shape(), |dx| {
                dx.fill(0.0);
                function.vjp(x.storage(), v.storage(), dx);
            });
            grads.register::<Flex>(node.id, dx);
        }
    }
}

impl<C: CheckpointStrategy> Outside for Autodiff<Flex, C> {
    fn outside(x: FloatTensor<Self>, function: Arc<dyn External>, shape: Shape) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = dense(&x);
        let y = Flex::outside(x.clone(), function.clone(), shape);
        match OutsideBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, function), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
