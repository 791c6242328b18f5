//! Self-attention over the positions of a picture.

use std::sync::Arc;

use super::super::buffers::take;
use super::super::flex::{filled, on_flex};
use super::super::frozen::PackedConv;
use super::{Block, Kept, Norm, NormWeights, run};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;
use vipaint_kernels::conv::Frozen;
use vipaint_kernels::{Attention, add, attention, attention_vjp, group_norm, group_norm_vjp_onto};

/// `x + W_o attention(W_q n, W_k n, W_v n)` with `n = gn(x)`, for pictures of one size.
#[derive(Clone, Debug)]
pub struct FusedAttention(Arc<Weights>);

#[derive(Debug)]
struct Weights {
    norm: Norm,
    /// Queries, keys and values.
    maps: [Arc<Frozen>; 3],
    out: Arc<Frozen>,
    shape: Attention,
}

impl FusedAttention {
    /// From the packed weights of queries, keys, values and result, for pictures of so many pixels; none where the kernels do
    /// not run.
    pub fn new(
        norm: NormWeights,
        [query, key, value]: [&PackedConv; 3],
        out: &PackedConv,
        heads: usize,
        pixels: usize,
    ) -> Option<Self> {
        let norm = norm.norm(pixels, false)?;
        let channels = norm.shape.channels;
        let maps = [query.kernels()?.clone(), key.kernels()?.clone(), value.kernels()?.clone()];
        let shape = Attention { queries: pixels, keys: pixels, channels, heads };
        Some(Self(Arc::new(Weights { norm, maps, out: out.kernels()?.clone(), shape })))
    }

    /// Shape in and out: `[batch, height, width, channels]`; none where the kernels do not run.
    pub fn forward(&self, x: &Tensor<4>) -> Option<Tensor<4>> {
        on_flex(x).then(|| run(x.clone(), self.0.clone()))
    }
}

impl Block for Weights {
    fn shape(&self, x: &Shape) -> Shape {
        x.clone()
    }

    fn forward(&self, x: &[f32], y: &mut [f32]) -> Kept {
        let mut n = take(x.len());
        let moments = group_norm(&self.norm.shape, x, &self.norm.tail(), &mut n);
        let maps = self.maps.each_ref().map(|map| filled(Shape::from([x.len()]), |to| map.apply(&n, false, to)));
        let [q, k, v] = maps.each_ref().map(FlexTensor::storage);
        attention(&self.shape, q, k, v, &mut n);
        self.out.apply_onto(&n, x, y);
        Kept { values: maps.into(), moments: vec![moments] }
    }

    fn vjp(&self, x: &[f32], kept: &Kept, g: &[f32], dx: &mut [f32]) {
        let mut dn = take(x.len());
        {
            let mut more = take(x.len());
            let [mut dq, mut dk, mut dv] = [(); 3].map(|()| take(x.len()));
            self.out.input_grad(g, &mut more);
            let [q, k, v] = [0, 1, 2].map(|i: usize| kept.values[i].storage());
            attention_vjp(&self.shape, q, k, v, &more, Some(&mut dq), Some(&mut dk), Some(&mut dv));
            let [query, key, value] = &self.maps;
            value.input_grad(&dv, &mut dn);
            for (map, gradient) in [(key, &dk), (query, &dq)] {
                map.input_grad(gradient, &mut more);
                add(&more, &mut dn);
            }
        }
        group_norm_vjp_onto(&self.norm.shape, x, &kept.moments[0], &self.norm.tail(), &dn, g, dx);
    }
}
