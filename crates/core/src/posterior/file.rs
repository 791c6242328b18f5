//! A fit as a safetensors file: fit today, sample tomorrow, with the same bytes as in one run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{Adam, Fit, FitOptions, Keypoint, Objective, Posterior, Problem, Terms};
use crate::measurement::{Likelihood, Measurement};
use crate::operator::{self, Saved, values};
use crate::prior::{Condition, Context, Guidance};
use crate::{Error, Level, Result};

/// The metadata key that holds this file's description.
const KEY: &str = "vipaint.posterior";

/// The file's format; a reader refuses others.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    prior_name: String,
    prior_hash: String,
    operator: String,
    likelihood: Likelihood,
    class: Option<usize>,
    #[serde(default)]
    negative_class: Option<usize>,
    cfg_scale: f64,
    seed: u64,
    levels: Vec<Level>,
    options: FitOptions,
    trace: Vec<Terms>,
    /// The caller's texts. Inside the header, since safetensors' own metadata has no fixed order.
    extra: BTreeMap<String, String>,
}

/// What a posterior file holds. The prior itself is not in it: its name and hash are.
pub struct Stored {
    /// Name of the prior it was fitted under.
    pub prior_name: String,
    /// Hash of that prior.
    pub prior_hash: String,
    /// The measurement.
    pub measurement: Measurement,
    /// The condition, and its strength while sampling.
    pub guidance: Guidance,
    /// Free texts that the caller stored along.
    pub extra: BTreeMap<String, String>,
    seed: u64,
    options: FitOptions,
    trace: Vec<Terms>,
    posterior: Posterior,
    adam: Vec<Vec<Adam>>,
}

const PARAMETERS: [&str; 3] = ["mu", "log_tau", "gamma_logit"];

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Fit {
    /// The file's bytes. `extra` are free texts for the caller's own use; the file depends on nothing but the arguments.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn save(&self, problem: &Problem, extra: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let saved = problem.measurement.operator.save();
        let header = Header {
            format: FORMAT,
            prior_name: problem.prior.name.clone(),
            prior_hash: problem.prior.hash.clone(),
            operator: saved.kind.clone(),
            likelihood: problem.measurement.likelihood,
            class: problem.guidance.condition.class,
            negative_class: problem.guidance.negative.class,
            cfg_scale: problem.guidance.cfg_scale,
            seed: self.seed,
            levels: self.posterior.keypoints.iter().map(|k| k.level).collect(),
            options: self.options.clone(),
            trace: self.trace.clone(),
            extra: extra.clone(),
        };
        let mut arrays: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut push = |name: String, tensor: &Tensor<4>| {
            arrays.push((name, tensor.dims().to_vec(), bytes(&values(tensor))));
        };
        for (k, (keypoint, adam)) in self.posterior.keypoints.iter().zip(&self.adam).enumerate() {
            let tensors = [Some(&keypoint.mu), Some(&keypoint.log_tau), keypoint.gamma_logit.as_ref()];
            for ((name, tensor), adam) in PARAMETERS.iter().zip(tensors.into_iter().flatten()).zip(adam) {
                push(format!("keypoint.{k}.{name}"), tensor);
                push(format!("keypoint.{k}.{name}.adam.first"), &adam.first);
                push(format!("keypoint.{k}.{name}.adam.second"), &adam.second);
            }
        }
        push("y".into(), &problem.measurement.y);
        for (name, condition) in [("condition", &problem.guidance.condition), ("negative", &problem.guidance.negative)]
        {
            if let Some(context) = &condition.context {
                arrays.push((format!("{name}.tokens"), context.shape.to_vec(), bytes(&context.tokens)));
                arrays.push((format!("{name}.pooled"), vec![context.pooled.len()], bytes(&context.pooled)));
            }
        }
        for (name, shape, values) in saved.arrays {
            arrays.push((format!("operator.{name}"), shape, bytes(&values)));
        }
        let failed = |e: String| Error::PosteriorFile(e);
        let views = (arrays.iter())
            .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
        let header = serde_json::to_string(&header).map_err(|e| failed(e.to_string()))?;
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        safetensors::serialize(views.map_err(|e| failed(e.to_string()))?, Some(metadata))
            .map_err(|e| failed(e.to_string()))
    }
}

impl Stored {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`Error::PosteriorFile`] with what is wrong.
    pub fn load(bytes: &[u8], device: &Device) -> Result<Self> {
        let bad = |e: String| Error::PosteriorFile(e);
        let (_, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|e| bad(format!("not a safetensors file ({e})")))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| bad(format!("damaged ({e})")))?;
        let mut texts = metadata.metadata().clone().unwrap_or_default();
        let header = texts.remove(KEY).ok_or_else(|| bad("not made by `vipaint fit`".into()))?;
        let header: Header = serde_json::from_str(&header).map_err(|e| bad(format!("its header is damaged ({e})")))?;
        if header.format != FORMAT {
            return Err(bad(format!("format {} is not {FORMAT}; fit again with this version", header.format)));
        }
        header.options.validate()?;

        let array = |name: &str| -> Result<(Vec<usize>, Vec<f32>)> {
            let view = file.tensor(name).map_err(|_| bad(format!("tensor {name} is missing")))?;
            if view.dtype() != Dtype::F32 {
                return Err(bad(format!("tensor {name} is {:?}, not F32", view.dtype())));
            }
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(bad(format!("tensor {name} holds values that are not finite")));
            }
            Ok((view.shape().to_vec(), values))
        };
        let mut operator = Saved { kind: header.operator.clone(), arrays: Vec::new() };
        for name in file.names() {
            if let Some(short) = name.strip_prefix("operator.") {
                let (shape, values) = array(name)?;
                operator.arrays.push((short.to_owned(), shape, values));
            }
        }
        let operator = operator::load(&operator, device)?;
        let image = |name: &str, shape: Option<[usize; 4]>| -> Result<Tensor<4>> {
            let (got, values) = array(name)?;
            let dims: [usize; 4] = got.clone().try_into().map_err(|_| bad(format!("tensor {name} has not 4 sides")))?;
            match shape {
                Some(shape) if shape != dims => Err(Error::Shape { what: "posterior", expected: shape.to_vec(), got }),
                _ => Ok(Tensor::from_data(TensorData::new(values, dims), device)),
            }
        };
        let measurement = Measurement::new(operator, image("y", None)?, header.likelihood)?;

        let condition = |name: &str, class: Option<usize>| -> Result<Condition> {
            if !file.names().contains(&format!("{name}.tokens").as_str()) {
                return Ok(Condition { class, context: None });
            }
            let (shape, tokens) = array(&format!("{name}.tokens"))?;
            let shape = shape.try_into().map_err(|_| bad(format!("tensor {name}.tokens has not 2 sides")))?;
            let (_, pooled) = array(&format!("{name}.pooled"))?;
            Ok(Condition { class, context: Some(Arc::new(Context { tokens, shape, pooled })) })
        };
        let guidance = Guidance {
            condition: condition("condition", header.class)?,
            negative: condition("negative", header.negative_class)?,
            cfg_scale: header.cfg_scale,
        };

        if header.levels.is_empty() || header.levels.windows(2).any(|w| w[0].ratio() <= w[1].ratio()) {
            return Err(bad("its keypoints are not in order".into()));
        }
        let mut shape = None;
        let (mut keypoints, mut adam) = (Vec::new(), Vec::new());
        for (k, level) in header.levels.iter().enumerate() {
            let mut states = Vec::new();
            let mut parameter = |name: &str| -> Result<Tensor<4>> {
                let name = format!("keypoint.{k}.{name}");
                let value = image(&name, shape)?;
                let shape = *shape.get_or_insert(value.dims());
                let first = image(&format!("{name}.adam.first"), Some(shape))?;
                states.push(Adam { first, second: image(&format!("{name}.adam.second"), Some(shape))? });
                Ok(value)
            };
            let mu = parameter("mu")?;
            let log_tau = parameter("log_tau")?;
            let own = k > 0 || header.options.objective == Objective::Sd3;
            let gamma_logit = own.then(|| parameter("gamma_logit")).transpose()?;
            keypoints.push(Keypoint { level: *level, mu, log_tau, gamma_logit });
            adam.push(states);
        }
        Ok(Self {
            prior_name: header.prior_name,
            prior_hash: header.prior_hash,
            measurement,
            guidance,
            extra: header.extra,
            seed: header.seed,
            posterior: Posterior { keypoints, eta: header.options.eta, form: header.options.objective },
            options: header.options,
            trace: header.trace,
            adam,
        })
    }

    /// The fit as it was when it was saved, on the device of the problem it was fitted to (built from [`Self::measurement`],
    /// [`Self::guidance`] and the same prior).
    ///
    /// # Errors
    /// When the prior is another one or has another shape.
    pub fn fit(&self, problem: &Problem) -> Result<Fit> {
        if problem.prior.hash != self.prior_hash {
            return Err(Error::PosteriorFile(format!(
                "it was fitted under prior {} ({}), not {} ({}); give the same prior",
                self.prior_name, self.prior_hash, problem.prior.name, problem.prior.hash
            )));
        }
        let (expected, got) = (problem.prior.shape(), self.posterior.shape());
        if expected != got {
            return Err(Error::Shape { what: "posterior", expected: expected.to_vec(), got: got.to_vec() });
        }
        let device = problem.device();
        let moved = |tensor: &Tensor<4>| tensor.clone().to_device(&device);
        let mut posterior = self.posterior.clone();
        for keypoint in &mut posterior.keypoints {
            keypoint.mu = moved(&keypoint.mu);
            keypoint.log_tau = moved(&keypoint.log_tau);
            keypoint.gamma_logit = keypoint.gamma_logit.as_ref().map(moved);
        }
        let state = |adam: &Adam| Adam { first: moved(&adam.first), second: moved(&adam.second) };
        let mut fit = Fit::resume(posterior, problem, self.options.clone(), self.seed);
        fit.trace.clone_from(&self.trace);
        fit.adam = self.adam.iter().map(|states| states.iter().map(state).collect()).collect();
        Ok(fit)
    }
}
