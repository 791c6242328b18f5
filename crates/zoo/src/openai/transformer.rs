//! Spatial transformers (Rombach et al., 2022): attention to the picture and to a context.

use burn::tensor::Tensor;
use vipaint_nn::layers::frozen::{Attention, FeedForward, GroupNorm, LayerNorm, Linear};
use vipaint_nn::ops::GroupNormTail;

use super::{GROUPS, TOKENS, Transformer};
use crate::Result;
use crate::loader::Loader;

const EPS: f64 = 1e-6;

/// `x + W_out blocks(W_in gn(x))`.
#[derive(Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<Block>,
    proj_out: Linear,
}

impl SpatialTransformer {
    pub fn load(
        config: &Transformer,
        loader: &Loader<'_>,
        depth: usize,
        channels: usize,
        heads: usize,
        sides: [usize; 2],
    ) -> Result<Self> {
        let (cells, ones) = (sides[0] * sides[1], if config.use_linear { 0 } else { 2 });
        let block = |i| {
            let loader = loader.at("transformer_blocks").at(i);
            Block::load(config, &loader, channels, heads, cells)
        };
        Ok(Self {
            norm: loader.group_norm("norm", channels, GROUPS, EPS)?,
            proj_in: loader.pointwise("proj_in", [channels; 2], ones, cells)?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            proj_out: loader.pointwise("proj_out", [channels; 2], ones, cells)?,
        })
    }

    /// `context` is `[batch, keys, context_dim]`.
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let n = self.norm.forward(x.clone(), GroupNormTail::default()).reshape([b, h * w, c]);
        let n = self.blocks.iter().fold(self.proj_in.forward_sequence(n), |n, block| block.forward(n, context));
        self.proj_out.forward_onto(n, x.reshape([b, h * w, c])).reshape([b, h, w, c])
    }
}

/// Self-attention, attention to the context, and a feed-forward layer, each on a normalised input and added to it.
#[derive(Debug)]
struct Block {
    norms: [LayerNorm; 3],
    to_itself: Attention,
    to_context: Attention,
    feed_forward: FeedForward,
}

/// Width of the feed-forward layer, in channels.
const WIDENING: usize = 4;

impl Block {
    fn load(config: &Transformer, loader: &Loader<'_>, c: usize, heads: usize, cells: usize) -> Result<Self> {
        let attention = |name: &str, width: usize, keys: usize| -> Result<Attention> {
            let loader = loader.at(name);
            loader.count_attention(cells, keys, c);
            Ok(Attention {
                query: loader.linear("to_q", [c, c], false, cells)?,
                key: loader.linear("to_k", [width, c], false, keys)?,
                value: loader.linear("to_v", [width, c], false, keys)?,
                out: loader.linear("to_out.0", [c, c], true, cells)?,
                heads,
            })
        };
        let (to_itself, keys) = (attention("attn1", c, cells)?, if config.n_classes > 0 { 1 } else { TOKENS });
        let to_context = attention("attn2", config.context_dim, keys)?;
        let inner = WIDENING * c;
        let [value, gate] = loader.split([c, inner], 0, cells, "ff.net.0.proj", [&|i| i, &move |i| inner + i])?;
        let out = loader.linear("ff.net.2", [inner, c], true, cells)?;
        let norm = |i: usize| loader.layer_norm(format!("norm{i}"), c);
        let norms = [norm(1)?, norm(2)?, norm(3)?];
        Ok(Self { norms, to_itself, to_context, feed_forward: FeedForward { value, gate, out } })
    }

    fn forward(&self, x: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let [first, second, third] = &self.norms;
        let x = self.to_itself.forward(first.forward(x.clone()), None, x);
        let x = self.to_context.forward(second.forward(x.clone()), Some(context.clone()), x);
        self.feed_forward.forward(third.forward(x.clone()), x)
    }
}
