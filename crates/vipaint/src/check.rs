//! One denoiser call on given tensors, to verify a converted prior against its origin.
//!
//! In: `z_t` `[B, C, H, W]`, and `sigma` `[B]` (sigma_t / alpha_t) or `t` `[B]` (the network's own time input); optionally
//! `class` `[B]` (i64), `context` `[B, L, D]` and `pooled` `[B, D]` (what a text encoder gives), and `v`, a cotangent of the shape
//! of `z_t`. Out: `raw`, `x0_hat` and, with `v`, `vjp`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use vipaint_core::prior::{Condition, Context, Prior};
use vipaint_core::{Level, Schedule};
use vipaint_zoo::Parameterization;

use crate::error::{Error, Result};
use crate::priors::{Open, Raw, Source};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The denoiser: `z_t` to `x0_hat`.
    Denoiser,
    /// The decoder: `z` to `x`.
    Decoder,
    /// The encoder: `x` to `z`.
    Encoder,
}

/// Runs the check on a device: the bytes of a safetensors file in, and out. `name` is the input's, for messages.
///
/// # Errors
/// [`Error::Input`] when the prior or the input is not what it should be.
pub fn check(prior: &Source, device: &Device, part: Part, input: &[u8], name: &str) -> Result<Vec<u8>> {
    let Open { prior, raw } = prior.open(device)?;
    let file = SafeTensors::deserialize(input).map_err(|e| wrong(name, format!("is not a safetensors file ({e})")))?;
    let input = Input { file, name, device };
    input.only(match part {
        Part::Denoiser => &["z_t", "sigma", "t", "class", "context", "pooled", "v"],
        Part::Decoder => &["z", "v"],
        Part::Encoder => &["x", "v"],
    })?;
    match part {
        Part::Denoiser => denoise(raw.as_ref(), &prior, &input),
        Part::Decoder => through(&prior, &input, ("z", "x"), |prior, z| prior.autoencoder.decode(z)),
        Part::Encoder => through(&prior, &input, ("x", "z"), |prior, x| prior.autoencoder.encode(x)),
    }
}

/// Without a `network` its raw output is not known.
fn denoise(raw: Option<&Raw>, prior: &Prior, input: &Input<'_>) -> Result<Vec<u8>> {
    let z = input.image("z_t", prior.shape())?;
    let batch = z.dims()[0];
    let levels = input.levels(&prior.schedule, raw.map(|raw| &raw.parameterization), batch)?;
    let conditions = input.conditions(batch, prior.classes.len())?;
    let v = input.cotangent(z.dims())?;
    let (mut raws, mut estimates, mut products) = (Vec::new(), Vec::new(), Vec::new());
    // A condition holds for a whole call, so samples of different conditions go one by one.
    for (i, (level, condition)) in levels.iter().zip(&conditions).enumerate() {
        let z = z.clone().slice_dim(0, i..i + 1);
        if let Some(Raw { parameterization, network, .. }) = raw {
            let (scale, time) = match parameterization.preconditioning() {
                Ok(preconditioning) => {
                    let scales = preconditioning.scales(level.ratio());
                    (scales.input / level.alpha, scales.noise)
                }
                Err(_) => (1.0, level.t),
            };
            let condition = std::slice::from_ref(condition);
            network.check(condition).map_err(|problem| wrong(input.name, problem))?;
            raws.push(network.forward(z.clone() * scale, &[time], condition));
        }
        let leaf = if v.is_some() { z.autodiff().require_grad() } else { z };
        let x0_hat = prior.denoiser.x0_hat(leaf.clone(), &[*level], condition)?;
        if let Some(v) = &v {
            estimates.push(x0_hat.clone().inner());
            products.push(product(prior, &leaf, x0_hat, v.clone().slice_dim(0, i..i + 1))?);
        } else {
            estimates.push(x0_hat);
        }
    }
    let mut out = vec![("x0_hat", Tensor::cat(estimates, 0))];
    if !raws.is_empty() {
        out.push(("raw", Tensor::cat(raws, 0)));
    }
    if v.is_some() {
        out.push(("vjp", Tensor::cat(products, 0)));
    }
    output(&out, input.name)
}

fn through(
    prior: &Prior,
    input: &Input<'_>,
    (from, to): (&'static str, &'static str),
    map: fn(&Prior, Tensor<4>) -> Tensor<4>,
) -> Result<Vec<u8>> {
    let shape = if from == "z" { prior.shape() } else { prior.autoencoder.image_shape(prior.shape()) };
    let given = input.image(from, shape)?;
    let plain = map(prior, given.clone());
    prior.check()?;
    let Some(v) = input.cotangent(plain.dims())? else {
        return output(&[(to, plain)], input.name);
    };
    let leaf = given.autodiff().require_grad();
    let result = map(prior, leaf.clone());
    output(&[(to, plain), ("vjp", product(prior, &leaf, result, v)?)], input.name)
}

/// The gradient of `<v, result>` with respect to `leaf`.
fn product(prior: &Prior, leaf: &Tensor<4>, result: Tensor<4>, v: Tensor<4>) -> Result<Tensor<4>> {
    let v = v.autodiff();
    let mut gradients = (result * v).sum().backward();
    prior.check()?;
    Ok(leaf.grad_remove(&mut gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like()))
}

/// The input's tensors.
struct Input<'a> {
    file: SafeTensors<'a>,
    name: &'a str,
    device: &'a Device,
}

fn wrong(name: &str, problem: impl Into<String>) -> Error {
    Error::input(name, problem, "see `vipaint prior check --help` for the tensors it should hold")
}

impl Input<'_> {
    /// Whether it holds nothing that nobody would read.
    fn only(&self, known: &[&str]) -> Result<()> {
        match self.file.names().into_iter().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                Err(wrong(self.name, format!("holds {name:?}, which is not read; known: {}", known.join(", "))))
            }
        }
    }

    fn floats(&self, tensor: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Ok(view) = self.file.tensor(tensor) else { return Ok(None) };
        if view.dtype() != Dtype::F32 {
            return Err(wrong(self.name, format!("has {tensor} as {:?}, not F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Some((view.shape().to_vec(), values)))
    }

    fn image(&self, tensor: &str, [c, h, w]: [usize; 3]) -> Result<Tensor<4>> {
        let found = self.floats(tensor)?.ok_or_else(|| wrong(self.name, format!("has no tensor {tensor}")))?;
        match found {
            (shape, values) if shape.len() == 4 && shape[0] > 0 && shape[1..] == [c, h, w] => {
                Ok(Tensor::from_data(TensorData::new(values, [shape[0], c, h, w]), self.device))
            }
            (shape, _) => Err(wrong(self.name, format!("has {tensor} of shape {shape:?}, not [B, {c}, {h}, {w}]"))),
        }
    }

    fn cotangent(&self, dims: [usize; 4]) -> Result<Option<Tensor<4>>> {
        match self.floats("v")? {
            None => Ok(None),
            Some((shape, values)) if shape == dims => {
                Ok(Some(Tensor::from_data(TensorData::new(values, dims), self.device)))
            }
            Some((shape, _)) => Err(wrong(self.name, format!("has v of shape {shape:?}, not {dims:?}"))),
        }
    }

    fn levels(&self, schedule: &Schedule, head: Option<&Parameterization>, batch: usize) -> Result<Vec<Level>> {
        let (tensor, (shape, values)) = match (self.floats("sigma")?, self.floats("t")?) {
            (Some(sigma), None) => ("sigma", sigma),
            (None, Some(t)) => ("t", t),
            _ => return Err(wrong(self.name, "must hold either sigma or t")),
        };
        if shape != [batch] {
            return Err(wrong(self.name, format!("has {tensor} of shape {shape:?}, not [{batch}]")));
        }
        let preconditioning = head.and_then(|head| head.preconditioning().ok());
        let level = |value: &f32| {
            let value = f64::from(*value);
            let ratio = match (tensor, &preconditioning) {
                ("sigma", _) => value,
                (_, Some(preconditioning)) => preconditioning.sigma(value),
                (_, None) => schedule.level(value).ratio(),
            };
            let level = match schedule {
                // A network trained under it takes any noise level, beyond the ends of its grids, too.
                Schedule::Ve { .. } => Level { t: ratio, alpha: 1.0, sigma: ratio },
                _ => schedule.level_at_ratio(ratio),
            };
            let near = (level.ratio() / ratio - 1.0).abs() < 1e-4;
            let problem = || wrong(self.name, format!("has {tensor} {value}, outside the prior's schedule"));
            if ratio > 0.0 && near { Ok(level) } else { Err(problem()) }
        };
        values.iter().map(level).collect()
    }

    /// What each sample is said to be.
    fn conditions(&self, batch: usize, classes: usize) -> Result<Vec<Condition>> {
        let classes = self.classes(batch, classes)?;
        let rows = |tensor: &str, dimensions: usize| match self.floats(tensor)? {
            Some((shape, values)) if shape.len() == dimensions && shape[0] == batch => {
                Ok(Some((shape[1..].to_vec(), values)))
            }
            Some((shape, _)) => {
                Err(wrong(self.name, format!("has {tensor} of shape {shape:?}, not of {batch} samples")))
            }
            None => Ok(None),
        };
        let (tokens, pooled) = (rows("context", 3)?, rows("pooled", 2)?);
        let row = |values: &[f32], i: usize| values[values.len() / batch * i..][..values.len() / batch].to_vec();
        let context = |i: usize| {
            tokens.as_ref().map(|(shape, tokens)| {
                let pooled = pooled.as_ref().map_or(Vec::new(), |(_, pooled)| row(pooled, i));
                Arc::new(Context { tokens: row(tokens, i), shape: [shape[0], shape[1]], pooled })
            })
        };
        Ok(classes.into_iter().enumerate().map(|(i, class)| Condition { class, context: context(i) }).collect())
    }

    fn classes(&self, batch: usize, known: usize) -> Result<Vec<Option<usize>>> {
        let Ok(view) = self.file.tensor("class") else { return Ok(vec![None; batch]) };
        if view.dtype() != Dtype::I64 || view.shape() != [batch] {
            return Err(wrong(self.name, format!("must hold class as I64 of shape [{batch}]")));
        }
        let class = |bytes: &[u8]| {
            let value = bytes.try_into().map_or(-1, i64::from_le_bytes);
            let index = usize::try_from(value).ok().filter(|index| *index < known);
            let problem =
                || wrong(self.name, format!("has class {value}, but the prior knows {known} classes, from 0 on"));
            index.map(Some).ok_or_else(problem)
        };
        view.data().chunks_exact(8).map(class).collect()
    }
}

fn output(tensors: &[(&str, Tensor<4>)], name: &str) -> Result<Vec<u8>> {
    let failed = |problem: String| Error::input(name, problem, "report this as a defect");
    let mut bytes = Vec::new();
    for (tensor, values) in tensors {
        let data = values.try_to_vec_as::<f32>().map_err(|e| failed(e.to_string()))?;
        bytes.push((*tensor, values.dims(), data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()));
    }
    let views = bytes.iter().map(|(name, dims, data)| Ok((*name, TensorView::new(Dtype::F32, dims.to_vec(), data)?)));
    let views: std::result::Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
    let file = views.and_then(|views| safetensors::serialize(views, None));
    file.map_err(|e| failed(e.to_string()))
}
