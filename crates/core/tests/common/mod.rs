//! The mixture benchmark of Cardoso et al. (2023), its exact posterior, and the distance between sets of samples.
#![allow(dead_code, missing_docs)] // each test binary uses its own part

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::Dense;
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::Mixture;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::schedule::{Betas, Schedule};

pub fn device() -> Device {
    Device::flex()
}

pub fn vp() -> Schedule {
    Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 })
}

pub fn ve() -> Schedule {
    Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 }
}

pub fn flow() -> Schedule {
    Schedule::Flow { shift: 1.0 }
}

pub fn to_vec<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as::<f32>().unwrap()
}

pub fn normal(rng: &mut impl rand::Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// One problem: the mixture's means and weights, one row `a`, `y` and `sigma_y` (one measurement).
pub struct MixtureProblem {
    pub dim: usize,
    pub means: Vec<Vec<f64>>,
    pub weights: Vec<f64>,
    pub a: Vec<f64>,
    pub sigma_y: f64,
    pub y: f64,
}

impl MixtureProblem {
    pub fn new(dim: usize, seed: u64) -> Self {
        let mut rng = stream(seed, 77, 0);
        let mut means = Vec::new();
        for i in -2..=2 {
            for j in -2..=2 {
                means.push((0..dim).map(|d| -8.0 * f64::from(if d % 2 == 0 { i } else { j })).collect::<Vec<f64>>());
            }
        }
        let weights: Vec<f64> = means.iter().map(|_| normal(&mut rng).powi(2)).collect();
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let row: Vec<f64> = (0..dim).map(|_| normal(&mut rng).powi(2)).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let singular: f64 = rng.random();
        let a: Vec<f64> = row.iter().map(|x| x / norm * singular).collect();
        let sigma_y = rng.random::<f64>() * singular;
        let k = pick(&weights, rng.random());
        let x: Vec<f64> = means[k].iter().map(|m| m + normal(&mut rng)).collect();
        let y = a.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>() + sigma_y * normal(&mut rng);
        Self { dim, means, weights, a, sigma_y, y }
    }

    pub fn problem(&self) -> Problem {
        let device = device();
        let shape = [self.dim, 1, 1];
        let means = self.means.iter().flatten().map(|m| *m as f32).collect();
        let mixture = Mixture::new(means, &self.weights, 1.0, shape, &device).unwrap();
        // The spread a user would measure on data: the root mean variance over elements.
        let mean: Vec<f64> = (0..self.dim).map(|d| self.expect(|m| m[d])).collect();
        let variance = (0..self.dim).map(|d| self.expect(|m| (m[d] - mean[d]).powi(2)) + 1.0).sum::<f64>();
        let prior = Prior::new("mixture", Arc::new(mixture), vp(), (variance / self.dim as f64).sqrt());
        let row: Vec<f32> = self.a.iter().map(|a| *a as f32).collect();
        let operator = Arc::new(Dense::new(&row, shape, &device).unwrap());
        let y = Tensor::from_data(TensorData::new(vec![self.y as f32], [1, 1, 1, 1]), &device);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y };
        let measurement = Measurement::new(operator, y, likelihood).unwrap();
        Problem::new(prior, measurement, Guidance::default()).unwrap()
    }

    fn expect(&self, f: impl Fn(&[f64]) -> f64) -> f64 {
        self.means.iter().zip(&self.weights).map(|(m, w)| w * f(m)).sum()
    }

    /// Samples of the exact posterior: component weights `w_k N(y; a mu_k, a a^T + sigma_y^2)`, each component conditioned.
    pub fn exact(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 78, 0);
        let aa: f64 = self.a.iter().map(|a| a * a).sum();
        let v = aa + self.sigma_y.powi(2);
        let dot = |m: &[f64]| self.a.iter().zip(m).map(|(a, m)| a * m).sum::<f64>();
        let logs: Vec<f64> =
            self.means.iter().zip(&self.weights).map(|(m, w)| w.ln() - (self.y - dot(m)).powi(2) / (2.0 * v)).collect();
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        (0..n)
            .map(|_| {
                let k = pick(&weights, rng.random());
                // Matheron's rule: a prior draw, moved by the gain times the mismatch of its own noisy measurement.
                let x: Vec<f64> = self.means[k].iter().map(|m| m + normal(&mut rng)).collect();
                let gap = self.y - dot(&x) - self.sigma_y * normal(&mut rng);
                x.iter().zip(&self.a).map(|(x, a)| x + a / v * gap).collect()
            })
            .collect()
    }

    pub fn prior_samples(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 79, 0);
        (0..n)
            .map(|_| {
                let k = pick(&self.weights, rng.random());
                self.means[k].iter().map(|m| m + normal(&mut rng)).collect()
            })
            .collect()
    }
}

fn pick(weights: &[f64], u: f64) -> usize {
    let mut left = u * weights.iter().sum::<f64>();
    for (k, w) in weights.iter().enumerate() {
        left -= w;
        if left < 0.0 {
            return k;
        }
    }
    weights.len() - 1
}

/// Mean over 200 random directions of the one-dimensional Wasserstein-1 distance; both sets of one size.
pub fn sliced_wasserstein(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let (dim, directions) = (a[0].len(), 200);
    let mut rng = stream(5, 80, 0);
    let mut total = 0.0;
    for _ in 0..directions {
        let u: Vec<f64> = (0..dim).map(|_| normal(&mut rng)).collect();
        let norm = u.iter().map(|x| x * x).sum::<f64>().sqrt();
        let project = |set: &[Vec<f64>]| {
            let mut p: Vec<f64> =
                set.iter().map(|x| x.iter().zip(&u).map(|(x, u)| x * u).sum::<f64>() / norm).collect();
            p.sort_by(f64::total_cmp);
            p
        };
        let (p, q) = (project(a), project(b));
        total += p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>() / p.len() as f64;
    }
    total / f64::from(directions)
}
