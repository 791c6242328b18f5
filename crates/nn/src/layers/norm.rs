//! Normalisation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::Init;
use crate::ops::{self, GroupNormTail, NormWeights};

const EPS: f64 = 1e-5;

/// Group normalisation, [`ops::group_norm`], with `eps = 1e-5`.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`, starts at one.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`, starts at zero.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
}

impl GroupNorm {
    /// `groups` must divide `channels`.
    pub fn new(channels: usize, groups: usize, init: &Init) -> Self {
        Self { weight: init.constant([channels], 1.0), bias: init.constant([channels], 0.0), groups }
    }

    /// The weights as blocks take them.
    pub(super) fn weights(&self) -> NormWeights {
        NormWeights { weight: self.weight.val(), bias: self.bias.val(), groups: self.groups, eps: EPS }
    }

    /// The normalised input with what follows it. // [batch, height, width, channels]
    pub fn forward(&self, x: Tensor<4>, tail: GroupNormTail) -> Tensor<4> {
        ops::group_norm(x, self.groups, self.weight.val(), self.bias.val(), EPS, tail)
    }
}
