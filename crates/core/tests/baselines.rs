//! What defines each baseline, in worlds where it can be computed.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec, vp};
use vipaint_core::event::silent;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::{Noise, stream};
use vipaint_core::operator::{Dense, Operator};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::{Gaussian, Mixture};
use vipaint_core::prior::{Denoiser, Guidance, Prior};
use vipaint_core::sampler::{Correction, Draw, PiGdm, Sampler, Walk, method};

/// `x ~ N(0, STD^2 I)` in four dimensions, two measurements.
const STD: f64 = 1.5;
const MATRIX: [f32; 8] = [0.8, 0.3, -0.2, 0.5, 0.1, -0.6, 0.4, 0.2];
const Y: [f32; 2] = [1.2, -0.7];

fn problem(denoiser: Arc<dyn Denoiser>, sigma_y: f64) -> Problem {
    let shape = denoiser.shape();
    let operator = Arc::new(Dense::new(&MATRIX, shape, &device()).unwrap());
    let y = Tensor::from_data(TensorData::new(Y.to_vec(), [1, 2, 1, 1]), &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    Problem::new(Prior::new("world", denoiser, vp(), STD), measurement, Guidance::default()).unwrap()
}

fn gaussian(sigma_y: f64) -> Problem {
    let variance = [(STD * STD) as f32; 4];
    problem(Arc::new(Gaussian::new(&[0.0; 4], &variance, [4, 1, 1], &device()).unwrap()), sigma_y)
}

/// `(A A^T + extra I)^-1 r` and its determinant's inverse, by hand for two measurements.
fn solve(scale: f64, extra: f64, r: [f64; 2]) -> [f64; 2] {
    let row = |i: usize| MATRIX[4 * i..4 * i + 4].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() * scale;
    let (a, b, d) = (dot(&row(0), &row(0)) + extra, dot(&row(0), &row(1)), dot(&row(1), &row(1)) + extra);
    let det = a * d - b * b;
    [(d * r[0] - b * r[1]) / det, (a * r[1] - b * r[0]) / det]
}

fn draw(name: &str, settings: &[(&str, &str)], problem: &Problem, n: usize) -> Vec<f32> {
    let sampler: Box<dyn Sampler> = method(name).unwrap().with(settings.iter().copied()).unwrap();
    let draw = Draw { seed: 3, indices: 0..n, batch: n };
    to_vec(sampler.sample(problem, &draw, &mut silent()).unwrap().images.unwrap())
}

fn residual(problem: &Problem, x: &[f32]) -> f32 {
    let n = x.len() / 4;
    let x = Tensor::from_data(TensorData::new(x.to_vec(), [n, 4, 1, 1]), &device());
    to_vec(problem.measurement.operator.apply(x) - problem.measurement.y.clone())
        .iter()
        .fold(0.0, |a, r| a.max(r.abs()))
}

/// Where the data are Gaussian with the spread that it assumes, PiGDM's guidance is the exact score of the measurement:
/// `r^2 grad log N(y; A g z, sigma_y^2 I + r^2 A A^T)`, `g = alpha v / (alpha^2 v + sigma^2)`.
#[test]
fn pigdm_guides_by_the_exact_score_of_a_gaussian() {
    let problem = gaussian(0.3);
    let mut rng = stream(0, 0, 0);
    for t in [50.0, 300.0, 700.0] {
        let level = problem.prior.schedule.level(t);
        let z: Vec<f32> = (0..4).map(|_| normal(&mut rng) as f32).collect();
        let tensor = Tensor::from_data(TensorData::new(z.clone(), [1, 4, 1, 1]), &device());
        let got = to_vec(PiGdm::guidance(&problem, tensor, level).unwrap().1);
        let v = STD * STD;
        let g = level.alpha * v / (level.alpha.powi(2) * v + level.sigma.powi(2));
        let r2 = v * level.sigma.powi(2) / (level.alpha.powi(2) * v + level.sigma.powi(2));
        let predicted = |i: usize| (0..4).map(|j| f64::from(MATRIX[4 * i + j]) * g * f64::from(z[j])).sum::<f64>();
        let w = solve(r2, 0.09, [f64::from(Y[0]) - predicted(0), f64::from(Y[1]) - predicted(1)]);
        for j in 0..4 {
            let want = r2 * g * (f64::from(MATRIX[j]) * w[0] + f64::from(MATRIX[4 + j]) * w[1]);
            assert!((f64::from(got[j]) - want).abs() < 1e-4, "t {t}: {} {want}", got[j]);
        }
    }
}

/// DDNM without noise agrees with `y` exactly and changes nothing in the null space; with noise (DDNM+) it does not.
#[test]
fn ddnm_is_consistent() {
    let problem = gaussian(0.3);
    let exact = draw("ddnm", &[("noisy", "false"), ("steps", "30")], &problem, 5);
    assert!(residual(&problem, &exact) < 1e-4, "{}", residual(&problem, &exact));
    let noisy = draw("ddnm", &[("steps", "30")], &problem, 5);
    assert!(residual(&problem, &noisy) > 1e-2);
}

/// ReSample's results explain the data to the noise, hard consistency being its last step, while no optimisation calls the network;
/// where the first denoised picture does so already nothing is optimised, and without DPS steps it is DDIM.
#[test]
fn resample_is_consistent() {
    let problem = gaussian(0.05);
    let few = [("steps", "40"), ("interval", "4"), ("lr_pixel", "0.05"), ("lr_latent", "0.05")];
    let samples = draw("resample", &few, &problem, 5);
    for x in samples.chunks(4) {
        // Optimisations stop where the root mean square residual of two values is the noise's.
        assert!(residual(&problem, x) <= 0.05 * 2.0f32.sqrt() * 1.001, "{}", residual(&problem, x));
    }
    let calls = problem.prior.calls();
    // 40 - 13 = 27 is the first index that is looked at: 24, 20, .. 4, five calls each but for the last, with four levels left.
    assert_eq!((calls.denoiser, calls.vjp), (5 * (40 + 5 * 5 + 4), 5 * 40));
    let without = [("steps", "20"), ("zeta", "0"), ("tolerance", "100"), ("interval", "100")];
    let plain = draw("unconditional", &[("steps", "20"), ("update", "ddim")], &problem, 3);
    for (a, b) in draw("resample", &without, &problem, 3).iter().zip(plain) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// RED-diff never differentiates the network, and ends at the optimum of its objective. Where the denoiser says `m` whatever it sees,
/// that is quadratic, `data/2 mean (y - A mu)^2 + lambda/2 mean (mu - m)^2`, with its minimum at
/// `m + A^T (A A^T + lambda M / (data N) I)^-1 (y - A m)` for M measurements of N values.
#[test]
fn reddiff_ends_at_the_optimum() {
    let m = [0.3f32, -0.2, 0.5, 0.1];
    let problem = problem(Arc::new(Gaussian::new(&m, &[1e-6; 4], [4, 1, 1], &device()).unwrap()), 0.3);
    for (lambda, data) in [("1", "1"), ("0.1", "1"), ("1", "0.2")] {
        let extra = lambda.parse::<f64>().unwrap() * 2.0 / (data.parse::<f64>().unwrap() * 4.0);
        let settings = [("lambda", lambda), ("data", data), ("lr", "0.01"), ("steps", "1000")];
        let got = draw("reddiff", &settings, &problem, 2);
        let of_mean = |i: usize| (0..4).map(|j| f64::from(MATRIX[4 * i + j] * m[j])).sum::<f64>();
        let w = solve(1.0, extra, [f64::from(Y[0]) - of_mean(0), f64::from(Y[1]) - of_mean(1)]);
        for (k, got) in got.iter().enumerate() {
            let j = k % 4;
            let want = f64::from(m[j]) + f64::from(MATRIX[j]) * w[0] + f64::from(MATRIX[4 + j]) * w[1];
            // Adam's last steps are no longer than its rate; the denoiser is off by v / sigma^2 < 1 % of z - m at the last level.
            assert!((f64::from(*got) - want).abs() < 0.02, "lambda {lambda}, data {data}, {j}: {got} {want}");
        }
    }
    assert_eq!(problem.prior.calls().vjp, 0);
}

/// DAPS draws noise afresh at each level, so it must reach both modes of a symmetric mixture that the data do not decide
/// between, and agree with the data within a few standard deviations.
#[test]
fn daps_keeps_both_modes() {
    // The means differ in a direction that is not measured: orthogonal to both rows.
    let apart = [-1.0f32, 1.0, 1.0, 1.4];
    let operator = Dense::new(&MATRIX, [4, 1, 1], &device()).unwrap();
    let direction = Tensor::from_data(TensorData::new(apart.to_vec(), [1, 4, 1, 1]), &device());
    let hidden = to_vec(direction.clone() - operator.rough_inverse(operator.apply(direction)));
    let means = hidden.iter().map(|v| v * 4.0).chain(hidden.iter().map(|v| v * -4.0)).collect();
    let mixture = Mixture::new(means, &[1.0, 1.0], 0.5, [4, 1, 1], &device()).unwrap();
    let problem = problem(Arc::new(mixture), 0.2);
    let samples = draw("daps", &[("steps", "40")], &problem, 60);
    let side = |x: &[f32]| x.iter().zip(&hidden).map(|(x, d)| x * d).sum::<f32>() > 0.0;
    let positive = samples.chunks(4).filter(|x| side(x)).count();
    // Binomial(60, 1/2) within five standard deviations (3.9).
    assert!((11..=49).contains(&positive), "{positive} of 60");
    assert!(residual(&problem, &samples) < 1.5, "{}", residual(&problem, &samples));
}

/// A walk without noise down some levels.
fn searched(problem: &Problem, z: &[f32], times: &[f64], zeta: f64) -> Vec<f64> {
    let grid = times.iter().map(|t| problem.prior.schedule.level(*t)).collect();
    let walk = Walk { grid, correction: Correction::Search, zeta, eta: 0.0, order: 1, directions: 1 };
    let z = Tensor::from_data(TensorData::new(z.to_vec(), [1, 4, 1, 1]), &device());
    let x = walk.run(problem, z, &mut Noise::new(0, 0, [0]), &mut || std::ops::ControlFlow::Continue(()));
    to_vec(x.unwrap()).into_iter().map(f64::from).collect()
}

/// `E[z_0 | z]` and the move to `E[z_0 | z, y]` in the Gaussian world: `g z` and `r^2 A^T (r^2 A A^T + sigma_y^2)^-1 (y - A g z)`.
fn exact_move(problem: &Problem, z: &[f64], t: f64) -> (Vec<f64>, Vec<f64>) {
    let (level, v) = (problem.prior.schedule.level(t), STD * STD);
    let total = level.alpha.powi(2) * v + level.sigma.powi(2);
    let (g, r2) = (level.alpha * v / total, v * level.sigma.powi(2) / total);
    let x0: Vec<f64> = z.iter().map(|z| g * z).collect();
    let gap = |i: usize| f64::from(Y[i]) - (0..4).map(|j| f64::from(MATRIX[4 * i + j]) * x0[j]).sum::<f64>();
    let w = solve(r2, problem.measurement.likelihood.sigma_y.powi(2), [gap(0), gap(1)]);
    let shift = (0..4).map(|j| r2 * (f64::from(MATRIX[j]) * w[0] + f64::from(MATRIX[4 + j]) * w[1])).collect();
    (x0, shift)
}

/// Where the prior is white, as correction `search` takes it to be, its move is that to the exact posterior mean; and in a step the next
/// sample moves by `alpha` times as much: deterministic steps by hand.
#[test]
fn a_searched_move_is_exact_under_a_white_prior() {
    let problem = gaussian(0.3);
    let z = [0.9f32, -1.3, 0.4, 2.0];
    let z64: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
    for t in [50.0, 300.0, 700.0] {
        let (x0, shift) = exact_move(&problem, &z64, t);
        let got = searched(&problem, &z, &[t], 1.0);
        (0..4).for_each(|j| assert!((got[j] - x0[j] - shift[j]).abs() < 1e-4, "t {t}: {}", got[j]));
    }
    let (from, to) = (problem.prior.schedule.level(500.0), problem.prior.schedule.level(200.0));
    for zeta in [1.0, 0.5] {
        let (x0, shift) = exact_move(&problem, &z64, 500.0);
        // A deterministic step keeps the noise: alpha x0 + sigma (z - alpha x0) / sigma.
        let next = (0..4).map(|j| {
            to.alpha * x0[j] + to.sigma / from.sigma * (z64[j] - from.alpha * x0[j]) + zeta * to.alpha * shift[j]
        });
        let (x0, shift) = exact_move(&problem, &next.collect::<Vec<f64>>(), 200.0);
        let got = searched(&problem, &z, &[500.0, 200.0], zeta);
        (0..4).for_each(|j| assert!((got[j] - x0[j] - zeta * shift[j]).abs() < 1e-4, "zeta {zeta}: {}", got[j]));
    }
}

/// Where the prior is said to be three times as wide as it is, the move's length is still the best one along its direction: the exact
/// negative log-posterior of `z_0` is larger a per cent before and behind.
#[test]
fn a_searched_move_has_the_best_length() {
    let mut problem = gaussian(0.3);
    problem.prior.data_std = 3.0 * STD;
    let z = [0.9f32, -1.3, 0.4, 2.0];
    for t in [50.0, 300.0, 700.0] {
        let (x0, _) = exact_move(&problem, &z.map(f64::from), t);
        let level = problem.prior.schedule.level(t);
        let total = (level.alpha * STD).powi(2) + level.sigma.powi(2);
        let r2 = (STD * level.sigma).powi(2) / total;
        let got = searched(&problem, &z, &[t], 1.0);
        let cost = |length: f64| {
            let d: Vec<f64> = (0..4).map(|j| length * (got[j] - x0[j])).collect();
            let gap =
                |i: usize| f64::from(Y[i]) - (0..4).map(|j| f64::from(MATRIX[4 * i + j]) * (x0[j] + d[j])).sum::<f64>();
            (gap(0).powi(2) + gap(1).powi(2)) / 0.09 + d.iter().map(|d| d * d).sum::<f64>() / r2
        };
        assert!(cost(1.0) < cost(0.99) && cost(1.0) < cost(1.01) && cost(1.0) < cost(0.0), "t {t}");
    }
}

/// Paths that nothing ties to each other cost what was asked for, and are the same whatever is asked for.
#[test]
fn only_paths_that_were_asked_for_are_paid() {
    let problem = gaussian(0.3);
    let steps = [("path_steps", "3"), ("refine_steps", "2"), ("particles", "4")];
    let run = |resample_below, indices: std::ops::Range<usize>| {
        let settings = steps.into_iter().chain([("resample_below", resample_below)]);
        let sampler = method("vipaint").unwrap().with(settings).unwrap();
        let problem = Problem { prior: problem.prior.counting_anew(), ..problem.clone() };
        let samples = sampler.sample(&problem, &Draw { seed: 1, indices, batch: 8 }, &mut silent()).unwrap();
        (to_vec(samples.images.unwrap()), problem.prior.calls().denoiser)
    };
    let (all, calls) = run("0", 0..8);
    assert_eq!(calls, 8 * 5);
    for range in [0..3, 2..7, 5..6] {
        let (some, calls) = run("0", range.clone());
        assert_eq!((some, calls), (all[4 * range.start..4 * range.end].to_vec(), 5 * range.len() as u64), "{range:?}");
    }
    // Those that are resampled from each other come by fours.
    let (all, _) = run("0.5", 0..8);
    assert_eq!(run("0.5", 2..6), (all[8..24].to_vec(), 8 * 5));
}

/// MCGDiff and particle VIPaint are consistent: in a Gaussian world a large population has the exact posterior's moments.
#[test]
fn populations_have_the_exact_moments() {
    let sigma_y = 0.3;
    let problem = gaussian(sigma_y);
    let v = STD * STD;
    let w = solve(v, sigma_y * sigma_y, [f64::from(Y[0]), f64::from(Y[1])]);
    let column = |j: usize| [f64::from(MATRIX[j]), f64::from(MATRIX[4 + j])];
    let vipaint = [
        ("particles", "2000"),
        ("paths", "4"),
        ("keypoints", "500,300"),
        ("widen", "jacobian"),
        ("refine_steps", "12"),
    ];
    let with = |proposal| [&vipaint[..], &[("proposal", proposal)]].concat();
    let fewer =
        |proposal| [&with(proposal)[..], &[("iterations", "100"), ("paths", "1"), ("grid_steps", "25")]].concat();
    // MCGDiff resamples in each of 100 steps: its particles are worth less than a hundredth of independent ones here.
    for (name, settings, n, worth) in [
        ("mcgdiff", vec![("particles", "20000")], 20_000, 150.0),
        ("vipaint", with("prior"), 2000, 400.0),
        ("vipaint", with("guided"), 2000, 400.0),
        ("vipaint", [&with("guided")[..], &[("widen", "krylov"), ("directions", "2")]].concat(), 2000, 400.0),
        ("vipaint", fewer("chain"), 2000, 400.0),
        // Where all is Gaussian guided paths need no weights.
        ("vipaint", [&with("guided")[..], &[("resample_below", "0"), ("paths", "1")]].concat(), 2000, 400.0),
    ] {
        let samples = draw(name, &settings, &problem, n);
        for j in 0..4 {
            let mean = samples.chunks(4).map(|x| f64::from(x[j])).sum::<f64>() / n as f64;
            let variance = samples.chunks(4).map(|x| (f64::from(x[j]) - mean).powi(2)).sum::<f64>() / n as f64;
            let gain = |i: usize| v * column(j)[i];
            let want = gain(0) * w[0] + gain(1) * w[1];
            let cross = solve(v, sigma_y * sigma_y, [gain(0), gain(1)]);
            let want_variance = v - gain(0) * cross[0] - gain(1) * cross[1];
            // Five standard errors, and the bias of 100 steps (a per cent or two).
            let tolerance = 5.0 * (want_variance / worth).sqrt();
            assert!((mean - want).abs() < tolerance, "{name} {settings:?} {j}: mean {mean} {want}");
            let off = variance / want_variance - 1.0;
            assert!(off.abs() < 5.0 * (2.0f64 / worth).sqrt() + 0.03, "{name} {settings:?} {j}: variance {off:+.3}");
        }
    }
}
