//! Diffusion priors: what a denoiser is, and what else a prior needs to be used.

pub mod analytic;
mod autoencoder;
mod condition;
mod head;
mod subspace;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{Device, Tensor, TensorData};

pub use autoencoder::{Autoencoder, Identity};
pub use condition::{Condition, Context, Guidance};
pub use head::Head;
pub use text::{ReadText, TextEncoder};

use crate::{Level, Result, Schedule};

/// `x0_hat = D(z_t, t, c) = E[z_0 | z_t, c]`, whatever a network predicts inside.
pub trait Denoiser: Send + Sync {
    /// Shape `[channels, height, width]` of `z`.
    fn shape(&self) -> [usize; 3];

    /// The posterior mean of `z_0`, unclipped, differentiable in `z`.
    ///
    /// `z` is `[batch, channels, height, width]` in the schedule's scaling (`alpha_t z_0 + sigma_t eps`), `levels` has
    /// one level for each sample of the batch. The result for a sample must not depend on the others.
    ///
    /// # Errors
    /// When the network cannot be evaluated ([`crate::Error::Denoiser`]).
    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> Result<Tensor<4>>;

    /// What failed where no error could be returned, in a backward pass (the gradients are NaN then).
    ///
    /// # Errors
    /// That failure.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether features are to be computed again when a gradient is taken, instead of being held; who cannot do so ignores it.
    /// Results are the same.
    fn recompute(&self, _on: bool) {}
}

/// How often the network was evaluated, in samples (a batch of 8 counts 8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Calls {
    /// Forward evaluations.
    pub denoiser: u64,
    /// Those of them whose vector-Jacobian product was taken too.
    pub vjp: u64,
}

impl Calls {
    /// Cost in forward calls: a vector-Jacobian product counts as two more.
    pub fn cost(&self) -> u64 {
        self.denoiser + 2 * self.vjp
    }
}

impl std::ops::Sub for Calls {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self { denoiser: self.denoiser - earlier.denoiser, vjp: self.vjp - earlier.vjp }
    }
}

/// Bytes that calls hold for each sample until their gradient is taken, weights not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// A call of the denoiser.
    pub denoiser: u64,
    /// The same if it [recomputes](Denoiser::recompute) its features: what a call holds, and what is added while the gradient of
    /// one is taken.
    pub recomputed: [u64; 2],
    /// A call of the decoder; 0 for pixel priors.
    pub decoder: u64,
    /// Whether the first call makes something that stays, such as another form of the weights.
    pub late: bool,
}

/// A denoiser with its schedule and everything a sampler may ask about it.
#[derive(Clone)]
pub struct Prior {
    /// Name or path, for messages and reports.
    pub name: String,
    /// Hash of the weights, to recognise the prior a posterior was fitted under.
    pub hash: String,
    /// The network, or an analytic denoiser.
    pub denoiser: Arc<dyn Denoiser>,
    /// Its noise schedule.
    pub schedule: Schedule,
    /// From the denoiser's space to pictures.
    pub autoencoder: Arc<dyn Autoencoder>,
    /// Standard deviation of `z_0`, the `s_d` of the widened likelihood.
    pub data_std: f64,
    /// What a latent prior's `Dec(x0_hat)` does not know of a picture: pairs of a noise-to-signal ratio `sigma / alpha`,
    /// rising, and the root mean square error, a value of a picture, measured on held-out ones. Empty for pixel priors.
    pub decoded_error: Vec<(f64, f64)>,
    /// What reads prompts, if the prior is conditioned on text.
    pub text: Option<Arc<dyn TextEncoder>>,
    /// Class names, if the prior is class-conditional.
    pub classes: Vec<String>,
    /// The range of picture values, usually `(-1, 1)`.
    pub value_range: (f64, f64),
    /// Memory that calls need, where the architecture tells.
    pub footprint: Option<Footprint>,
    /// Where its weights are, and what it is asked about must be (a plain device, not its autodiff twin).
    pub device: Device,
    denoiser_calls: Arc<AtomicU64>,
    vjp_calls: Arc<AtomicU64>,
}

impl Prior {
    /// A pixel-space prior on the CPU, without classes and with values in `[-1, 1]`; set the public fields to say otherwise.
    pub fn new(name: impl Into<String>, denoiser: Arc<dyn Denoiser>, schedule: Schedule, data_std: f64) -> Self {
        Self {
            name: name.into(),
            hash: String::new(),
            denoiser,
            schedule,
            autoencoder: Arc::new(Identity),
            data_std,
            decoded_error: Vec::new(),
            text: None,
            classes: Vec::new(),
            value_range: (-1.0, 1.0),
            footprint: None,
            device: Device::flex(),
            denoiser_calls: Arc::default(),
            vjp_calls: Arc::default(),
        }
    }

    /// Shape `[channels, height, width]` of `z`.
    pub fn shape(&self) -> [usize; 3] {
        self.denoiser.shape()
    }

    /// The standard deviation, in pictures, by which the likelihood of `Dec(x0_hat)` is widened at a level: the
    /// [measured error](Self::decoded_error); without measurements that of Gaussian data.
    ///
    /// Errors of a picture of `N` values that are decoded from `n < N` are not independent: to first order they are `J e` with
    /// `n` errors `e` of variance `r^2`, so that `N error^2 = r^2 tr(J^T J)`. A likelihood that takes the values for independent
    /// counts each error of a latent `N / n` times, and Tweedie's step with it is as many times too long. So the variance is
    /// multiplied by `N / n`.
    pub fn spread(&self, level: Level) -> f64 {
        let size = |shape: [usize; 3]| shape.iter().product::<usize>() as f64;
        let shared = (size(self.autoencoder.image_shape(self.shape())) / size(self.shape())).max(1.0).sqrt();
        self.measured_error(level).map_or_else(|| level.posterior_std(self.data_std), |error| shared * error)
    }

    /// The [measured error](Self::decoded_error) at a level, between two measurements in proportion (on logarithmic axes) and
    /// beyond them the outermost one; `None` without measurements.
    pub(crate) fn measured_error(&self, level: Level) -> Option<f64> {
        let (table, ratio) = (&self.decoded_error, level.ratio());
        let above = table.partition_point(|(known, _)| *known < ratio);
        match (above.checked_sub(1).map(|i| table[i]), table.get(above)) {
            (None, None) => None,
            (None, Some(&(_, error))) | (Some((_, error)), None) => Some(error),
            (Some((r0, e0)), Some(&(r1, e1))) => {
                let share = (ratio / r0).ln() / (r1 / r0).ln();
                Some((e0.ln() + share * (e1 / e0).ln()).exp())
            }
        }
    }

    /// Noise-to-signal ratios, falling, at which the variance of the [measured error](Self::decoded_error) is
    /// `k / (k + 1), ..., 1 / (k + 1)` of the largest measured one; `None` where they were not measured.
    pub(crate) fn ratios_of_error(&self, k: usize) -> Option<Vec<f64>> {
        let largest = self.decoded_error.last()?.1.powi(2);
        let ratio = |share: f64| {
            let reached = |(_, error): &(f64, f64)| error.powi(2) >= share * largest;
            let above = self.decoded_error.iter().position(reached)?;
            let ((r0, e0), (r1, e1)) = (*self.decoded_error.get(above.checked_sub(1)?)?, self.decoded_error[above]);
            let along = (share * largest / e0.powi(2)).ln() / (e1 / e0).powi(2).ln();
            Some(r0 * (r1 / r0).powf(along))
        };
        let ratios: Option<Vec<f64>> = (1..=k).rev().map(|i| ratio(i as f64 / (k + 1) as f64)).collect();
        ratios.filter(|ratios| ratios.windows(2).all(|pair| pair[0] > pair[1]))
    }

    /// Evaluations so far.
    pub fn calls(&self) -> Calls {
        Calls { denoiser: self.denoiser_calls.load(Ordering::Relaxed), vjp: self.vjp_calls.load(Ordering::Relaxed) }
    }

    /// Whether the network is to compute its features again when a gradient is taken, see [`Denoiser::recompute`].
    pub fn recompute(&self, on: bool) {
        self.denoiser.recompute(on);
    }

    /// Makes what the first call would, by one on nothing that is not counted, so that memory can be measured before the work. Does
    /// nothing for priors that hold everything when they are loaded.
    pub fn warm_up(&self) {
        if self.footprint.is_some_and(|footprint| footprint.late) {
            let [c, h, w] = self.shape();
            let nothing = Tensor::zeros([1, c, h, w], &self.device);
            // What fails here fails again in the work, which reports it.
            let _ = self.denoiser.x0_hat(nothing.clone(), &[self.schedule.top()], &Condition::default());
            drop(self.autoencoder.decode(nothing));
        }
    }

    /// What failed in a backward pass or in the autoencoder, neither of which can return it: to be asked after those.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<()> {
        self.denoiser.check()?;
        self.autoencoder.check()
    }

    /// The same prior with a count of its own, starting at zero: for runs side by side.
    #[must_use]
    pub fn counting_anew(&self) -> Self {
        Self { denoiser_calls: Arc::default(), vjp_calls: Arc::default(), ..self.clone() }
    }

    /// Guided `x0_hat` (Ho and Salimans, 2022): `D(z, n) + cfg_scale (D(z, c) - D(z, n))`, with `n` the negative condition.
    ///
    /// One call for each sample at `cfg_scale` 1 or with `c = n`, else two. A call on a tracked tensor is
    /// counted with one vector-Jacobian product, which every caller takes exactly once.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn x0_hat(&self, z: Tensor<4>, levels: &[Level], guidance: &Guidance) -> Result<Tensor<4>> {
        let plain = guidance.cfg_scale == 1.0 || guidance.condition == guidance.negative;
        let calls = (levels.len() * if plain { 1 } else { 2 }) as u64;
        self.denoiser_calls.fetch_add(calls, Ordering::Relaxed);
        if z.is_tracked() {
            self.vjp_calls.fetch_add(calls, Ordering::Relaxed);
        }
        if plain {
            return self.denoiser.x0_hat(z, levels, &guidance.condition);
        }
        let with = self.denoiser.x0_hat(z.clone(), levels, &guidance.condition)?;
        let without = self.denoiser.x0_hat(z, levels, &guidance.negative)?;
        Ok(without.clone() + (with - without) * guidance.cfg_scale)
    }

    /// [`Self::x0_hat`] with all samples at one level.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn x0_hat_at(&self, z: Tensor<4>, level: Level, guidance: &Guidance) -> Result<Tensor<4>> {
        let levels = vec![level; z.dims()[0]];
        self.x0_hat(z, &levels, guidance)
    }
}

/// `f` of every level, as a tensor that broadcasts over `z`. // [batch, 1, 1, 1]
pub fn per_sample(levels: &[Level], like: &Tensor<4>, f: impl Fn(&Level) -> f64) -> Tensor<4> {
    let values: Vec<f32> = levels.iter().map(|level| f(level) as f32).collect();
    Tensor::from_data(TensorData::new(values, [levels.len(), 1, 1, 1]), &like.device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_goes_through_the_measurements_and_is_the_formulas_without() {
        let gaussian = analytic::Gaussian::new(&[0.0; 4], &[0.49; 4], [1, 2, 2], &Device::flex()).unwrap();
        let schedule = Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 };
        let mut prior = Prior::new("test", Arc::new(gaussian), schedule, 0.7);
        let at = |prior: &Prior, ratio: f64| prior.spread(prior.schedule.level_at_ratio(ratio));
        let formula = 0.7 * 2.0 / (0.7f64.powi(2) + 4.0).sqrt();
        assert!((at(&prior, 2.0) - formula).abs() < 1e-9);
        prior.decoded_error = vec![(0.1, 0.05), (1.0, 0.2), (10.0, 0.4)];
        for (ratio, spread) in [(0.03, 0.05), (0.1, 0.05), (1.0, 0.2), (10.0, 0.4), (30.0, 0.4)] {
            assert!((at(&prior, ratio) - spread).abs() < 1e-6, "{ratio}");
        }
        // The geometric mean half-way, on logarithmic axes.
        assert!((at(&prior, 10f64.powf(-0.5)) - 0.1).abs() < 1e-6);
        // A quarter of the largest variance was measured at 1, half of it is half-way to the next on logarithmic axes.
        let ratios = prior.ratios_of_error(3).unwrap();
        assert!((ratios[1] - 10f64.powf(0.5)).abs() < 1e-9 && (ratios[2] - 1.0).abs() < 1e-9, "{ratios:?}");
        prior.decoded_error.clear();
        assert_eq!(prior.ratios_of_error(2), None);
    }
}
