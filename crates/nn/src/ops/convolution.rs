//! Convolution and the linear layer, which is one on images of a single pixel.

use super::flex::{dense, filled, sizes, tensor};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;
use vipaint_kernels::conv::{Conv, bias_grad, forward, input_grad, weight_grad};

#[backend_extension(Flex, Autodiff)]
pub trait Convolution: Backend {
    /// `x` is images or, for [`Conv::linear`], rows.
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        conv: Conv,
    ) -> FloatTensor<Self>;
}

/// The convolution of tensors on the CPU backend; without a bias, one of zeros, whose gradient nobody asks for.
pub(super) fn run<const D: usize, const W: usize>(
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
    conv: Conv,
) -> Tensor<D> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([conv.c_out], &weight.device()));
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Convolution>::convolution(x, weight, bias, conv))
}

/// The shape of the result: that of `x` with new sides and channels.
pub(super) fn output_shape(x: &FlexTensor, conv: &Conv) -> Shape {
    let batch = x.shape()[0];
    match sizes(x).len() {
        2 => Shape::from([batch, conv.c_out]),
        _ => Shape::from([batch, conv.out_height(), conv.out_width(), conv.c_out]),
    }
}

impl Convolution for Flex {
    fn convolution(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, conv: Conv) -> FlexTensor {
        let (x, weight, bias) = (dense(&x), dense(&weight), dense(&bias));
        filled(output_shape(&x, &conv), |y| forward(&conv, x.storage(), weight.storage(), Some(bias.storage()), y))
    }
}

/// What the gradients need; `x` and `weight` each serve that of the other.
#[derive(Clone, Debug)]
struct Saved {
    conv: Conv,
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
    shapes: [Shape; 2],
}

#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<Flex, 3> for ConvolutionBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let Saved { conv, x, weight, shapes: [x_shape, weight_shape] } = ops.state;
        let [x_node, weight_node, bias_node] = ops.parents;
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let dx = filled(x_shape, |dx| input_grad(&conv, g.storage(), weight.storage(), dx));
            grads.register::<Flex>(node.id, dx);
        }
        let mut db = bias_node.as_ref().map(|_| vec![0.0; conv.c_out]);
        match (weight_node, x) {
            // The gradient of the bias is a by-product.
            (Some(node), Some(x)) => {
                let db = db.as_deref_mut();
                let dw = filled(weight_shape, |dw| weight_grad(&conv, x.storage(), g.storage(), dw, db));
                grads.register::<Flex>(node.id, dw);
            }
            _ => {
                if let Some(db) = &mut db {
                    bias_grad(conv.c_out, g.storage(), db);
                }
            }
        }
        if let (Some(node), Some(db)) = (bias_node, db) {
            grads.register::<Flex>(node.id, tensor(db, [conv.c_out]));
        }
    }
}

impl<C: CheckpointStrategy> Convolution for Autodiff<Flex, C> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        conv: Conv,
    ) -> FloatTensor<Self> {
        let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (dense(&x), dense(&weight));
        let y = Flex::convolution(x.clone(), weight.clone(), bias, conv);
        match ConvolutionBackward.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let shapes = [x.shape(), weight.shape()];
                let saved = Saved { conv, x: weight_tracked.then_some(x), weight: x_tracked.then_some(weight), shapes };
                prep.finish(saved, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
