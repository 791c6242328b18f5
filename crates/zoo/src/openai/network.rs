//! The U-Net's forward pass.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_core::prior::{Condition, Context};
use vipaint_nn::layers::frozen::{Conv2d, GroupNorm, Linear};
use vipaint_nn::layers::sinusoids;
use vipaint_nn::ops::{Activation, average_pool2, join, silu, upsample2};

use super::Config;
use super::transformer::SpatialTransformer;
use crate::Network;
use crate::blocks::{AttentionBlock, ResBlock};
use crate::recompute::Recompute;

/// What the blocks are made of.
#[derive(Debug)]
pub(super) enum Layer {
    Conv(Conv2d),
    Res(Box<ResBlock>),
    Attention(Box<AttentionBlock>),
    Transformer(Box<SpatialTransformer>),
    /// Halves the sides by a convolution, or by means.
    Down(Option<Conv2d>),
    /// Doubles the sides, and convolves if there is a convolution.
    Up(Option<Conv2d>),
}

/// Layers one after another.
#[derive(Debug)]
pub(super) struct Row(pub Vec<Layer>);

impl Row {
    fn forward(&self, call: &Call, x: Tensor<4>) -> Tensor<4> {
        self.0.iter().fold(x, |x, layer| layer.forward(x, call))
    }

    /// Whether anything of it is held for a gradient: convolutions need nothing but their weights.
    pub fn holds(&self) -> bool {
        !self.0.iter().all(|layer| matches!(layer, Layer::Conv(_) | Layer::Down(_) | Layer::Up(_)))
    }
}

/// How a class enters.
#[derive(Debug)]
pub(super) enum Class {
    None,
    /// `[classes, embedding]`, added to the time embedding.
    Added(Tensor<2>),
    /// `[classes + 1, context_dim]`, a context of length one; the last row stands for no class.
    Context(Tensor<2>),
}

/// The network, frozen, for `z` of one size.
#[derive(Debug)]
pub struct UNet {
    pub(super) config: Config,
    pub(super) time: [Linear; 2],
    pub(super) class: Class,
    pub(super) vector: Option<[Linear; 2]>,
    pub(super) input: Vec<Arc<Row>>,
    pub(super) middle: Arc<Row>,
    pub(super) output: Vec<Arc<Row>>,
    pub(super) norm: GroupNorm,
    pub(super) out: Conv2d,
    pub(super) null: Option<Context>,
    pub(super) recompute: Recompute,
}

/// What all layers of a call read besides the picture.
struct Call {
    /// `[batch, embedding]`, after its activation.
    embedding: Tensor<2>,
    /// `[batch, keys, context_dim]`, if there are transformers.
    context: Option<Tensor<3>>,
}

impl Layer {
    fn forward(&self, x: Tensor<4>, call: &Call) -> Tensor<4> {
        match self {
            Self::Conv(conv) | Self::Down(Some(conv)) | Self::Up(Some(conv)) => conv.forward(x),
            Self::Res(block) => block.forward(x, &call.embedding),
            Self::Attention(block) => block.forward(x),
            Self::Transformer(block) => match &call.context {
                Some(context) => block.forward(x, context),
                None => x, // `check` refuses calls without a context where there are transformers
            },
            Self::Down(None) => average_pool2(x),
            Self::Up(None) => upsample2(x),
        }
    }
}

impl UNet {
    /// Its hyperparameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes `null`, what its text encoder makes of an empty text, for conditions without a text.
    #[must_use]
    pub fn with_null(mut self, null: Context) -> Self {
        self.null = Some(null);
        self
    }

    /// `silu(time(t) + class + vector)`. // [batch, embedding]
    fn embedding(&self, time: &[f64], conditions: &[Condition], device: &Device) -> Tensor<2> {
        let [first, second] = &self.time;
        let h = sinusoids(time, self.config.model_channels, device);
        let mut h = second.forward(first.forward_activated(h, Activation::Silu));
        if let Class::Added(table) = &self.class {
            let rows: Vec<_> = conditions.iter().map(|c| c.class.unwrap_or(0)).collect();
            h = h + rows_of(table, &rows);
        }
        if let Some([first, second]) = &self.vector {
            let width = self.config.adm_in_channels;
            let values: Vec<f32> =
                conditions.iter().filter_map(|c| self.text(c)).flat_map(|c| c.pooled.iter().copied()).collect();
            let vector = Tensor::from_data(TensorData::new(values, [conditions.len(), width]), device);
            h = h + second.forward(first.forward_activated(vector, Activation::Silu));
        }
        silu(h)
    }

    /// `[batch, keys, context_dim]`.
    fn context(&self, conditions: &[Condition], device: &Device) -> Option<Tensor<3>> {
        let width = self.config.transformer.as_ref()?.context_dim;
        if let Class::Context(table) = &self.class {
            let null = self.classes();
            let rows: Vec<_> = conditions.iter().map(|c| c.class.unwrap_or(null)).collect();
            return Some(rows_of(table, &rows).reshape([rows.len(), 1, width]));
        }
        let texts: Vec<&Context> = conditions.iter().filter_map(|c| self.text(c)).collect();
        let keys = texts.first()?.shape[0];
        let values: Vec<f32> = texts.iter().flat_map(|text| text.tokens.iter().copied()).collect();
        Some(Tensor::from_data(TensorData::new(values, [texts.len(), keys, width]), device))
    }

    fn text<'a>(&'a self, condition: &'a Condition) -> Option<&'a Context> {
        condition.context.as_deref().or(self.null.as_ref())
    }

    /// The problem of a condition without a text, or with another encoder's, if that is what the network reads.
    fn text_problem(&self, condition: &Condition) -> Option<String> {
        let transformer = self.config.transformer.as_ref().filter(|t| t.n_classes == 0)?;
        let Some(text) = self.text(condition) else { return Some("the prior needs a text".into()) };
        let ([keys, width], pooled) = (text.shape, text.pooled.len());
        let right = keys > 0 && width == transformer.context_dim && text.tokens.len() == keys * width;
        if !right || (self.vector.is_some() && pooled != self.config.adm_in_channels) {
            let (a, b) = (transformer.context_dim, self.config.adm_in_channels);
            return Some(format!("needs embeddings of width {a} and a pooled one of {b}, not {width} and {pooled}"));
        }
        None
    }
}

/// Rows of a table. // [rows, width]
fn rows_of(table: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
    Tensor::cat(rows.iter().map(|row| table.clone().narrow(0, *row, 1)).collect(), 0)
}

impl Network for UNet {
    fn shape(&self) -> [usize; 3] {
        [self.config.in_channels, self.config.image_size, self.config.image_size]
    }

    fn classes(&self) -> usize {
        self.config.classes()
    }

    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        if matches!(self.class, Class::Added(_)) && conditions.iter().any(|c| c.class.is_none()) {
            return Err("the prior needs a class".into());
        }
        if let Some(problem) = conditions.iter().find_map(|c| self.text_problem(c)) {
            return Err(problem);
        }
        let keys = |c: &Condition| self.text(c).map(|text| text.shape[0]);
        if conditions.windows(2).any(|two| keys(&two[0]) != keys(&two[1])) {
            return Err("the texts of one call must have as many tokens".into());
        }
        Ok(())
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        let device = self.recompute.device(&x);
        let call =
            Call { embedding: self.embedding(time, conditions, &device), context: self.context(conditions, &device) };
        let call = Arc::new(call);
        let run = |h: Tensor<4>, row: &Arc<Row>| {
            if row.holds() { self.recompute.run((row, &call), h, Row::forward) } else { row.forward(&call, h) }
        };
        let mut h = x.permute([0, 2, 3, 1]);
        let mut skips = Vec::new();
        for row in &self.input {
            h = run(h, row);
            skips.push(h.clone());
        }
        h = run(h, &self.middle);
        for row in &self.output {
            if let Some(skip) = skips.pop() {
                h = join(h, skip);
            }
            h = run(h, row);
        }
        self.out.forward(self.norm.forward_silu(h)).permute([0, 3, 1, 2])
    }

    fn recompute(&self, on: bool) {
        self.recompute.set(on);
    }
}
