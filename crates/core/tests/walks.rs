//! Walks down the levels, against the exact flow of a Gaussian world.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, to_vec, vp};
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
    let walk = Walk { grid, correction: Correction::Inside, zeta: 1.0, eta: 0.0, order };
    let got = walk.run(&problem, start, &mut Noise::new(0, 0, [0]), &mut || ControlFlow::Continue(())).unwrap();
    let size = |l: vipaint_core::Level| (l.alpha * STD).hypot(l.sigma);
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
