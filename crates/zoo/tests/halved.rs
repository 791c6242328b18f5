//! Weights in half precision: half the memory, nearly the same results.

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_core::prior::Condition;
use vipaint_zoo::openai::{Config, Transformer};
use vipaint_zoo::{Loader, Network, RandomWeights, Source};

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

/// Output, and gradient of its sum.
fn run(half: bool) -> [Vec<f32>; 2] {
    let (weights, device) = (RandomWeights::default(), Device::flex());
    let loader = Loader::new(&weights, &device);
    let network = config().build(&if half { loader.halved() } else { loader }).unwrap();
    let z = RandomWeights { seed: 1 }.tensor("z", &[2 * 4 * 16 * 16, 1]).unwrap();
    let leaf = Tensor::<4>::from_data(TensorData::new(z, [2, 4, 16, 16]), &device).autodiff().require_grad();
    let y = network.forward(leaf.clone(), &[3.0, 500.0], &[Condition::class(0), Condition::default()]);
    let gradient = leaf.grad(&y.clone().square().sum().backward()).unwrap();
    [y.inner(), gradient].map(|t| t.try_into_vec_as::<f32>().unwrap())
}

#[test]
fn results_are_off_by_about_the_rounding_of_the_weights() {
    for (single, half) in run(false).iter().zip(run(true)) {
        let size = single.iter().map(|x| x * x).sum::<f32>();
        let gap = single.iter().zip(&half).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        // Each of some twenty layers adds its weights' rounding, 2.8e-4 of its result in the root mean square, enlarged a few
        // times where Winograd's algorithm is at work: below 1 % in all, and not nothing.
        let relative = (gap / size).sqrt();
        assert!(relative > 1e-5 && relative < 1e-2, "{relative}");
    }
}
