//! The U-Net's forward pass.

use std::f64::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use vipaint_core::prior::Condition;
use vipaint_nn::layers::frozen::{Conv2d, GroupNorm, Linear};
use vipaint_nn::ops::{Activation, join, silu};

use super::Config;
use super::blocks::Block;
use crate::Network;
use crate::recompute::Recompute;
use crate::resample::{Filter, pad};
use crate::time::waves;

/// Sinusoids of the noise level.
#[derive(Debug)]
pub(super) struct Noise {
    pub frequencies: Vec<f64>,
    pub sines_first: bool,
}

/// A step of the way down. Its result is kept for the way up.
#[derive(Debug)]
pub(super) enum Encode {
    Conv(Conv2d),
    Block(Arc<Block>),
    /// `x + conv(picture)` in the place of the last step's `x`, after making the picture smaller.
    Skip(Conv2d),
    /// `(x + down(conv(a))) / sqrt(2)` likewise, with `a` its own last result, the picture at first.
    Residual(Conv2d),
}

/// A step of the way up.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a network has a few dozen of them")]
pub(super) enum Decode {
    Block(Arc<Block>),
    /// A block that reads what a step of the way down kept, too.
    Onto(Arc<Block>),
    /// Makes the output so far larger.
    Up,
    /// Adds `conv(silu(gn(x)))` to the output.
    Out {
        norm: GroupNorm,
        conv: Conv2d,
    },
}

/// The network, frozen, for pictures of one size.
#[derive(Debug)]
pub struct UNet {
    pub(super) config: Config,
    pub(super) noise: Noise,
    pub(super) classes: Option<Tensor<2>>,
    pub(super) map: [Linear; 2],
    pub(super) encoder: Vec<Encode>,
    pub(super) decoder: Vec<Decode>,
    pub(super) filter: Filter,
    pub(super) recompute: Recompute,
}

impl UNet {
    /// Its hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// After its activation. // [batch, embedding]
    fn embedding(&self, time: &[f64], conditions: &[Condition], device: &Device) -> Tensor<2> {
        let [first, second] = &self.map;
        let noise = waves(time, &self.noise.frequencies, self.noise.sines_first, device);
        let song = self.config.is_song();
        let classes = self.classes.as_ref().map(|table| {
            let row = |c: &Condition| table.clone().narrow(0, c.class.unwrap_or(self.config.label_dim), 1);
            Tensor::cat(conditions.iter().map(row).collect(), 0)
        });
        let (before, after) = if song { (classes, None) } else { (None, classes) };
        let add = |x: Tensor<2>, y: Option<Tensor<2>>| match y {
            Some(y) => x + y,
            None => x,
        };
        silu(add(second.forward(first.forward_activated(add(noise, before), Activation::Silu)), after))
    }

    fn run(&self, x: Tensor<4>, block: &Arc<Block>, embedding: &Arc<Tensor<2>>) -> Tensor<4> {
        self.recompute.run((block, embedding), x, |block, embedding, x| block.forward(x, embedding))
    }

    fn encode(&self, picture: Tensor<4>, embedding: &Arc<Tensor<2>>) -> (Tensor<4>, Vec<Tensor<4>>) {
        let (mut x, mut aux, mut skips) = (picture.clone(), picture, Vec::new());
        for step in &self.encoder {
            x = match step {
                Encode::Conv(conv) => conv.forward(x),
                Encode::Block(block) => self.run(x, block, embedding),
                Encode::Skip(conv) => {
                    skips.pop();
                    aux = self.filter.down(aux);
                    conv.forward_onto(aux.clone(), x)
                }
                Encode::Residual(conv) => {
                    skips.pop();
                    let made = conv.forward(pad(aux, self.filter.padding()));
                    aux = (x + self.filter.down_inside(made)) * FRAC_1_SQRT_2;
                    aux.clone()
                }
            };
            skips.push(x.clone());
        }
        (x, skips)
    }
}

impl Network for UNet {
    fn shape(&self) -> [usize; 3] {
        [self.config.img_channels, self.config.img_resolution, self.config.img_resolution]
    }

    fn classes(&self) -> usize {
        self.config.label_dim
    }

    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        if conditions.iter().any(|condition| condition.context.is_some()) {
            return Err("the prior reads no text".into());
        }
        // Labels of zeros mean something only to a network that was trained with them.
        let needs = self.config.label_dim > 0 && self.config.label_dropout == 0.0;
        if needs && conditions.iter().any(|c| c.class.is_none()) {
            return Err("the prior needs a class".into());
        }
        Ok(())
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        let embedding = Arc::new(self.embedding(time, conditions, &self.recompute.device(&x)));
        let (mut x, mut skips) = self.encode(x.permute([0, 2, 3, 1]), &embedding);
        let mut output: Option<Tensor<4>> = None;
        for step in &self.decoder {
            match step {
                Decode::Block(block) => x = self.run(x, block, &embedding),
                Decode::Onto(block) => {
                    if let Some(skip) = skips.pop() {
                        x = join(x, skip);
                    }
                    x = self.run(x, block, &embedding);
                }
                Decode::Up => output = output.map(|output| self.filter.up(output)),
                Decode::Out { norm, conv } => {
                    let h = norm.forward_silu(x.clone());
                    output = Some(match output {
                        Some(output) => conv.forward_onto(h, output),
                        None => conv.forward(h),
                    });
                }
            }
        }
        output.unwrap_or(x).permute([0, 3, 1, 2]) // the last step puts something out
    }

    fn recompute(&self, on: bool) {
        self.recompute.set(on);
    }
}
