//! Metrics against their originals: `metrics/expected.json`, written by `metrics/make.py`.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use vipaint_eval::metrics::{Features, Lpips, LpipsKind, LpipsWeights, MobileNet, frechet, kid, psnr, ssim};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::{RandomWeights, Result, Source};

fn expected() -> Value {
    serde_json::from_str(include_str!("metrics/expected.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Values in [0, 1], as the script makes them. // [height, width, channels]
fn picture(seed: f64, height: usize, width: usize, channels: usize) -> Vec<f32> {
    let mut values = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let (x, y, c) = (x as f64, y as f64, c as f64);
                let waves = (0.31 * x + 0.17 * seed * y + 1.3 * c + seed).sin() + (0.05 * x * y + 0.7 * seed).sin();
                values.push((0.5 + 0.25 * waves) as f32);
            }
        }
    }
    values
}

/// // [batch, 3, height, width] in [-1, 1]
fn pictures(seeds: [f64; 2], height: usize, width: usize) -> Tensor<4> {
    let values: Vec<f32> = seeds.into_iter().flat_map(|seed| picture(seed, height, width, 3)).collect();
    let x = Tensor::<4>::from_data(TensorData::new(values, [2, height, width, 3]), &Device::flex());
    x.permute([0, 3, 1, 2]) * 2.0 - 1.0
}

/// The script's weights.
struct Weights;

impl Source for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = RandomWeights::default().tensor(name, shape)?;
        if name.ends_with("running_var") {
            for value in &mut values {
                *value += 1.0;
            }
        }
        if name.starts_with("lin") {
            for value in &mut values {
                *value = value.abs();
            }
        }
        Ok(values)
    }
}

#[test]
fn fidelity_agrees_with_scikit_image() {
    for case in expected()["fidelity"].as_array().unwrap() {
        let [channels, height, width] = [0, 1, 2].map(|i| size(&case["shape"][i]));
        let (a, b) = (picture(1.0, height, width, channels), picture(2.0, height, width, channels));
        let b: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.8 * a + 0.2 * b).collect();
        // Inputs are rounded to single precision in both.
        let near =
            |got: f64, expected: &Value| assert!((got - expected.as_f64().unwrap()).abs() < 1e-5, "{got} {expected}");
        near(ssim(&a, &b, [channels, height, width]), &case["ssim"]);
        near(psnr(&a, &b), &case["psnr"]);
    }
}

#[test]
fn distances_of_sets_agree_with_scipy_and_numpy() {
    let rows = |n: usize, width: usize, seed: f64, shift: f32| {
        let values = (1..=n * width).map(|i| (seed * i as f64).sin() as f32 + shift);
        Features::new(width, values.collect()).unwrap()
    };
    for case in expected()["sets"].as_array().unwrap() {
        let [n, m, width] = ["n", "m", "width"].map(|key| size(&case[key]));
        let (a, b) = (rows(n, width, 1.7, 0.0), rows(m, width, 0.9, 0.3));
        let near = |got: f64, expected: &Value, tolerance: f64| {
            let expected = expected.as_f64().unwrap();
            assert!((got - expected).abs() < tolerance * expected.abs(), "{got} {expected}");
        };
        near(kid(&a, &b).unwrap().value, &case["kid"], 1e-5);
        // A square root of a singular matrix is known to half the digits.
        near(frechet(&a, &b).unwrap(), &case["frechet"], 1e-4);
    }
}

/// Compares distances, and their sum's gradient with respect to the first pictures.
fn perceptual(name: &str, expected: &Value, at: impl FnOnce([usize; 2]) -> Lpips) {
    let [height, width] = ["height", "width"].map(|key| size(&expected[key]));
    let lpips = at([height, width]);
    let (a, b) = (pictures([1.0, 2.0], height, width), pictures([3.0, 4.0], height, width));
    let leaf = a.clone().autodiff().require_grad();
    let distances = lpips.distance(leaf.clone(), b.clone().autodiff());
    let got: Vec<f32> = distances.clone().inner().into_data().iter::<f32>().collect();
    for (got, expected) in got.iter().zip(floats(&expected["distances"])) {
        assert!((f64::from(*got) - expected).abs() < 1e-4 * expected, "{name}: {got} {expected}");
    }
    let mut gradients = distances.sum().backward();
    let gradient: Vec<f32> = leaf.grad_remove(&mut gradients).unwrap().into_data().iter::<f32>().collect();
    let largest = expected["gradient_max"].as_f64().unwrap();
    for (got, expected) in gradient.iter().step_by(size(&expected["gradient_step"])).zip(floats(&expected["gradient"]))
    {
        assert!((f64::from(*got) - expected).abs() < 1e-3 * largest, "{name}: {got} {expected} of {largest}");
    }
    // A picture is at no distance from itself, and a look serves again.
    let look = lpips.look(a);
    let none: Vec<f32> = lpips.between(&look, &look).into_data().iter::<f32>().collect();
    assert_eq!(none, [0.0, 0.0]);
    let again: f32 = lpips.between(&look.picture(1), &lpips.look(b).picture(1)).into_scalar();
    assert!((again - got[1]).abs() < 1e-6 * got[1].max(1.0));
}

#[test]
fn lpips_agrees_with_the_originals_in_value_and_gradient() {
    let expected = &expected()["lpips"];
    for (name, kind, torchvision) in [
        ("alex", LpipsKind::Alex, true),
        ("alex-own", LpipsKind::Alex, false),
        ("vgg", LpipsKind::Vgg, true),
        ("st-alex", LpipsKind::ShiftTolerantAlex, false),
        ("st-vgg", LpipsKind::ShiftTolerantVgg, false),
    ] {
        perceptual(name, &expected[name], |sides| {
            Lpips::new(kind, &Weights, &Weights, torchvision, sides, &Device::flex()).unwrap()
        });
    }
}

#[test]
fn the_gradient_is_finite_where_nothing_is_seen() {
    /// No unit of it ever answers.
    struct Dead;
    impl Source for Dead {
        fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
            let value = if name.ends_with("bias") { -1.0 } else { 1e-3 };
            Ok(vec![value; shape.iter().product()])
        }
    }
    let lpips = Lpips::new(LpipsKind::Alex, &Dead, &Dead, true, [35, 35], &Device::flex()).unwrap();
    let flat = Tensor::<4>::zeros([1, 3, 35, 35], &Device::flex());
    let leaf = flat.clone().autodiff().require_grad();
    let mut gradients = lpips.distance(leaf.clone(), (flat + 0.5).autodiff()).sum().backward();
    let gradient: Vec<f32> = leaf.grad_remove(&mut gradients).unwrap().into_data().iter::<f32>().collect();
    assert!(gradient.iter().all(|value| value.is_finite()));
}

#[test]
fn pictures_that_are_too_small_are_refused() {
    // Worked out backwards from the last stage's single pixel.
    for (kind, least) in [(LpipsKind::Alex, 31), (LpipsKind::ShiftTolerantAlex, 21)] {
        let at = |side| Lpips::new(kind, &Weights, &Weights, true, [side, 64], &Device::flex());
        assert!(at(least).is_ok() && at(least - 1).is_err(), "{kind:?}");
        assert!(at(1).unwrap_err().to_string().contains("64x1"));
    }
}

/// Compares some of the features and their norms.
fn mobile(network: &MobileNet, expected: &Value) {
    let features = network.features(pictures([1.0, 2.0], 224, 224));
    assert_eq!((features.len(), features.width()), (2, 1280));
    for (i, row) in features.rows().enumerate() {
        let norm = expected["norm"][i].as_f64().unwrap();
        let got = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!((got - norm).abs() < 1e-4 * norm, "{got} {norm}");
        for (got, expected) in row.iter().step_by(160).zip(floats(&expected["head"][i])) {
            assert!((f64::from(*got) - expected).abs() < 1e-4 * norm, "{got} {expected}");
        }
    }
}

#[test]
fn mobilenet_agrees_with_torchvision() {
    mobile(&MobileNet::new(&Weights).unwrap(), &expected()["mobilenet"]);
}

/// With the published weights: `VIPAINT_METRICS=FOLDER cargo test --release -p vipaint-eval -- --ignored published`, where the
/// folder is that of `vipaint metrics pull`.
#[test]
#[ignore = "needs the published weights, see `vipaint metrics pull`"]
fn published_weights_give_the_published_values() {
    let folder = PathBuf::from(std::env::var_os("VIPAINT_METRICS").expect("VIPAINT_METRICS names the folder"));
    let expected = &expected()["published"];
    for name in ["st-alex", "st-vgg"] {
        let path = folder.join(format!("lpips-{name}.safetensors"));
        let weights = LpipsWeights::open::<vipaint_eval::Error>(&path, |_| panic!("it has its own heads")).unwrap();
        assert_eq!(weights.kind().name(), name);
        perceptual(name, &expected[name], |sides| weights.at(sides, &Device::flex()).unwrap());
    }
    let weights = Checkpoint::open(&folder.join("mobilenet-v2.safetensors")).unwrap();
    mobile(&MobileNet::new(&weights).unwrap(), &expected["mobilenet"]);
}
