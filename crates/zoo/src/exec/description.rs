//! What a program says about its model in answer to `describe`.

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use vipaint_core::Schedule;
use vipaint_core::schedule::Betas;

use super::error::{ExecError, Result};
use super::message::{Message, Values};

/// An external model.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Shape `[channels, height, width]` of `z`.
    pub shape: [usize; 3],
    /// The noise schedule.
    pub schedule: Schedule,
    /// Range of picture values.
    pub value_range: (f64, f64),
    /// Standard deviation of `z_0`.
    pub data_std: f64,
    /// What it can be conditioned on.
    pub conditioning: Conditioning,
    /// Whether it has an autoencoder.
    pub decodes: bool,
    /// Shape of the pictures, where an autoencoder makes them and the program says it.
    pub image_shape: Option<[usize; 3]>,
    /// Recognises this description: the first 16 hexadecimal digits of its SHA-256.
    pub hash: String,
}

/// What an external model is conditioned on.
#[derive(Debug, Clone, PartialEq)]
pub enum Conditioning {
    /// Nothing.
    None,
    /// One of these classes.
    Class(Vec<String>),
    /// A text, which it embeds itself.
    Text,
    /// An embedded text.
    Context,
}

/// The standard deviation that is assumed where a program states none: that of pictures in [-1, 1].
const DATA_STD: f64 = 0.5;
/// More values than the protocol can send in one sample (1 GiB).
const MAX_VALUES: usize = 1 << 28;
/// More timesteps than any schedule has.
const MAX_STEPS: usize = 100_000;

impl Description {
    /// Reads and checks an answer.
    ///
    /// # Errors
    /// [`ExecError::Answer`] names the key and what it should be.
    pub fn read(answer: &Message) -> Result<Self> {
        let fields = Fields(answer);
        if fields.text("protocol")? != "1" {
            return wrong("has a protocol that is not 1");
        }
        if fields.text("dtype")? != "f32" {
            return wrong("has a dtype that is not f32");
        }
        let (low, high) = fields.optional("value_range", "two numbers")?.unwrap_or((-1.0, 1.0));
        if !(f64::is_finite(low) && f64::is_finite(high) && low < high) {
            return wrong("has a value_range that is not two increasing numbers");
        }
        let data_std = fields.optional("data_std", "a number")?.unwrap_or(DATA_STD);
        positive("data_std", data_std)?;
        Ok(Self {
            shape: fields.shape("shape")?.map_or_else(|| wrong("has no shape"), Ok)?,
            schedule: fields.schedule()?,
            value_range: (low, high),
            data_std,
            conditioning: fields.conditioning()?,
            decodes: fields.optional("decodes", "true or false")?.unwrap_or(false),
            image_shape: fields.shape("image_shape")?,
            hash: hash(answer),
        })
    }
}

/// The answer's metadata and tensors.
struct Fields<'a>(&'a Message);

fn wrong<T>(problem: impl Into<String>) -> Result<T> {
    Err(ExecError::Answer { op: "describe", problem: problem.into() })
}

fn positive(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { wrong(format!("has a {key} that is not a positive number")) }
}

impl Fields<'_> {
    fn text(&self, key: &str) -> Result<&str> {
        let text = self.0.metadata.get(key).map(String::as_str);
        text.map_or_else(|| wrong(format!("has no metadata {key}")), Ok)
    }

    /// A value written as JSON.
    fn optional<T: DeserializeOwned>(&self, key: &str, what: &str) -> Result<Option<T>> {
        let Some(text) = self.0.metadata.get(key) else { return Ok(None) };
        match serde_json::from_str(text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => wrong(format!("has {key} {text:?}, which is not {what}")),
        }
    }

    fn number(&self, key: &str) -> Result<f64> {
        let number = self.optional(key, "a number")?;
        let number = number.map_or_else(|| wrong(format!("has no metadata {key}")), Ok)?;
        positive(key, number)?;
        Ok(number)
    }

    fn shape(&self, key: &str) -> Result<Option<[usize; 3]>> {
        let shape: Option<[usize; 3]> = self.optional(key, "three sizes, as in [3, 64, 64]")?;
        let fits = |shape: &[usize; 3]| {
            let values = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            values.is_some_and(|values| (1..=MAX_VALUES).contains(&values))
        };
        match shape {
            Some(shape) if !fits(&shape) => wrong(format!("has {key} {shape:?}, which is empty or too large")),
            shape => Ok(shape),
        }
    }

    fn schedule(&self) -> Result<Schedule> {
        match self.text("schedule")? {
            "vp" => {
                let alphas_cumprod = match self.0.tensors.get("alphas_cumprod") {
                    Some(Values::F32(_, values)) => values.iter().map(|v| f64::from(*v)).collect(),
                    Some(Values::F64(_, values)) => values.clone(),
                    _ => return wrong("has no tensor alphas_cumprod (F32 or F64) for its vp schedule"),
                };
                let falls = alphas_cumprod.windows(2).all(|pair| pair[0] > pair[1]);
                let inside = alphas_cumprod.iter().all(|a| *a > 0.0 && *a < 1.0);
                if !(2..=MAX_STEPS).contains(&alphas_cumprod.len()) || !falls || !inside {
                    return wrong("has alphas_cumprod that do not fall strictly inside (0, 1)");
                }
                Ok(Schedule::vp(Betas::Table { alphas_cumprod }))
            }
            "ve" => {
                let (sigma_min, sigma_max) = (self.number("sigma_min")?, self.number("sigma_max")?);
                let rho = self.optional("rho", "a number")?.unwrap_or(7.0);
                positive("rho", rho)?;
                if sigma_min >= sigma_max {
                    return wrong("has a sigma_min that is not below sigma_max");
                }
                Ok(Schedule::Ve { sigma_min, sigma_max, rho })
            }
            "flow" => Ok(Schedule::Flow { shift: self.number("shift")? }),
            other => wrong(format!("has schedule {other:?}, which is none of vp, ve, flow")),
        }
    }

    fn conditioning(&self) -> Result<Conditioning> {
        match self.0.metadata.get("conditioning").map_or("none", String::as_str) {
            "none" => Ok(Conditioning::None),
            "class" => {
                let names = self.optional::<Vec<String>>("classes", "a list of names")?.unwrap_or_default();
                if names.is_empty() { wrong("names no classes") } else { Ok(Conditioning::Class(names)) }
            }
            "text" => Ok(Conditioning::Text),
            "context" => Ok(Conditioning::Context),
            other => wrong(format!("has conditioning {other:?}, which is none of none, class, text, context")),
        }
    }
}

fn hash(answer: &Message) -> String {
    let mut hasher = Sha256::new();
    for (key, value) in &answer.metadata {
        hasher.update(format!("{key}={value}\n"));
    }
    for (name, values) in &answer.tensors {
        hasher.update(format!("{name}:{values:?}\n"));
    }
    crate::weights_file::short_hash(hasher.finalize())
}
