//! The mixture benchmark at dimensions 2 and 8: VIPaint's samples are far closer to the exact posterior than the prior's, and with
//! particles nearly as close as exact samples are to each other.
//!
//! The bounds are what fixed seeds gave when written, with a third to spare: they guard against regressions and say nothing
//! about other problems.

use vipaint_core::event::silent;
use vipaint_core::posterior::{FitOptions, Problem};
use vipaint_core::sampler::{Draw, RefineOptions, Sampler, Vipaint, method};
use vipaint_eval::gmm::{Slices, World};

const SAMPLES: usize = 300;

fn rows(sampler: &dyn Sampler, problem: &Problem, draw: &Draw) -> Vec<Vec<f64>> {
    let images = sampler.sample(problem, draw, &mut silent()).unwrap().images.unwrap();
    let dim = images.dims()[1];
    let values = images.try_into_vec_as::<f32>().unwrap();
    values.chunks(dim).map(|x| x.iter().map(|v| f64::from(*v)).collect()).collect()
}

/// Mean distances over four problems: of the method, of the prior, and of a second exact set (the floor).
fn distances(dim: usize, sampler: &dyn Sampler) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for seed in 0..4 {
        let world = World::new(dim, 1, seed);
        let samples = rows(sampler, &world.problem().unwrap(), &Draw { seed, indices: 0..SAMPLES, batch: SAMPLES });
        let slices = Slices::new(200, dim, 5);
        let exact = slices.project(&world.exact(SAMPLES, 1));
        let others = [samples, world.prior_samples(SAMPLES, 2), world.exact(SAMPLES, 3)];
        for (sum, set) in sums.iter_mut().zip(&others) {
            *sum += slices.project(set).distance(&exact) / 4.0;
        }
    }
    sums
}

fn fitted(k: usize) -> Vipaint {
    let fit = FitOptions { k, iterations: 150, mc_samples: 16, lr_mu: 0.5, ..FitOptions::default() };
    let refine = RefineOptions { refine_steps: 60, weights: false, ..RefineOptions::default() };
    Vipaint::new(fit, refine).unwrap()
}

fn check(name: &str, dim: usize, sampler: &dyn Sampler, bound: impl Fn(f64, f64) -> f64) {
    let [distance, prior, floor] = distances(dim, sampler);
    println!("{name}, dim {dim}: {distance:.3}, prior {prior:.3}, floor {floor:.3}");
    let bound = bound(prior, floor);
    assert!(
        distance < bound,
        "{name}, dim {dim}: {distance:.3} is not below {bound:.3} (prior {prior:.3}, floor {floor:.3})"
    );
}

#[test]
fn one_keypoint() {
    check("K=1", 2, &fitted(1), |prior, _| 0.8 * prior);
    check("K=1", 8, &fitted(1), |prior, _| 0.8 * prior);
}

#[test]
fn four_keypoints() {
    check("K=4", 2, &fitted(4), |prior, _| 0.8 * prior);
    check("K=4", 8, &fitted(4), |prior, _| 0.8 * prior);
}

/// Settings of a population of 300 whose paths come from the prior, or are guided.
fn particles(proposal: &str) -> Box<dyn Sampler> {
    let settings = [
        ("particles", "300"),
        ("proposal", proposal),
        ("paths", "4"),
        ("keypoints", "640,527,396"),
        ("widen", "jacobian"),
        ("refine_steps", "8"),
    ];
    method("vipaint").unwrap().with(settings).unwrap()
}

#[test]
fn particles_are_near_the_floor() {
    for proposal in ["prior", "guided"] {
        check(proposal, 8, particles(proposal).as_ref(), |_, floor| 2.0 * floor);
    }
}

#[test]
fn a_sample_of_a_population_depends_on_its_index_only() {
    let problem = World::new(4, 2, 0).problem().unwrap();
    for (name, sampler) in [
        ("prior", particles("prior")),
        ("guided", particles("guided")),
        ("mcgdiff", method("mcgdiff").unwrap().with([("particles", "7"), ("steps", "20")]).unwrap()),
    ] {
        let run = |indices, batch| rows(sampler.as_ref(), &problem, &Draw { seed: 4, indices, batch });
        let all = run(0..11, 300);
        assert_eq!(all, run(0..11, 5), "{name}: the batch size matters");
        assert_eq!(all[6..9], run(6..9, 64), "{name}: the number of samples matters");
    }
}
