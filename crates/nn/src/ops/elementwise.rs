//! SiLU and changes of resolution.

use super::flex::{dense, filled};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension, tensor::FloatTensor};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use vipaint_kernels::{average_pool2, average_pool2_vjp, silu, silu_vjp, upsample2, upsample2_vjp};

#[backend_extension(Flex, Autodiff)]
pub trait Elementwise: Backend {
    /// `x sigmoid(x)`.
    fn silu_fused(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x` is `[batch, height, width, channels]`.
    fn upsample2(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x` is `[batch, height, width, channels]`, with even sides.
    fn average_pool2(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Elementwise for Flex {
    fn silu_fused(x: FlexTensor) -> FlexTensor {
        let x = dense(&x);
        filled(x.shape(), |y| silu(x.storage(), y))
    }

    fn upsample2(x: FlexTensor) -> FlexTensor {
        let x = dense(&x);
        let [b, h, w, c] = x.shape().dims();
        filled(Shape::from([b, 2 * h, 2 * w, c]), |y| upsample2(w, c, x.storage(), y))
    }

    fn average_pool2(x: FlexTensor) -> FlexTensor {
        let x = dense(&x);
        let [b, h, w, c] = x.shape().dims();
        filled(Shape::from([b, h / 2, w / 2, c]), |y| average_pool2(w / 2, c, x.storage(), y))
    }
}

#[derive(Debug)]
struct SiluBackward;

impl Backward<Flex, 1> for SiluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let x = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = filled(x.shape(), |dx| silu_vjp(x.storage(), g.storage(), dx));
            grads.register::<Flex>(node.id, dx);
        }
    }
}

/// The vector-Jacobian product of a change of resolution: width and channels of `x`, the result's gradient, that of `x`.
#[derive(Debug)]
struct ResampleBackward(fn(usize, usize, &[f32], &mut [f32]));

impl Backward<Flex, 1> for ResampleBackward {
    /// The shape of `x`.
    type State = Shape;

    fn backward(self, ops: Ops<Shape, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = dense(&grads.consume::<Flex>(&ops.node));
        let shape = ops.state;
        if let [Some(node)] = ops.parents {
            let [_, _, w, c] = shape.dims();
            grads.register::<Flex>(node.id, filled(shape, |dx| self.0(w, c, g.storage(), dx)));
        }
    }
}

impl<C: CheckpointStrategy> Elementwise for Autodiff<Flex, C> {
    fn silu_fused(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let x = dense(&x);
        let y = Flex::silu_fused(x.clone());
        match SiluBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn upsample2(x: FloatTensor<Self>) -> FloatTensor<Self> {
        resampled::<C>(x, Flex::upsample2, ResampleBackward(upsample2_vjp))
    }

    fn average_pool2(x: FloatTensor<Self>) -> FloatTensor<Self> {
        resampled::<C>(x, Flex::average_pool2, ResampleBackward(|w, c, g, dx| average_pool2_vjp(w / 2, c, g, dx)))
    }
}

fn resampled<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    run: fn(FlexTensor) -> FlexTensor,
    backward: ResampleBackward,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (x, node) = x.into_parts();
    let shape = x.shape();
    let y = run(x);
    match backward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(shape, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}
