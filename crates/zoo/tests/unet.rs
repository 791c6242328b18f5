//! The U-Net against its definition: gradients, batch independence, preconditioning.

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_core::prior::{Condition, Denoiser, Head};
use vipaint_core::schedule::Betas;
use vipaint_core::{Level, Schedule};
use vipaint_nn::layers::weights;
use vipaint_zoo::unet::{Config, UNet};
use vipaint_zoo::{Edm, EdmScales, Headed};

fn tiny() -> Config {
    Config {
        channels: 1,
        size: 8,
        patch: 2,
        widths: vec![8, 16],
        blocks: vec![1, 2],
        attention: vec![1],
        head_width: 8,
        group_width: 4,
        embedding: 12,
        time_scale: 16.0,
        classes: 3,
        context: 0,
    }
}

/// A network with every weight random, the zero-initialised ones too.
fn random(config: &Config, seed: u64) -> UNet {
    let network = config.init(&Device::flex(), seed).unwrap();
    let mut values = weights::gather(&network);
    for (i, v) in values.iter_mut().enumerate() {
        *v += 0.1 * pseudo(seed.wrapping_mul(1_000_003) + i as u64);
    }
    weights::scatter(network, &values, &Device::flex())
}

/// A fixed pseudo-random number in [-1, 1) (the finaliser of SplitMix64).
fn pseudo(i: u64) -> f32 {
    let mut x = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn picture(batch: usize, seed: u64, side: usize) -> Vec<f32> {
    (0..batch * side * side).map(|i| pseudo(seed * 7919 + i as u64)).collect()
}

fn tensor(values: &[f32], side: usize, device: &Device) -> Tensor<4> {
    let batch = values.len() / (side * side);
    Tensor::from_data(TensorData::new(values.to_vec(), [batch, 1, side, side]), device)
}

fn values(t: Tensor<4>) -> Vec<f32> {
    t.into_data().iter::<f32>().collect()
}

fn edm_level(sigma: f64) -> Level {
    Level { t: sigma, alpha: 1.0, sigma }
}

#[test]
fn starts_at_zero_and_names_its_weights() {
    let network = tiny().init(&Device::flex(), 1).unwrap();
    let out = network.forward(tensor(&picture(2, 1, 8), 8, &Device::flex()), &[0.1, 0.2], &[None, Some(1)]);
    assert!(values(out).iter().all(|v| *v == 0.0));
    let entries = weights::entries(&network);
    let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    assert!(names.contains(&"down.1.stages.0.residual.conv_in.weight"), "{names:?}");
    assert!(names.contains(&"class.weight"), "{names:?}");
    let count: usize = entries.iter().map(weights::Entry::len).sum();
    assert_eq!(count, weights::gather(&network).len());
}

#[test]
fn weights_depend_on_the_seed_only() {
    let of = |seed| weights::gather(&tiny().init(&Device::flex(), seed).unwrap());
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn input_gradient_matches_central_differences() {
    let denoiser = Edm::new(random(&tiny(), 5), 0.7);
    let x = picture(2, 2, 8);
    let cotangent = picture(2, 3, 8);
    let levels = [edm_level(0.3), edm_level(2.0)];
    let condition = Condition::class(2);

    let device = Device::flex().autodiff();
    let z = tensor(&x, 8, &device).require_grad();
    let out = denoiser.x0_hat(z.clone(), &levels, &condition).unwrap();
    let grads = (out * tensor(&cotangent, 8, &device)).sum().backward();
    let gradient = values(z.grad(&grads).unwrap());

    let at = |x: &[f32]| -> f64 {
        let out = values(denoiser.x0_hat(tensor(x, 8, &Device::flex()), &levels, &condition).unwrap());
        out.iter().zip(&cotangent).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    for direction in 0..4 {
        let d = picture(2, 100 + direction, 8);
        let h = 2e-3;
        let moved = |s: f32| x.iter().zip(&d).map(|(x, d)| x + s * d).collect::<Vec<_>>();
        let numeric = (at(&moved(h)) - at(&moved(-h))) / (2.0 * f64::from(h));
        let exact: f64 = gradient.iter().zip(&d).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        assert!((numeric - exact).abs() < 5e-3 * (1.0 + exact.abs()), "{numeric} against {exact}");
    }
}

#[test]
fn weight_gradient_matches_central_differences() {
    let config = tiny();
    let start = weights::gather(&random(&config, 6));
    let x = picture(2, 4, 8);
    let run = |values: &[f32], device: &Device| {
        let network = weights::scatter(config.blank(device).unwrap(), values, device);
        let out = network.forward(tensor(&x, 8, device), &[-0.3, 0.2], &[Some(0), None]);
        (out.square().mean(), network)
    };
    let (loss, network) = run(&start, &Device::flex().autodiff());
    let gradient = weights::gradients(&network, &mut loss.backward());
    let at = |values: &[f32]| f64::from(run(values, &Device::flex()).0.into_scalar::<f32>());
    // One direction for each weight tensor, so that none is hidden by a larger one.
    let mut offset = 0;
    for entry in weights::entries(&network) {
        let range = offset..offset + entry.len();
        offset = range.end;
        let exact: f64 = gradient[range.clone()].iter().zip(0..).map(|(g, i)| f64::from(*g * pseudo(i))).sum();
        let h = 3e-3f32;
        let moved = |s: f32| {
            let mut values = start.clone();
            values[range.clone()].iter_mut().zip(0..).for_each(|(v, i)| *v += s * pseudo(i));
            at(&values)
        };
        let numeric = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
        let tolerance = 2e-3 + 0.03 * exact.abs();
        assert!((numeric - exact).abs() < tolerance, "{}: {numeric} against {exact}", entry.name);
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    for config in [tiny(), Config { size: 32, widths: vec![48, 96], head_width: 32, group_width: 8, ..tiny() }] {
        let side = config.size;
        let denoiser = Edm::new(random(&config, 7), 0.7);
        let x = picture(5, 8, side);
        let levels: Vec<Level> = [0.05, 0.5, 1.0, 5.0, 30.0].map(edm_level).to_vec();
        let device = Device::flex();
        let together = values(denoiser.x0_hat(tensor(&x, side, &device), &levels, &Condition::class(1)).unwrap());
        let n = side * side;
        for i in 0..5 {
            let one = tensor(&x[i * n..(i + 1) * n], side, &device);
            let alone = values(denoiser.x0_hat(one, &levels[i..=i], &Condition::class(1)).unwrap());
            assert!(alone == together[i * n..(i + 1) * n], "sample {i} of side {side} differs");
        }
    }
}

#[test]
fn a_frozen_network_gives_the_same_bits_on_any_number_of_threads() {
    let config = Config { size: 16, widths: vec![16, 32], ..tiny() };
    let mut network = random(&config, 7);
    network.pack();
    let (side, batch) = (config.size, 5);
    let x = picture(batch, 8, side);
    let times: Vec<f64> = (0..batch).map(|i| 0.2 * i as f64 - 0.3).collect();
    let classes = [None, Some(0), Some(1), Some(2), None];
    let call = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let leaf = tensor(&x, side, &Device::flex()).autodiff().require_grad();
            let y = network.forward(leaf.clone(), &times, &classes);
            let mut gradients = y.clone().square().sum().backward();
            (values(y.inner()), values(leaf.grad_remove(&mut gradients).unwrap()))
        })
    };
    let one = call(1);
    for threads in [2, 3, 8] {
        assert!(call(threads) == one, "{threads} threads");
    }
}

#[test]
fn edm_scales_have_their_closed_forms() {
    for sigma in [0.01, 0.3, 0.7, 4.0, 80.0] {
        let (s, d) = (EdmScales::new(sigma, 0.7), 0.7f64);
        // c_in makes the input's variance one, c_out the target's (Karras et al., 2022, appendix B.6).
        assert!((s.input.powi(2) * (d * d + sigma * sigma) - 1.0).abs() < 1e-12);
        let target = (1.0 - s.skip).powi(2) * d * d + s.skip.powi(2) * sigma * sigma;
        assert!((target - s.out.powi(2)).abs() < 1e-12);
        assert!((s.noise - sigma.ln() / 4.0).abs() < 1e-15);
    }
}

#[test]
fn an_untrained_edm_network_is_the_gaussian_denoiser() {
    // F = 0, so D = c_skip x, the posterior mean of Gaussian data with standard deviation sigma_data; under VP likewise
    // in z / alpha.
    let denoiser = Edm::new(tiny().init(&Device::flex(), 1).unwrap(), 0.7);
    let schedule = Schedule::vp(Betas::Cosine { steps: 100 });
    let x = picture(1, 9, 8);
    for level in [edm_level(0.8), schedule.level(40.0)] {
        let out = denoiser.x0_hat(tensor(&x, 8, &Device::flex()), &[level], &Condition::default()).unwrap();
        let r2 = level.ratio().powi(2);
        for (out, z) in values(out).iter().zip(&x) {
            let exact = 0.49 / (0.49 + r2) * f64::from(*z) / level.alpha;
            assert!((f64::from(*out) - exact).abs() < 1e-5);
        }
    }
}

#[test]
fn an_untrained_v_network_predicts_alpha_z() {
    let denoiser = Headed::new(tiny().init(&Device::flex(), 1).unwrap(), Head::V);
    let level = Schedule::vp(Betas::Cosine { steps: 100 }).level(40.0);
    let x = picture(1, 9, 8);
    let out = denoiser.x0_hat(tensor(&x, 8, &Device::flex()), &[level], &Condition::default()).unwrap();
    assert!(values(out).iter().zip(&x).all(|(out, z)| (f64::from(*out) - level.alpha * f64::from(*z)).abs() < 1e-5));
}

#[test]
fn wrong_calls_are_errors() {
    let denoiser = Edm::new(tiny().init(&Device::flex(), 1).unwrap(), 0.7);
    let x = || tensor(&picture(2, 9, 8), 8, &Device::flex());
    let levels = [edm_level(1.0); 2];
    let message = |r: vipaint_core::Result<Tensor<4>>| r.err().unwrap().to_string();
    assert!(message(denoiser.x0_hat(x(), &levels, &Condition::class(3))).contains("class"));
    assert!(message(denoiser.x0_hat(x(), &levels[..1], &Condition::default())).contains("shape"));
}

#[test]
fn configurations_that_cannot_be_built_name_the_field() {
    let cases: [(&str, Config); 9] = [
        ("size", Config { size: 12, patch: 8, ..tiny() }),
        ("size", Config { size: 1 << 40, ..tiny() }),
        ("widths", Config { widths: vec![], ..tiny() }),
        ("widths", Config { widths: vec![8, usize::MAX / 4 * 4], ..tiny() }),
        ("blocks", Config { blocks: vec![1], ..tiny() }),
        ("attention", Config { attention: vec![2], ..tiny() }),
        ("head_width", Config { head_width: 0, ..tiny() }),
        ("embedding", Config { embedding: 7, ..tiny() }),
        ("time_scale", Config { time_scale: f64::NAN, ..tiny() }),
    ];
    for (field, config) in cases {
        let error = config.blank(&Device::flex()).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn multiply_adds_are_counted() {
    let config = Config {
        size: 4,
        patch: 1,
        widths: vec![8],
        blocks: vec![1],
        attention: vec![],
        embedding: 4,
        classes: 0,
        ..tiny()
    };
    let edge = 2 * 9 * 8 * 16;
    let time = 2 * 4 * 4;
    let block = 16 * 9 * 8 * (8 + 8) + 4 * 16; // two 3x3 convolutions on 16 cells, and the modulation
    let up = 16 * (9 * 8 * (16 + 8) + 16 * 8) + 4 * 16; // reads the skip too
    let attention = 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8;
    assert_eq!(config.multiply_adds(), edge + time + 3 * block + up + attention);
    let (edge, time, block, attention) = ((8 + 1) * 16, 2 * 4, 2 * 8 * 16 + 16, 4 * 8 * 16);
    let joined = (2 * 16 + 8) * 16; // with its gradient, and that of the half that comes from the way down
    let up = 3 * 8 * 16 + 16 + joined;
    assert_eq!(config.outputs(), edge + time + 3 * block + up + attention);
}

/// Frozen layers go through other kernels (packed weights, Winograd), and give the same results up to their rounding.
#[test]
fn a_frozen_network_is_the_same_network() {
    let config = Config { size: 16, patch: 2, widths: vec![16, 32], blocks: vec![1, 1], attention: vec![1], ..tiny() };
    let open = random(&config, 5);
    let mut frozen = open.clone();
    frozen.pack();
    let run = |network: &UNet| {
        let x = tensor(&picture(3, 2, 16), 16, &Device::flex()).autodiff().require_grad();
        let y = network.forward(x.clone(), &[0.1, -0.4, 0.7], &[Some(0), None, Some(1)]);
        let mut gradients = (y.clone() * y.clone()).sum().backward();
        let dx = x.grad_remove(&mut gradients).unwrap();
        (values(y.inner()), values(dx))
    };
    let ((y, dx), (y_frozen, dx_frozen)) = (run(&open), run(&frozen));
    for (name, a, b) in [("output", y, y_frozen), ("gradient", dx, dx_frozen)] {
        let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        // Winograd F(4x4) loses about 5e-7 a layer relative to the largest value; a dozen layers, and the norms amplify.
        assert!(worst < 5e-5 * largest, "{name}: off by {worst} of {largest}");
    }
}
