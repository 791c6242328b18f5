//! Schedules and conversions that the tests share.
#![allow(dead_code, missing_docs)] // each test binary uses its own part

use burn::tensor::{Device, Tensor};
use rand_distr::{Distribution, StandardNormal};
use vipaint_core::schedule::{Betas, Schedule};

pub fn device() -> Device {
    Device::flex()
}

pub fn vp() -> Schedule {
    Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 })
}

pub fn ve() -> Schedule {
    Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 }
}

pub fn flow() -> Schedule {
    Schedule::Flow { shift: 1.0 }
}

pub fn to_vec<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as::<f32>().unwrap()
}

pub fn normal(rng: &mut impl rand::Rng) -> f64 {
    StandardNormal.sample(rng)
}
