//! Group normalisation with its tail.

use super::flex::{dense, filled, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use vipaint_kernels::{GroupNorm, GroupNormGrads, Moments, Tail, group_norm, group_norm_vjp};

/// The normalisation of tensors on the CPU backend. `before` is added first; modulation is scale and shift.
pub(super) fn run(
    x: Tensor<4>,
    before: Option<Tensor<2>>,
    [weight, bias]: [Tensor<1>; 2],
    modulation: Option<(Tensor<2>, Tensor<2>)>,
    norm: GroupNorm,
) -> Tensor<4> {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match (before, modulation) {
        (None, None) => <Dispatch as Normalisation>::group_norm(x, weight, bias, norm),
        (Some(before), None) => {
            <Dispatch as Normalisation>::group_norm_shifted(x, weight, bias, before.into_dispatch(), norm)
        }
        (None, Some((scale, shift))) => {
            let (scale, shift) = (scale.into_dispatch(), shift.into_dispatch());
            <Dispatch as Normalisation>::group_norm_modulated(x, weight, bias, scale, shift, norm)
        }
        (Some(before), Some((scale, shift))) => {
            let (before, scale, shift) = (before.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
            <Dispatch as Normalisation>::group_norm_both(x, weight, bias, before, scale, shift, norm)
        }
    })
}

/// Each takes the tensors that its tail has, in one order: weight and bias `[channels]`, what is added before
/// `[batch, channels]`, scale and shift `[batch, channels]`.
#[backend_extension(Flex, Autodiff)]
pub trait Normalisation: Backend {
    fn group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self>;
    fn group_norm_shifted(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        before: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self>;
    fn group_norm_modulated(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self>;
    fn group_norm_both(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        before: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNorm,
    ) -> FloatTensor<Self>;
}

/// Tensors of a tail with `N - 1` of them, each dense; the number says which they are.
fn tail(tensors: &[FlexTensor]) -> Tail<'_> {
    let values = |i: usize| tensors[i].storage();
    let [before, modulation] = parts(tensors.len());
    Tail {
        before: before.map(values),
        weight: values(0),
        bias: values(1),
        modulation: modulation.map(|i| (values(i), values(i + 1))),
    }
}

/// Where what is added before and the modulation begin among so many tensors of a tail.
fn parts(len: usize) -> [Option<usize>; 2] {
    match len {
        2 => [None, None],
        3 => [Some(2), None],
        4 => [None, Some(2)],
        _ => [Some(2), Some(3)],
    }
}

fn forward(x: &FlexTensor, tensors: &[FlexTensor], norm: &GroupNorm) -> (FlexTensor, Vec<Moments>) {
    let mut moments = Vec::new();
    let y = filled(x.shape(), |y| moments = group_norm(norm, x.storage(), &tail(tensors), y));
    (y, moments)
}

/// What the gradients need; what lies between `x` and `y` is computed again.
#[derive(Clone, Debug)]
struct Saved {
    norm: GroupNorm,
    x: FlexTensor,
    tail: Vec<FlexTensor>,
    moments: Vec<Moments>,
}

#[derive(Debug)]
struct NormalisationBackward;

impl<const N: usize> Backward<Flex, N> for NormalisationBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let Saved { norm, x, tail: tensors, moments } = ops.state;
        let mut nodes = ops.parents.into_iter();
        let x_node = nodes.next().flatten();
        let nodes: Vec<_> = nodes.collect();
        let asked = nodes.iter().any(Option::is_some);
        let mut parameters = None;
        let dx = filled(x.shape(), |dx| {
            parameters = group_norm_vjp(&norm, x.storage(), &moments, &tail(&tensors), g.storage(), dx, asked);
        });
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, dx);
        }
        let Some(GroupNormGrads { before, weight, bias, scale, shift }) = parameters else { return };
        let mut values = vec![weight, bias];
        let [has_before, has_modulation] = parts(tensors.len());
        values.extend(has_before.map(|_| before));
        if has_modulation.is_some() {
            values.extend([scale, shift]);
        }
        for ((node, values), t) in nodes.into_iter().zip(values).zip(&tensors) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(values, t.shape()));
            }
        }
    }
}

/// The differentiable operation on `x` and the tensors of its tail.
fn tracked<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    norm: GroupNorm,
) -> FloatTensor<Autodiff<Flex, C>> {
    let parts = inputs.map(|t| {
        let (primitive, node) = t.into_parts();
        (dense(&primitive), node)
    });
    let x = parts[0].0.clone();
    let tail: Vec<_> = parts[1..].iter().map(|(primitive, _)| primitive.clone()).collect();
    let (y, moments) = forward(&x, &tail, &norm);
    match Backward::<Flex, N>::prepare::<C>(NormalisationBackward, parts.map(|(_, node)| node))
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(Saved { norm, x, tail, moments }, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

/// The methods of both backends: each names the tensors of its tail.
macro_rules! implement {
    ($($name:ident($($tail:ident),*);)*) => {
        impl Normalisation for Flex {
            $(fn $name(x: FlexTensor, $($tail: FlexTensor,)* norm: GroupNorm) -> FlexTensor {
                forward(&dense(&x), &[$($tail),*].map(|t| dense(&t)), &norm).0
            })*
        }

        impl<C: CheckpointStrategy> Normalisation for Autodiff<Flex, C> {
            $(fn $name(
                x: FloatTensor<Self>,
                $($tail: FloatTensor<Self>,)*
                norm: GroupNorm,
            ) -> FloatTensor<Self> {
                tracked::<C, _>([x, $($tail),*], norm)
            })*
        }
    };
}
implement! {
    group_norm(weight, bias);
    group_norm_shifted(weight, bias, before);
    group_norm_modulated(weight, bias, scale, shift);
    group_norm_both(weight, bias, before, scale, shift);
}
