//! Self- and cross-attention.

use burn::tensor::Tensor;

use super::Linear;
use crate::ops;

/// `residual + W_o attention(W_q x, W_k c, W_v c)`, with `c = x` (self-attention) or a context.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `W_q`.
    pub query: Linear,
    /// `W_k`.
    pub key: Linear,
    /// `W_v`.
    pub value: Linear,
    /// `W_o`.
    pub out: Linear,
    /// Number of heads, in consecutive channels of queries, keys and values.
    pub heads: usize,
}

impl Attention {
    /// `x` and `residual` `[batch, length, channels]`, `context` `[batch, keys, width]`.
    pub fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>, residual: Tensor<3>) -> Tensor<3> {
        let source = context.unwrap_or_else(|| x.clone());
        let value = self.value.forward_sequence(source.clone());
        if source.dims()[1] == 1 {
            // The softmax over a single key is 1, whatever the query.
            return residual + self.out.forward_sequence(value);
        }
        let (query, key) = (self.query.forward_sequence(x), self.key.forward_sequence(source));
        self.out.forward_onto(ops::attention(query, key, value, self.heads), residual)
    }
}
