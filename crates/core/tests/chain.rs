//! The chain's closed forms against brute-force numerical integration.

mod common;

use common::{flow, ve, vp};
use proptest::prelude::*;
use vipaint_core::chain::{forward, reverse};
use vipaint_core::{Level, Schedule};

fn normal(x: f64, mean: f64, var: f64) -> f64 {
    (-0.5 * (x - mean).powi(2) / var).exp() / (2.0 * std::f64::consts::PI * var).sqrt()
}

/// Mean and variance of an unnormalised density by the trapezoid rule on 20,001 points (exponentially accurate for densities
/// that vanish at both ends).
fn moments(density: impl Fn(f64) -> f64, centre: f64, width: f64) -> (f64, f64) {
    let points: Vec<(f64, f64)> =
        (0..=20_000).map(|i| centre + width * (f64::from(i) / 10_000.0 - 1.0)).map(|x| (x, density(x))).collect();
    let total: f64 = points.iter().map(|p| p.1).sum();
    let mean = points.iter().map(|p| p.0 * p.1).sum::<f64>() / total;
    (mean, points.iter().map(|p| (p.0 - mean).powi(2) * p.1).sum::<f64>() / total)
}

fn schedules() -> [(Schedule, f64); 3] {
    [(vp(), 998.0), (ve(), 35.0), (flow(), 0.99)]
}

fn pair(schedule: &Schedule, highest: f64, u: f64, v: f64) -> (Level, Level) {
    let low = schedule.bottom().t;
    let at = |u: f64| schedule.level(low + (highest - low) * u);
    (at(u.max(v)), at(u.min(v)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// `q(z_s | z_t, z_0)`, by Bayes' rule on a grid.
    #[test]
    fn ancestral_step_is_bayes_rule(u in 0.05..0.95f64, v in 0.05..0.95f64, z0 in -2.0..2.0f64, e in -2.0..2.0f64) {
        prop_assume!((u - v).abs() > 0.02);
        for (schedule, highest) in schedules() {
            let (t, s) = pair(&schedule, highest, u, v);
            let z_t = t.alpha * z0 + t.sigma * e;
            let (alpha, var) = forward(s, t);
            let density = |z: f64| normal(z, s.alpha * z0, s.sigma.powi(2)) * normal(z_t, alpha * z, var);
            let step = reverse(t, s, 1.0);
            let mean = step.z * z_t + step.x0 * z0;
            let (got_mean, got_var) = moments(density, mean, 10.0 * step.std);
            prop_assert!((got_mean - mean).abs() < 1e-6 * (1.0 + mean.abs()), "{schedule:?}: {got_mean} {mean}");
            prop_assert!((got_var / step.std.powi(2) - 1.0).abs() < 1e-6, "{schedule:?}: {got_var} {}", step.std.powi(2));
        }
    }

    /// Whatever eta: a step from the right marginal lands on the right marginal.
    #[test]
    fn every_eta_keeps_the_marginals(u in 0.05..0.95f64, v in 0.05..0.95f64, z0 in -2.0..2.0f64, eta in 0.0..1.0f64) {
        prop_assume!((u - v).abs() > 0.02);
        for (schedule, highest) in schedules() {
            let (t, s) = pair(&schedule, highest, u, v);
            let step = reverse(t, s, eta);
            let (mean, var) = moments(|z| normal(z, t.alpha * z0, t.sigma.powi(2)), t.alpha * z0, 10.0 * t.sigma);
            let got = (step.z * mean + step.x0 * z0, step.z.powi(2) * var + step.std.powi(2));
            prop_assert!((got.0 - s.alpha * z0).abs() < 1e-6 * (1.0 + z0.abs()), "{schedule:?}: mean {} {}", got.0, s.alpha * z0);
            prop_assert!((got.1 / s.sigma.powi(2) - 1.0).abs() < 1e-6, "{schedule:?}: variance {} {}", got.1, s.sigma.powi(2));
        }
    }

    /// Two forward steps are one.
    #[test]
    fn forward_steps_compose(a in 0.05..0.95f64, b in 0.05..0.95f64, c in 0.05..0.95f64) {
        let mut times = [a, b, c];
        times.sort_by(f64::total_cmp);
        for (schedule, highest) in schedules() {
            let [r, s, t] = times.map(|u| pair(&schedule, highest, u, u).0);
            let ((a1, v1), (a2, v2), (a, v)) = (forward(r, s), forward(s, t), forward(r, t));
            prop_assert!((a1 * a2 - a).abs() < 1e-12);
            prop_assert!((a2 * a2 * v1 + v2 - v).abs() < 1e-9 * (1.0 + v));
        }
    }
}
