//! Comparison with PyTorch: fixtures hold inputs, outputs and input gradients of the original code with the weights that
//! [`RandomWeights`] makes, too.

mod device;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use burn::tensor::{Tensor, TensorData};
pub use device::device;
use vipaint_core::prior::Condition;
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::{RandomWeights, Source};

/// JSON that a description may have in the place of what it should have.
pub fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-3i64..40).prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n))
    ];
    let list = prop::collection::vec((-1i64..5).prop_map(|n| json!(n)), 0..6).prop_map(Value::Array);
    prop_oneof![4 => number, 2 => list, 1 => Just(Value::Null), 1 => any::<bool>().prop_map(|b| json!(b)), 1 => "[a-z]{0,3}".prop_map(Value::String)]
}

/// An object with some of its fields changed: for each the share of the way through the fields, and the new value.
pub fn changed(mut object: Value, changes: &[(f64, Value)]) -> Value {
    let keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    for (place, value) in changes {
        object[&keys[(place * keys.len() as f64) as usize]] = value.clone();
    }
    object
}

pub fn path(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder).join(name)
}

/// The fixtures of a folder, but for those whose name begins with `tiny`.
pub fn fixtures(folder: &str) -> Vec<Fixture> {
    let files = std::fs::read_dir(path(folder, "")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|e| e == "safetensors")).collect();
    files.retain(|file| !file.file_stem().unwrap().to_string_lossy().starts_with("tiny"));
    files.sort();
    assert!(files.len() > 4, "fixtures of {folder}");
    let fixture = |file: PathBuf| Fixture {
        name: file.file_stem().unwrap().to_string_lossy().into_owned(),
        file: Checkpoint::open(&file).unwrap(),
    };
    files.into_iter().map(fixture).collect()
}

pub struct Fixture {
    pub name: String,
    pub file: Checkpoint,
}

impl Fixture {
    pub fn metadata(&self, key: &str) -> &str {
        &self.file.metadata()[key]
    }

    pub fn numbers(&self, tensor: &str) -> Vec<f64> {
        self.file.get(tensor).unwrap().to_f32().unwrap().into_iter().map(f64::from).collect()
    }

    /// Classes of the samples; negative for none.
    pub fn conditions(&self) -> Vec<Condition> {
        let of = |class: f64| if class < 0.0 { Condition::default() } else { Condition::class(class as usize) };
        self.numbers("classes").into_iter().map(of).collect()
    }

    fn values(&self, tensor: &str) -> (Vec<f32>, [usize; 4]) {
        let found = self.file.get(tensor).unwrap();
        (found.to_f32().unwrap(), found.shape().try_into().unwrap())
    }

    /// Compares `function` of the tensor `x`, and its vector-Jacobian product with a fixed cotangent, with the tensors
    /// `what` and `what_dx`: to 1e-4 and 1e-3 of their largest value, which is what single precision leaves after dozens
    /// of layers in another order of summation. Returns both.
    pub fn check(&self, what: &str, function: impl Fn(Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 2] {
        let (x, shape) = self.values("x");
        let x = Tensor::from_data(TensorData::new(x, shape), &device().autodiff()).require_grad();
        let y = function(x.clone());
        let shape = y.dims();
        let cotangent = RandomWeights::default().tensor("cotangent", &shape).unwrap();
        let cotangent = Tensor::from_data(TensorData::new(cotangent, shape), &device().autodiff());
        let gradients = (y.clone() * cotangent).sum().backward();
        // A tensor that the result does not depend on would have none.
        let dx = x.grad(&gradients).expect("a gradient");
        [self.compare(what, y, 1e-4), self.compare(&format!("{what}_dx"), dx, 1e-3)]
    }

    fn compare(&self, tensor: &str, got: Tensor<4>, tolerance: f32) -> Vec<f32> {
        let (expected, shape) = self.values(tensor);
        assert_eq!(got.dims(), shape, "{} {tensor}", self.name);
        let got: Vec<f32> = got.into_data().iter().collect();
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = expected.iter().zip(&got).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{} {tensor}: off by {:.1e} of the largest value", self.name, worst / largest);
        assert!(worst <= tolerance * largest, "{} {tensor}: off by {worst} of {largest}", self.name);
        got
    }
}
