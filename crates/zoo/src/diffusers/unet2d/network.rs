//! The U-Net's forward pass.

use burn::tensor::{Device, Tensor};
use vipaint_core::prior::Condition;
use vipaint_nn::layers::frozen::{Conv2d, GroupNorm, Linear};
use vipaint_nn::ops::{Activation, silu};

use super::Config;
use crate::Network;
use crate::blocks::{AttentionBlock, ResBlock};
use crate::time::waves;

/// What the blocks are made of.
#[derive(Debug)]
pub(super) enum Layer {
    Res(Box<ResBlock>),
    Attention(Box<AttentionBlock>),
    /// Halves the sides, or doubles them first.
    Resize(Conv2d),
}

/// The network, frozen, for pictures of one size.
#[derive(Debug)]
pub struct UNet {
    pub(super) config: Config,
    pub(super) frequencies: Vec<f64>,
    pub(super) time: [Linear; 2],
    pub(super) classes: Option<Tensor<2>>,
    pub(super) conv_in: Conv2d,
    /// Steps whose results are kept for the way up.
    pub(super) down: Vec<Vec<Layer>>,
    pub(super) middle: Vec<Layer>,
    /// Steps that each read one of them.
    pub(super) up: Vec<Vec<Layer>>,
    pub(super) norm: GroupNorm,
    pub(super) conv_out: Conv2d,
}

impl Layer {
    fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        match self {
            Self::Res(block) => block.forward(x, embedding),
            Self::Attention(block) => block.forward(x),
            Self::Resize(conv) => conv.forward(x),
        }
    }
}

impl UNet {
    /// Its hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// After its activation. // [batch, embedding]
    fn embedding(&self, time: &[f64], conditions: &[Condition], device: &Device) -> Tensor<2> {
        let [first, second] = &self.time;
        let time = waves(time, &self.frequencies, !self.config.flip_sin_to_cos, device);
        let time = second.forward(first.forward_activated(time, Activation::Silu));
        silu(match &self.classes {
            Some(table) => {
                let row = |c: &Condition| table.clone().narrow(0, c.class.unwrap_or(0), 1); // `check` asks for one
                time + Tensor::cat(conditions.iter().map(row).collect(), 0)
            }
            None => time,
        })
    }
}

impl Network for UNet {
    fn shape(&self) -> [usize; 3] {
        [self.config.in_channels, self.config.sample_size, self.config.sample_size]
    }

    fn classes(&self) -> usize {
        self.config.classes()
    }

    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        if conditions.iter().any(|condition| condition.context.is_some()) {
            return Err("the prior reads no text".into());
        }
        if self.classes.is_some() && conditions.iter().any(|c| c.class.is_none()) {
            return Err("the prior needs a class".into());
        }
        Ok(())
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        let embedding = self.embedding(time, conditions, &x.device());
        let run = |h: Tensor<4>, layers: &[Layer]| layers.iter().fold(h, |h, layer| layer.forward(h, &embedding));
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let mut h = self.conv_in.forward(x.permute([0, 2, 3, 1]));
        let mut skips = vec![h.clone()];
        for layers in &self.down {
            h = run(h, layers);
            skips.push(h.clone());
        }
        h = run(h, &self.middle);
        for layers in &self.up {
            let parts = std::iter::once(h).chain(skips.pop()).collect();
            h = run(Tensor::cat(parts, 3), layers);
        }
        self.conv_out.forward(self.norm.forward_silu(h)).permute([0, 3, 1, 2])
    }
}
