//! With an isotropic Gaussian prior (exact denoiser), a mask and Gaussian noise, every element of the chain is a scalar
//! linear-Gaussian chain: its evidence and its posterior at the keypoints have closed forms, computed here in f64 by
//! propagating means and covariances, independently of the code under test.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, flow, to_vec, ve, vp};
use vipaint_core::event::silent;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::Mask;
use vipaint_core::posterior::{Bound, Fit, FitOptions, Problem, Terms};
use vipaint_core::prior::analytic::Gaussian;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::{Level, Noise, Schedule};

const SHAPE: [usize; 3] = [1, 2, 4];
const DIM: f64 = 8.0;
const MEAN: f64 = 0.3;
const STD: f64 = 0.7;
const SIGMA_Y: f64 = 0.2;

fn problem(schedule: Schedule) -> (Problem, Vec<f64>, Vec<bool>) {
    let device = device();
    let prior = Gaussian::new(&[MEAN as f32; 8], &[(STD * STD) as f32; 8], SHAPE, &device).unwrap();
    let known = [true, true, false, true, false, false, true, false];
    let y: Vec<f64> = (0..8).map(|i| if known[i] { 0.9 - 0.35 * i as f64 } else { 0.0 }).collect();
    let mask: Vec<f32> = known.iter().map(|k| f32::from(*k)).collect();
    let operator = Arc::new(Mask::new(&mask, SHAPE, &device).unwrap());
    let values: Vec<f32> = y.iter().map(|v| *v as f32).collect();
    let y_tensor = Tensor::from_data(TensorData::new(values, [1, 1, 2, 4]), &device);
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: SIGMA_Y };
    let measurement = Measurement::new(operator, y_tensor, likelihood).unwrap();
    let prior = Prior::new("gaussian", Arc::new(prior), schedule, STD);
    (Problem::new(prior, measurement, Guidance::default()).unwrap(), y, known.to_vec())
}

/// An affine map of `z_t` with the denoiser in it: `D(z) = mean + gain (z - alpha mean)`.
fn denoiser(level: Level) -> (f64, f64) {
    let gain = level.alpha * STD * STD / (level.alpha.powi(2) * STD * STD + level.sigma.powi(2));
    (gain, MEAN - gain * level.alpha * MEAN)
}

/// `z_s = a z_t + b + c eps`, the prior's step written from the definition of `q(z_s | z_t, z_0)`.
fn prior_step(t: Level, s: Level) -> (f64, f64, f64) {
    let alpha_ts = t.alpha / s.alpha;
    let var_ts = t.sigma.powi(2) - alpha_ts.powi(2) * s.sigma.powi(2);
    let on_z = alpha_ts * s.sigma.powi(2) / t.sigma.powi(2);
    let on_x = s.alpha * var_ts / t.sigma.powi(2);
    let (gain, offset) = denoiser(t);
    (on_z + on_x * gain, on_x * offset, (var_ts * s.sigma.powi(2) / t.sigma.powi(2)).sqrt())
}

/// Moments of one element under the chain: at each keypoint, mean, variance, and covariance with the one-step estimate.
struct Exact {
    keypoints: Vec<(f64, f64, f64)>,
    estimate: (f64, f64),
    noise: f64,
}

fn exact(schedule: &Schedule, bound: &Bound, levels: &[Level]) -> Exact {
    let (mut mean, mut var) = (0.0, schedule.start_std().powi(2));
    for pair in bound.grid.windows(2) {
        let (a, b, c) = prior_step(pair[0], pair[1]);
        (mean, var) = (a * mean + b, a * a * var + c * c);
    }
    let mut keypoints = vec![(mean, var, 1.0)];
    for pair in levels.windows(2) {
        let (a, b, c) = prior_step(pair[0], pair[1]);
        for keypoint in &mut keypoints {
            keypoint.2 *= a;
        }
        (mean, var) = (a * mean + b, a * a * var + c * c);
        keypoints.push((mean, var, 1.0));
    }
    let bottom = levels[levels.len() - 1];
    let (gain, offset) = denoiser(bottom);
    let keypoints = keypoints.into_iter().map(|(m, v, slope)| (m, v, slope * gain * v)).collect();
    let widening = STD * STD * bottom.sigma.powi(2) / (bottom.alpha.powi(2) * STD * STD + bottom.sigma.powi(2));
    Exact { keypoints, estimate: (gain * mean + offset, gain * gain * var), noise: SIGMA_Y * SIGMA_Y + widening }
}

fn log_normal(x: f64, mean: f64, var: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / var + (2.0 * std::f64::consts::PI * var).ln())
}

fn check(schedule: &Schedule, keypoints: Vec<f64>) {
    let (problem, y, known) = problem(schedule.clone());
    let options = FitOptions {
        keypoints,
        iterations: 900,
        mc_samples: 8,
        grid_steps: 60,
        prior_steps: 4,
        lr_mu: 0.05,
        lr_tau: 0.03,
        lr_gamma: 0.1,
        lr_decay: 0.965,
        ..FitOptions::default()
    };
    let mut fit = Fit::new(&problem, &options, 0, &mut silent()).unwrap();
    let levels: Vec<Level> = fit.posterior.keypoints.iter().map(|k| k.level).collect();
    let exact = exact(schedule, fit.bound(), &levels);
    let (mean, var) = exact.estimate;
    let evidence: f64 = (0..8).filter(|i| known[*i]).map(|i| log_normal(y[i], mean, var + exact.noise)).sum();

    // Before, during and after the fit the bound stays below the evidence.
    let many = |fit: &Fit| -> (f64, f64) {
        let bound = Bound { mc_samples: 64, prior_steps: 60, prior_samples: 2, ..fit.bound().clone() };
        let runs: Vec<f64> = (0..200)
            .map(|seed| {
                bound.estimate(&fit.posterior, &problem, &Guidance::default(), seed).map(|t: Terms| t.total()).unwrap()
            })
            .collect();
        let n = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / n;
        let var = runs.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, 3.0 * (var / n).sqrt() + 1e-3) // three standard errors, and f32 rounding of sums of a few hundred nats
    };
    let (before, error) = many(&fit);
    assert!(before <= evidence + error, "before the fit: bound {before} above the evidence {evidence}");
    fit.run(&problem, &mut silent()).unwrap();
    let (after, error) = many(&fit);
    println!("evidence {evidence:.4}, bound before {before:.4}, after {after:.4} +- {error:.4}");
    assert!(after <= evidence + error, "after the fit: bound {after} above the evidence {evidence}");
    assert!(evidence - after <= 0.01 * DIM + error, "gap {} nats", evidence - after);

    // Moments at the keypoints, from many paths: sample mean and variance against conditioning the joint Gaussian on y.
    let n = 4000;
    let path = fit.posterior.draw(&problem.prior, &Guidance::default(), &mut Noise::new(9, 9, 0..n)).unwrap();
    for (k, z) in path.into_iter().enumerate() {
        let z = to_vec(z);
        let (m, v, cov) = exact.keypoints[k];
        for i in 0..8 {
            let gain = if known[i] { cov / (var + exact.noise) } else { 0.0 };
            let (want_mean, want_var) = (m + gain * (y[i] - mean), v - gain * cov);
            let values: Vec<f64> = (0..n).map(|s| f64::from(z[s * 8 + i])).collect();
            let got_mean = values.iter().sum::<f64>() / n as f64;
            let got_var = values.iter().map(|x| (x - got_mean).powi(2)).sum::<f64>() / (n - 1) as f64;
            // 4000 draws: a mean is off by 0.016 standard deviations, a variance by 2.2 %; the rest is the fit's own noise.
            let std = want_var.sqrt();
            assert!(
                (got_mean - want_mean).abs() < 0.12 * std,
                "keypoint {k}, element {i}: mean {got_mean}, exact {want_mean}, std {std}"
            );
            assert!(
                (got_var / want_var - 1.0).abs() < 0.2,
                "keypoint {k}, element {i}: variance {got_var}, exact {want_var}"
            );
        }
    }
}

#[test]
fn variance_preserving() {
    check(&vp(), vec![550.0, 400.0]);
}

#[test]
fn variance_exploding() {
    check(&ve(), vec![2.0, 1.0]);
}

#[test]
fn flow_matching() {
    check(&flow(), vec![0.7, 0.5]);
}
