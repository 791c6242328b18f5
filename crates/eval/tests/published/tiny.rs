//! The tiny random latent model of scripts/fixtures/published_*.py.

use std::sync::Arc;

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::Mask;
use vipaint_core::posterior::{Perceptual, Problem};
use vipaint_core::prior::{Autoencoder, Condition, Denoiser, Guidance, Prior};
use vipaint_core::schedule::{Level, Schedule};
use vipaint_eval::metrics::{Lpips, LpipsKind};
use vipaint_zoo::{RandomWeights, Source};

pub const SIDE: usize = 4;
const UP: usize = 4;
const HIDDEN: usize = 6;
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

/// Predicts noise, or velocities with a class that is a shift of them.
struct Tiny {
    velocity: bool,
}

impl Denoiser for Tiny {
    fn shape(&self) -> [usize; 3] {
        [3, SIDE, SIDE]
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> vipaint_core::Result<Tensor<4>> {
        let column = |f: &dyn Fn(&Level) -> f64| {
            let values: Vec<f32> = levels.iter().map(|level| f(level) as f32).collect();
            Tensor::<4>::from_data(TensorData::new(values, [levels.len(), 1, 1, 1]), &Device::flex())
        };
        let plain = |x: Tensor<4>| if z.is_autodiff() { x.autodiff() } else { x };
        let scale = if self.velocity { 1.0 } else { 1e-3 };
        let time = column(&|level| level.t * scale) * tensor("eps.time.bias", [HIDDEN]).reshape([1, HIDDEN, 1, 1]);
        let hidden = (conv(z.clone(), "eps.0.weight", [HIDDEN, 3]) + plain(time)).tanh();
        let raw = conv(hidden, "eps.1.weight", [3, HIDDEN]);
        let raw = match condition.class {
            Some(_) => raw + plain(tensor("eps.class.bias", [3]).reshape([1, 3, 1, 1])),
            None => raw,
        };
        let alpha = column(&|level| if self.velocity { 1.0 } else { level.alpha });
        Ok((z.clone() - raw * plain(column(&|level| level.sigma))) / plain(alpha))
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

    /// Means of squares.
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let rows = x.reshape([batch * channels, height, width / UP, UP]).mean_dim(3);
        let cells = rows.reshape([batch * channels, height / UP, UP, width / UP]).mean_dim(2);
        cells.reshape([batch, channels, height / UP, width / UP])
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

    fn where_known(&self, predicted: Tensor<4>, y: Tensor<4>, known: Tensor<4>) -> Tensor<1> {
        self.0.where_known(predicted, y, &known)
    }
}

pub struct Fixture<'a>(pub SafeTensors<'a>);

impl Fixture<'_> {
    pub fn values(&self, name: &str) -> Vec<f32> {
        let data = self.0.tensor(name).unwrap();
        data.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    /// A tensor `[a, b, c, d]`.
    pub fn tensor(&self, name: &str) -> Tensor<4> {
        let shape: [usize; 4] = self.0.tensor(name).unwrap().shape().try_into().unwrap();
        Tensor::from_data(TensorData::new(self.values(name), shape), &Device::flex())
    }

    /// Row `k` of a tensor, tracked.
    pub fn leaf(&self, name: &str, k: usize) -> Tensor<4> {
        self.tensor(name).slice_dim(0, k..k + 1).autodiff().require_grad()
    }
}

/// Of velocities under flow matching, of noise under any other schedule.
pub fn problem(fixture: &Fixture, schedule: Schedule, guidance: Guidance) -> Problem {
    let velocity = matches!(schedule, Schedule::Flow { .. });
    let mut prior = Prior::new("tiny", Arc::new(Tiny { velocity }), schedule, 1.0);
    prior.autoencoder = Arc::new(Decoder);
    let image = [3, SIDE * UP, SIDE * UP];
    let mask = Mask::new(&fixture.values("known"), image, &Device::flex()).unwrap();
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.05 };
    let measurement = Measurement::new(Arc::new(mask), fixture.tensor("y"), likelihood).unwrap();
    let mut problem = Problem::new(prior, measurement, guidance).unwrap();
    let lpips = Lpips::new(LpipsKind::Vgg, &Weights, &Weights, false, [image[1], image[2]], &Device::flex()).unwrap();
    problem.perceptual = Some(Arc::new(Look(lpips)));
    problem
}

pub fn close(got: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let error = got.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert_eq!(got.len(), expected.len());
    assert!(largest > 0.0 && error <= TOLERANCE * largest, "{what}: {error} of {largest}");
}
