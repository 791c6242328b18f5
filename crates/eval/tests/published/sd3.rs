//! The Stable Diffusion 3 release: `sd3.safetensors`, written by scripts/fixtures/published_sd3.py.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use safetensors::SafeTensors;
use vipaint_core::posterior::published::sd3::{Draws, Target, above, grid, paths, refine};
use vipaint_core::posterior::{FitOptions, Keypoint, Objective, Posterior, Problem};
use vipaint_core::prior::{Condition, Guidance};
use vipaint_core::schedule::Schedule;

use crate::tiny::{Fixture, SIDE, close, problem};

/// Weights of the KL terms.
const BETA: f64 = 50.0;
const REFINED: usize = 4;

fn fixture() -> Fixture<'static> {
    Fixture(SafeTensors::deserialize(include_bytes!("sd3.safetensors")).unwrap())
}

fn asked(fixture: &Fixture) -> (Problem, FitOptions) {
    let guidance = Guidance::new(Condition::class(0), 4.5);
    let options = FitOptions {
        l2: 250.0,
        latent: 600.0,
        l1: 20.0,
        lpips: 1.0,
        objective: Objective::Sd3,
        ..FitOptions::default()
    };
    (problem(fixture, Schedule::Flow { shift: 3.0 }, guidance), options)
}

#[test]
fn the_grid_is_the_authors() {
    let (fixture, grid) = (fixture(), grid(&Schedule::Flow { shift: 3.0 }).unwrap());
    let sigmas: Vec<f32> = [0, 1, 500, 750, 999].map(|i| grid[i].sigma as f32).to_vec();
    close(&sigmas, &fixture.values("sigmas"), "sigmas");
}

#[test]
fn loss_and_gradients_are_those_of_the_authors_code() {
    let fixture = fixture();
    let (problem, options) = asked(&fixture);
    let grid = grid(&problem.prior.schedule).unwrap();
    let keypoint = |k: usize, at: usize| Keypoint {
        level: grid[at],
        mu: fixture.leaf("mu", k),
        log_tau: fixture.leaf("tau", k),
        gamma_logit: Some(fixture.leaf("gamma", k)),
    };
    let q = Posterior { keypoints: vec![keypoint(0, 500), keypoint(1, 750)], eta: 1.0, form: Objective::Sd3 };
    let draws = Draws {
        start: fixture.tensor("start"),
        below: fixture.tensor("below").split(1, 0),
        upper: fixture.tensor("upper"),
        times: fixture.values("times").into_iter().map(|t| t as usize).collect(),
    };
    let target = Target::new(&problem).unwrap();
    let [data, hierarchy] = paths(&q, &problem, &problem.guidance, (&options, &target), &draws).unwrap();
    let above = above(&q, &problem, &problem.guidance, &draws, 0..9).unwrap().mean();
    let expected = fixture.values("terms");
    let start = f64::from(expected[3]);
    let total = data.clone() + (hierarchy.clone() + above.clone() + start) * BETA;
    for (i, term) in [(0, &data), (1, &hierarchy), (2, &above), (4, &total)] {
        close(&[term.clone().inner().into_scalar::<f32>()], &expected[i..=i], &format!("term {i}"));
    }

    let mut grads = total.backward();
    let size = 3 * SIDE * SIDE;
    for (k, keypoint) in q.keypoints.iter().enumerate() {
        let gamma = keypoint.gamma_logit.as_ref().unwrap();
        for (name, leaf) in [("mu", &keypoint.mu), ("tau", &keypoint.log_tau), ("gamma", gamma)] {
            let got = leaf.grad_remove(&mut grads).unwrap().into_data().iter::<f32>().collect::<Vec<_>>();
            let expected = &fixture.values(&format!("grad.{name}"))[k * size..(k + 1) * size];
            close(&got, expected, &format!("{name} {k}"));
        }
    }
}

#[test]
fn the_refinement_is_the_authors() {
    let fixture = fixture();
    let (problem, options) = asked(&fixture);
    let target = Target::new(&problem).unwrap();
    let grid = grid(&problem.prior.schedule).unwrap();
    let mut noise = fixture.tensor("refining").split(1, 0).into_iter();
    let mut normal = || -> Tensor<4> { noise.next().unwrap() };
    let (levels, z) = (&grid[750..750 + REFINED], fixture.tensor("z"));
    let mut tick = || ControlFlow::Continue(());
    let got = refine(&problem, (&options, &target), levels, z, 650.0, &mut normal, &mut tick).unwrap();
    close(&got.into_data().iter::<f32>().collect::<Vec<_>>(), &fixture.values("refined"), "refined");
}
