//! The latent-diffusion release: `ldm.safetensors`, written by scripts/fixtures/published_ldm.py.

use burn::tensor::Tensor;
use safetensors::SafeTensors;
use vipaint_core::posterior::published::ldm::{Draws, terms};
use vipaint_core::posterior::{FitOptions, Keypoint, Objective, Posterior};
use vipaint_core::prior::Guidance;
use vipaint_core::schedule::{Betas, Schedule};

use crate::tiny::{Fixture, SIDE, close, problem};

const SAMPLES: usize = 5;

#[test]
fn loss_and_gradients_are_those_of_the_authors_code() {
    let bytes = include_bytes!("ldm.safetensors");
    let fixture = Fixture(SafeTensors::deserialize(bytes).unwrap());
    let schedule = Schedule::vp(Betas::ScaledLinear { start: 0.0015, end: 0.0195, steps: 1000 });
    let problem = problem(&fixture, schedule, Guidance::default());
    let keypoint = |k: usize, t: f64| Keypoint {
        level: problem.prior.schedule.level(t),
        mu: fixture.leaf("mu", k),
        log_tau: fixture.leaf("log_tau", k),
        gamma_logit: (k > 0).then(|| fixture.leaf("gamma_logit", k)),
    };
    let keypoints = vec![keypoint(0, 550.0), keypoint(1, 400.0)];
    let q = Posterior { keypoints, eta: 0.2f64.sqrt(), form: Objective::Ldm };
    let draws = Draws {
        top: fixture.tensor("top"),
        upper: fixture.tensor("upper"),
        below: vec![fixture.tensor("below")],
        u: f64::from(fixture.values("u")[0]),
        part: (0..SAMPLES, SAMPLES),
    };
    let options =
        FitOptions { mc_samples: SAMPLES, l1: 100.0 / (2.0 * 0.566f64.powi(2)), lpips: 100.0, ..FitOptions::default() };
    let found = terms(&q, &problem, &problem.guidance, &options, &draws).unwrap().map(Tensor::mean);
    let total = found[0].clone() + (found[1].clone() + found[2].clone()) * 100.0;
    let expected = fixture.values("terms");
    for (i, term) in found.iter().chain([&total]).enumerate() {
        close(&[term.clone().inner().into_scalar::<f32>()], &expected[i..=i], &format!("term {i}"));
    }

    let mut grads = total.backward();
    let mut gradient =
        |leaf: &Tensor<4>| leaf.grad_remove(&mut grads).unwrap().into_data().iter::<f32>().collect::<Vec<_>>();
    let size = 3 * SIDE * SIDE;
    for (k, keypoint) in q.keypoints.iter().enumerate() {
        let at = k * size..(k + 1) * size;
        close(&gradient(&keypoint.mu), &fixture.values("grad.mu")[at.clone()], &format!("mu {k}"));
        close(&gradient(&keypoint.log_tau), &fixture.values("grad.log_tau")[at.clone()], &format!("log_tau {k}"));
        if let Some(logit) = &keypoint.gamma_logit {
            close(&gradient(logit), &fixture.values("grad.gamma_logit")[at], "gamma_logit");
        }
    }
}
