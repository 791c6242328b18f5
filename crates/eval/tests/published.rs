//! The loss of VIPaint's latent-diffusion release, against the authors' own code on a tiny random latent-diffusion model:
//! `published/ldm.safetensors`, written by scripts/fixtures/published_ldm.py.

use std::sync::Arc;

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::Mask;
use vipaint_core::posterior::published::{Draws, terms};
use vipaint_core::posterior::{FitOptions, Keypoint, Perceptual, Posterior, Problem};
use vipaint_core::prior::{Autoencoder, Condition, Denoiser, Guidance, Prior};
use vipaint_core::schedule::{Betas, Level, Schedule};
use vipaint_eval::metrics::{Lpips, LpipsKind};
use vipaint_zoo::{RandomWeights, Source};

const SIDE: usize = 4;
const UP: usize = 4;
const HIDDEN: usize = 6;
const SAMPLES: usize = 5;
/// Single precision on both sides, in sums over a few thousand values.
const TOLERANCE: f32 = 1e-4;

fn tensor<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = RandomWeights::default().tensor(name, &shape).unwrap();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn conv(x: Tensor<4>, name: &str, channels: [usize; 2]) -> Tensor<4> {
    let weight = tensor(name, [channels[0], channels[1], 3, 3]);
    let weight = if x.is_autodiff() { weight.autodiff() } else { weight };
    conv2d(x, weight, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
}

struct Tiny;

impl Denoiser for Tiny {
    fn shape(&self) -> [usize; 3] {
        [3, SIDE, SIDE]
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], _: &Condition) -> vipaint_core::Result<Tensor<4>> {
        let column = |f: &dyn Fn(&Level) -> f64| {
            let values: Vec<f32> = levels.iter().map(|level| f(level) as f32).collect();
            Tensor::<4>::from_data(TensorData::new(values, [levels.len(), 1, 1, 1]), &Device::flex())
        };
        let plain = |x: Tensor<4>| if z.is_autodiff() { x.autodiff() } else { x };
        let time = column(&|level| level.t / 1000.0) * tensor("eps.time.bias", [HIDDEN]).reshape([1, HIDDEN, 1, 1]);
        let hidden = (conv(z.clone(), "eps.0.weight", [HIDDEN, 3]) + plain(time)).tanh();
        let eps = conv(hidden, "eps.1.weight", [3, HIDDEN]);
        Ok((z.clone() - eps * plain(column(&|level| level.sigma))) / plain(column(&|level| level.alpha)))
    }
}

struct Decoder;

impl Autoencoder for Decoder {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = z.dims();
        let up = z.reshape([batch * channels, height, 1, width]).repeat_dim(2, UP);
        let up = up.reshape([batch * channels, height * UP, width, 1]).repeat_dim(3, UP);
        conv(up.reshape([batch, channels, height * UP, width * UP]), "dec.weight", [3, 3]).tanh()
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        x
    }

    fn image_shape(&self, [channels, height, width]: [usize; 3]) -> [usize; 3] {
        [channels, height * UP, width * UP]
    }
}

/// The script's weights of LPIPS: weightings are not negative.
struct Weights;

impl Source for Weights {
    fn tensor(&self, name: &str, shape: &[usize]) -> vipaint_zoo::Result<Vec<f32>> {
        let values = RandomWeights::default().tensor(name, shape)?;
        Ok(if name.starts_with("lin") { values.into_iter().map(f32::abs).collect() } else { values })
    }
}

struct Look(Lpips);

impl Perceptual for Look {
    fn distance(&self, predicted: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        self.0.distance(predicted, y)
    }
}

struct Fixture<'a>(SafeTensors<'a>);

impl Fixture<'_> {
    fn values(&self, name: &str) -> Vec<f32> {
        let data = self.0.tensor(name).unwrap();
        data.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    /// A tensor `[a, b, c, d]`.
    fn tensor(&self, name: &str) -> Tensor<4> {
        let shape: [usize; 4] = self.0.tensor(name).unwrap().shape().try_into().unwrap();
        Tensor::from_data(TensorData::new(self.values(name), shape), &Device::flex())
    }

    fn posterior(&self, levels: [Level; 2]) -> Posterior {
        let leaf = |name: &str, k: usize| self.tensor(name).slice_dim(0, k..k + 1).autodiff().require_grad();
        let keypoint = |k: usize| Keypoint {
            level: levels[k],
            mu: leaf("mu", k),
            log_tau: leaf("log_tau", k),
            gamma_logit: (k > 0).then(|| leaf("gamma_logit", k)),
        };
        Posterior { keypoints: vec![keypoint(0), keypoint(1)], eta: 0.2f64.sqrt(), unit_top: true }
    }
}

fn problem(fixture: &Fixture) -> Problem {
    let schedule = Schedule::vp(Betas::ScaledLinear { start: 0.0015, end: 0.0195, steps: 1000 });
    let mut prior = Prior::new("tiny", Arc::new(Tiny), schedule, 1.0);
    prior.autoencoder = Arc::new(Decoder);
    let image = [3, SIDE * UP, SIDE * UP];
    let mask = Mask::new(&fixture.values("known"), image, &Device::flex()).unwrap();
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.05 };
    let measurement = Measurement::new(Arc::new(mask), fixture.tensor("y"), likelihood).unwrap();
    let mut problem = Problem::new(prior, measurement, Guidance::default()).unwrap();
    let lpips = Lpips::new(LpipsKind::Vgg, &Weights, &Weights, false, [image[1], image[2]], &Device::flex()).unwrap();
    problem.perceptual = Some(Arc::new(Look(lpips)));
    problem
}

fn close(got: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let error = got.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert_eq!(got.len(), expected.len());
    assert!(largest > 0.0 && error <= TOLERANCE * largest, "{what}: {error} of {largest}");
}

#[test]
fn loss_and_gradients_are_those_of_the_authors_code() {
    let bytes = include_bytes!("published/ldm.safetensors");
    let fixture = Fixture(SafeTensors::deserialize(bytes).unwrap());
    let problem = problem(&fixture);
    let levels = [550.0, 400.0].map(|t| problem.prior.schedule.level(t));
    let q = fixture.posterior(levels);
    let draws = Draws {
        top: fixture.tensor("top"),
        upper: fixture.tensor("upper"),
        below: vec![fixture.tensor("below")],
        u: f64::from(fixture.values("u")[0]),
    };
    let options =
        FitOptions { mc_samples: SAMPLES, l1: 100.0 / (2.0 * 0.566f64.powi(2)), lpips: 100.0, ..FitOptions::default() };
    let found = terms(&q, &problem, &problem.guidance, &options, &draws).unwrap();
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
