//! A training run, written down.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vipaint_eval::reader;
use vipaint_zoo::{kl_autoencoder, text_unet, unet};

use crate::data::Source;
use crate::{Error, Objective, Result};

/// A recipe. `deny_unknown_fields` everywhere: a misspelt key is an error, not a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the prior.
    pub name: String,
    /// Seed of weights, data order, noise and class dropout.
    pub seed: u64,
    /// How many training pictures are shown in all.
    pub images: u64,
    /// A file of trained weights of the same network to start from, such as an earlier run's, with averages and moments anew; without
    /// it, weights are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Data.
    pub data: Source,
    /// Network.
    pub network: Model,
    /// Loss.
    pub objective: Objective,
    /// Optimiser.
    pub optimizer: Optimizer,
    /// What is written on the way.
    pub output: Output,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum Model {
    /// A pixel-space prior.
    Unet(unet::Config),
    /// A text-conditioned latent prior.
    TextUnet {
        /// Text encoder and denoiser.
        network: text_unet::Config,
        /// The file of the trained autoencoder.
        autoencoder: PathBuf,
        /// Shape `[channels, height, width]` of the pictures.
        pictures: [usize; 3],
    },
    /// An autoencoder.
    Autoencoder(kl_autoencoder::Config),
    /// A reader of attributes.
    Reader(reader::Config),
}

impl Model {
    /// Shape `[channels, height, width]` of the pictures.
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Unet(config) => [config.channels, config.size, config.size],
            Self::TextUnet { pictures, .. } => *pictures,
            Self::Autoencoder(config) => config.image_shape(),
            Self::Reader(config) => config.shape(),
        }
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::Unet(config) => config.validate()?,
            Self::TextUnet { network, .. } => network.validate()?,
            Self::Autoencoder(config) => config.validate()?,
            Self::Reader(config) => config.validate()?,
        }
        Ok(())
    }
}

/// Adam (Kingma and Ba, 2015) with decoupled weight decay, clipping, warm-up and final decay, and the averaged weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Pictures a step.
    pub batch: usize,
    /// How many equal pieces of a batch are computed at once, each on its own thread; their gradients are added in order.
    pub pieces: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Adam's decay rates.
    pub betas: [f64; 2],
    /// Adam's epsilon.
    pub eps: f64,
    /// Decoupled weight decay a step, times the learning rate.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; longer ones are shortened to it.
    pub clip: f64,
    /// Pictures over which the learning rate rises linearly from 0.
    pub warmup: u64,
    /// Fraction of all pictures, at the end, over which the learning rate falls linearly to 0.
    pub decay: f64,
    /// Half-life of the averaged weights, in pictures.
    pub ema_half_life: f64,
    /// The half-life is at most this fraction of the pictures seen so far (Karras et al., 2022: 0.05).
    pub ema_ramp: f64,
    /// Probability that a picture's class is hidden, for classifier-free guidance.
    pub class_dropout: f64,
}

/// What is written on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Minutes between checkpoints.
    pub checkpoint_minutes: f64,
    /// Minutes between sample grids and held-out errors.
    pub sample_minutes: f64,
    /// Pictures on a row of the grid: samples of each class, or reconstructions.
    pub samples: usize,
    /// Held-out pictures for the error by noise level.
    pub held_out: usize,
}

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Toml`], or as [`Self::validate`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).map_err(Error::io(path))?)
    }

    /// Parses and validates a recipe.
    ///
    /// # Errors
    /// [`Error::Toml`], or as [`Self::validate`].
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Shape `[channels, height, width]` of the pictures.
    pub fn shape(&self) -> [usize; 3] {
        self.network.shape()
    }

    /// Checks every value that can be checked without reading the data.
    ///
    /// # Errors
    /// [`Error::Recipe`] or [`Error::Zoo`] names the key.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, key, problem: &str| if ok { Ok(()) } else { Err(Error::recipe(key, problem)) };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let o = &self.optimizer;
        self.network.validate()?;
        self.data.validate()?;
        self.objective.validate()?;
        let (fits, remedy) = match (&self.network, &self.objective) {
            (Model::Unet(_), o) => (matches!(o, Objective::Edm { .. } | Objective::V { .. }), "must be edm or v"),
            (Model::TextUnet { .. }, o) => (matches!(o, Objective::Edm { .. }), "must be edm"),
            (Model::Autoencoder(_), o) => (matches!(o, Objective::Reconstruction { .. }), "must be reconstruction"),
            (Model::Reader(_), o) => (matches!(o, Objective::Attributes { .. }), "must be attributes"),
        };
        check(fits, "objective.kind", &format!("{remedy} for this family of network"))?;
        check(!self.name.trim().is_empty(), "name", "must not be empty")?;
        check(self.images > 0, "images", "must be at least 1")?;
        check((1..=65536).contains(&o.batch), "optimizer.batch", "must be 1 to 65536")?;
        check(
            (1..=64).contains(&o.pieces) && o.batch.is_multiple_of(o.pieces),
            "optimizer.pieces",
            "must be 1 to 64 and divide optimizer.batch",
        )?;
        check(positive(o.lr), "optimizer.lr", "must be positive")?;
        check(o.betas.into_iter().all(fraction), "optimizer.betas", "must be in [0, 1)")?;
        check(positive(o.eps), "optimizer.eps", "must be positive")?;
        check(o.weight_decay.is_finite() && o.weight_decay >= 0.0, "optimizer.weight_decay", "must not be negative")?;
        check(positive(o.clip), "optimizer.clip", "must be positive")?;
        check((0.0..=1.0).contains(&o.decay), "optimizer.decay", "must be in [0, 1]")?;
        check(positive(o.ema_half_life), "optimizer.ema_half_life", "must be positive")?;
        check(positive(o.ema_ramp), "optimizer.ema_ramp", "must be positive")?;
        check(fraction(o.class_dropout), "optimizer.class_dropout", "must be in [0, 1)")?;
        check(positive(self.output.checkpoint_minutes), "output.checkpoint_minutes", "must be positive")?;
        check(positive(self.output.sample_minutes), "output.sample_minutes", "must be positive")?;
        check((1..=100).contains(&self.output.samples), "output.samples", "must be 1 to 100")?;
        check(self.output.held_out > 0, "output.held_out", "must be at least 1")
    }

    /// The learning rate for the step that starts after `images` pictures.
    pub fn lr(&self, images: u64) -> f64 {
        self.optimizer.rate(images, self.images)
    }
}

impl Optimizer {
    /// The learning rate for the step that starts after `images` of `total` pictures.
    pub(crate) fn rate(&self, images: u64, total: u64) -> f64 {
        let rise = (images + self.batch as u64) as f64 / self.warmup.max(1) as f64;
        let left = total.saturating_sub(images) as f64;
        let fall = left / (self.decay * total as f64).max(1.0);
        self.lr * rise.min(1.0) * fall.min(1.0)
    }
}
