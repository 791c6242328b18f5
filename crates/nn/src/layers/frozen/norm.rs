//! Normalisation.

use burn::tensor::Tensor;

use crate::ops::{self, GroupNormTail, NormWeights};

/// Group normalisation, [`ops::group_norm`].
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// `[channels]`.
    pub weight: Tensor<1>,
    /// `[channels]`.
    pub bias: Tensor<1>,
    /// Number of groups; it divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// The weights as blocks take them.
    pub(super) fn weights(&self) -> NormWeights {
        NormWeights { weight: self.weight.clone(), bias: self.bias.clone(), groups: self.groups, eps: self.eps }
    }

    /// The normalised input with what follows it. // [batch, height, width, channels]
    pub fn forward(&self, x: Tensor<4>, tail: GroupNormTail) -> Tensor<4> {
        ops::group_norm(x, self.groups, self.weight.clone(), self.bias.clone(), self.eps, tail)
    }

    /// [`Self::forward_silu`] of `x + shift`, `shift` `[batch, channels]`.
    pub fn forward_shifted_silu(&self, x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let tail = GroupNormTail { modulation: None, silu: true };
        ops::group_norm_shifted(x, shift, self.groups, weight, bias, self.eps, tail)
    }

    /// The normalised input after `x sigmoid(x)`. // [batch, height, width, channels]
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x, GroupNormTail { modulation: None, silu: true })
    }
}

/// Layer normalisation, [`ops::layer_norm`].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `[channels]`.
    pub weight: Tensor<1>,
    /// `[channels]`.
    pub bias: Tensor<1>,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// The normalised input. // [batch, length, channels]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        ops::layer_norm(x, self.weight.clone(), self.bias.clone(), self.eps)
    }
}
