//! Adam over the flat list of all weights, and their running average.

use crate::recipe::Optimizer;

/// Everything that changes from step to step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// The weights.
    pub weights: Vec<f32>,
    /// Their running average.
    pub ema: Vec<f32>,
    /// Adam's first moments.
    pub first: Vec<f32>,
    /// Adam's second moments.
    pub second: Vec<f32>,
    /// Pictures seen; the position in the data, and the number of steps, follow from it.
    pub images: u64,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl State {
    pub(crate) fn new(weights: Vec<f32>) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { ema: weights.clone(), weights, first: zeros.clone(), second: zeros, images: 0, seconds: 0.0 }
    }

    /// One step; returns the gradient's norm before clipping.
    ///
    /// Kingma and Ba (2015), algorithm 1, with decoupled weight decay (Loshchilov and Hutter, 2019).
    pub(crate) fn step(&mut self, gradient: &[f32], lr: f64, o: &Optimizer) -> f64 {
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let clip = (o.clip / norm.max(o.clip)) as f32;
        let step = (self.images / o.batch as u64 + 1) as f64;
        let [b1, b2] = o.betas;
        let rate = (lr / (1.0 - b1.powf(step))) as f32;
        let unbias = (1.0 / (1.0 - b2.powf(step))) as f32;
        let (b1, b2, eps, shrink) = (b1 as f32, b2 as f32, o.eps as f32, (lr * o.weight_decay) as f32);

        self.images += o.batch as u64;
        let half_life = o.ema_half_life.min(self.images as f64 * o.ema_ramp);
        let follow = (1.0 - 0.5f64.powf(o.batch as f64 / half_life)) as f32;

        let moments = self.first.iter_mut().zip(&mut self.second);
        let weights = self.weights.iter_mut().zip(&mut self.ema);
        for (((w, ema), (m, v)), g) in weights.zip(moments).zip(gradient) {
            let g = g * clip;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *w -= rate * *m / ((*v * unbias).sqrt() + eps) + shrink * *w;
            *ema += follow * (*w - *ema);
        }
        norm
    }
}
