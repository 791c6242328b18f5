//! The residual block of diffusion U-Nets.

use std::sync::Arc;

use super::super::buffers::take;
use super::super::flex::{filled, on_flex};
use super::super::frozen::{PackedConv, linear_frozen};
use super::{Block, Kept, Norm, NormWeights, run};
use burn::tensor::{Shape, Tensor};
use vipaint_kernels::conv::Frozen;
use vipaint_kernels::{Tail, group_norm, group_norm_vjp, group_norm_vjp_onto};

/// `h = conv_in(silu(gn(x)))`, `y = skip(x) + conv_out(silu(gn(h) (1 + scale) + shift))` with `scale` and `shift` affine in an
/// embedding, or `y = skip(x) + conv_out(silu(gn(h + e)))` with an affine `e`, or without one, for pictures of one size; without
/// `skip` it is `x`.
#[derive(Clone, Debug)]
pub struct FusedResidual {
    weights: Arc<Weights>,
    modulation: Option<PackedConv>,
}

#[derive(Debug)]
struct Weights {
    norms: [Norm; 2],
    conv_in: Arc<Frozen>,
    conv_out: Arc<Frozen>,
    skip: Option<Arc<Frozen>>,
}

impl FusedResidual {
    /// From the layers' packed weights; none where the kernels do not run. `modulation`, if there is an embedding, has as many results as
    /// `conv_out`, or twice as many: scales and shifts.
    pub fn new(
        [norm_in, norm_out]: [NormWeights; 2],
        [conv_in, conv_out]: [&PackedConv; 2],
        skip: Option<&PackedConv>,
        modulation: Option<&PackedConv>,
    ) -> Option<Self> {
        let (conv_in, conv_out) = (conv_in.kernels()?.clone(), conv_out.kernels()?.clone());
        let skip = match skip {
            Some(skip) => Some(skip.kernels()?.clone()),
            None => None,
        };
        let pixels = conv_in.conv().height * conv_in.conv().width;
        let norms = [norm_in.norm(pixels, true)?, norm_out.norm(pixels, true)?];
        let weights = Arc::new(Weights { norms, conv_in, conv_out, skip });
        Some(Self { weights, modulation: modulation.cloned() })
    }

    /// `x` `[batch, height, width, c_in]` and a constant `embedding` `[batch, embedding]`, which counts only where it is modulated,
    /// to `[batch, height, width, c_out]`, differentiable in `x`; none where the kernels do not run, or an embedding is missing or
    /// has a gradient.
    pub fn forward(&self, x: &Tensor<4>, embedding: Option<&Tensor<2>>) -> Option<Tensor<4>> {
        if !on_flex(x) {
            return None;
        }
        let embedding = match &self.modulation {
            Some(modulation) => self.modulated(modulation, embedding?, x.dims()[0])?,
            None => Embedding::None,
        };
        Some(run(x.clone(), Arc::new(Residual { weights: self.weights.clone(), embedding })))
    }

    /// What an embedding becomes; none if it has a gradient.
    fn modulated(&self, modulation: &PackedConv, embedding: &Tensor<2>, batch: usize) -> Option<Embedding> {
        if embedding.is_tracked() {
            return None;
        }
        let embedding = if embedding.is_autodiff() { embedding.clone().inner() } else { embedding.clone() };
        let rows = linear_frozen(embedding, modulation).into_data().try_into_vec::<f32>().ok()?;
        let channels = self.weights.conv_out.conv().c_out;
        Some(if rows.len() == batch * channels {
            Embedding::Before(rows)
        } else {
            let half = |i: usize| rows.chunks_exact(channels).skip(i).step_by(2).flatten().copied().collect();
            Embedding::After { scale: half(0), shift: half(1) }
        })
    }
}

/// A call.
#[derive(Debug)]
struct Residual {
    weights: Arc<Weights>,
    embedding: Embedding,
}

/// What an embedding becomes, each `[batch, c_out]`.
#[derive(Debug)]
enum Embedding {
    /// There is none.
    None,
    /// Added before the second normalisation.
    Before(Vec<f32>),
    /// Scale and shift after it.
    After { scale: Vec<f32>, shift: Vec<f32> },
}

impl Residual {
    /// The second normalisation's.
    fn tail_out(&self) -> Tail<'_> {
        let norm = &self.weights.norms[1];
        match &self.embedding {
            Embedding::None => norm.tail(),
            Embedding::Before(before) => Tail { before: Some(before), ..norm.tail() },
            Embedding::After { scale, shift } => Tail { modulation: Some((scale, shift)), ..norm.tail() },
        }
    }
}

impl Block for Residual {
    fn shape(&self, x: &Shape) -> Shape {
        let [batch, height, width, _] = x.dims();
        Shape::from([batch, height, width, self.weights.conv_out.conv().c_out])
    }

    fn forward(&self, x: &[f32], y: &mut [f32]) -> Kept {
        let Weights { norms: [norm_in, norm_out], conv_in, conv_out, skip } = &*self.weights;
        let mut moments = Vec::with_capacity(2);
        let h = filled(Shape::from([y.len()]), |h| {
            let mut n = take(x.len());
            moments.push(group_norm(&norm_in.shape, x, &norm_in.tail(), &mut n));
            conv_in.apply(&n, false, h);
        });
        let mut n = take(y.len());
        moments.push(group_norm(&norm_out.shape, h.storage(), &self.tail_out(), &mut n));
        match skip {
            Some(skip) => {
                skip.apply(x, false, y);
                conv_out.apply(&n, true, y);
            }
            None => conv_out.apply_onto(&n, x, y),
        }
        Kept { values: vec![h], moments }
    }

    fn vjp(&self, x: &[f32], kept: &Kept, g: &[f32], dx: &mut [f32]) {
        let Weights { norms: [norm_in, norm_out], conv_in, conv_out, skip } = &*self.weights;
        let h = kept.values[0].storage();
        let mut dh = take(g.len());
        {
            let mut dn_out = take(g.len());
            conv_out.input_grad(g, &mut dn_out);
            group_norm_vjp(&norm_out.shape, h, &kept.moments[1], &self.tail_out(), &dn_out, &mut dh, false);
        }
        let mut dn = take(x.len());
        conv_in.input_grad(&dh, &mut dn);
        drop(dh);
        let mut last = |past: &[f32]| {
            group_norm_vjp_onto(&norm_in.shape, x, &kept.moments[0], &norm_in.tail(), &dn, past, dx);
        };
        match skip {
            Some(skip) => {
                let mut past = take(x.len());
                skip.input_grad(g, &mut past);
                last(&past);
            }
            None => last(g),
        }
    }
}
