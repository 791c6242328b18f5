//! The blocks of encoder and decoder.

use burn::tensor::Tensor;
use vipaint_nn::layers::frozen::{Attention, Conv2d, GroupNorm, Residual};
use vipaint_nn::ops::GroupNormTail;

use crate::Result;
use crate::loader::{Loader, Shape, self_attention};

const GROUPS: usize = 32;
const EPS: f64 = 1e-6;

pub(super) fn norm(loader: &Loader<'_>, name: &str, channels: usize) -> Result<GroupNorm> {
    loader.group_norm(name, channels, GROUPS, EPS)
}

/// `skip(x) + conv(silu(gn(conv(silu(gn(x))))))`.
#[derive(Debug)]
pub(super) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    skip: Option<Conv2d>,
    /// All of it as one operation, where the kernels run.
    fused: Option<Residual>,
}

impl ResBlock {
    pub fn load(loader: &Loader<'_>, c_in: usize, c_out: usize, sides: [usize; 2]) -> Result<Self> {
        let skip =
            if c_in == c_out { None } else { Some(loader.conv("nin_shortcut", Shape::same(c_in, c_out, 1, sides))?) };
        let norm1 = norm(loader, "norm1", c_in)?;
        let conv1 = loader.conv("conv1", Shape::same(c_in, c_out, 3, sides))?;
        let norm2 = norm(loader, "norm2", c_out)?;
        let conv2 = loader.conv("conv2", Shape::same(c_out, c_out, 3, sides))?;
        let fused = Residual::new([&norm1, &norm2], [&conv1, &conv2], skip.as_ref(), None);
        Ok(Self { norm1, conv1, norm2, conv2, skip, fused })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if let Some(y) = self.fused.as_ref().and_then(|fused| fused.forward(&x, None)) {
            return y;
        }
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let h = self.norm2.forward_silu(h);
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv2.forward_onto(h, x)
    }
}

/// Self-attention with one head.
#[derive(Debug)]
pub(super) struct AttentionBlock {
    norm: GroupNorm,
    attention: Attention,
}

impl AttentionBlock {
    /// `ones` is the number of dimensions of size one that the maps' weights have besides.
    pub fn load(loader: &Loader<'_>, c: usize, ones: usize, sides: [usize; 2]) -> Result<Self> {
        let cells = sides[0] * sides[1];
        let map = |name: &str| loader.pointwise(name, [c; 2], ones, cells);
        loader.count_attention(cells, cells, c);
        let attention = self_attention([map("q")?, map("k")?, map("v")?], map("proj_out")?, 1);
        Ok(Self { norm: norm(loader, "norm", c)?, attention })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let n = self.norm.forward(x.clone(), GroupNormTail::default()).reshape([b, h * w, c]);
        self.attention.forward(n, None, x.reshape([b, h * w, c])).reshape([b, h, w, c])
    }
}

/// Two residual blocks, and attention between them.
#[derive(Debug)]
pub(super) struct Middle {
    block_1: ResBlock,
    attention: Option<AttentionBlock>,
    block_2: ResBlock,
}

impl Middle {
    /// `attention` is as in `Config::attention`.
    pub fn load(loader: &Loader<'_>, c: usize, attention: Option<usize>, sides: [usize; 2]) -> Result<Self> {
        Ok(Self {
            block_1: ResBlock::load(&loader.at("block_1"), c, c, sides)?,
            attention: attention.map(|ones| AttentionBlock::load(&loader.at("attn_1"), c, ones, sides)).transpose()?,
            block_2: ResBlock::load(&loader.at("block_2"), c, c, sides)?,
        })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.block_1.forward(x);
        self.block_2.forward(match &self.attention {
            Some(attention) => attention.forward(h),
            None => h,
        })
    }
}

/// The residual blocks of a level, each with its attention.
#[derive(Debug)]
pub(super) struct Level {
    stages: Vec<(ResBlock, Option<AttentionBlock>)>,
    /// The convolution that changes the resolution afterwards.
    pub resize: Option<Conv2d>,
}

impl Level {
    pub fn load(
        loader: &Loader<'_>,
        [c_in, c_out]: [usize; 2],
        blocks: usize,
        attention: Option<usize>,
        sides: [usize; 2],
        resize: Option<Conv2d>,
    ) -> Result<Self> {
        let stage = |i: usize| {
            let block = ResBlock::load(&loader.at("block").at(i), if i == 0 { c_in } else { c_out }, c_out, sides)?;
            let attend = |ones| AttentionBlock::load(&loader.at("attn").at(i), c_out, ones, sides);
            Ok((block, attention.map(attend).transpose()?))
        };
        Ok(Self { stages: (0..blocks).map(stage).collect::<Result<_>>()?, resize })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.stages.iter().fold(x, |x, (block, attention)| {
            let h = block.forward(x);
            match attention {
                Some(attention) => attention.forward(h),
                None => h,
            }
        })
    }
}
