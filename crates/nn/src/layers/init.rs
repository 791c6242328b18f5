//! Where the weights of new layers come from.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of weights: zeros made on first use (for layers about to be loaded), or seeded random numbers.
#[derive(Debug)]
pub struct Init {
    device: Device,
    rng: Option<ChaCha8Rng>,
}

impl Init {
    /// All weights zero, and none allocated before it is used.
    pub fn blank(device: &Device) -> Self {
        Self { device: device.clone(), rng: None }
    }

    /// Weights that depend on `seed` and the order of construction only.
    pub fn seeded(device: &Device, seed: u64) -> Self {
        Self { device: device.clone(), rng: Some(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// Uniform with variance `1 / fan_in` (LeCun), so that unit-variance inputs give unit-variance outputs.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], fan_in: usize) -> Param<Tensor<D>> {
        let Some(rng) = &mut self.rng else { return self.constant(shape, 0.0) };
        let bound = (3.0 / fan_in as f64).sqrt() as f32;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
        Param::from_data(TensorData::new(values, shape), &self.device)
    }

    /// One value everywhere.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        let init = move |device: &Device, require_grad: bool| {
            let tensor = Tensor::full(shape, value, device);
            if require_grad { tensor.require_grad() } else { tensor }
        };
        Param::uninitialized(ParamId::new(), init, self.device.clone(), true, shape.into())
    }
}
