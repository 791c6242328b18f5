//! Networks as denoisers.

use burn::tensor::Tensor;
use vipaint_core::prior::{Condition, Denoiser, Head, per_sample};
use vipaint_core::{Error, Level, Result};

use crate::Network;

/// The preconditioning of Karras et al. (2022), table 1, at noise level `sigma` of `x + sigma eps`:
/// `D(x) = c_skip x + c_out F(c_in x, c_noise)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdmScales {
    /// `s_d^2 / (sigma^2 + s_d^2)`.
    pub skip: f64,
    /// `sigma s_d / sqrt(sigma^2 + s_d^2)`.
    pub out: f64,
    /// `1 / sqrt(sigma^2 + s_d^2)`.
    pub input: f64,
    /// `ln(sigma) / 4`, the network's time input.
    pub noise: f64,
}

impl EdmScales {
    /// At `sigma > 0`, for data of standard deviation `sigma_data`.
    pub fn new(sigma: f64, sigma_data: f64) -> Self {
        let total = sigma * sigma + sigma_data * sigma_data;
        Self {
            skip: sigma_data * sigma_data / total,
            out: sigma * sigma_data / total.sqrt(),
            input: 1.0 / total.sqrt(),
            noise: sigma.ln() / 4.0,
        }
    }
}

/// A network trained under [`EdmScales`], under any schedule: `z / alpha` has noise level `sigma / alpha`.
#[derive(Debug)]
pub struct Edm<N> {
    network: N,
    sigma_data: f64,
}

impl<N: Network> Edm<N> {
    /// Wraps a network trained on data of standard deviation `sigma_data`.
    pub fn new(network: N, sigma_data: f64) -> Self {
        Self { network, sigma_data }
    }
}

impl<N: Network> Denoiser for Edm<N> {
    fn shape(&self) -> [usize; 3] {
        self.network.shape()
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let scales = |l: &Level| EdmScales::new(l.ratio(), self.sigma_data);
        let input = z.clone() * per_sample(levels, &z, |l| scales(l).input / l.alpha);
        let time: Vec<f64> = levels.iter().map(|l| scales(l).noise).collect();
        let raw = call(&self.network, input, &time, condition)?;
        let skip = per_sample(levels, &z, |l| scales(l).skip / l.alpha);
        let out = per_sample(levels, &z, |l| scales(l).out);
        Ok(z * skip + raw * out)
    }
}

/// A network whose raw output is a [`Head`] at `z`, and whose time input is the schedule's own time.
#[derive(Debug)]
pub struct Headed<N> {
    network: N,
    head: Head,
}

impl<N: Network> Headed<N> {
    /// Wraps a network that predicts `head`.
    pub fn new(network: N, head: Head) -> Self {
        Self { network, head }
    }
}

impl<N: Network> Denoiser for Headed<N> {
    fn shape(&self) -> [usize; 3] {
        self.network.shape()
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>> {
        let time: Vec<f64> = levels.iter().map(|l| l.t).collect();
        let raw = call(&self.network, z.clone(), &time, condition)?;
        Ok(self.head.x0_hat(raw, z, levels))
    }
}

/// The raw call, after checking what a network itself takes for granted; without what else it puts out.
fn call<N: Network>(network: &N, input: Tensor<4>, time: &[f64], condition: &Condition) -> Result<Tensor<4>> {
    let [c, h, w] = network.shape();
    let (expected, got) = ([time.len(), c, h, w], input.dims());
    if expected != got {
        return Err(Error::Shape { what: "denoiser input", expected: expected.to_vec(), got: got.to_vec() });
    }
    if let Some(class) = condition.class
        && class >= network.classes()
    {
        return Err(Error::option("class", format!("{class} is out of range; the prior has {}", network.classes())));
    }
    let conditions = vec![condition.clone(); time.len()];
    network.check(&conditions).map_err(Error::Denoiser)?;
    let raw = network.forward(input, time, &conditions);
    // A learned variance comes after the prediction.
    Ok(if raw.dims()[1] > c { raw.narrow(1, 0, c) } else { raw })
}
