//! Group normalisation with its tail.

use super::flex::{dense, filled, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn_flex::FlexTensor;
use vipaint_kernels::{GroupNorm, Moments, Tail, group_norm, group_norm_vjp};

#[backend_extension(Flex, Autodiff)]
pub trait Normalisation: Backend {
    /// `before` is `[batch, channels]`, `weight` and `bias` are `[channels]`, `scale` and `shift` `[batch, channels]`.
    fn group_norm(
        x: FloatTensor<Self>,
        before: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self>;
}

/// The tensors of the tail: before, weight, bias, scale, shift, each dense.
type Affine = [FlexTensor; 5];

fn tail([before, weight, bias, scale, shift]: &Affine) -> Tail<'_> {
    Tail {
        before: Some(before.storage()),
        weight: weight.storage(),
        bias: bias.storage(),
        modulation: Some((scale.storage(), shift.storage())),
    }
}

fn forward(x: &FlexTensor, affine: &Affine, norm: &GroupNorm) -> (FlexTensor, Vec<Moments>) {
    let mut moments = Vec::new();
    let y = filled(x.shape(), |y| moments = group_norm(norm, x.storage(), &tail(affine), y));
    (y, moments)
}

impl Normalisation for Flex {
    fn group_norm(
        x: FlexTensor,
        before: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        norm: GroupNorm,
    ) -> FlexTensor {
        forward(&dense(&x), &[before, weight, bias, scale, shift].map(|t| dense(&t)), &norm).0
    }
}

/// What the gradients need; what lies between `x` and `y` is computed again.
#[derive(Clone, Debug)]
struct Saved {
    norm: GroupNorm,
    x: FlexTensor,
    affine: Affine,
    moments: Vec<Moments>,
}

#[derive(Debug)]
struct NormalisationBackward;

impl Backward<Flex, 6> for NormalisationBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let Saved { norm, x, affine, moments } = ops.state;
        let [x_node, before_node, weight_node, bias_node, scale_node, shift_node] = ops.parents;
        let asked = [&before_node, &weight_node, &bias_node, &scale_node, &shift_node].iter().any(|n| n.is_some());
        let mut parameters = None;
        let dx = filled(x.shape(), |dx| {
            parameters = group_norm_vjp(&norm, x.storage(), &moments, &tail(&affine), g.storage(), dx, asked);
        });
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, dx);
        }
        let Some(parameters) = parameters else { return };
        let [before, weight, bias, scale, shift] = affine.map(|t| t.shape());
        for (node, values, shape) in [
            (before_node, parameters.before, before),
            (weight_node, parameters.weight, weight),
            (bias_node, parameters.bias, bias),
            (scale_node, parameters.scale, scale),
            (shift_node, parameters.shift, shift),
        ] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, shape));
            }
        }
    }
}

impl<C: CheckpointStrategy> Normalisation for Autodiff<Flex, C> {
    fn group_norm(
        x: FloatTensor<Self>,
        before: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self> {
        let parts = [x, before, weight, bias, scale, shift].map(|t| {
            let (primitive, node) = t.into_parts();
            (dense(&primitive), node)
        });
        let [x, before, weight, bias, scale, shift] = parts.each_ref().map(|(primitive, _)| primitive.clone());
        let affine = [before, weight, bias, scale, shift];
        let (y, moments) = forward(&x, &affine, &norm);
        match NormalisationBackward.prepare::<C>(parts.map(|(_, node)| node)).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Saved { norm, x, affine, moments }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
