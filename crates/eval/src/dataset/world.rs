//! A prior made of real pictures, whose posterior under a mask is known exactly.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::{Mask, Protocol, Shape3};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::Mixture;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::schedule::{Betas, Schedule};

use crate::Result;

/// `x ~ 1/N sum_m N(picture_m, std^2 I)`.
pub struct World {
    pictures: Vec<Vec<f32>>,
    std: f64,
    shape: Shape3,
    prior: Prior,
}

/// A draw of the prior, partly hidden.
pub struct Case<'a> {
    world: &'a World,
    /// What was drawn.
    pub truth: Vec<f64>,
    /// Indices of hidden values.
    pub hidden: Vec<usize>,
    known: Vec<f32>, // 1 = known
    y: Vec<f64>,     // 0 where hidden
    sigma_y: f64,
    weights: Vec<f64>, // of the components, normalised
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

impl World {
    /// Of pictures `[c, h, w]` with values about [-1, 1].
    ///
    /// # Errors
    /// When there is no picture, one has another size, or `std` is not positive.
    pub fn new(pictures: Vec<Vec<f32>>, shape: Shape3, std: f64) -> Result<Self> {
        let means = pictures.concat();
        let weights = vec![1.0; means.len() / shape.iter().product::<usize>().max(1)];
        let mixture = Mixture::new(means, &weights, std, shape, &Device::flex())?;
        let schedule = Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 });
        let prior = Prior::new("pictures", Arc::new(mixture), schedule, spread(&pictures, std));
        Ok(Self { pictures, std, shape, prior })
    }

    /// Shape of pictures.
    pub fn shape(&self) -> Shape3 {
        self.shape
    }

    /// A random picture with its noise, measured under a mask.
    pub fn case(&self, mask: &Protocol, sigma_y: f64, seed: u64) -> Case<'_> {
        let mut rng = stream(seed, 81, 0);
        let picture = &self.pictures[rng.random_range(0..self.pictures.len())];
        let truth: Vec<f64> = picture.iter().map(|p| f64::from(*p) + self.std * normal(&mut rng)).collect();
        let known = mask.mask(self.shape, seed);
        let measured = |(x, k): (&f64, &f32)| if *k > 0.0 { x + sigma_y * normal(&mut rng) } else { 0.0 };
        let y: Vec<f64> = truth.iter().zip(&known).map(measured).collect();
        let hidden = (0..known.len()).filter(|i| known[*i] == 0.0).collect();
        let variance = self.std.powi(2) + sigma_y.powi(2);
        let log = |picture: &Vec<f32>| {
            let terms = picture.iter().zip(&y).zip(&known);
            let squares = terms.map(|((p, y), k)| f64::from(*k) * (f64::from(*p) - y).powi(2));
            -squares.sum::<f64>() / (2.0 * variance)
        };
        let logs: Vec<f64> = self.pictures.iter().map(log).collect();
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
        let weights = logs.iter().map(|l| (l - top).exp() / sum).collect();
        Case { world: self, truth, hidden, known, y, sigma_y, weights }
    }
}

/// Root mean variance over values.
fn spread(pictures: &[Vec<f32>], std: f64) -> f64 {
    let n = pictures.len() as f64;
    let values = pictures.first().map_or(0, Vec::len);
    let variance = |i: usize| {
        let average = |f: &dyn Fn(f64) -> f64| pictures.iter().map(|p| f(f64::from(p[i]))).sum::<f64>() / n;
        average(&|v| v * v) - average(&|v| v).powi(2)
    };
    ((0..values).map(variance).sum::<f64>() / values.max(1) as f64 + std * std).sqrt()
}

impl Case<'_> {
    /// The problem as samplers see it, with calls counted from zero.
    ///
    /// # Errors
    /// None that a world's case can have.
    pub fn problem(&self) -> Result<Problem> {
        let (device, [c, h, w]) = (Device::flex(), self.world.shape);
        let y: Vec<f32> = self.y.iter().map(|y| *y as f32).collect();
        let y = Tensor::from_data(TensorData::new(y, [1, c, h, w]), &device);
        let operator = Arc::new(Mask::new(&self.known, self.world.shape, &device)?);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y };
        let measurement = Measurement::new(operator, y, likelihood)?;
        Ok(Problem::new(self.world.prior.counting_anew(), measurement, Guidance::default())?)
    }

    /// How many pictures share the posterior: `1 / sum w^2`.
    pub fn effective(&self) -> f64 {
        1.0 / self.weights.iter().map(|w| w * w).sum::<f64>()
    }

    /// The truth, what is measured of it (grey where nothing is), and samples where it is hidden, as bytes of values in [-1, 1].
    pub(super) fn pictures(&self, samples: &[Vec<f64>]) -> Vec<u8> {
        let byte = |v: f64| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
        let mut bytes: Vec<u8> = self.truth.iter().chain(&self.y).map(|v| byte(*v)).collect();
        for sample in samples {
            let mut picture = self.truth.clone();
            self.hidden.iter().zip(sample).for_each(|(i, v)| picture[*i] = *v);
            bytes.extend(picture.into_iter().map(byte));
        }
        bytes
    }

    /// Samples of the exact posterior, hidden values only: a picture by its weight, with the prior's noise.
    pub fn exact(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 82, 0);
        let mut cumulated = self.weights.clone();
        (1..cumulated.len()).for_each(|i| cumulated[i] += cumulated[i - 1]);
        (0..n)
            .map(|_| {
                let u: f64 = rng.random();
                let picture = cumulated.partition_point(|c| *c <= u).min(cumulated.len() - 1);
                let picture = &self.world.pictures[picture];
                self.hidden.iter().map(|i| f64::from(picture[*i]) + self.world.std * normal(&mut rng)).collect()
            })
            .collect()
    }

    /// Samples of the prior, hidden values only.
    pub fn prior_samples(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 83, 0);
        (0..n)
            .map(|_| {
                let picture = &self.world.pictures[rng.random_range(0..self.world.pictures.len())];
                self.hidden.iter().map(|i| f64::from(picture[*i]) + self.world.std * normal(&mut rng)).collect()
            })
            .collect()
    }

    /// Root mean variance of hidden values under the exact posterior.
    pub fn exact_std(&self) -> f64 {
        let variance = |i: usize| {
            let terms = || self.world.pictures.iter().zip(&self.weights);
            let mean: f64 = terms().map(|(p, w)| w * f64::from(p[i])).sum();
            terms().map(|(p, w)| w * (f64::from(p[i]) - mean).powi(2)).sum::<f64>() + self.world.std.powi(2)
        };
        (self.hidden.iter().map(|i| variance(*i)).sum::<f64>() / self.hidden.len() as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let mut rng = stream(5, 0, 0);
        let pictures = (0..30).map(|_| (0..16).map(|_| 0.5 * normal(&mut rng) as f32).collect()).collect();
        World::new(pictures, [1, 4, 4], 0.3).expect("it is well formed")
    }

    /// The exact posterior against importance sampling from the prior: means of hidden values.
    #[test]
    fn exact_posterior_agrees_with_importance_sampling() {
        let world = world();
        let half = Protocol::named("half").expect("it is known");
        let case = world.case(half, 0.6, 3);
        let mut rng = stream(6, 0, 0);
        let (mut sums, mut total, mut squares) = (vec![0.0; 16], 0.0, 0.0);
        for _ in 0..200_000 {
            let picture = &world.pictures[rng.random_range(0..30)];
            let x: Vec<f64> = picture.iter().map(|p| f64::from(*p) + 0.3 * normal(&mut rng)).collect();
            let gaps = (0..16).filter(|i| case.known[*i] > 0.0).map(|i| (x[i] - case.y[i]).powi(2));
            let w = (-gaps.sum::<f64>() / (2.0 * 0.36)).exp();
            (total, squares) = (total + w, squares + w * w);
            sums.iter_mut().zip(&x).for_each(|(sum, x)| *sum += w * x);
        }
        let n = 20_000;
        let exact = case.exact(n, 1);
        let ess = total * total / squares;
        let mut variance = 0.0;
        for (k, i) in case.hidden.iter().enumerate() {
            let got = exact.iter().map(|x| x[k]).sum::<f64>() / n as f64;
            let own = exact.iter().map(|x| (x[k] - got).powi(2)).sum::<f64>() / n as f64;
            // Five standard errors of both estimates.
            assert!((got - sums[*i] / total).abs() < 5.0 * (own / ess + own / n as f64).sqrt(), "value {i}");
            variance += own / case.hidden.len() as f64;
        }
        // Averaged over values, 20,000 samples know a variance to a per cent.
        assert!((variance.sqrt() / case.exact_std() - 1.0).abs() < 0.01);
        assert!(case.effective() > 1.0 && case.effective() < 30.0);
    }
}
