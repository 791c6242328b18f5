//! The mixture benchmark of Cardoso et al. (2023, section 5): a prior of 25 Gaussians, few linear measurements, and the exact posterior.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::Dense;
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::Mixture;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::schedule::{Betas, Schedule};

use crate::Result;

/// One problem. Samples are rows of `dx` values.
pub struct World {
    dx: usize,
    means: Vec<Vec<f64>>,
    weights: Vec<f64>, // normalised
    /// Singular vectors and values of `A = U diag(s) V^T`: rows of `U^T` and of `V^T`.
    left: Vec<Vec<f64>>,
    right: Vec<Vec<f64>>,
    singular: Vec<f64>,
    sigma_y: f64,
    y: Vec<f64>,
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `n` random orthonormal vectors of `dim` values, uniformly distributed: Gaussian ones, orthogonalised (twice, for stability).
fn orthonormal(n: usize, dim: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(n);
    for _ in 0..n {
        let mut v: Vec<f64> = (0..dim).map(|_| normal(rng)).collect();
        for e in vectors.iter().chain(&vectors) {
            let along = dot(&v, e);
            v.iter_mut().zip(e).for_each(|(v, e)| *v -= along * e);
        }
        let norm = dot(&v, &v).sqrt();
        vectors.push(v.into_iter().map(|x| x / norm).collect());
    }
    vectors
}

/// The index that `u` in [0, 1) picks from weights.
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

impl World {
    /// A random problem: means `(-8 i, -8 j)`, i and j in -2..=2, tiled to `dx` values; weights `N(0, 1)^2`, normalised; `A` of
    /// `N(0, 1)` values with its singular values replaced by U(0, 1) ones; `sigma_y` U(0, 1) times the largest of them; `y` measured
    /// of a draw of the prior.
    ///
    /// A Gaussian matrix's singular vectors are uniformly distributed, whatever its singular values, so they are drawn directly.
    pub fn new(dx: usize, dy: usize, seed: u64) -> Self {
        let mut rng = stream(seed, 77, 0);
        let tile = |i: i32, j: i32| (0..dx).map(|d| -8.0 * f64::from(if d % 2 == 0 { i } else { j })).collect();
        let means: Vec<Vec<f64>> = (-2..=2).flat_map(|i| (-2..=2).map(move |j| tile(i, j))).collect();
        let squares: Vec<f64> = means.iter().map(|_| normal(&mut rng).powi(2)).collect();
        let weights: Vec<f64> = squares.iter().map(|w| w / squares.iter().sum::<f64>()).collect();
        let (left, right) = (orthonormal(dy, dy, &mut rng), orthonormal(dy, dx, &mut rng));
        let mut singular: Vec<f64> = (0..dy).map(|_| rng.random()).collect();
        singular.sort_by(|a, b| b.total_cmp(a));
        let sigma_y = rng.random::<f64>() * singular[0];
        let mut world = Self { dx, means, weights, left, right, singular, sigma_y, y: Vec::new() };
        let x = world.draw(&world.weights, &mut rng);
        let clean = world.apply(&x);
        world.y = clean.into_iter().map(|c| c + world.sigma_y * normal(&mut rng)).collect();
        world
    }

    /// One draw of the mixture with these weights.
    fn draw(&self, weights: &[f64], rng: &mut impl Rng) -> Vec<f64> {
        let k = pick(weights, rng.random());
        self.means[k].iter().map(|m| m + normal(rng)).collect()
    }

    /// `A x`.
    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let inside: Vec<f64> = self.right.iter().zip(&self.singular).map(|(v, s)| s * dot(v, x)).collect();
        (0..self.y_len()).map(|i| self.left.iter().zip(&inside).map(|(u, c)| u[i] * c).sum()).collect()
    }

    fn y_len(&self) -> usize {
        self.singular.len()
    }

    /// `U^T y`, whose entries are independent measurements `s_i v_i^T x + sigma_y eps`.
    fn rotated(&self) -> Vec<f64> {
        self.left.iter().map(|u| dot(u, &self.y)).collect()
    }

    /// The problem as samplers see it: a denoiser, a schedule (linear betas, 1e-4 to 0.02 over 1000 steps), an operator, `y`.
    ///
    /// # Errors
    /// None that a world of [`Self::new`] can have.
    pub fn problem(&self) -> Result<Problem> {
        let device = Device::flex();
        let shape = [self.dx, 1, 1];
        let means = self.means.iter().flatten().map(|m| *m as f32).collect();
        let mixture = Mixture::new(means, &self.weights, 1.0, shape, &device)?;
        let schedule = Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 });
        let prior = Prior::new("mixture", Arc::new(mixture), schedule, self.spread());
        let rows: Vec<f32> = (0..self.y_len() * self.dx)
            .map(|k| {
                let (i, j) = (k / self.dx, k % self.dx);
                (0..self.y_len()).map(|m| self.left[m][i] * self.singular[m] * self.right[m][j]).sum::<f64>() as f32
            })
            .collect();
        let operator = Arc::new(Dense::new(&rows, shape, &device)?);
        let y: Vec<f32> = self.y.iter().map(|y| *y as f32).collect();
        let y = Tensor::from_data(TensorData::new(y, [1, self.y_len(), 1, 1]), &device);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y };
        Ok(Problem::new(prior, Measurement::new(operator, y, likelihood)?, Guidance::default())?)
    }

    /// The spread that a user would measure on data: the root mean variance over elements.
    fn spread(&self) -> f64 {
        let expect =
            |f: &dyn Fn(&[f64]) -> f64| self.means.iter().zip(&self.weights).map(|(m, w)| w * f(m)).sum::<f64>();
        let variance = |d: usize| expect(&|m| m[d] * m[d]) - expect(&|m| m[d]).powi(2) + 1.0;
        ((0..self.dx).map(variance).sum::<f64>() / self.dx as f64).sqrt()
    }

    /// Samples of the exact posterior: the mixture with weights `w_k N(y; A mu_k, A A^T + sigma_y^2 I)` and component covariance
    /// `(I + A^T A / sigma_y^2)^-1`, by Matheron's rule: a draw of the component, moved by the gain times the mismatch of its own
    /// noisy measurement.
    pub fn exact(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 78, 0);
        let y = self.rotated();
        let variance: Vec<f64> = self.singular.iter().map(|s| s * s + self.sigma_y.powi(2)).collect();
        let log = |mean: &Vec<f64>| -> f64 {
            let gap = |i: usize| y[i] - self.singular[i] * dot(&self.right[i], mean);
            (0..self.y_len()).map(|i| -gap(i).powi(2) / (2.0 * variance[i])).sum()
        };
        let logs: Vec<f64> = self.means.iter().zip(&self.weights).map(|(m, w)| w.ln() + log(m)).collect();
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        (0..n)
            .map(|_| {
                let mut x = self.draw(&weights, &mut rng);
                for i in 0..self.y_len() {
                    let (s, v) = (self.singular[i], &self.right[i]);
                    let gap = y[i] - s * dot(v, &x) - self.sigma_y * normal(&mut rng);
                    x.iter_mut().zip(v).for_each(|(x, v)| *x += s / variance[i] * gap * v);
                }
                x
            })
            .collect()
    }

    /// Samples of the prior.
    pub fn prior_samples(&self, n: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, 79, 0);
        (0..n).map(|_| self.draw(&self.weights, &mut rng)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact posterior against self-normalised importance sampling from the prior, an independent way to its mean.
    #[test]
    fn exact_posterior_agrees_with_importance_sampling() {
        for seed in 0..4 {
            let world = World::new(4, 2, seed);
            let prior = world.prior_samples(200_000, 5);
            let logs: Vec<f64> = (prior.iter())
                .map(|x| {
                    let gap = world.apply(x).into_iter().zip(&world.y).map(|(a, y)| (a - y).powi(2)).sum::<f64>();
                    -gap / (2.0 * world.sigma_y.powi(2))
                })
                .collect();
            let top = logs.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
            let (sum, squares) = (weights.iter().sum::<f64>(), weights.iter().map(|w| w * w).sum::<f64>());
            let ess = sum * sum / squares;
            let n = 20_000;
            let exact = world.exact(n, 6);
            for d in 0..4 {
                let mean = weights.iter().zip(&prior).map(|(w, x)| w * x[d]).sum::<f64>() / sum;
                let got = exact.iter().map(|x| x[d]).sum::<f64>() / n as f64;
                let variance = exact.iter().map(|x| (x[d] - got).powi(2)).sum::<f64>() / n as f64;
                // Five standard errors of both estimates.
                let tolerance = 5.0 * (variance / ess + variance / n as f64).sqrt();
                assert!((mean - got).abs() < tolerance, "seed {seed}, {d}: {got} {mean}, ess {ess}");
            }
        }
    }

    #[test]
    fn the_operator_has_the_stated_singular_values() {
        let world = World::new(8, 4, 3);
        let problem = world.problem().expect("it is well formed");
        let spectrum = problem.measurement.operator.linear().expect("it is linear").spectrum();
        let mut got = spectrum.try_into_vec_as::<f32>().expect("it is readable");
        got.sort_by(|a, b| b.total_cmp(a));
        for (got, s) in got.iter().zip(&world.singular) {
            assert!((f64::from(*got) - s * s).abs() < 1e-5);
        }
        assert!(world.sigma_y < world.singular[0] && world.singular.windows(2).all(|w| w[0] >= w[1]));
    }
}
