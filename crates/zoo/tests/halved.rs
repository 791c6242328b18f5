//! Weights in half precision: half the memory, nearly the same results.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use vipaint_core::prior::Condition;
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::openai::{Config, Transformer};
use vipaint_zoo::{Loader, Network, RandomWeights, Result, Source};

/// A small latent U-Net with every kind of layer.
fn config() -> Config {
    Config {
        image_size: 16,
        in_channels: 4,
        out_channels: 4,
        model_channels: 64,
        num_res_blocks: 1,
        channel_mult: vec![1.0, 2.0],
        attention_resolutions: vec![2],
        transformer: Some(Transformer { context_dim: 32, n_classes: 3, ..Transformer::default() }),
        ..Config::default()
    }
}

/// Random weights rounded to half precision.
struct Rounded;

impl Source for Rounded {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = RandomWeights::default().tensor(name, shape)?;
        Ok(values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect())
    }
}

/// Output, and gradient of the sum of its squares.
fn run(weights: &dyn Source, half: bool) -> [Vec<f32>; 2] {
    let device = Device::flex();
    let loader = Loader::new(weights, &device);
    let network = config().build(&if half { loader.halved() } else { loader }).unwrap();
    let z = RandomWeights { seed: 1 }.tensor("z", &[2 * 4 * 16 * 16, 1]).unwrap();
    let leaf = Tensor::<4>::from_data(TensorData::new(z, [2, 4, 16, 16]), &device).autodiff().require_grad();
    let y = network.forward(leaf.clone(), &[3.0, 500.0], &[Condition::class(0), Condition::default()]);
    let gradient = leaf.grad(&y.clone().square().sum().backward()).unwrap();
    [y.inner(), gradient].map(|t| t.try_into_vec_as::<f32>().unwrap())
}

fn values(file: &Checkpoint, name: &str) -> Vec<f32> {
    file.get(name).unwrap().to_f32().unwrap()
}

/// Relative, in the root mean square.
fn off(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().map(|x| x * x).sum::<f32>();
    (got.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / size).sqrt()
}

/// The same network in PyTorch (scripts/fixtures/half_weights.py), in single precision, and what it shows in half precision.
#[test]
fn weights_in_half_precision_cost_what_they_cost_in_pytorch() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/halved.safetensors");
    let file = Checkpoint::open(&file).unwrap();
    let single = run(&RandomWeights::default(), false);
    let (rounded, half) = (run(&Rounded, false), run(&RandomWeights::default(), true));
    for (i, name) in ["out", "grad"].into_iter().enumerate() {
        let expected = values(&file, name);
        // Tile registers take 16 bits of each factor; 1.7e-5 was seen with them, less than 1e-5 without.
        assert!(off(&single[i], &expected) < 5e-5, "{name}: {}", off(&single[i], &expected));
        let (weights, everything) = (values(&file, "weights")[i], values(&file, "everything")[i]);
        let ours = off(&half[i], &expected);
        println!("{name}: {ours:.1e}; PyTorch: {weights:.1e} by weights alone, {everything:.1e} in all");
        // Rounded weights with arithmetic in single precision are what PyTorch makes of a half-precision file, but for 5e-5.
        let by_rounding = off(&rounded[i], &expected);
        assert!((by_rounding / weights - 1.0).abs() < 0.01, "{name}: {by_rounding}, PyTorch {weights}");
        // Biases and normalisations stay as they are here.
        assert!(ours > 1e-5 && ours < 1.02 * weights, "{name}: {ours}, PyTorch {weights}");
    }
}
