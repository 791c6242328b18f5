//! The network itself.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use vipaint_core::prior::Condition;
use vipaint_nn::layers::{
    AttentionBlock, Conv2d, CrossAttentionBlock, GroupNorm, Linear, ResidualBlock, from_patches, sinusoids, to_patches,
};
use vipaint_nn::ops::{GroupNormTail, by_samples, join, silu, upsample2};

use super::Config;
use crate::Network;

/// A residual block and what follows it.
#[derive(Module, Debug)]
pub(super) struct Stage {
    pub(super) residual: ResidualBlock,
    pub(super) attention: Option<AttentionBlock>,
    pub(super) cross: Option<CrossAttentionBlock>,
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
pub(super) struct Down {
    pub(super) halve: Option<Conv2d>,
    pub(super) stages: Vec<Stage>,
}

/// One level on the way up; each block reads the output of its mirror image on the way down too.
#[derive(Module, Debug)]
pub(super) struct Up {
    pub(super) stages: Vec<Stage>,
}

/// Weights up to which each thread runs the whole network on some of the samples, once they are constant: each then reads all
/// of them. Larger networks have the threads share each layer, which reads them once.
const SMALL: usize = 1 << 24;

/// The network. Its output starts at zero.
#[derive(Module, Debug)]
pub struct UNet {
    pub(super) time_in: Linear,
    pub(super) class: Option<Linear>,
    pub(super) time_out: Linear,
    pub(super) stem: Conv2d,
    pub(super) down: Vec<Down>,
    pub(super) mid_in: ResidualBlock,
    pub(super) mid_attention: AttentionBlock,
    pub(super) mid_cross: Option<CrossAttentionBlock>,
    pub(super) mid_out: ResidualBlock,
    pub(super) up: Vec<Up>,
    pub(super) norm: GroupNorm,
    pub(super) out: Conv2d,
    #[module(skip)]
    pub(super) config: Config,
    /// Whether the weights are constant.
    #[module(skip)]
    pub(super) packed: bool,
    /// Whether each thread runs the whole network on some of the samples.
    #[module(skip)]
    pub(super) by_samples: bool,
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
        (self.packed, self.by_samples) = (true, self.num_params() <= SMALL);
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
        if !self.by_samples {
            return self.run(x, time, classes, tokens);
        }
        by_samples(x, &|x, samples| {
            let tokens = tokens.map(|tokens| tokens.clone().slice_dim(0, samples.clone()));
            self.run(x, &time[samples.clone()], &classes[samples], tokens.as_ref())
        })
    }

    fn run(&self, x: Tensor<4>, time: &[f64], classes: &[Option<usize>], tokens: Option<&Tensor<3>>) -> Tensor<4> {
        // Constant where the weights are: on the plain device, it is no part of a graph.
        let device = if self.packed { x.device().without_autodiff() } else { x.device() };
        let embedding = self.embed(time, classes, &device);
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
                    h = join(h, skip);
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
