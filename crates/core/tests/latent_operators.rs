//! Every operator through a decoder, with a text and guidance: Gaussian latents whose mean a text names, a decoder that saturates.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, to_vec, vp};
use rand::RngExt;
use vipaint_core::event::silent;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::{Noise, stream};
use vipaint_core::operator::{KINDS, Setting, settings};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::{Autoencoder, Condition, Context, Denoiser, Guidance, Prior, per_sample};
use vipaint_core::sampler::{Draw, method};
use vipaint_core::{Level, Result};

const LATENT: [usize; 3] = [4, 8, 8];
const IMAGE: [usize; 3] = [3, 16, 16];

/// `z_0 ~ N(m, I)` with `m` the first number of the text's embedding in every place, 0 without a text.
struct Told;

impl Denoiser for Told {
    fn shape(&self) -> [usize; 3] {
        LATENT
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let mean = condition.context.as_ref().map_or(0.0, |context| f64::from(context.tokens[0]));
        let alpha = per_sample(levels, &z, |l| l.alpha);
        let gain = per_sample(levels, &z, |l| l.alpha / (l.alpha.powi(2) + l.sigma.powi(2)));
        Ok((z - alpha * mean) * gain + mean)
    }
}

/// Random mixtures of latent channels for each pixel of a 2x2 block, through a `tanh`.
struct Decoder {
    mixture: Tensor<2>, // [4, 3 2 2]
}

impl Decoder {
    fn new() -> Self {
        let mut rng = stream(3, 70, 0);
        let mixture: Vec<f32> = (0..48).map(|_| rng.random_range(-0.8..0.8)).collect();
        Self { mixture: Tensor::from_data(TensorData::new(mixture, [4, 12]), &device()) }
    }
}

impl Autoencoder for Decoder {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let b = z.dims()[0];
        let mixed = z.permute([0, 2, 3, 1]).reshape([b * 64, 4]).matmul(self.mixture.clone()).tanh();
        // [b, y, x, c, dy, dx] to [b, c, y, dy, x, dx]
        mixed.reshape([b, 8, 8, 3, 2, 2]).permute([0, 3, 1, 4, 2, 5]).reshape([b, 3, 16, 16])
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let b = x.dims()[0];
        let blocks = x.reshape([b, 3, 8, 2, 8, 2]).permute([0, 2, 4, 1, 3, 5]).reshape([b * 64, 12]);
        blocks.matmul(self.mixture.clone().transpose()).reshape([b, 8, 8, 4]).permute([0, 3, 1, 2])
    }

    fn image_shape(&self, _: [usize; 3]) -> [usize; 3] {
        IMAGE
    }
}

fn prior() -> Prior {
    let mut prior = Prior::new("told", Arc::new(Told), vp(), 1.0);
    prior.autoencoder = Arc::new(Decoder::new());
    prior.decoded_error = [(0.05, 0.02), (0.3, 0.13), (1.0, 0.32), (3.0, 0.43), (30.0, 0.46)].to_vec();
    prior
}

fn text(mean: f32) -> Condition {
    Condition::context(Context { tokens: vec![mean], shape: [1, 1], pooled: Vec::new() })
}

fn draw(name: &str, options: &[(&str, &str)], problem: &Problem) -> Tensor<4> {
    let sampler = method(name).unwrap().with(options.iter().copied()).unwrap();
    sampler.sample(problem, &Draw { seed: 1, indices: 0..2, batch: 2 }, &mut silent()).unwrap().images.unwrap()
}

/// Guided paths by themselves, whose moves come from the denoiser's own covariance.
const KRYLOV: [(&str, &str); 5] =
    [("particles", "1"), ("resample_below", "0"), ("correction", "krylov"), ("spacing", "time"), ("path_steps", "10")];

/// Samples explain what was measured far better than the same prior does with the same text, under every setting of every operator,
/// for VIPaint and DPS, with a text and guidance and without; and the text is heard.
#[test]
fn every_operator_through_a_decoder_with_a_text() {
    let few = [
        ("k", "1"),
        ("iterations", "6"),
        ("refine_steps", "10"),
        ("init_samples", "2"),
        ("init_steps", "8"),
        ("weights", "false"),
    ];
    let prior = prior();
    let z = Noise::new(9, 3, [0]).normal(LATENT, &device()) + 0.4;
    let truth = prior.autoencoder.decode(z);
    let all = settings(IMAGE, prior.value_range, 3, &device()).unwrap();
    assert!(KINDS.iter().all(|kind| all.iter().any(|s| s.operator.kind() == kind.name)));
    for Setting { name, operator, scale, .. } in all {
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.1 * scale };
        let measurement = Measurement::simulate(operator.clone(), truth.clone(), likelihood, 5).unwrap();
        let residual = |x: &Tensor<4>| {
            let gap = measurement.operator.apply(x.clone()) - measurement.y.clone();
            to_vec(gap).iter().map(|v| f64::from(v * v)).sum::<f64>()
        };
        let measured = operator
            .linear()
            .map_or(measurement.y.clone() * 0.0 + 1.0, |linear| linear.spectrum().greater_elem(0.0).float());
        let noise = 2.0 * likelihood.sigma_y.powi(2) * f64::from(measured.sum().into_scalar::<f32>());
        // A compressed picture of noise changes by whole steps of rounding.
        let share = if operator.linear().is_some() { 0.5 } else { 0.75 };
        let problem = |guidance| Problem::new(prior.counting_anew(), measurement.clone(), guidance).unwrap();
        let prompted = problem(Guidance::new(text(0.4), 2.0));
        let unaware = residual(&draw("unconditional", &[("steps", "10"), ("update", "ancestral")], &prompted));
        let plain = draw("vipaint", &few, &problem(Guidance::default()));
        let told = draw("vipaint", &few, &prompted);
        let dps = draw("dps", &[("steps", "30"), ("zeta", "2")], &prompted);
        // Without a single gradient of the network.
        let walk = problem(Guidance::new(text(0.4), 2.0));
        let krylov = draw("vipaint", &KRYLOV, &walk);
        assert_eq!(walk.prior.calls().vjp, 0);
        for (what, sample, share) in
            [("told", &told, share), ("plain", &plain, share), ("krylov", &krylov, share), ("dps", &dps, 0.9)]
        {
            assert_eq!(sample.dims(), [2, 3, 16, 16]);
            let own = residual(sample);
            // Where little is measured the noise alone is near what the prior explains. A residual of NaN fails.
            assert!(own < (share * unaware).max(1.5 * noise), "{name}, {what}: {own} against {unaware} without data");
        }
        assert_ne!(to_vec(told), to_vec(plain), "{name}: the text is not heard");
    }
}
