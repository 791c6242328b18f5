//! Blended latent diffusion (Avrahami, Fried, Lischinski, SIGGRAPH 2023, algorithm 1, without its optimisation of the decoder):
//! after every step latents of known places are replaced by noised latents of the measured picture.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{Draw, Method, Sampler, Samples, from_map, in_batches, to_map};
use crate::chain::reverse;
use crate::event::Observer;
use crate::operator::values;
use crate::posterior::Problem;
use crate::{Error, Result};

/// Options of blended latent diffusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlendedOptions {
    /// Network calls for each sample (the paper: 50).
    pub steps: usize,
    /// Scale of the noise added in each step (the paper: 0, DDIM).
    pub eta: f64,
}

impl Default for BlendedOptions {
    fn default() -> Self {
        Self { steps: 50, eta: 0.0 }
    }
}

/// Blended latent diffusion.
pub struct Blended {
    options: BlendedOptions,
}

impl Blended {
    /// With these options.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn new(options: BlendedOptions) -> Result<Self> {
        super::two_levels("steps", options.steps)?;
        super::in_unit("eta", options.eta)?;
        Ok(Self { options })
    }
}

pub(super) const METHOD: Method = Method {
    name: "blended",
    about: "blended latent diffusion (Avrahami et al., 2023), for masks",
    defaults: || to_map(&BlendedOptions::default()),
    build: |map| Ok(Box::new(Blended::new(from_map(map)?)?)),
};

impl Sampler for Blended {
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples> {
        let prior = &problem.prior;
        let known = latent_mask(problem)?;
        let hidden = known.clone() * -1.0 + 1.0;
        let filled = problem.measurement.operator.rough_inverse(problem.measurement.y.clone());
        let measured = prior.autoencoder.encode(filled) * known.clone();
        prior.check()?;
        let grid = prior.schedule.full_grid(self.options.steps);
        in_batches(problem, draw, grid.len(), observer, |_, noise, tick| {
            let (shape, device) = (prior.shape(), problem.device());
            let mut z: Tensor<4> = noise.normal(shape, &device) * prior.schedule.start_std();
            for (i, from) in grid.iter().enumerate() {
                let x0_hat = prior.x0_hat_at(z.clone(), *from, &problem.guidance)?;
                // After the last step nothing is left of the noise.
                let (own, alpha, sigma) = match grid.get(i + 1) {
                    None => (x0_hat, 1.0, 0.0),
                    Some(to) => {
                        let step = reverse(*from, *to, self.options.eta);
                        let eps = noise.normal(shape, &device) * step.std;
                        (z * step.z + x0_hat * step.x0 + eps, to.alpha, to.sigma)
                    }
                };
                let eps = noise.normal(shape, &device) * known.clone() * sigma;
                z = measured.clone() * alpha + eps + own * hidden.clone();
                if tick().is_break() && i + 1 < grid.len() {
                    return Err(Error::Interrupted);
                }
            }
            Ok(z)
        })
    }
}

/// 1 for latents all of whose pixels are known, `[1, 1, height, width]`.
fn latent_mask(problem: &Problem) -> Result<Tensor<4>> {
    let operator = &problem.measurement.operator;
    let Some(mask) = operator.linear().filter(|o| o.kind() == "mask") else {
        return Err(Error::option("method", "blended needs a mask; use vipaint, dps or psld"));
    };
    let [_, h, w] = problem.prior.shape();
    let [channels, height, width] = operator.input_shape();
    let (known, mut latent) = (values(&mask.spectrum()), vec![1.0f32; h * w]);
    for (i, known) in known.iter().enumerate().take(channels * height * width) {
        let (y, x) = (i / width % height, i % width);
        let cell = &mut latent[y * h / height * w + x * w / width];
        *cell = cell.min(*known);
    }
    Ok(Tensor::from_data(TensorData::new(latent, [1, 1, h, w]), &problem.device()))
}
