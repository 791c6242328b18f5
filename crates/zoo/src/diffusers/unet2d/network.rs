//! The U-Net's forward pass.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use vipaint_core::prior::Condition;
use vipaint_nn::layers::frozen::{Conv2d, GroupNorm, Linear};
use vipaint_nn::ops::{Activation, join, silu};

use super::Config;
use crate::Network;
use crate::blocks::{AttentionBlock, ResBlock};
use crate::recompute::Recompute;
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
    pub(super) down: Vec<Arc<Row>>,
    pub(super) middle: Arc<Row>,
    /// Steps that each read one of them.
    pub(super) up: Vec<Arc<Row>>,
    pub(super) norm: GroupNorm,
    pub(super) conv_out: Conv2d,
    pub(super) recompute: Recompute,
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

/// Layers one after another.
#[derive(Debug)]
pub(super) struct Row(pub Vec<Layer>);

impl Row {
    /// `embedding` is `[batch, embedding]`.
    fn forward(&self, embedding: &Tensor<2>, x: Tensor<4>) -> Tensor<4> {
        self.0.iter().fold(x, |x, layer| layer.forward(x, embedding))
    }

    /// Whether anything of it is held for a gradient: convolutions need nothing but their weights.
    fn holds(&self) -> bool {
        !self.0.iter().all(|layer| matches!(layer, Layer::Resize(_)))
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
        let embedding = Arc::new(self.embedding(time, conditions, &self.recompute.device(&x)));
        let run = |h: Tensor<4>, row: &Arc<Row>| {
            if row.holds() {
                self.recompute.run((row, &embedding), h, Row::forward)
            } else {
                row.forward(&embedding, h)
            }
        };
        let x = if self.config.center_input_sample { x * 2.0 - 1.0 } else { x };
        let mut h = self.conv_in.forward(x.permute([0, 2, 3, 1]));
        let mut skips = vec![h.clone()];
        for row in &self.down {
            h = run(h, row);
            skips.push(h.clone());
        }
        h = run(h, &self.middle);
        for row in &self.up {
            if let Some(skip) = skips.pop() {
                h = join(h, skip);
            }
            h = run(h, row);
        }
        self.conv_out.forward(self.norm.forward_silu(h)).permute([0, 3, 1, 2])
    }

    fn recompute(&self, on: bool) {
        self.recompute.set(on);
    }
}
