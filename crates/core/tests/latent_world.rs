//! A latent world with everything in closed form: Gaussian latents, a linear decoder, a mask, Gaussian noise. The posterior of
//! the latents is `N(P B^T y / s^2, P)` with `P = (I + B^T B / s^2)^-1` and `B` the known rows of the decoder.
//!
//! The decoder's singular values are unlike, as those of a trained one are: a step towards the data that takes them for alike
//! is too long along some directions and diverges there, and too short along others.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec, ve, vp};
use vipaint_core::event::silent;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::Mask;
use vipaint_core::posterior::Problem;
use vipaint_core::prior::analytic::Gaussian;
use vipaint_core::prior::{Autoencoder, Guidance, Prior};
use vipaint_core::sampler::{Draw, Psld, PsldOptions, method};
use vipaint_core::schedule::Schedule;

const LATENT: [usize; 3] = [4, 2, 2];
const IMAGE: [usize; 3] = [3, 4, 4];
const N: usize = 16;
const PIXELS: usize = 48;
const SIGMA_Y: f64 = 0.05;

/// `Dec(z) = J z`, `Enc(x) = J^+ x`.
struct Linear {
    decoder: Tensor<2>, // [N, PIXELS]
    encoder: Tensor<2>, // [PIXELS, N]
}

impl Autoencoder for Linear {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let b = z.dims()[0];
        z.reshape([b, N]).matmul(self.decoder.clone()).reshape([b, IMAGE[0], IMAGE[1], IMAGE[2]])
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let b = x.dims()[0];
        x.reshape([b, PIXELS]).matmul(self.encoder.clone()).reshape([b, LATENT[0], LATENT[1], LATENT[2]])
    }

    fn image_shape(&self, _: [usize; 3]) -> [usize; 3] {
        IMAGE
    }
}

/// Rows made orthonormal, one after the other.
fn orthonormal(rows: usize, length: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = stream(seed, 90, 0);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for _ in 0..rows {
        let mut v: Vec<f64> = (0..length).map(|_| normal(&mut rng)).collect();
        for b in &basis {
            let along = dot(&v, b);
            v.iter_mut().zip(b).for_each(|(v, b)| *v -= along * b);
        }
        let norm = dot(&v, &v).sqrt();
        basis.push(v.into_iter().map(|v| v / norm).collect());
    }
    basis
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

struct World {
    /// `J`, row by row of `z`: `x = sum_i z_i jacobian[i]`.
    jacobian: Vec<Vec<f64>>,
    encoder: Vec<Vec<f64>>, // [PIXELS][N]
    known: Vec<f64>,
    y: Vec<f64>,
}

impl World {
    /// A decoder whose largest singular value is `condition` times the smallest; two thirds of the pixels are known.
    fn new(condition: f64, seed: u64) -> Self {
        let (left, right) = (orthonormal(N, PIXELS, seed), orthonormal(N, N, seed + 1));
        let singular: Vec<f64> = (0..N).map(|i| condition.powf(i as f64 / (N - 1) as f64)).collect();
        let mean = singular.iter().map(|s| s * s).sum::<f64>() / N as f64;
        let scale = (PIXELS as f64 / N as f64 / mean).sqrt(); // pixels have a variance of 1
        let product = |i: usize, p: usize, f: &dyn Fn(f64) -> f64| {
            (0..N).map(|k| right[k][i] * f(singular[k] * scale) * left[k][p]).sum::<f64>()
        };
        let jacobian: Vec<Vec<f64>> = (0..N).map(|i| (0..PIXELS).map(|p| product(i, p, &|s| s)).collect()).collect();
        let encoder = (0..PIXELS).map(|p| (0..N).map(|i| product(i, p, &|s| 1.0 / s)).collect()).collect();
        let mut rng = stream(seed, 91, 0);
        let z: Vec<f64> = (0..N).map(|_| normal(&mut rng)).collect();
        let known: Vec<f64> = (0..PIXELS).map(|p| f64::from(u8::from(p % 16 < 11))).collect();
        let y = (0..PIXELS)
            .map(|p| known[p] * ((0..N).map(|i| z[i] * jacobian[i][p]).sum::<f64>() + SIGMA_Y * normal(&mut rng)))
            .collect();
        Self { jacobian, encoder, known, y }
    }

    fn problem(&self, schedule: Schedule) -> Problem {
        let device = device();
        let flat = |rows: &[Vec<f64>], sides: [usize; 2]| {
            let values: Vec<f32> = rows.iter().flatten().map(|v| *v as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, sides), &device)
        };
        let denoiser = Gaussian::new(&[0.0; N], &[1.0; N], LATENT, &device).unwrap();
        let mut prior = Prior::new("linear", Arc::new(denoiser), schedule, 1.0);
        prior.autoencoder =
            Arc::new(Linear { decoder: flat(&self.jacobian, [N, PIXELS]), encoder: flat(&self.encoder, [PIXELS, N]) });
        // What one would measure: pixels of variance 1, of which `r^2 / (1 + r^2)` is left.
        prior.decoded_error = [0.02f64, 0.1, 0.5, 2.0, 40.0].map(|r| (r, r / (1.0 + r * r).sqrt())).to_vec();
        let known: Vec<f32> = self.known.iter().map(|k| *k as f32).collect();
        let y =
            TensorData::new(self.y.iter().map(|y| *y as f32).collect::<Vec<_>>(), [1, IMAGE[0], IMAGE[1], IMAGE[2]]);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: SIGMA_Y };
        let mask = Arc::new(Mask::new(&known, IMAGE, &device).unwrap());
        let measurement = Measurement::new(mask, Tensor::from_data(y, &device), likelihood).unwrap();
        Problem::new(prior, measurement, Guidance::default()).unwrap()
    }

    /// Mean of the posterior's pictures, and each pixel's standard deviation.
    fn posterior(&self) -> [Vec<f64>; 2] {
        let masked: Vec<Vec<f64>> =
            self.jacobian.iter().map(|row| row.iter().zip(&self.known).map(|(j, k)| j * k).collect()).collect();
        let s2 = SIGMA_Y * SIGMA_Y;
        let precision: Vec<Vec<f64>> = (0..N)
            .map(|i| (0..N).map(|j| f64::from(u8::from(i == j)) + dot(&masked[i], &masked[j]) / s2).collect())
            .collect();
        let pulled: Vec<f64> = masked.iter().map(|row| dot(row, &self.y) / s2).collect();
        let z = solve(&precision, &pulled);
        let column = |p: usize| self.jacobian.iter().map(|row| row[p]).collect::<Vec<f64>>();
        let mean = (0..PIXELS).map(|p| dot(&column(p), &z)).collect();
        let std = (0..PIXELS).map(|p| dot(&column(p), &solve(&precision, &column(p))).sqrt()).collect();
        [mean, std]
    }
}

/// Gaussian elimination; precision matrices need no pivoting.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut rows: Vec<Vec<f64>> = matrix.iter().zip(right).map(|(row, r)| [&row[..], &[*r]].concat()).collect();
    for i in 0..n {
        let pivot = rows[i].clone();
        for row in rows.iter_mut().skip(i + 1) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(a, p)| *a -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        x[i] = (rows[i][n] - (i + 1..n).map(|j| rows[i][j] * x[j]).sum::<f64>()) / rows[i][i];
    }
    x
}

/// Samples of a method, each `[PIXELS]`.
fn samples(world: &World, schedule: Schedule, name: &str, sets: &[(&str, &str)], count: usize) -> Vec<Vec<f64>> {
    let sampler = method(name).unwrap().with(sets.iter().copied()).unwrap();
    let draw = Draw { seed: 3, indices: 0..count, batch: count };
    let drawn = sampler.sample(&world.problem(schedule), &draw, &mut silent()).unwrap().images.unwrap();
    to_vec(drawn).chunks(PIXELS).map(|x| x.iter().map(|v| f64::from(*v)).collect()).collect()
}

/// Root mean square over the pixels of that kind.
fn rms(values: impl Iterator<Item = f64>, known: &[f64], kind: f64) -> f64 {
    let squares: Vec<f64> = values.zip(known).filter(|(_, k)| **k == kind).map(|(v, _)| v * v).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

/// No sample is away from the data by more than a few standard deviations of the noise, whatever the decoder is like.
#[test]
fn vipaint_keeps_to_the_data_through_an_ill_conditioned_decoder() {
    for condition in [1.0, 5.0, 20.0] {
        for (schedule, seed) in [(ve(), 0), (vp(), 1), (ve(), 2)] {
            let world = World::new(condition, seed);
            let sets = [("weights", "false"), ("iterations", "30")];
            let drawn = samples(&world, schedule, "vipaint", &sets, 16);
            let worst = drawn
                .iter()
                .map(|x| rms(x.iter().zip(&world.y).map(|(x, y)| x - y), &world.known, 1.0))
                .fold(0.0, f64::max);
            println!("condition {condition}, seed {seed}: {worst:.3}");
            // Exact samples are at 0.05 give or take; multiples of the noise, of a signal of 1, are no divergence.
            assert!(worst < 4.0 * SIGMA_Y, "condition {condition}, seed {seed}: {worst}");
        }
    }
}

/// Mean and spread of the hidden pixels are those of the closed form; the spread of correction `krylov`, which counts the data more than
/// once in many steps, is no larger.
#[test]
fn vipaint_draws_the_posterior_through_a_decoder() {
    let world = World::new(4.0, 7);
    let [mean, std] = world.posterior();
    let count = 200;
    let fitted = vec![("weights", "false"), ("refine_steps", "50")];
    let walk = |steps| {
        let walk = [("particles", "1"), ("resample_below", "0"), ("correction", "krylov"), ("spacing", "time")];
        [&walk[..], &[("refine_directions", "4"), ("path_steps", steps), ("refine_steps", "1")]].concat()
    };
    for (sets, least) in [(fitted, 0.5), (walk("9"), 0.5), (walk("19"), 0.35)] {
        let drawn = samples(&world, ve(), "vipaint", &sets, count);
        let average = |p: usize| drawn.iter().map(|x| x[p]).sum::<f64>() / count as f64;
        let gap = rms((0..PIXELS).map(|p| average(p) - mean[p]), &world.known, 0.0);
        let deviation =
            |p: usize| (drawn.iter().map(|x| (x[p] - average(p)).powi(2)).sum::<f64>() / (count - 1) as f64).sqrt();
        let own = rms((0..PIXELS).map(deviation), &world.known, 0.0);
        let exact = rms(std.iter().copied(), &world.known, 0.0);
        println!("{sets:?}: mean off by {gap:.3}; deviation {own:.3}, exact {exact:.3}");
        assert!(gap < exact, "{sets:?}: the mean is off by {gap}, more than the posterior's own deviation {exact}");
        assert!(own > least * exact && own < 2.0 * exact, "{sets:?}: deviation {own}, exact {exact}");
    }
}

/// Without its second term PSLD is DPS, and the second term is smaller at its samples the more it weighs.
#[test]
fn psld_is_dps_with_a_glue() {
    let world = World::new(3.0, 4);
    let plain = samples(&world, vp(), "psld", &[("gamma", "0"), ("steps", "30"), ("omega", "0.3"), ("eta", "1")], 4);
    let dps = samples(&world, vp(), "dps", &[("steps", "30"), ("zeta", "0.3")], 4);
    for (a, b) in plain.iter().flatten().zip(dps.iter().flatten()) {
        assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
    }
    assert!(Psld::new(PsldOptions { gamma: -1.0, ..PsldOptions::default() }).is_err());
    // ||z - Enc(glued Dec(z))|| = ||Enc(A^T (y - A x))||: how far the data pull at the latent.
    let glue = |drawn: &[Vec<f64>]| {
        let of = |x: &Vec<f64>| {
            let gap: Vec<f64> = (0..PIXELS).map(|p| world.known[p] * (world.y[p] - x[p])).collect();
            (0..N).map(|i| (0..PIXELS).map(|p| gap[p] * world.encoder[p][i]).sum::<f64>().powi(2)).sum::<f64>().sqrt()
        };
        drawn.iter().map(of).sum::<f64>() / drawn.len() as f64
    };
    let with =
        |gamma: &str| glue(&samples(&world, vp(), "psld", &[("gamma", gamma), ("omega", "0.1"), ("steps", "60")], 16));
    let [none, some, more] = ["0", "0.1", "0.3"].map(with);
    println!("glue {none:.3} {some:.3} {more:.3}");
    assert!(some < none && more < some, "{none} {some} {more}");
}

/// Latents of known places are those of the measured picture, and the others are the prior's.
#[test]
fn blended_keeps_the_latents_of_known_places() {
    // A decoder that enlarges each latent to a block of four pixels, so that places correspond.
    struct Blocks;
    impl Autoencoder for Blocks {
        fn decode(&self, z: Tensor<4>) -> Tensor<4> {
            let [b, c, h, w] = z.dims();
            z.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w])
        }
        fn encode(&self, x: Tensor<4>) -> Tensor<4> {
            let [b, c, h, w] = x.dims();
            x.reshape([b, c, h / 2, 2, w / 2, 2]).mean_dim(5).mean_dim(3).reshape([b, c, h / 2, w / 2])
        }
        fn image_shape(&self, [c, h, w]: [usize; 3]) -> [usize; 3] {
            [c, 2 * h, 2 * w]
        }
    }
    let device = device();
    let denoiser = Gaussian::new(&[0.0; 16], &[1.0; 16], [1, 4, 4], &device).unwrap();
    let mut prior = Prior::new("blocks", Arc::new(denoiser), vp(), 1.0);
    prior.autoencoder = Arc::new(Blocks);
    // The left half is known, and one pixel of a block in the right half, which is not enough.
    let known: Vec<f32> = (0..64).map(|i| f32::from(u8::from(i % 8 < 4 || i == 7))).collect();
    let y: Vec<f32> = (0..64).map(|i| known[i] * (if i / 8 % 8 < 4 { 3.0 } else { -2.0 })).collect();
    let y = Tensor::from_data(TensorData::new(y, [1, 1, 8, 8]), &device);
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: SIGMA_Y };
    let measurement =
        Measurement::new(Arc::new(Mask::new(&known, [1, 8, 8], &device).unwrap()), y, likelihood).unwrap();
    let problem = Problem::new(prior, measurement, Guidance::default()).unwrap();
    let sampler = method("blended").unwrap().with([("eta", "1")]).unwrap();
    let draw = Draw { seed: 0, indices: 0..400, batch: 400 };
    let drawn = to_vec(sampler.sample(&problem, &draw, &mut silent()).unwrap().images.unwrap());
    let hidden: Vec<f32> = drawn.chunks(64).flat_map(|x| [x[7], x[6 * 8 + 5]]).collect();
    for picture in drawn.chunks(64) {
        for (i, value) in picture.iter().enumerate().filter(|(i, _)| i % 8 < 4) {
            assert!((value - (if i / 8 < 4 { 3.0 } else { -2.0 })).abs() < 1e-5, "{i}: {value}");
        }
    }
    // Independent latents of mean 0 and variance 1: five standard errors of 800 values.
    let mean = hidden.iter().sum::<f32>() / 800.0;
    let variance = hidden.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 800.0;
    assert!(
        mean.abs() < 5.0 / 800f32.sqrt() && (variance - 1.0).abs() < 5.0 * (2.0f32 / 800.0).sqrt(),
        "{mean} {variance}"
    );
}
