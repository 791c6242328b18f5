//! Samplers: one file each, listed once in [`METHODS`].

mod blended;
mod daps;
mod ddnm;
mod dps;
mod mcgdiff;
mod measured;
mod particles;
mod pigdm;
mod population;
mod psld;
mod reddiff;
mod repaint;
mod resample;
mod unconditional;
mod vipaint;

use std::ops::{ControlFlow, Range};

use burn::tensor::Tensor;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use crate::guided::{Correction, Walk};
pub use blended::{Blended, BlendedOptions};
pub use daps::{Daps, DapsOptions};
pub use ddnm::{Ddnm, DdnmOptions};
pub use dps::{Dps, DpsOptions};
pub use mcgdiff::{McgDiff, McgDiffOptions};
pub use particles::{ParticleOptions, Proposal, Spacing};
pub use pigdm::{PiGdm, PiGdmOptions};
pub use psld::{Psld, PsldOptions};
pub use reddiff::{RedDiff, RedDiffOptions};
pub use repaint::{RePaint, RePaintOptions};
pub use resample::{Resample, ResampleOptions};
pub use unconditional::{Unconditional, UnconditionalOptions, Update};
pub use vipaint::{RefineOptions, Vipaint};

use crate::event::{Event, Observer};
use crate::posterior::{Fit, PURPOSE_SAMPLE, Problem};
use crate::{Error, Noise, Result};

/// Which samples to draw, and from what seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// The seed. Sample `i` is the same whatever else is drawn.
    pub seed: u64,
    /// Indices of the samples.
    pub indices: Range<usize>,
    /// How many go through the network together.
    pub batch: usize,
}

/// Drawn samples.
#[derive(Default)]
pub struct Samples {
    /// Pictures, `[n, c, h, w]`, unclipped; `None` if it was stopped before the first batch was done.
    pub images: Option<Tensor<4>>,
    /// Importance log-weights of the paths, where the method has them.
    pub log_weights: Option<Vec<f64>>,
    /// The fit they were drawn from, where the method has one.
    pub fit: Option<Fit>,
    /// Whether the observer stopped it early; finished batches are kept.
    pub interrupted: bool,
}

/// A method that draws pictures for a problem.
pub trait Sampler: Send + Sync {
    /// Draws. `observer` hears of every step.
    ///
    /// # Errors
    /// Those of the denoiser, and problems the method cannot solve.
    fn sample(&self, problem: &Problem, draw: &Draw, observer: &mut Observer) -> Result<Samples>;
}

/// Makes a sampler from its options.
pub type Build = fn(Map<String, Value>) -> Result<Box<dyn Sampler>>;

/// A row of [`METHODS`].
pub struct Method {
    /// The name, as `--method` takes it.
    pub name: &'static str,
    /// One line on what it is, with its source.
    pub about: &'static str,
    /// Its options with their default values.
    pub defaults: fn() -> Map<String, Value>,
    /// Builds it from options.
    pub build: Build,
}

/// Every sampler.
pub const METHODS: &[Method] = &[
    vipaint::METHOD,
    dps::METHOD,
    repaint::METHOD,
    pigdm::METHOD,
    ddnm::METHOD,
    reddiff::METHOD,
    daps::METHOD,
    mcgdiff::METHOD,
    blended::METHOD,
    psld::METHOD,
    resample::METHOD,
    unconditional::METHOD,
];

/// The method of a name.
///
/// # Errors
/// An unknown name; the message lists the known ones.
pub fn method(name: &str) -> Result<&'static Method> {
    METHODS.iter().find(|m| m.name == name).ok_or_else(|| {
        let known: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        Error::option("method", format!("unknown method {name:?}; known: {}", known.join(", ")))
    })
}

impl Method {
    /// Builds the sampler with some options changed, each as by [`Self::set`].
    ///
    /// # Errors
    /// Those of [`Self::set`], and a value outside its domain.
    pub fn with<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Box<dyn Sampler>> {
        let mut options = (self.defaults)();
        for (key, value) in settings {
            self.set(&mut options, key, value)?;
        }
        (self.build)(options)
    }

    /// Sets one option from its text: JSON, a word, or a comma-separated list.
    ///
    /// # Errors
    /// An unknown option (the message lists the known ones) or a value of the wrong type.
    pub fn set(&self, options: &mut Map<String, Value>, key: &str, text: &str) -> Result<()> {
        let known = options.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(slot) = options.get_mut(key) else {
            return Err(Error::option("set", format!("{} has no option {key:?}; known: {known}", self.name)));
        };
        *slot = parse(text, slot);
        // A value of the wrong type fails here, where its key is known; one outside its domain may yet become valid
        // together with others.
        match (self.build)(options.clone()) {
            Err(Error::Option { name: "set", problem }) => Err(Error::option("set", format!("{key}: {problem}"))),
            _ => Ok(()),
        }
    }
}

fn parse(value: &str, default: &Value) -> Value {
    let one = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    match default {
        Value::Array(_) if !value.trim_start().starts_with('[') => {
            Value::Array(value.split(',').filter(|v| !v.trim().is_empty()).map(|v| one(v.trim())).collect())
        }
        _ => one(value),
    }
}

fn to_map(options: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => map,
        // Options are plain structs of numbers and names, which always serialise to an object.
        _ => Map::new(),
    }
}

fn from_map<T: DeserializeOwned>(map: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(map)).map_err(|e| Error::option("set", e.to_string()))
}

/// Draws batch after batch, counting steps for the observer.
fn in_batches(
    problem: &Problem,
    draw: &Draw,
    steps_each: usize,
    observer: &mut Observer,
    mut batch: impl FnMut(&[usize], &mut Noise, &mut dyn FnMut() -> ControlFlow<()>) -> Result<Tensor<4>>,
) -> Result<Samples> {
    let indices: Vec<usize> = draw.indices.clone().collect();
    let chunks: Vec<&[usize]> = indices.chunks(draw.batch.max(1)).collect();
    let (mut step, steps) = (0, steps_each * chunks.len());
    let mut images = Vec::new();
    let mut interrupted = false;
    for chunk in chunks {
        let mut noise = Noise::new(draw.seed, PURPOSE_SAMPLE, chunk.iter().copied());
        let mut tick = || {
            step += 1;
            observer(&Event::Step { step, steps, calls: problem.prior.calls() })
        };
        match batch(chunk, &mut noise, &mut tick) {
            Ok(z) => images.push(problem.prior.autoencoder.decode(z)),
            Err(Error::Interrupted) => {
                interrupted = true;
                break;
            }
            Err(e) => return Err(e),
        }
    }
    let images = (!images.is_empty()).then(|| Tensor::cat(images, 0));
    Ok(Samples { images, log_weights: None, fit: None, interrupted })
}

fn at_least_one(name: &'static str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::option(name, "must be at least 1")) } else { Ok(()) }
}

/// Steps of a grid from T to 0, both included.
fn two_levels(name: &'static str, value: usize) -> Result<()> {
    if value < 2 { Err(Error::option(name, "must be at least 2: one at T and one at 0")) } else { Ok(()) }
}

fn positive(name: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Error::option(name, format!("must be above 0 and finite, got {value}")))
    }
}

fn in_unit(name: &'static str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::option(name, format!("must be between 0 and 1, got {value}")))
    }
}
