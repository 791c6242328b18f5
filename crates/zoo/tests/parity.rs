//! Networks and autoencoders against their originals in PyTorch: every file in `parity` is one call (made by the scripts in
//! `scripts/fixtures`), with weights that both sides make from names and shapes. On other devices than the CPU see docs/gpu.md.

#[path = "compare/device.rs"]
mod device;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use device::device;
use serde_json::Value;
use vipaint_core::prior::{Autoencoder as _, Condition, Context};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::{Family, Inventory, Loader, RandomWeights, autoencoder};

/// Relative to the largest magnitude: sums of some hundred products in another order, over some dozen layers.
const OUTPUT: f32 = 1e-4;
const GRADIENT: f32 = 1e-3;

/// A fixture.
struct Case {
    file: Checkpoint,
    part: String,
    config: Value,
    weights: RandomWeights,
}

impl Case {
    fn open(path: &Path) -> Self {
        let file = Checkpoint::open(path).unwrap();
        let mut config: Value = serde_json::from_str(&file.metadata()["config"]).unwrap();
        let seed = config.as_object_mut().unwrap().remove("seed").and_then(|seed| seed.as_u64()).unwrap_or(0);
        Self { part: file.metadata()["part"].clone(), config, weights: RandomWeights { seed }, file }
    }

    fn values(&self, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
        let tensor = self.file.get(name).ok()?;
        Some((tensor.to_f32().unwrap(), tensor.shape().to_vec()))
    }

    fn picture(&self, name: &str) -> Tensor<4> {
        let (values, shape) = self.values(name).unwrap();
        let shape: [usize; 4] = shape.try_into().unwrap();
        Tensor::from_data(TensorData::new(values, shape), &device())
    }

    fn conditions(&self, batch: usize) -> Vec<Condition> {
        let classes = self.file.get("class").ok().map(|tensor| {
            let bytes = tensor.bytes().into_owned();
            bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect::<Vec<_>>()
        });
        let pooled = self.values("pooled");
        let row = |i: usize| Condition {
            class: classes.as_ref().map(|classes| classes[i]),
            context: self.values("context").map(|(values, shape)| {
                let size = shape[1] * shape[2];
                let pooled = pooled.as_ref().map_or(Vec::new(), |(values, s)| values[i * s[1]..][..s[1]].to_vec());
                Arc::new(Context { tokens: values[i * size..][..size].to_vec(), shape: [shape[1], shape[2]], pooled })
            }),
        };
        (0..batch).map(row).collect()
    }

    /// Compares output and gradient, and says how far they are off.
    fn check(&self, inventory: &Inventory, run: impl Fn(Tensor<4>) -> Tensor<4>) -> Result<(f32, f32), String> {
        let tensors: usize = self.file.metadata()["tensors"].parse().unwrap();
        if inventory.entries.len() != tensors {
            return Err(format!("reads {} tensors of {tensors}", inventory.entries.len()));
        }
        let leaf = self.picture("x").autodiff().require_grad();
        let out = run(leaf.clone());
        let mut gradients = (out.clone() * self.picture("v").autodiff()).sum().backward();
        let gradient = leaf.grad_remove(&mut gradients).unwrap();
        let errors = (distance(&out.inner(), &self.picture("out")), distance(&gradient, &self.picture("grad")));
        if errors.0 <= OUTPUT && errors.1 <= GRADIENT { Ok(errors) } else { Err(format!("off by {errors:?}")) }
    }

    /// Values of the output and of the gradient.
    fn with_vjp(&self, run: impl Fn(Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 2] {
        let leaf = self.picture("x").autodiff().require_grad();
        let out = run(leaf.clone());
        let mut gradients = (out.clone() * self.picture("v").autodiff()).sum().backward();
        [out.inner(), leaf.grad_remove(&mut gradients).unwrap()].map(|x| x.to_data().iter::<f32>().collect())
    }

    fn run(&self) -> Result<(f32, f32), String> {
        let device = device();
        let loader = Loader::new(&self.weights, &device);
        let side = |side: usize| self.picture("x").dims()[2] / side;
        match self.part.as_str() {
            "network" => {
                let family: Family = serde_json::from_value(self.config.clone()).unwrap();
                let network = family.build(&loader).unwrap();
                let (times, _) = self.values("t").unwrap();
                let times: Vec<f64> = times.iter().map(|t| f64::from(*t)).collect();
                let conditions = self.conditions(times.len());
                network.check(&conditions).unwrap();
                let run = |x| network.forward(x, &times, &conditions);
                let held = self.with_vjp(run);
                network.recompute(true);
                if held != self.with_vjp(run) {
                    return Err("features that are computed again are others".into());
                }
                network.recompute(false);
                self.check(&family.inventory().unwrap(), run)
            }
            part => {
                let config: autoencoder::Config = serde_json::from_value(self.config.clone()).unwrap();
                let side = side(if part == "encoder" { config.factor() } else { 1 });
                let autoencoder = config.build(&loader, side).unwrap();
                let inventory = config.inventory(side).unwrap();
                match part {
                    "encoder" => self.check(&inventory, |x| autoencoder.encode(x)),
                    "decoder" => self.check(&inventory, |z| autoencoder.decode(z)),
                    other => Err(format!("there is no part {other}")),
                }
            }
        }
    }
}

/// The largest difference, relative to the largest magnitude of `expected`.
fn distance(got: &Tensor<4>, expected: &Tensor<4>) -> f32 {
    assert_eq!(got.dims(), expected.dims());
    let largest = |x: Tensor<4>| x.abs().max().into_scalar::<f32>();
    largest(got.clone() - expected.clone()) / largest(expected.clone())
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn outputs_and_input_gradients_are_those_of_the_originals() {
    let mut wrong = Vec::new();
    for path in fixtures() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match Case::open(&path).run() {
            Ok((output, gradient)) => println!("{name}: output {output:.1e}, gradient {gradient:.1e}"),
            Err(problem) => wrong.push(format!("{name}: {problem}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
