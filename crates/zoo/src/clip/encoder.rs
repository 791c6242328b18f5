//! The forward pass, layer by layer.

use burn::tensor::{Tensor, TensorData, activation};
use vipaint_nn::layers::frozen::{LayerNorm, Linear};
use vipaint_nn::ops;

use super::{Activation, Config, Tokens};
use crate::limits::fail;
use crate::{Loader, Result};

/// What an encoder makes of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// An embedding for each token, in `[length, width]` order.
    pub tokens: Vec<f32>,
    /// Their width.
    pub width: usize,
    /// The embedding of the whole; empty without a projection.
    pub pooled: Vec<f32>,
}

/// Reads a text. Every tensor is taken from the loader's source when its turn comes, and dropped after it.
///
/// # Errors
/// Those of the source, and [`crate::Error::Config`] for tokens that the encoder does not know.
pub fn encode(config: &Config, loader: &Loader<'_>, tokens: &Tokens) -> Result<Embedded> {
    config.validate()?;
    if tokens.ids.len() != config.max_position_embeddings || tokens.ids.iter().any(|id| *id >= config.vocab_size) {
        return fail("vocab_size", "or max_position_embeddings is less than the tokenizer's");
    }
    let root = loader.at("text_model");
    let mut x = embed(config, &root, &tokens.ids)?;
    let layers = root.at("encoder").at("layers");
    let shown = config.num_hidden_layers - config.skip;
    for i in 0..shown {
        x = Block::load(config, &layers.at(i))?.forward(x);
    }
    let norm = root.layer_norm("final_layer_norm", config.hidden_size)?;
    let seen = if config.final_norm { norm.forward(x.clone()) } else { x.clone() };
    let pooled = if config.projection_dim == 0 {
        Vec::new()
    } else {
        for i in shown..config.num_hidden_layers {
            x = Block::load(config, &layers.at(i))?.forward(x);
        }
        let end = norm.forward(x).narrow(1, tokens.end, 1);
        values(&projection(config, loader)?.forward_sequence(end))
    };
    Ok(Embedded { tokens: values(&seen), width: config.hidden_size, pooled })
}

/// Asks for what [`encode`] reads.
pub(super) fn list(config: &Config, loader: &Loader<'_>) -> Result<()> {
    let root = loader.at("text_model");
    let [token, position] = tables(config);
    root.values("embeddings.token_embedding.weight", &token)?;
    root.values("embeddings.position_embedding.weight", &position)?;
    let shown = config.num_hidden_layers - if config.projection_dim == 0 { config.skip } else { 0 };
    for i in 0..shown {
        Block::load(config, &root.at("encoder").at("layers").at(i))?;
    }
    if config.projection_dim > 0 {
        projection(config, loader)?;
    }
    root.layer_norm("final_layer_norm", config.hidden_size).map(drop)
}

fn values(x: &Tensor<3>) -> Vec<f32> {
    x.to_data().iter::<f32>().collect()
}

fn tables(config: &Config) -> [[usize; 2]; 2] {
    [[config.vocab_size, config.hidden_size], [config.max_position_embeddings, config.hidden_size]]
}

fn projection(config: &Config, loader: &Loader<'_>) -> Result<Linear> {
    let shape = [config.hidden_size, config.projection_dim];
    loader.linear("text_projection", shape, false, 1)
}

/// Rows of the tokens' table plus those of the positions'. // [1, length, width]
fn embed(config: &Config, root: &Loader<'_>, ids: &[usize]) -> Result<Tensor<3>> {
    let ([token, position], width) = (tables(config), config.hidden_size);
    let mut x = root.values("embeddings.position_embedding.weight", &position)?.unwrap_or_default();
    if let Some(table) = root.lent("embeddings.token_embedding.weight", &token)? {
        for (row, id) in x.chunks_exact_mut(width).zip(ids) {
            row.iter_mut().zip(&table[id * width..]).for_each(|(x, token)| *x += token);
        }
    }
    Ok(Tensor::from_data(TensorData::new(x, [1, ids.len(), width]), root.device()))
}

/// `x + attention(ln(x))`, then `x + W_2 act(W_1 ln(x))`.
struct Block {
    norms: [LayerNorm; 2],
    maps: [Linear; 3],
    out: Linear,
    heads: usize,
    widen: Linear,
    narrow: Linear,
    activation: Activation,
}

impl Block {
    fn load(config: &Config, loader: &Loader<'_>) -> Result<Self> {
        let (w, rows) = (config.hidden_size, config.max_position_embeddings);
        let attention = loader.at("self_attn");
        let map = |name: &str| attention.linear(name, [w, w], true, rows);
        loader.count_attention(rows, rows, w);
        let mlp = loader.at("mlp");
        Ok(Self {
            norms: [loader.layer_norm("layer_norm1", w)?, loader.layer_norm("layer_norm2", w)?],
            maps: [map("q_proj")?, map("k_proj")?, map("v_proj")?],
            out: map("out_proj")?,
            heads: config.num_attention_heads,
            widen: mlp.linear("fc1", [w, config.intermediate_size], true, rows)?,
            narrow: mlp.linear("fc2", [config.intermediate_size, w], true, rows)?,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norms[0].forward(x.clone());
        let x = self.out.forward_onto(self.attend(&normed), x);
        let activation = match self.activation {
            Activation::QuickGelu => ops::Activation::QuickGelu,
            Activation::Gelu => ops::Activation::Gelu,
        };
        let h = self.widen.forward_sequence_activated(self.norms[1].forward(x.clone()), activation);
        self.narrow.forward_onto(h, x)
    }

    /// `softmax(q k^T / sqrt(d)) v` in each head, a token seeing itself and those before it.
    fn attend(&self, x: &Tensor<3>) -> Tensor<3> {
        let [b, length, width] = x.dims();
        let d = width / self.heads;
        let split = |map: &Linear| -> Tensor<4> {
            map.forward_sequence(x.clone()).reshape([b, length, self.heads, d]).permute([0, 2, 1, 3])
        };
        let [query, key, value] = self.maps.each_ref().map(split);
        let later = |i: usize| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 };
        let mask: Vec<f32> = (0..length * length).map(later).collect();
        let mask = Tensor::<4>::from_data(TensorData::new(mask, [1, 1, length, length]), &x.device());
        let scores = query.matmul(key.swap_dims(2, 3)) * (1.0 / (d as f64).sqrt()) + mask;
        let seen = activation::softmax(scores, 3).matmul(value);
        seen.permute([0, 2, 1, 3]).reshape([b, length, width])
    }
}
