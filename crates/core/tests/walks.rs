//! Walks down the levels, against the exact flow of a Gaussian world.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, to_vec, vp};
use vipaint_core::Level;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::Noise;
use vipaint_core::operator::Dense;
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::Gaussian;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::sampler::{Correction, Walk};

const STD: f64 = 1.5;

/// `x ~ N(0, STD^2 I)` in two dimensions, with a measurement that tells next to nothing.
fn problem() -> Problem {
    let shape = [2, 1, 1];
    let denoiser = Gaussian::new(&[0.0; 2], &[(STD * STD) as f32; 2], shape, &device()).unwrap();
    let operator = Arc::new(Dense::new(&[1.0, 0.0], shape, &device()).unwrap());
    let y = Tensor::from_data(TensorData::new(vec![0.0f32], [1, 1, 1, 1]), &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 1e4 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    Problem::new(Prior::new("world", Arc::new(denoiser), vp(), STD), measurement, Guidance::default()).unwrap()
}

/// The largest error of a walk without noise, in `steps` steps even in `log(alpha / sigma)`. Without noise the flow keeps
/// `z / sqrt(alpha^2 v + sigma^2)`.
fn error(order: usize, steps: usize) -> f64 {
    let problem = problem();
    let schedule = &problem.prior.schedule;
    let (first, last) = (schedule.level(900.0), schedule.level(20.0));
    let level = |i: usize| {
        let along = i as f64 / steps as f64;
        schedule.level_at_ratio(first.ratio() * (last.ratio() / first.ratio()).powf(along))
    };
    let grid = (0..=steps).map(level).collect();
    let z = [0.9f32, -1.3];
    let start = Tensor::from_data(TensorData::new(z.to_vec(), [1, 2, 1, 1]), &device());
    let walk = Walk { grid, correction: Correction::Inside, zeta: 1.0, eta: 0.0, order, directions: 1 };
    let got = walk.run(&problem, start, &mut Noise::new(0, 0, [0]), &mut || ControlFlow::Continue(())).unwrap();
    let size = |l: Level| (l.alpha * STD).hypot(l.sigma);
    let x0_of_z = last.alpha * STD.powi(2) / size(last).powi(2);
    let exact = |z: f32| f64::from(z) * size(last) / size(first) * x0_of_z;
    to_vec(got).iter().zip(z).map(|(got, z)| (f64::from(*got) - exact(z)).abs()).fold(0.0, f64::max)
}

/// Half the step halves the first order's error and quarters the second's (Lu et al., 2022, theorem 3); the bounds leave
/// room for the terms beyond and for rounding.
#[test]
fn the_second_order_converges_as_its_name_says() {
    let (first, second) = ([12, 24, 48].map(|n| error(1, n)), [12, 24, 48].map(|n| error(2, n)));
    for i in 0..2 {
        let ratio = first[i] / first[i + 1];
        assert!((1.6..2.5).contains(&ratio), "first order {first:?}");
        assert!(second[i] / second[i + 1] > 2.8, "second order {second:?}");
    }
    assert!(second[0] < 0.5 * first[0], "{second:?} {first:?}");
}

/// `x0_hat` and the move of correction `krylov` in a Gaussian world of unlike variances, `[4]` each, and the denoiser's calls.
fn explained(
    variances: &[f32; 4],
    rows: &[[f32; 4]],
    y: &[f32],
    z: &[f32; 4],
    t: f64,
    directions: usize,
) -> (Vec<f64>, u64) {
    let shape = [4, 1, 1];
    let denoiser = Gaussian::new(&[0.0; 4], variances, shape, &device()).unwrap();
    let operator = Arc::new(Dense::new(&rows.concat(), shape, &device()).unwrap());
    let y = Tensor::from_data(TensorData::new(y.to_vec(), [1, y.len(), 1, 1]), &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: SIGMA_Y };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    let prior = Prior::new("world", Arc::new(denoiser), vp(), STD);
    let problem = Problem::new(prior, measurement, Guidance::default()).unwrap();
    let grid = vec![problem.prior.schedule.level(t)];
    let walk = Walk { grid, correction: Correction::Krylov, zeta: 1.0, eta: 0.0, order: 1, directions };
    let z = Tensor::from_data(TensorData::new(z.to_vec(), [1, 4, 1, 1]), &device());
    let x = walk.run(&problem, z, &mut Noise::new(0, 0, [0]), &mut || ControlFlow::Continue(())).unwrap();
    assert_eq!(problem.prior.calls().vjp, 0);
    (to_vec(x).into_iter().map(f64::from).collect(), problem.prior.calls().denoiser)
}

const SIGMA_Y: f64 = 0.3;

/// With as many directions as there are measurements conjugate gradients end, and the walk's last picture is the exact posterior mean
/// `m + C A^T (A C A^T + sigma_y^2 I)^-1 (y - A m)`, whatever the prior's variances are; each direction costs a call.
#[test]
fn moves_along_the_priors_covariance_are_exact() {
    let (variances, z) = ([4.0f32, 0.09, 1.0, 0.01], [0.9f32, -1.3, 0.4, 2.0]);
    let rows = [[0.8f32, 0.3, -0.2, 0.5], [0.1, -0.6, 0.4, 0.2]];
    let y = [1.2f32, -0.7];
    for t in [50.0, 300.0, 700.0] {
        let level = vp().level(t);
        let of = |v: f32| {
            let (v, total) = (f64::from(v), level.alpha.powi(2) * f64::from(v) + level.sigma.powi(2));
            (level.alpha * v / total, v * level.sigma.powi(2) / total)
        };
        let m: Vec<f64> = (0..4).map(|j| of(variances[j]).0 * f64::from(z[j])).collect();
        let c: Vec<f64> = variances.iter().map(|v| of(*v).1).collect();
        let a = |i: usize, j: usize| f64::from(rows[i][j]);
        let gap = |i: usize| f64::from(y[i]) - (0..4).map(|j| a(i, j) * m[j]).sum::<f64>();
        let s = |i: usize, k: usize| {
            (0..4).map(|j| a(i, j) * c[j] * a(k, j)).sum::<f64>() + if i == k { SIGMA_Y.powi(2) } else { 0.0 }
        };
        let det = s(0, 0) * s(1, 1) - s(0, 1).powi(2);
        let w = [(s(1, 1) * gap(0) - s(0, 1) * gap(1)) / det, (s(0, 0) * gap(1) - s(0, 1) * gap(0)) / det];
        let (got, calls) = explained(&variances, &rows, &y, &z, t, 2);
        assert_eq!(calls, 3);
        for j in 0..4 {
            let want = m[j] + c[j] * (a(0, j) * w[0] + a(1, j) * w[1]);
            // Differences of f32 over a step of 0.02 sigma.
            assert!((got[j] - want).abs() < 2e-3 * (1.0 + want.abs()), "t {t}, {j}: {} {want}", got[j]);
        }
        // One measurement needs one direction.
        let (got, calls) = explained(&variances, &rows[..1], &y[..1], &z, t, 1);
        assert_eq!(calls, 2);
        for j in 0..4 {
            let want = m[j] + c[j] * a(0, j) * gap(0) / s(0, 0);
            assert!((got[j] - want).abs() < 2e-3 * (1.0 + want.abs()), "one, t {t}, {j}: {} {want}", got[j]);
        }
    }
}
