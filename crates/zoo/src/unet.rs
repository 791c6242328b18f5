//! A class-conditional pixel-space U-Net (Ho et al., 2020; Dhariwal and Nichol, 2021) that works on patches.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use vipaint_core::prior::Condition;
use vipaint_nn::layers::{
    AttentionBlock, Conv2d, CrossAttentionBlock, GroupNorm, Init, Linear, ResidualBlock, from_patches, sinusoids,
    to_patches, weights,
};
use vipaint_nn::ops::{GroupNormTail, silu, upsample2};

use crate::{Error, Loader, Network, Result};

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels of a picture.
    pub channels: usize,
    /// Side of a picture.
    pub size: usize,
    /// Side of the patches that become channels at the edge (space to depth); 1 for none.
    pub patch: usize,
    /// Channels at each level, the finest first; each level halves the side.
    pub widths: Vec<usize>,
    /// Residual blocks at each level, on the way down and again on the way up.
    pub blocks: Vec<usize>,
    /// Levels (0 is the finest) whose residual blocks are followed by attention.
    pub attention: Vec<usize>,
    /// Channels of an attention head.
    pub head_width: usize,
    /// Channels normalised together.
    pub group_width: usize,
    /// Width of the embedding of time and class.
    pub embedding: usize,
    /// What the time input is multiplied with before its sinusoids, whose highest frequency is 1.
    pub time_scale: f64,
    /// Number of classes; 0 for an unconditional network. There is one more, the null class.
    pub classes: usize,
    /// Width of the tokens that attention reads a text from, at the levels with attention and the last; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub context: usize,
}

/// For serde: descriptions from before there were texts stay as they are.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Config {
    /// Checks that the network can be built, with sizes that no honest file exceeds.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        let fail = |key, problem: &str| Err(Error::Config { key, problem: problem.to_string() });
        let levels = self.widths.len();
        if !(1..=16).contains(&self.channels) {
            return fail("channels", "must be 1 to 16");
        }
        if !(1..=16).contains(&self.patch) {
            return fail("patch", "must be 1 to 16");
        }
        if !(1..=8).contains(&levels) {
            return fail("widths", "must list 1 to 8 levels");
        }
        if !(1..=1024).contains(&self.size) || !self.size.is_multiple_of(self.patch << (levels - 1)) {
            return fail("size", "must be at most 1024 and a multiple of patch * 2^(levels - 1)");
        }
        if !(1..=256).contains(&self.group_width) {
            return fail("group_width", "must be 1 to 256");
        }
        if self.widths.iter().any(|c| !(1..=4096).contains(c) || !c.is_multiple_of(self.group_width)) {
            return fail("widths", "each must be 1 to 4096 and a multiple of group_width");
        }
        if self.blocks.len() != levels || self.blocks.iter().any(|n| !(1..=16).contains(n)) {
            return fail("blocks", "must list 1 to 16 blocks for each of the widths");
        }
        if self.attention.iter().any(|level| *level >= levels) {
            return fail("attention", "names a level that does not exist");
        }
        let attending = self.attention.iter().map(|level| self.widths[*level]).chain(self.widths.last().copied());
        if self.head_width == 0 || attending.into_iter().any(|c| !c.is_multiple_of(self.head_width)) {
            return fail("head_width", "must divide the width of each level with attention, and of the last");
        }
        if !(2..=8192).contains(&self.embedding) || !self.embedding.is_multiple_of(2) {
            return fail("embedding", "must be even, 2 to 8192");
        }
        if !(self.time_scale.is_finite() && self.time_scale > 0.0) {
            return fail("time_scale", "must be positive");
        }
        if self.classes > 100_000 {
            return fail("classes", "must be at most 100000");
        }
        if self.context > 8192 {
            return fail("context", "must be at most 8192");
        }
        Ok(())
    }

    /// A network with random weights that depend on `seed` only.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<UNet> {
        self.build(&mut Init::seeded(device, seed))
    }

    /// A network whose weights are loaded later; none is allocated yet.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn blank(&self, device: &Device) -> Result<UNet> {
        self.build(&mut Init::blank(device))
    }

    /// The network with its tensors from a source, frozen.
    ///
    /// # Errors
    /// As [`Self::validate`], or those of the source.
    pub fn load(&self, loader: &Loader<'_>) -> Result<UNet> {
        let blank = self.blank(loader.device())?;
        let mut values = Vec::new();
        for entry in weights::entries(&blank) {
            values.extend(loader.values(&entry.name, &entry.shape)?.unwrap_or_default());
        }
        if values.is_empty() {
            return Ok(blank); // only the list is made
        }
        let mut network = weights::scatter(blank, &values, loader.device());
        network.pack();
        Ok(network)
    }

    /// Multiply-adds of a forward call on one picture, in convolutions, linear maps and attention.
    pub fn multiply_adds(&self) -> u64 {
        let e = self.embedding as u64;
        let cells = |level: usize| ((self.size / self.patch) >> level).pow(2) as u64;
        let residual = |a: usize, b: usize, n: u64| {
            let (a, b) = (a as u64, b as u64);
            n * (9 * b * (a + b) + if a == b { 0 } else { a * b }) + e * 2 * b
        };
        let attend = |c: usize, n: u64| 4 * n * (c as u64).pow(2) + 2 * n * n * c as u64;
        let depth = (self.channels * self.patch * self.patch) as u64;
        let mut total = 2 * e * e + 2 * 9 * depth * self.widths[0] as u64 * cells(0);
        let mut c = self.widths[0];
        let mut skips = Vec::new();
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            if level > 0 {
                total += 9 * (c as u64).pow(2) * cells(level);
            }
            for _ in 0..blocks {
                total += residual(c, width, cells(level));
                c = width;
                skips.push(c);
            }
        }
        let last = self.widths.len() - 1;
        total += 2 * residual(c, c, cells(last)) + attend(c, cells(last));
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate().rev() {
            for _ in 0..blocks {
                total += residual(c + skips.pop().unwrap_or(0), width, cells(level));
                c = width;
            }
        }
        for &level in &self.attention {
            total += 2 * self.blocks[level] as u64 * attend(self.widths[level], cells(level));
        }
        total
    }

    fn build(&self, init: &mut Init) -> Result<UNet> {
        self.validate()?;
        let (e, g) = (self.embedding, self.group_width);
        let depth = self.channels * self.patch * self.patch;
        let (finest, coarsest) = (self.widths[0], self.widths[self.widths.len() - 1]);
        let attention = |level: usize, c: usize, init: &mut Init| {
            self.attention
                .contains(&level)
                .then(|| AttentionBlock::new(c, c / self.head_width, c / self.group_width, init))
        };

        let cross = |attends: bool, c: usize, init: &mut Init| {
            let heads = c / self.head_width;
            (attends && self.context > 0).then(|| CrossAttentionBlock::new(c, self.context, heads, c / g, init))
        };
        let attends = |level: usize| self.attention.contains(&level);

        let time_in = Linear::new(e, e, init);
        let class = (self.classes > 0).then(|| Linear::table(self.classes + 1, e, init));
        let time_out = Linear::new(e, e, init);
        let stem = Conv2d::new(depth, finest, 3, 1, init);
        let mut c = finest;
        let mut skips = Vec::new();
        let mut down = Vec::new();
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            let halve = (level > 0).then(|| Conv2d::new(c, c, 3, 2, init));
            let mut stages = Vec::new();
            for _ in 0..blocks {
                let residual = ResidualBlock::new(c, width, e, g, init);
                let attention = attention(level, width, init);
                stages.push(Stage { residual, attention, cross: cross(attends(level), width, init) });
                c = width;
                skips.push(c);
            }
            down.push(Down { halve, stages });
        }
        let mid_in = ResidualBlock::new(c, c, e, g, init);
        let mid_attention = AttentionBlock::new(c, c / self.head_width, c / g, init);
        let mid_cross = cross(true, coarsest, init);
        let mid_out = ResidualBlock::new(coarsest, coarsest, e, g, init);
        let mut up = Vec::new();
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate().rev() {
            let mut stages = Vec::new();
            for _ in 0..blocks {
                let skip = skips.pop().unwrap_or(0); // one was pushed for each of these blocks
                let residual = ResidualBlock::new(c + skip, width, e, g, init);
                let attention = attention(level, width, init);
                stages.push(Stage { residual, attention, cross: cross(attends(level), width, init) });
                c = width;
            }
            up.push(Up { stages });
        }
        let norm = GroupNorm::new(finest, finest / g, init);
        let out = Conv2d::zero(finest, depth, 3, init);
        let config = self.clone();
        Ok(UNet {
            time_in,
            class,
            time_out,
            stem,
            down,
            mid_in,
            mid_attention,
            mid_cross,
            mid_out,
            up,
            norm,
            out,
            config,
        })
    }
}

/// A residual block and what follows it.
#[derive(Module, Debug)]
struct Stage {
    residual: ResidualBlock,
    attention: Option<AttentionBlock>,
    cross: Option<CrossAttentionBlock>,
}

impl Stage {
    fn pack(&mut self) {
        self.residual.pack();
        if let Some(attention) = &mut self.attention {
            attention.pack();
        }
        if let Some(cross) = &mut self.cross {
            cross.pack();
        }
    }

    fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>, tokens: Option<&Tensor<3>>) -> Tensor<4> {
        let x = self.residual.forward(x, embedding.clone());
        let x = match &self.attention {
            Some(attention) => attention.forward(x),
            None => x,
        };
        read(self.cross.as_ref(), x, tokens)
    }
}

/// Attention to the tokens, where there is such a layer and a text.
fn read(cross: Option<&CrossAttentionBlock>, x: Tensor<4>, tokens: Option<&Tensor<3>>) -> Tensor<4> {
    match (cross, tokens) {
        (Some(cross), Some(tokens)) => cross.forward(x, tokens.clone()),
        _ => x,
    }
}

/// One level on the way down.
#[derive(Module, Debug)]
struct Down {
    halve: Option<Conv2d>,
    stages: Vec<Stage>,
}

/// One level on the way up; each block reads the output of its mirror image on the way down too.
#[derive(Module, Debug)]
struct Up {
    stages: Vec<Stage>,
}

/// The network. Its output starts at zero.
#[derive(Module, Debug)]
pub struct UNet {
    time_in: Linear,
    class: Option<Linear>,
    time_out: Linear,
    stem: Conv2d,
    down: Vec<Down>,
    mid_in: ResidualBlock,
    mid_attention: AttentionBlock,
    mid_cross: Option<CrossAttentionBlock>,
    mid_out: ResidualBlock,
    up: Vec<Up>,
    norm: GroupNorm,
    out: Conv2d,
    #[module(skip)]
    config: Config,
}

impl UNet {
    /// Its hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on the weights are constants, as a prior's are: calls are faster, and only the input's gradient is computed.
    pub fn pack(&mut self) {
        for linear in [Some(&mut self.time_in), self.class.as_mut(), Some(&mut self.time_out)].into_iter().flatten() {
            linear.pack();
        }
        for conv in self.down.iter_mut().filter_map(|down| down.halve.as_mut()).chain([&mut self.stem, &mut self.out]) {
            conv.pack();
        }
        let down = self.down.iter_mut().flat_map(|down| &mut down.stages);
        for stage in down.chain(self.up.iter_mut().flat_map(|up| &mut up.stages)) {
            stage.pack();
        }
        self.mid_in.pack();
        self.mid_attention.pack();
        if let Some(cross) = &mut self.mid_cross {
            cross.pack();
        }
        self.mid_out.pack();
    }

    /// `silu(W_2 silu(W_1 sinusoids(scale t) + class))`. // [batch, embedding]
    fn embed(&self, time: &[f64], classes: &[Option<usize>], device: &Device) -> Tensor<2> {
        let time: Vec<f64> = time.iter().map(|t| t * self.config.time_scale).collect();
        let mut h = self.time_in.forward(sinusoids(&time, self.config.embedding, device));
        if let Some(class) = &self.class {
            let null = self.config.classes;
            let mut hot = vec![0f32; classes.len() * (null + 1)];
            for (row, class) in hot.chunks_exact_mut(null + 1).zip(classes) {
                row[class.map_or(null, |k| k.min(null))] = 1.0;
            }
            h = h + class.forward(Tensor::from_data(TensorData::new(hot, [classes.len(), null + 1]), device));
        }
        silu(self.time_out.forward(silu(h)))
    }

    /// The raw call with a text for each sample, tokens `[batch, length, context]`.
    pub fn forward_text(
        &self,
        x: Tensor<4>,
        time: &[f64],
        classes: &[Option<usize>],
        tokens: Option<&Tensor<3>>,
    ) -> Tensor<4> {
        let embedding = self.embed(time, classes, &x.device());
        let mut h = self.stem.forward(to_patches(x, self.config.patch));
        let mut skips = Vec::new();
        for level in &self.down {
            if let Some(halve) = &level.halve {
                h = halve.forward(h);
            }
            for stage in &level.stages {
                h = stage.forward(h, &embedding, tokens);
                skips.push(h.clone());
            }
        }
        h = self.mid_in.forward(h, embedding.clone());
        h = self.mid_attention.forward(h);
        h = read(self.mid_cross.as_ref(), h, tokens);
        h = self.mid_out.forward(h, embedding.clone());
        for (i, level) in self.up.iter().enumerate() {
            if i > 0 {
                h = upsample2(h);
            }
            for stage in &level.stages {
                if let Some(skip) = skips.pop() {
                    h = Tensor::cat(vec![h, skip], 3);
                }
                h = stage.forward(h, &embedding, tokens);
            }
        }
        let h = self.norm.forward(h, GroupNormTail { modulation: None, silu: true });
        from_patches(self.out.forward(h), self.config.patch)
    }

    /// The raw output at `x` `[batch, channels, height, width]`, with a time input and a class (none: the null class) for
    /// each sample.
    pub fn forward(&self, x: Tensor<4>, time: &[f64], classes: &[Option<usize>]) -> Tensor<4> {
        self.forward_text(x, time, classes, None)
    }
}

impl Network for UNet {
    fn shape(&self) -> [usize; 3] {
        [self.config.channels, self.config.size, self.config.size]
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        let classes: Vec<_> = conditions.iter().map(|condition| condition.class).collect();
        self.forward(x, time, &classes)
    }
}
