//! Blocks of a network with constant weights, each one operation.
//!
//! A small network spends a good part of a call between its kernels: every operation on tensors is a node of the graph, with
//! allocations and locks, and its results go through memory that was just freed elsewhere. A block runs its kernels one after
//! another on slices, forward and backward, and adds gradients up where the last kernel writes them. Its values and gradients
//! are those of the operations it stands for, bit for bit.

mod attention;
mod residual;

pub use attention::FusedAttention;
pub use residual::FusedResidual;

use std::fmt::Debug;
use std::sync::Arc;

use super::flex::{dense, filled, on_flex};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;
use vipaint_kernels::{GroupNorm, Moments, Tail};

/// A block's call: its weights and what else is constant.
pub trait Block: Debug + Send + Sync {
    /// The shape of the result for an input of this shape.
    fn shape(&self, x: &Shape) -> Shape;

    /// Writes the result, and returns what its gradient needs besides the input.
    fn forward(&self, x: &[f32], y: &mut [f32]) -> Kept;

    /// Writes the gradient of the input from `g`, that of the result.
    fn vjp(&self, x: &[f32], kept: &Kept, g: &[f32], dx: &mut [f32]);
}

/// What a block keeps for its gradient.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    values: Vec<FlexTensor>,
    moments: Vec<Vec<Moments>>,
}

/// The block's result.
fn run(x: Tensor<4>, block: Arc<dyn Block>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Fused>::block(x.into_dispatch(), block))
}

/// Weight and bias of a group norm, and its shape for pictures of one size.
#[derive(Clone, Debug)]
struct Norm {
    shape: GroupNorm,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    /// Nothing but the weights.
    fn tail(&self) -> Tail<'_> {
        Tail { before: None, weight: &self.weight, bias: &self.bias, modulation: None }
    }
}

/// A group norm's weight and bias `[channels]`, its groups, and what is added to the variance.
#[derive(Clone, Debug)]
pub struct NormWeights {
    /// `[channels]`.
    pub weight: Tensor<1>,
    /// `[channels]`.
    pub bias: Tensor<1>,
    /// Number of groups; it divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl NormWeights {
    /// For pictures of so many pixels; none elsewhere than on the CPU backend.
    fn norm(self, pixels: usize, silu: bool) -> Option<Norm> {
        let channels = self.weight.dims()[0];
        let shape = GroupNorm { pixels, channels, groups: self.groups, eps: self.eps, silu };
        let on_cpu = on_flex(&self.weight);
        let values = |x: Tensor<1>| x.into_data().try_into_vec::<f32>().ok();
        Some(Norm { shape, weight: values(self.weight).filter(|_| on_cpu)?, bias: values(self.bias)? })
    }
}

#[backend_extension(Flex, Autodiff)]
pub trait Fused: Backend {
    /// The block's result.
    fn block(x: FloatTensor<Self>, block: Arc<dyn Block>) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn block(x: FlexTensor, block: Arc<dyn Block>) -> FlexTensor {
        let x = dense(&x);
        filled(block.shape(&x.shape()), |y| drop(block.forward(x.storage(), y)))
    }
}

#[derive(Debug)]
struct BlockBackward;

impl Backward<Flex, 1> for BlockBackward {
    type State = (FlexTensor, Arc<dyn Block>, Kept);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let (x, block, kept) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = filled(x.shape(), |dx| block.vjp(x.storage(), &kept, g.storage(), dx));
            grads.register::<Flex>(node.id, dx);
        }
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn block(x: FloatTensor<Self>, block: Arc<dyn Block>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let prep = match BlockBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep,
            OpsKind::UnTracked(prep) => return prep.finish(Flex::block(x, block)),
        };
        let x = dense(&x);
        let mut kept = Kept::default();
        let y = filled(block.shape(&x.shape()), |y| kept = block.forward(x.storage(), y));
        prep.finish((x, block, kept), y)
    }
}
