//! The mixture's denoiser and the measurement's moments against closed forms in f64.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec, vp};
use rand::RngExt;
use vipaint_core::krylov::Krylov;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::moments::Rows;
use vipaint_core::noise::stream;
use vipaint_core::operator::{Dense, Mask};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::{Gaussian, Mixture};
use vipaint_core::prior::{Condition, Denoiser, Guidance, Prior};
use vipaint_core::{Error, Level};

/// Means, posterior weights of the components given `z`, and `x0_hat`, all in f64; unit components.
fn reference(means: &[Vec<f64>], z: &[f64], level: Level) -> (Vec<f64>, Vec<f64>) {
    let (a, s2) = (level.alpha, level.sigma.powi(2));
    let v = a * a + s2;
    let log = |m: &Vec<f64>| -m.iter().zip(z).map(|(m, z)| (z - a * m).powi(2)).sum::<f64>() / (2.0 * v);
    let logs: Vec<f64> = means.iter().map(log).collect();
    let top = logs.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
    let r: Vec<f64> = logs.iter().map(|l| (l - top).exp() / sum).collect();
    let mean = |d: usize| means.iter().zip(&r).map(|(m, r)| m[d] * r).sum::<f64>();
    let x0_hat = (0..z.len()).map(|d| a / v * z[d] + s2 / v * mean(d)).collect();
    (r, x0_hat)
}

/// The 25 means of the mixture benchmark.
fn grid(dim: usize) -> Vec<Vec<f64>> {
    let tile = |i: i32, j: i32| (0..dim).map(|d| -8.0 * f64::from(if d % 2 == 0 { i } else { j })).collect();
    (-2..=2).flat_map(|i| (-2..=2).map(move |j| tile(i, j))).collect()
}

fn mixture(means: &[Vec<f64>]) -> Mixture {
    let values = means.iter().flatten().map(|m| *m as f32).collect();
    Mixture::new(values, &vec![1.0; means.len()], 1.0, [means[0].len(), 1, 1], &device()).unwrap()
}

/// Means up to 16 in 800 dimensions, `||mean||` up to 450: also between two components the error stays at a thousandth of a
/// component's standard deviation, relative to the distance of the components where it is amplified by it.
#[test]
fn a_mixture_in_800_dimensions_keeps_its_accuracy() {
    let mut rng = stream(1, 2, 3);
    for dim in [8, 800] {
        // Twelve directions do not fit the subspace: the other way to compare, with smaller means.
        let full: Vec<Vec<f64>> = (0..12).map(|_| (0..dim).map(|_| 2.0 * normal(&mut rng)).collect()).collect();
        for means in [grid(dim), full] {
            let denoiser = mixture(&means);
            for t in [0.0, 100.0, 400.0, 700.0, 900.0, 999.0] {
                let level = vp().level(t);
                let (first, second) = (rng.random_range(0..means.len()), rng.random_range(0..means.len()));
                for between in [0.0, 0.5] {
                    let mix = |d: usize| means[first][d] * (1.0 - between) + means[second][d] * between;
                    let noise = |rng: &mut _| normal(rng) * (level.alpha.powi(2) + level.sigma.powi(2)).sqrt();
                    // Rounded first: the reference sees the same z.
                    let z: Vec<f32> = (0..dim).map(|d| (level.alpha * mix(d) + noise(&mut rng)) as f32).collect();
                    let exact: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
                    let (_, want) = reference(&means, &exact, level);
                    let tensor = Tensor::from_data(TensorData::new(z, [1, dim, 1, 1]), &device());
                    let got = to_vec(denoiser.x0_hat(tensor, &[level], &Condition::default()).unwrap());
                    let apart = means[first].iter().zip(&means[second]).map(|(a, b)| (a - b).abs()).fold(1.0, f64::max);
                    let worst = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
                    assert!(worst < 1e-3 * apart, "dim {dim}, t {t}, {between}: {worst}, apart {apart}");
                }
            }
        }
    }
}

/// The derivative, which is known where means lie in a subspace and tracked elsewhere, against central differences in f64.
#[test]
fn a_mixture_has_the_gradient_of_its_closed_form() {
    let (mut rng, dim) = (stream(7, 8, 9), 12);
    let full: Vec<Vec<f64>> = (0..12).map(|_| (0..dim).map(|_| 2.0 * normal(&mut rng)).collect()).collect();
    for means in [grid(dim), full] {
        let denoiser = mixture(&means);
        for t in [200.0, 500.0, 700.0, 950.0] {
            let level = vp().level(t);
            let near = &means[rng.random_range(0..means.len())];
            let z: Vec<f32> = near.iter().map(|m| (level.alpha * m + 2.0 * normal(&mut rng)) as f32).collect();
            let weights: Vec<f64> = (0..dim).map(|_| normal(&mut rng)).collect();
            let along =
                |z: &[f64]| -> f64 { reference(&means, z, level).1.iter().zip(&weights).map(|(x, w)| x * w).sum() };
            let leaf = Tensor::<4>::from_data(TensorData::new(z.clone(), [1, dim, 1, 1]), &device());
            let leaf = leaf.autodiff().require_grad();
            let x0_hat = denoiser.x0_hat(leaf.clone(), &[level], &Condition::default()).unwrap();
            let w: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
            let w = Tensor::<4>::from_data(TensorData::new(w, [1, dim, 1, 1]), &device());
            let mut grads = (x0_hat * w.autodiff()).sum().backward();
            let got = to_vec(leaf.grad_remove(&mut grads).unwrap());
            let want = |d: usize| {
                let at = |by: f64| {
                    let mut z: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
                    z[d] += by;
                    along(&z)
                };
                (at(1e-4) - at(-1e-4)) / 2e-4
            };
            let want: Vec<f64> = (0..dim).map(want).collect();
            let size = want.iter().map(|w| w.abs()).fold(1e-3, f64::max);
            // Responsibilities of means 8 apart, in f32.
            let worst = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-3 * size, "t {t}: {worst} of {size}");
        }
    }
}

fn problem(dim: usize, rows: &[f32]) -> Problem {
    let operator = Arc::new(Dense::new(rows, [dim, 1, 1], &device()).unwrap());
    let m = rows.len() / dim;
    let y = Tensor::from_data(TensorData::new(vec![0.7f32; m], [1, m, 1, 1]), &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.4 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    let prior = Prior::new("mixture", Arc::new(mixture(&grid(dim))), vp(), 10.0);
    Problem::new(prior, measurement, Guidance::default()).unwrap()
}

/// The covariance by the Jacobian against that of the mixture of components: `sigma^2 / v` within and the means' between.
#[test]
fn moments_are_those_of_the_mixture() {
    let (dim, m) = (6, 2);
    let mut rng = stream(4, 5, 6);
    let matrix: Vec<f32> = (0..m * dim).map(|_| 0.3 * normal(&mut rng) as f32).collect();
    let problem = problem(dim, &matrix);
    let rows = Rows::new(&problem).unwrap();
    assert_eq!(rows.len(), m);
    for t in [300.0, 500.0, 700.0, 950.0] {
        let level = problem.prior.schedule.level(t);
        let z: Vec<f32> = (0..dim).map(|_| (normal(&mut rng) * (1.0 + 8.0 * level.alpha)) as f32).collect();
        let exact: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
        let (r, x0) = reference(&grid(dim), &exact, level);
        let shrink = level.sigma.powi(2) / (level.alpha.powi(2) + level.sigma.powi(2));
        let row = |i: usize| matrix[i * dim..(i + 1) * dim].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let means = grid(dim);
        let average = |i: usize| means.iter().zip(&r).map(|(mu, r)| r * dot(mu, &row(i))).sum::<f64>();
        let between = |i: usize, j: usize| {
            let second = means.iter().zip(&r).map(|(mu, r)| r * dot(mu, &row(i)) * dot(mu, &row(j))).sum::<f64>();
            second - average(i) * average(j)
        };
        let covariance = |i: usize, j: usize| {
            shrink * dot(&row(i), &row(j)) + shrink.powi(2) * between(i, j) + if i == j { 0.16 } else { 0.0 }
        };
        let residual = |i: usize| 0.7 - dot(&row(i), &x0);
        let (a, b, d) = (covariance(0, 0), covariance(0, 1), covariance(1, 1));
        let det = a * d - b * b;
        let quadratic = (d * residual(0).powi(2) - 2.0 * b * residual(0) * residual(1) + a * residual(1).powi(2)) / det;
        let want = -0.5 * (quadratic + det.ln() + 2.0 * (2.0 * std::f64::consts::PI).ln());

        let z = Tensor::from_data(TensorData::new(z, [1, dim, 1, 1]), &device());
        let denoise = |z: Tensor<4>| problem.prior.x0_hat_at(z, level, &problem.guidance);
        let x0_hat = denoise(z.clone()).unwrap();
        let moments = rows.moments(&z, x0_hat.clone(), level, &denoise).unwrap();
        let got = moments.log_likelihood[0];
        // A forward difference over .02 standard deviations, of a function that bends on the scale of one: 2 %.
        assert!((got - want).abs() < 0.02 * want.abs() + 0.02, "t {t}: {got} {want}");
        let nll = f64::from(rows.nll(&x0_hat, &moments).into_scalar::<f32>());
        assert!((nll + got).abs() < 1e-3 * got.abs() + 1e-3, "{nll} {got}");
        // The gain moves the prediction onto y up to the noise's share: A gain = (C - sigma_y^2 I) C^-1 r.
        let shift = rows.apply(&moments.gain(&moments.residual));
        let solved = [(d * residual(0) - b * residual(1)) / det, (a * residual(1) - b * residual(0)) / det];
        for i in 0..m {
            let want = residual(i) - 0.16 * solved[i];
            assert!((shift[i] - want).abs() < 0.03 * want.abs() + 0.02, "t {t}: {} {want}", shift[i]);
        }
    }
}

/// With as many directions as measurements, Lanczos' process gives what the whole covariance does: likelihoods up to a constant, and
/// gains; so does the differentiable form, and its gradient is `-A^T C^-1 r`.
#[test]
fn all_directions_are_the_whole_covariance() {
    let (dim, m, batch) = (6, 3, 5);
    let mut rng = stream(4, 5, 7);
    let matrix: Vec<f32> = (0..m * dim).map(|_| 0.3 * normal(&mut rng) as f32).collect();
    let problem = problem(dim, &matrix);
    let (rows, krylov) = (Rows::new(&problem).unwrap(), Krylov::new(&problem, m).unwrap());
    for t in [300.0, 600.0, 950.0] {
        let level = problem.prior.schedule.level(t);
        let z: Vec<f32> = (0..batch * dim).map(|_| (normal(&mut rng) * (1.0 + 8.0 * level.alpha)) as f32).collect();
        let z = Tensor::from_data(TensorData::new(z, [batch, dim, 1, 1]), &device());
        let denoise = |z: Tensor<4>| problem.prior.x0_hat_at(z, level, &problem.guidance);
        let x0_hat = denoise(z.clone()).unwrap();
        let moments = rows.moments(&z, x0_hat.clone(), level, &denoise).unwrap();
        let residual = krylov.residual(x0_hat.clone());
        let solved = krylov.solve(&z, &x0_hat, level, &residual, &denoise).unwrap();
        let constant = -0.5 * m as f64 * (2.0 * std::f64::consts::PI).ln();
        for (got, want) in solved.log_likelihood.iter().zip(&moments.log_likelihood) {
            // Both differentiate numerically, along different directions: 2 % each, as above.
            assert!((got + constant - want).abs() < 0.04 * want.abs() + 0.04, "t {t}: {} {want}", got + constant);
        }
        let (got, want) = (to_vec(solved.gain.clone()), to_vec(moments.gain(&moments.residual)));
        let size = want.iter().map(|v| v * v).sum::<f32>().sqrt();
        let off = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        assert!(off < 0.05 * size + 0.02, "t {t}: {off} of {size}");

        let leaf = x0_hat.clone().autodiff().require_grad();
        let nll = krylov.nll(leaf.clone(), &solved);
        for (got, want) in to_vec(nll.clone().inner()).iter().zip(&solved.log_likelihood) {
            assert!((f64::from(*got) + want).abs() < 1e-3 * want.abs() + 1e-3, "{got} {want}");
        }
        let got = to_vec(leaf.grad_remove(&mut nll.sum().backward()).unwrap());
        let linear = problem.measurement.operator.linear().unwrap();
        for (got, want) in got.iter().zip(to_vec(linear.adjoint(solved.solution.clone()))) {
            assert!((got + want).abs() < 1e-4 * want.abs() + 1e-5, "{got} {want}");
        }
    }
}

/// Where what is measured is white, one direction is enough: `r^2 / (r^2 + sigma_y^2)` of the residual is made good, and no more
/// directions change that.
#[test]
fn one_direction_is_enough_for_white_measurements() {
    let (n, std) = (100, 1.5f64);
    let known: Vec<f32> = (0..n).map(|i| f32::from(u8::from(i % 3 > 0))).collect();
    let gaussian = Gaussian::new(&[0.0; 100], &[(std * std) as f32; 100], [n, 1, 1], &device()).unwrap();
    let operator = Arc::new(Mask::new(&known, [n, 1, 1], &device()).unwrap());
    let mut rng = stream(4, 5, 8);
    let mut random = |size: [usize; 4]| {
        let values: Vec<f32> = (0..size.iter().product()).map(|_| normal(&mut rng) as f32).collect();
        Tensor::<4>::from_data(TensorData::new(values, size), &device())
    };
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.4 };
    let measurement = Measurement::new(operator, random([1, n, 1, 1]), likelihood).unwrap();
    let prior = Prior::new("gaussian", Arc::new(gaussian), vp(), std);
    let problem = Problem::new(prior, measurement, Guidance::default()).unwrap();
    let level = problem.prior.schedule.level(400.0);
    let denoise = |z: Tensor<4>| problem.prior.x0_hat_at(z, level, &problem.guidance);
    let z = random([3, n, 1, 1]);
    let x0_hat = denoise(z.clone()).unwrap();
    let r2 = std * std * level.sigma.powi(2) / (level.alpha.powi(2) * std * std + level.sigma.powi(2));
    for directions in [1, 3] {
        let krylov = Krylov::new(&problem, directions).unwrap();
        let residual = krylov.residual(x0_hat.clone());
        let solved = krylov.solve(&z, &x0_hat, level, &residual, &denoise).unwrap();
        let want = to_vec(residual.clone() * (r2 / (r2 + 0.16)));
        for (got, want) in to_vec(solved.gain).iter().zip(&want) {
            // Differences over .02 standard deviations in f32.
            assert!((got - want).abs() < 2e-3 * want.abs() + 2e-3, "{directions}: {got} {want}");
        }
        for (i, got) in solved.log_likelihood.iter().enumerate() {
            let square: f32 = to_vec(residual.clone())[i * n..(i + 1) * n].iter().map(|v| v * v).sum();
            let want = -0.5 * (f64::from(square) / (r2 + 0.16) + directions as f64 * (r2 + 0.16).ln());
            assert!((got - want).abs() < 0.01 * want.abs(), "{directions}: {got} {want}");
        }
    }
}

#[test]
fn jacobians_are_refused_where_they_are_too_many() {
    let mixture = mixture(&grid(100));
    let operator = Arc::new(Mask::new(&[1.0; 100], [100, 1, 1], &device()).unwrap());
    let y = Tensor::zeros([1, 100, 1, 1], &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.4 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    let prior = Prior::new("mixture", Arc::new(mixture), vp(), 10.0);
    let problem = Problem::new(prior, measurement, Guidance::default()).unwrap();
    assert!(matches!(Rows::new(&problem), Err(Error::Option { name: "widen", .. })));
}
