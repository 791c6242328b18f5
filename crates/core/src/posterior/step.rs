//! A step of a fit, part by part: the gradient of each sample is taken for itself and they are added up at the end, in order, so
//! that the sum does not depend on how many were in memory together.

use std::ops::Range;

use burn::tensor::Tensor;

use super::{FitOptions, Posterior, Terms};
use crate::operator::values;

/// Samples of a step that are in memory together: of its paths from the top keypoint down, and of its random steps above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub paths: Range<usize>,
    pub upper: Range<usize>,
}

impl Part {
    /// A step's parts, of at most `most` paths each, and none above unless it is more than there are; a random step above takes a
    /// call where a path takes one at each of `keypoints`.
    pub fn all(paths: usize, upper: usize, most: usize, keypoints: usize) -> Vec<Self> {
        if most > paths {
            return vec![Self { paths: 0..paths, upper: 0..upper }];
        }
        let chunks = |all: usize, most: usize| (0..all).step_by(most).map(move |from| from..(from + most).min(all));
        let most = most.max(1);
        let down = chunks(paths, most).map(|paths| Self { paths, upper: 0..0 });
        down.chain(chunks(upper, most.saturating_mul(keypoints)).map(|upper| Self { paths: 0..0, upper })).collect()
    }
}

/// What each sample of a part adds to the terms, differentiable, in the signs of [`Terms`]: `[samples]` each.
#[derive(Default)]
pub(super) struct Shares {
    pub reconstruction: Option<Tensor<1>>,
    pub hierarchy: Option<Tensor<1>>,
    pub prior: Option<Tensor<1>>,
}

/// A differentiable number's value.
pub(super) fn scalar(x: &Tensor<1>) -> f64 {
    let x = if x.is_autodiff() { x.clone().inner() } else { x.clone() };
    values(&x).into_iter().map(f64::from).sum()
}

/// Samples' shares of the terms, in order.
#[derive(Default)]
pub(super) struct Sums([Vec<f32>; 3]);

impl Sums {
    /// Adds those of more samples.
    pub fn extend(&mut self, shares: &Shares) {
        let shares = [&shares.reconstruction, &shares.hierarchy, &shares.prior];
        for (list, share) in self.0.iter_mut().zip(shares) {
            let share = share.clone().map(|share| if share.is_autodiff() { share.inner() } else { share });
            list.extend(share.iter().flat_map(values));
        }
    }

    /// The terms, without the start's.
    pub fn terms(&self) -> Terms {
        let [reconstruction, hierarchy, prior] =
            [0, 1, 2].map(|i: usize| self.0[i].iter().map(|share| f64::from(*share)).sum());
        Terms { reconstruction, hierarchy, prior, start: 0.0 }
    }
}

impl Shares {
    /// What is minimised; none if nothing was drawn.
    pub fn loss(self, options: &FitOptions) -> Option<Tensor<1>> {
        let weighed =
            [(self.reconstruction, -1.0), (self.hierarchy, options.beta_hierarchy), (self.prior, options.beta_prior)];
        let terms = weighed.into_iter().filter_map(|(share, weight)| share.map(|share| share.sum() * weight));
        terms.reduce(|a, b| a + b)
    }
}

/// A posterior's tensors, one after another: `mu`, `log_tau` and, where there is one, `gamma_logit` of each keypoint.
pub(super) fn parameters(q: &mut Posterior) -> Vec<&mut Tensor<4>> {
    let each = q.keypoints.iter_mut().flat_map(|k| [Some(&mut k.mu), Some(&mut k.log_tau), k.gamma_logit.as_mut()]);
    each.flatten().collect()
}

/// The same posterior with parameters of its own for each of `samples`, tracked.
pub(super) fn leaves(q: &Posterior, samples: usize) -> Posterior {
    let mut q = q.clone();
    for tensor in parameters(&mut q) {
        *tensor = tensor.clone().repeat_dim(0, samples.max(1)).autodiff().require_grad();
    }
    q
}

/// Gradients of samples, by parameter.
#[derive(Default)]
pub(super) struct Gradients(Vec<Vec<Tensor<4>>>);

impl Gradients {
    /// Adds those of more samples, the gradients of `leaves`.
    pub fn extend(&mut self, mut leaves: Posterior, gradients: &mut burn::tensor::Gradients) {
        let leaves = parameters(&mut leaves);
        self.0.resize_with(leaves.len(), Vec::new);
        for (list, leaf) in self.0.iter_mut().zip(leaves) {
            list.extend(leaf.grad_remove(gradients));
        }
    }

    /// Their sums; none for a parameter without any.
    pub fn sums(self) -> Vec<Option<Tensor<4>>> {
        let sum = |list: Vec<Tensor<4>>| (!list.is_empty()).then(|| Tensor::cat(list, 0).sum_dim(0));
        self.0.into_iter().map(sum).collect()
    }
}
