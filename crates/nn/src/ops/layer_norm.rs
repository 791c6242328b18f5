//! Layer normalisation.

use super::flex::{dense, filled, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn_flex::FlexTensor;
use vipaint_kernels::{layer_norm, layer_norm_vjp};

#[backend_extension(Flex, Autodiff)]
pub trait RowNormalisation: Backend {
    /// `weight` and `bias` are as long as the rows of `x`.
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
}

impl RowNormalisation for Flex {
    fn layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f64) -> FlexTensor {
        let (x, weight, bias) = (dense(&x), dense(&weight), dense(&bias));
        filled(x.shape(), |y| layer_norm(x.storage(), weight.storage(), bias.storage(), eps, y))
    }
}

#[derive(Debug)]
struct RowNormalisationBackward;

impl Backward<Flex, 3> for RowNormalisationBackward {
    type State = (FlexTensor, FlexTensor, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let (x, weight, eps) = ops.state;
        let [x_node, weight_node, bias_node] = ops.parents;
        let (mut parameters, asked) = (None, weight_node.is_some() || bias_node.is_some());
        let dx = filled(x.shape(), |dx| {
            parameters = layer_norm_vjp(x.storage(), weight.storage(), eps, g.storage(), dx, asked);
        });
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, dx);
        }
        for (node, values) in [weight_node, bias_node].into_iter().zip(parameters.into_iter().flatten()) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, weight.shape()));
            }
        }
    }
}

impl<C: CheckpointStrategy> RowNormalisation for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (dense(&x), dense(&weight));
        let y = Flex::layer_norm(x.clone(), weight.clone(), bias, eps);
        let nodes = [x_node, weight_node, bias_node];
        match RowNormalisationBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight, eps), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
