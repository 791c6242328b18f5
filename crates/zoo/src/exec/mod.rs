//! External models as priors: a program that is started once and asked for denoised pictures and vector-Jacobian products
//! through its standard input and output (`docs/exec.md` has the protocol, `scripts/vipaint_prior.py` a ready Python side).

mod description;
mod error;
mod message;
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burn::tensor::Tensor;
use vipaint_core::Level;
use vipaint_core::prior::{Autoencoder, Condition, Denoiser, Prior};
use vipaint_nn::ops::{External, external};

pub use description::{Conditioning, Description};
pub use error::ExecError;
use error::Result;
pub use message::{MAX_MESSAGE, Message, Values};
use process::Process;

/// Starts an external model and asks what it is. The program ends when the last handle to the prior is dropped.
///
/// `limit` is how long an answer is waited for; the first one includes the model's loading.
///
/// # Errors
/// [`ExecError`] says what the program did wrong.
pub fn load(command: &str, limit: Duration) -> Result<Prior> {
    let mut process = Process::start(command)?;
    let about = Description::read(&process.ask("describe", &Message::request("describe"), limit)?)?;
    let shared = Arc::new(Shared { process: Mutex::new(process), failure: Mutex::new(None), limit });
    let denoiser = Arc::new(Exec { shared: shared.clone(), about: about.clone() });
    let mut prior = Prior::new(format!("exec:{command}"), denoiser, about.schedule.clone(), about.data_std);
    prior.hash.clone_from(&about.hash);
    prior.value_range = about.value_range;
    if let Conditioning::Class(names) = &about.conditioning {
        prior.classes.clone_from(names);
    }
    if about.decodes {
        let image = match about.image_shape {
            Some(shape) => shape,
            None => shared.image_shape(about.shape)?,
        };
        prior.autoencoder = Arc::new(Coder { shared, latent: about.shape, image });
    }
    Ok(prior)
}

/// The program, shared by the denoiser, the autoencoder and gradients yet to be taken.
struct Shared {
    process: Mutex<Process>,
    /// The first failure, kept because a backward pass cannot return it.
    failure: Mutex<Option<ExecError>>,
    limit: Duration,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("exec")
    }
}

impl Shared {
    fn failed(&self) -> Option<ExecError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What [`Denoiser::check`] and [`Autoencoder::check`] say.
    fn check(&self) -> vipaint_core::Result<()> {
        self.failed().map_or(Ok(()), |error| Err(vipaint_core::Error::Denoiser(error.to_string())))
    }

    /// Asks for the tensor `result`, which must have this shape and finite values.
    fn ask(&self, op: &'static str, request: &Message, result: &str, shape: Option<&[usize]>) -> Result<Message> {
        if let Some(error) = self.failed() {
            return Err(ExecError::Earlier(error.to_string()));
        }
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = process.ask(op, request, self.limit)?;
        let wrong = |problem: String| Err(ExecError::Answer { op, problem });
        match answer.tensors.get(result) {
            Some(Values::F32(got, _)) if shape.is_some_and(|shape| shape != got) => {
                wrong(format!("has {result} of shape {got:?}, not {:?}", shape.unwrap_or_default()))
            }
            Some(Values::F32(_, values)) if values.iter().any(|value| !value.is_finite()) => {
                wrong(format!("has values in {result} that are not finite"))
            }
            Some(Values::F32(..)) => Ok(answer),
            Some(_) => wrong(format!("has {result} in another type than F32")),
            None => wrong(format!("has no tensor {result}")),
        }
    }

    /// Asks for values and writes them to `to`; NaN, and the failure kept, if that fails.
    fn fill(&self, op: &'static str, request: &Message, result: &str, shape: &[usize], to: &mut [f32]) {
        match self.ask(op, request, result, Some(shape)) {
            Ok(answer) => {
                // `ask` has seen it, with as many values as the shape says.
                if let Some(Values::F32(_, values)) = answer.tensors.get(result) {
                    to.copy_from_slice(values);
                }
            }
            Err(error) => {
                to.fill(f32::NAN);
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    /// The shape of a decoded picture, found by decoding zeros.
    fn image_shape(&self, [c, h, w]: [usize; 3]) -> Result<[usize; 3]> {
        let request = Message::request("decode").with("z", Values::F32(vec![1, c, h, w], vec![0.0; c * h * w]));
        match self.ask("decode", &request, "x", None)?.tensors.get("x") {
            Some(Values::F32(shape, _)) if shape.len() == 4 && shape[0] == 1 => Ok([shape[1], shape[2], shape[3]]),
            _ => Err(ExecError::Answer { op: "decode", problem: "has x of a shape that is not [1, c, h, w]".into() }),
        }
    }
}

/// An operation and its vector-Jacobian product, with what both are asked with.
#[derive(Debug)]
struct Call {
    shared: Arc<Shared>,
    /// Operation, its input, its result.
    forward: (&'static str, &'static str, &'static str),
    /// The operation that gives `vjp`.
    vjp: &'static str,
    /// Levels and conditions.
    with: Vec<(&'static str, Values)>,
    input: [usize; 4],
    output: [usize; 4],
}

impl Call {
    fn request(&self, op: &'static str, x: &[f32]) -> Message {
        let input = Values::F32(self.input.to_vec(), x.to_vec());
        let request = Message::request(op).with(self.forward.1, input);
        self.with.iter().fold(request, |request, (name, values)| request.with(name, values.clone()))
    }

    fn run(self, x: Tensor<4>) -> vipaint_core::Result<Tensor<4>> {
        let (shared, output) = (self.shared.clone(), self.output);
        shared.check()?;
        let y = external(x, Arc::new(self), output);
        shared.check()?;
        y.ok_or_else(|| vipaint_core::Error::Denoiser("an external model needs --device cpu".into()))
    }
}

impl External for Call {
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        let (op, _, result) = self.forward;
        self.shared.fill(op, &self.request(op, x), result, &self.output, y);
    }

    fn vjp(&self, x: &[f32], v: &[f32], dx: &mut [f32]) {
        let request = self.request(self.vjp, x).with("v", Values::F32(self.output.to_vec(), v.to_vec()));
        self.shared.fill(self.vjp, &request, "vjp", &self.input, dx);
    }
}

/// The denoiser of an external model.
struct Exec {
    shared: Arc<Shared>,
    about: Description,
}

impl Exec {
    /// The condition's tensors, one row for each sample.
    fn condition(&self, condition: &Condition, batch: usize) -> vipaint_core::Result<Vec<(&'static str, Values)>> {
        let mut tensors = Vec::new();
        if let Some(class) = condition.class {
            let known = match &self.about.conditioning {
                Conditioning::Class(names) => names.len(),
                _ => 0,
            };
            if class >= known {
                let problem = format!("{class} is out of range; the prior has {known}");
                return Err(vipaint_core::Error::option("class", problem));
            }
            tensors.push(("class", Values::I64(vec![batch], vec![class as i64; batch])));
        }
        if let Some(context) = &condition.context {
            if self.about.conditioning != Conditioning::Context {
                return Err(vipaint_core::Error::option("prompt", "the prior takes no embedded text"));
            }
            let [length, width] = context.shape;
            tensors.push(("context", Values::F32(vec![batch, length, width], context.tokens.repeat(batch))));
            if !context.pooled.is_empty() {
                let shape = vec![batch, context.pooled.len()];
                tensors.push(("pooled", Values::F32(shape, context.pooled.repeat(batch))));
            }
        }
        Ok(tensors)
    }
}

impl Denoiser for Exec {
    fn shape(&self) -> [usize; 3] {
        self.about.shape
    }

    fn x0_hat(&self, z: Tensor<4>, levels: &[Level], condition: &Condition) -> vipaint_core::Result<Tensor<4>> {
        let ([c, h, w], got) = (self.about.shape, z.dims());
        let shape = [levels.len(), c, h, w];
        if got != shape {
            let (expected, got) = (shape.to_vec(), got.to_vec());
            return Err(vipaint_core::Error::Shape { what: "denoiser input", expected, got });
        }
        let mut with = self.condition(condition, levels.len())?;
        let sigma = levels.iter().map(|level| level.ratio() as f32).collect();
        with.push(("sigma", Values::F32(vec![levels.len()], sigma)));
        let forward = ("denoise", "z_t", "x0_hat");
        Call { shared: self.shared.clone(), forward, vjp: "vjp", with, input: shape, output: shape }.run(z)
    }

    fn check(&self) -> vipaint_core::Result<()> {
        self.shared.check()
    }
}

/// The autoencoder of an external model.
struct Coder {
    shared: Arc<Shared>,
    latent: [usize; 3],
    image: [usize; 3],
}

impl Coder {
    /// The result, or NaN, with the failure kept for `check`.
    fn run(&self, x: Tensor<4>, forward: (&'static str, &'static str, &'static str), to: [usize; 3]) -> Tensor<4> {
        let (input, device) = (x.dims(), x.device());
        let output = [input[0], to[0], to[1], to[2]];
        let call = Call { shared: self.shared.clone(), forward, vjp: "decode_vjp", with: Vec::new(), input, output };
        call.run(x).unwrap_or_else(|error| {
            let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(ExecError::Earlier(error.to_string()));
            Tensor::full(output, f32::NAN, &device)
        })
    }
}

impl Autoencoder for Coder {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.run(z, ("decode", "z", "x"), self.image)
    }

    /// Not differentiable: the protocol has no product for it.
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let x = if x.is_tracked() { x.detach() } else { x };
        self.run(x, ("encode", "x", "z"), self.latent)
    }

    fn image_shape(&self, _: [usize; 3]) -> [usize; 3] {
        self.image
    }

    fn check(&self) -> vipaint_core::Result<()> {
        self.shared.check()
    }
}
