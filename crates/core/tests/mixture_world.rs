//! The mixture benchmark at dimensions 2 and 8: VIPaint's samples are far closer to the exact posterior than the prior's.
//!
//! The bounds on the ratios are what fixed seeds gave when written, with a third to spare: they guard against regressions
//! and say nothing about other problems.

mod common;

use common::{MixtureProblem, sliced_wasserstein, to_vec};
use vipaint_core::event::silent;
use vipaint_core::posterior::FitOptions;
use vipaint_core::sampler::{Draw, RefineOptions, Sampler, Vipaint};

const SAMPLES: usize = 300;

/// Mean distances over four problems: of VIPaint, of the prior, and of a second exact set (the floor).
fn distances(dim: usize, k: usize) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for seed in 0..4 {
        let world = MixtureProblem::new(dim, seed);
        let problem = world.problem();
        let fit = FitOptions { k, iterations: 150, mc_samples: 16, lr_mu: 0.5, ..FitOptions::default() };
        let refine = RefineOptions { refine_steps: 60, weights: false, ..RefineOptions::default() };
        let vipaint = Vipaint::new(fit, refine).unwrap();
        let draw = Draw { seed, indices: 0..SAMPLES, batch: SAMPLES };
        let images = vipaint.sample(&problem, &draw, &mut silent()).unwrap().images.unwrap();
        let samples: Vec<Vec<f64>> =
            to_vec(images).chunks(dim).map(|x| x.iter().map(|v| f64::from(*v)).collect()).collect();
        let exact = world.exact(SAMPLES, 1);
        let others = [samples, world.prior_samples(SAMPLES, 2), world.exact(SAMPLES, 3)];
        for (sum, set) in sums.iter_mut().zip(&others) {
            *sum += sliced_wasserstein(set, &exact) / 4.0;
        }
    }
    sums
}

fn check(dim: usize, k: usize, ratio: f64) {
    let [vipaint, prior, floor] = distances(dim, k);
    println!("dim {dim}, K={k}: vipaint {vipaint:.3}, prior {prior:.3}, floor {floor:.3}");
    assert!(vipaint < ratio * prior, "dim {dim}, K={k}: {vipaint:.3} is not below {ratio} of the prior's {prior:.3}");
    assert!(floor < vipaint, "the floor {floor:.3} is above VIPaint's {vipaint:.3}: the distance is wrong");
}

#[test]
fn dimension_2_one_keypoint() {
    check(2, 1, 0.39);
}

#[test]
fn dimension_2_four_keypoints() {
    check(2, 4, 0.33);
}

#[test]
fn dimension_8_one_keypoint() {
    check(8, 1, 0.57);
}

#[test]
fn dimension_8_four_keypoints() {
    check(8, 4, 0.5);
}
