//! Seeds, batches, stored posteriors, options, gradients: everything a fit promises besides being right.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, to_vec, ve, vp};
use vipaint_core::event::{Event, silent};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::{Dense, KINDS, Mask};
use vipaint_core::posterior::{Fit, FitOptions, Problem, Stored, Together, log_weights, weight_steps};
use vipaint_core::prior::analytic::Mixture;
use vipaint_core::prior::{Calls, Condition, Context, Guidance, Prior};
use vipaint_core::sampler::{Draw, METHODS, RefineOptions, Sampler, Vipaint, method};
use vipaint_core::{Error, Noise};

/// A small picture world: ten random 1x4x4 pictures in two classes, the left half known.
fn pictures() -> Problem {
    let device = device();
    let mut rng = stream(3, 3, 3);
    let means: Vec<f32> = (0..160).map(|_| common::normal(&mut rng).clamp(-1.0, 1.0) as f32).collect();
    let truth = means[..16].to_vec();
    let mixture = Mixture::new(means, &[1.0; 10], 0.1, [1, 4, 4], &device).unwrap();
    let mixture = mixture.with_classes((0..10).map(|i| i % 2).collect()).unwrap();
    let mask: Vec<f32> = (0..16).map(|i| f32::from(i % 4 < 2)).collect();
    let y: Vec<f32> = truth.iter().zip(&mask).map(|(x, m)| x * m).collect();
    let operator = Arc::new(Mask::new(&mask, [1, 4, 4], &device).unwrap());
    let y = Tensor::from_data(TensorData::new(y, [1, 1, 4, 4]), &device);
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.05 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    let mut prior = Prior::new("pictures", Arc::new(mixture), ve(), 0.7);
    prior.hash = "abc".into();
    let context = Context { tokens: vec![0.1, -0.2, 0.3, 0.4], shape: [2, 2], pooled: vec![0.5] };
    let negative = Condition { class: Some(1), ..Condition::context(context) };
    let guidance = Guidance { condition: Condition::class(0), negative, cfg_scale: 2.0 };
    Problem::new(prior, measurement, guidance).unwrap()
}

fn small() -> FitOptions {
    FitOptions { iterations: 6, grid_steps: 8, ..FitOptions::default() }
}

#[test]
fn samples_depend_on_neither_number_nor_batch() {
    let problem = pictures();
    for entry in METHODS {
        let settings = [("iterations", "4"), ("steps", "9"), ("refine_steps", "5"), ("grid_steps", "6")];
        let known = (entry.defaults)();
        let sampler = entry.with(settings.into_iter().filter(|(k, _)| known.contains_key(*k))).unwrap();
        let run = |indices, batch| {
            let samples = sampler.sample(&problem, &Draw { seed: 4, indices, batch }, &mut silent()).unwrap();
            (to_vec(samples.images.unwrap()), samples.log_weights)
        };
        let (all, weights) = run(0..6, 6);
        let (split, split_weights) = run(0..6, 4);
        let (few, _) = run(2..4, 1);
        assert_eq!(all, split, "{}: the batch size matters", entry.name);
        assert_eq!(weights, split_weights, "{}: the batch size matters to the weights", entry.name);
        assert_eq!(all[2 * 16..4 * 16], few[..], "{}: the number of samples matters", entry.name);
        assert!(all.iter().all(|v| v.is_finite()), "{}", entry.name);
    }
}

/// Every sampler under every operator and kind of noise draws finite pictures, the same whatever the batch, or says why it cannot.
#[test]
fn every_operator_works_with_every_sampler_or_is_refused_with_a_reason() {
    let (base, shape) = (pictures(), [1, 4, 4]);
    let settings =
        [("iterations", "3"), ("steps", "6"), ("refine_steps", "4"), ("grid_steps", "5"), ("init_samples", "2")];
    let families = [Family::Gaussian, Family::Laplace, Family::Poisson { black: -1.0, white: 1.0 }];
    for (i, kind) in KINDS.iter().enumerate() {
        let operator = (kind.example)(shape, i as u64, &device());
        let likelihood = Likelihood { family: families[i % 3], sigma_y: 0.1 };
        let x = Tensor::from_data(TensorData::new(vec![0.2; 16], [1, 1, 4, 4]), &device());
        let measurement = Measurement::simulate(operator, x, likelihood, 1).unwrap();
        let problem = Problem::new(base.prior.clone(), measurement, base.guidance.clone()).unwrap();
        for entry in METHODS {
            let known = (entry.defaults)();
            let sampler = entry.with(settings.into_iter().filter(|(k, _)| known.contains_key(*k))).unwrap();
            let run = |batch| sampler.sample(&problem, &Draw { seed: 4, indices: 0..3, batch }, &mut silent());
            match (run(3), run(2)) {
                (Ok(all), Ok(split)) => {
                    let all = to_vec(all.images.unwrap());
                    assert!(all.iter().all(|v| v.is_finite()), "{} {}", kind.name, entry.name);
                    assert_eq!(all, to_vec(split.images.unwrap()), "{} {}", kind.name, entry.name);
                }
                (Err(Error::Option { name: "method", problem }), _) => assert!(problem.contains("needs"), "{problem}"),
                (first, second) => panic!("{} {}: {:?} {:?}", kind.name, entry.name, first.err(), second.err()),
            }
        }
    }
}

#[test]
fn a_stored_fit_draws_the_same_and_resumes_the_same() {
    let problem = pictures();
    let mut fit = Fit::new(&problem, &small(), 11, &mut silent()).unwrap();
    for _ in 0..3 {
        fit.step(&problem).unwrap();
    }
    let extra = BTreeMap::from([("picture".to_owned(), "a.png".to_owned())]);
    let stored = Stored::load(&fit.save(&problem, &extra).unwrap(), &device()).unwrap();
    assert_eq!(stored.guidance, problem.guidance);
    assert_eq!(stored.extra, extra);
    let again = Problem::new(problem.prior.clone(), stored.measurement.clone(), stored.guidance.clone()).unwrap();
    let mut resumed = stored.fit(&again).unwrap();
    let vipaint = Vipaint::new(small(), RefineOptions::default()).unwrap();
    let draw = Draw { seed: 5, indices: 0..3, batch: 3 };
    let images = |fit: &Fit, problem: &Problem| {
        let samples = vipaint.sample_fit(fit, problem, &draw, &mut silent()).unwrap();
        (to_vec(samples.images.unwrap()), samples.log_weights)
    };
    assert_eq!(images(&fit, &problem), images(&resumed, &again));
    assert!(!fit.run(&problem, &mut silent()).unwrap() && !resumed.run(&again, &mut silent()).unwrap());
    assert_eq!(fit.trace, resumed.trace, "Adam's state was lost");
    assert_eq!(images(&fit, &problem), images(&resumed, &again));
    assert!(fit.save(&problem, &extra).unwrap() == resumed.save(&again, &extra).unwrap(), "the files differ");

    let mut other = again.clone();
    other.prior.hash = "def".into();
    assert!(stored.fit(&other).unwrap_err().to_string().contains("give the same prior"));
}

#[test]
fn damaged_posterior_files_are_refused() {
    let problem = pictures();
    let good = Fit::new(&problem, &small(), 0, &mut silent()).unwrap().save(&problem, &BTreeMap::new()).unwrap();
    assert!(Stored::load(&good, &device()).is_ok());
    let mut rng = stream(1, 2, 3);
    for round in 0..400 {
        use rand::RngExt;
        let mut bad = good.clone();
        match round % 3 {
            0 => bad.truncate(rng.random_range(0..good.len())),
            1 => {
                let at = rng.random_range(0..good.len().min(4000));
                bad[at] ^= 1 << rng.random_range(0..8);
            }
            _ => {
                let at = rng.random_range(0..good.len());
                bad[at] = rng.random();
            }
        }
        if let Err(e) = Stored::load(&bad, &device()) {
            assert!(!e.to_string().is_empty());
        }
    }
    assert!(Stored::load(b"not a file", &device()).err().unwrap().to_string().contains("posterior file"));
}

#[test]
fn calls_are_counted() {
    let problem = pictures();
    let mut plain = problem.clone();
    plain.guidance = Guidance::default();
    let options = FitOptions { k: 2, iterations: 5, mc_samples: 3, prior_steps: 2, prior_samples: 2, ..small() };
    let before = plain.prior.calls();
    let mut fit = Fit::new(&plain, &options, 0, &mut silent()).unwrap();
    assert_eq!(plain.prior.calls() - before, Calls { denoiser: 6 * 12, vjp: 6 * 12 }, "init_samples x init_steps");
    let before = plain.prior.calls();
    fit.run(&plain, &mut silent()).unwrap();
    // A step: mc_samples at each of 2 keypoints, and 2 x 2 above.
    let each = 3 * 2 + 4;
    assert_eq!(plain.prior.calls() - before, Calls { denoiser: 5 * each, vjp: 5 * each });
    let refine = RefineOptions { refine_steps: 7, weights: false, ..RefineOptions::default() };
    let vipaint = Vipaint::new(FitOptions { iterations: 0, init_samples: 0, ..options }, refine).unwrap();
    let before = plain.prior.calls();
    vipaint.sample(&plain, &Draw { seed: 0, indices: 0..4, batch: 2 }, &mut silent()).unwrap();
    assert_eq!(plain.prior.calls() - before, Calls { denoiser: 4 * (1 + 7), vjp: 4 * 7 });
    assert_eq!(Calls { denoiser: 10, vjp: 4 }.cost(), 18);
}

#[test]
fn a_fit_stops_when_asked_and_on_a_plateau() {
    let problem = pictures();
    let mut fit = Fit::new(&problem, &small(), 0, &mut silent()).unwrap();
    let mut stop_at_two = |e: &Event| match e {
        Event::Fit { iteration: 2, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(fit.run(&problem, &mut stop_at_two).unwrap());
    assert_eq!(fit.trace.len(), 2);
    let still = FitOptions { iterations: 500, patience: 10, lr_mu: 0.0, lr_tau: 0.0, lr_gamma: 0.0, ..small() };
    let mut fit = Fit::new(&problem, &FitOptions { min_gain: 0.5, ..still }, 0, &mut silent()).unwrap();
    fit.run(&problem, &mut silent()).unwrap();
    assert!(fit.trace.len() < 500, "nothing moves, yet it went on");
}

#[test]
fn a_fit_stops_when_asked_before_its_first_step() {
    let problem = pictures();
    let options = FitOptions { init_samples: 2, init_steps: 5, ..small() };
    let mut steps = Vec::new();
    let mut stop_at_three = |e: &Event| {
        let Event::Start { step, steps: 5, .. } = e else { panic!("{e:?}") };
        steps.push(*step);
        if *step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(Fit::new(&problem, &options, 0, &mut stop_at_three), Err(Error::Interrupted)));
    let vipaint = Vipaint::new(options, RefineOptions::default()).unwrap();
    let draw = Draw { seed: 0, indices: 0..2, batch: 2 };
    let samples = vipaint.sample(&problem, &draw, &mut |_: &Event| ControlFlow::Break(())).unwrap();
    assert!(samples.interrupted && samples.images.is_none());
    assert_eq!(steps, [1, 2, 3]);
}

#[test]
fn bad_options_name_themselves() {
    for (key, value) in [
        ("mc_samples", "0"),
        ("eta", "0"),
        ("eta", "1.5"),
        ("lr_mu", "-1"),
        ("refine_steps", "0"),
        ("refine_eta", "2"),
        ("zeta", "-0.1"),
        ("init_tau", "0"),
    ] {
        let error = method("vipaint").unwrap().with([(key, value)]).err().unwrap().to_string();
        assert!(error.contains(key), "{key}={value}: {error}");
    }
    let unknown = method("dps").unwrap().with([("zetta", "1")]).err().unwrap().to_string();
    assert!(unknown.contains("zetta") && unknown.contains("known: steps, zeta, eta"), "{unknown}");
    assert!(method("magic").err().unwrap().to_string().contains("vipaint, dps, repaint"));
    let problem = pictures();
    for keypoints in [vec![1.0, 2.0], vec![50.0], vec![2.0, 2.0]] {
        let options = FitOptions { keypoints, ..small() };
        assert!(matches!(Fit::new(&problem, &options, 0, &mut silent()), Err(Error::Option { name: "keypoints", .. })));
    }
}

/// The bound's gradient, as Adam sees it, against central differences of the bound's own value under the same noise.
#[test]
fn gradients_agree_with_central_differences() {
    let problem = pictures();
    let options = FitOptions { iterations: 1, mc_samples: 2, ..small() };
    let mut fit = Fit::new(&problem, &options, 3, &mut silent()).unwrap();
    let start = fit.posterior.clone();
    fit.step(&problem).unwrap();
    // After one step from zero moments, Adam's first moment is 0.1 of the gradient.
    let grads: Vec<Vec<f32>> = fit.adam.iter().flatten().map(|a| to_vec(a.first.clone() * 10.0)).collect();
    let loss = |posterior| -> f64 {
        let mut fit = Fit::resume(posterior, &problem, options.clone(), 3);
        -fit.step(&problem).unwrap().total()
    };
    let (step, mut parameter) = (2e-3, 0);
    for k in 0..2 {
        for which in 0..(if k == 0 { 2 } else { 3 }) {
            let largest = grads[parameter].iter().fold(0f32, |a, g| a.max(g.abs()));
            for element in [0, 3, 9, 14] {
                let moved = |by: f32| {
                    let mut posterior = start.clone();
                    let keypoint = &mut posterior.keypoints[k];
                    let slot = match which {
                        0 => &mut keypoint.mu,
                        1 => &mut keypoint.log_tau,
                        _ => keypoint.gamma_logit.as_mut().unwrap(),
                    };
                    let mut values = to_vec(slot.clone());
                    values[element] += by;
                    *slot = Tensor::from_data(TensorData::new(values, [1, 1, 4, 4]), &device());
                    loss(posterior)
                };
                let numeric = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                let got = f64::from(grads[parameter][element]);
                // The loss is a few hundred in f32 (rounding 3e-5), divided by the step: 1e-2; and 2 % of the largest.
                let tolerance = 2e-2 + 0.02 * f64::from(largest);
                assert!(
                    (got - numeric).abs() < tolerance,
                    "keypoint {k}, parameter {which}, {element}: {got} {numeric}"
                );
            }
            parameter += 1;
        }
    }
}

/// Importance weights are unbiased: their mean over many paths is the evidence, here from brute-force simulation of the
/// chain itself, however paths were guided, and a better fit has less variable weights.
#[test]
fn log_weights_average_to_the_evidence() {
    let shape = [2, 1, 1];
    let mixture = Mixture::new(vec![0.5, -1.0, -0.7, 0.6], &[1.0; 2], 1.0, shape, &device()).unwrap();
    let mixture = mixture.with_classes(vec![0, 1]).unwrap();
    let operator = Arc::new(Dense::new(&[0.8, 0.3], shape, &device()).unwrap());
    let y = Tensor::from_data(TensorData::new(vec![1.2f32], [1, 1, 1, 1]), &device());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.5 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    let prior = Prior::new("gaussian", Arc::new(mixture), vp(), 1.0);
    let guidance = Guidance { condition: Condition::class(0), ..Guidance::default() };
    let problem = Problem::new(prior, measurement, guidance.clone()).unwrap();
    let options =
        FitOptions { k: 2, iterations: 150, grid_steps: 60, mc_samples: 8, lr_decay: 0.95, ..FitOptions::default() };
    let mut fit = Fit::new(&problem, &options, 0, &mut silent()).unwrap();
    let n = 2000;
    let estimate = |fit: &Fit, cfg_scale: f64| {
        let guidance = Guidance { cfg_scale, ..guidance.clone() };
        let problem = Problem::new(problem.prior.clone(), problem.measurement.clone(), guidance).unwrap();
        let mut noise = Noise::new(1, 50, 0..n);
        let path = fit.posterior.draw(&problem.prior, &problem.guidance, &mut noise).unwrap();
        let mut ticks = 0;
        let mut tick = || {
            ticks += 1;
            ControlFlow::Continue(())
        };
        let logs = log_weights(fit, &problem, &path, &(0..n).collect::<Vec<_>>(), &mut tick).unwrap();
        assert_eq!(ticks, weight_steps(fit));
        let top = logs.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let ess = sum * sum / weights.iter().map(|w| w * w).sum::<f64>();
        (top + (sum / n as f64).ln(), ess / n as f64)
    };
    let (before, ess_before) = estimate(&fit, 1.0);
    fit.run(&problem, &mut silent()).unwrap();
    let (after, ess_after) = estimate(&fit, 1.0);
    let (guided, _) = estimate(&fit, 3.0);
    let bound = fit.bound().clone();
    let q = &fit.posterior;
    let bounds: Vec<f64> = (0..40).map(|s| bound.estimate(q, &problem, &guidance, s).unwrap().total()).collect();
    let bound = bounds.iter().sum::<f64>() / 40.0;
    println!(
        "log evidence {before:.3} (ess {ess_before:.2}) {after:.3} (ess {ess_after:.2}) {guided:.3}, bound {bound:.3}"
    );
    assert!(ess_after > 0.5 && ess_after > ess_before, "ess {ess_before} {ess_after}");
    assert!((before - after).abs() < 0.15, "two proposals disagree on the evidence: {before} {after}");
    assert!((guided - after).abs() < 0.15, "paths guided more strongly: {guided} {after}");
    assert!(bound <= after + 0.1, "bound {bound} above the evidence {after}");
}

/// Samples of a step, and those that a fit starts from, can be taken part by part: not a bit of the fit changes.
#[test]
fn a_fit_does_not_depend_on_how_many_samples_are_in_memory_together() {
    let problem = pictures();
    let options = FitOptions { mc_samples: 5, prior_steps: 3, init_samples: 4, init_steps: 5, ..small() };
    let fitted = |together: Together| {
        let mut fit = Fit::within(together, &problem, &options, 3, &mut silent()).unwrap();
        fit.run(&problem, &mut silent()).unwrap();
        (fit.save(&problem, &BTreeMap::new()).unwrap(), fit.trace)
    };
    let (all, trace) = fitted(Together::default());
    assert!(trace.iter().all(|terms| terms.total().is_finite()));
    for (starts, paths) in [(1, 1), (3, 2), (4, 4), (2, 5)] {
        assert!(fitted(Together { starts, paths }).0 == all, "{starts} starts and {paths} paths together");
    }
}
