//! All weights of a module as a list of named tensors, in the order of its fields.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// Name and shape of one weight tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Field names joined by dots, `down.0.conv_in.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Entry {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Names and shapes, without allocating weights that were not used yet.
pub fn entries<M: Module>(module: &M) -> Vec<Entry> {
    struct Visitor {
        path: Vec<String>,
        entries: Vec<Entry>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.entries.push(Entry { name: self.path.join("."), shape: param.lazy_shape().to_vec() });
        }
    }
    let mut visitor = Visitor { path: Vec::new(), entries: Vec::new() };
    module.visit(&mut visitor);
    visitor.entries
}

/// All values, concatenated in the order of [`entries`].
pub fn gather<M: Module>(module: &M) -> Vec<f32> {
    struct Visitor(Vec<f32>);
    impl ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            append(&mut self.0, param.val());
        }
    }
    let mut visitor = Visitor(Vec::new());
    module.visit(&mut visitor);
    visitor.0
}

/// Gradients of all values, concatenated likewise; zero where there is none.
pub fn gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Vec<f32> {
    struct Visitor<'a>(Vec<f32>, &'a mut Gradients);
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            match param.val().grad_remove(self.1) {
                Some(gradient) => append(&mut self.0, gradient),
                None => self.0.resize(self.0.len() + param.lazy_shape().num_elements(), 0.0),
            }
        }
    }
    let mut visitor = Visitor(Vec::new(), gradients);
    module.visit(&mut visitor);
    visitor.0
}

/// The module with its values replaced by consecutive pieces of `values`, on `device`; they require gradients if the
/// device is an autodiff device.
///
/// # Panics
/// If `values` is shorter than all [`entries`] together.
pub fn scatter<M: Module>(module: M, values: &[f32], device: &Device) -> M {
    struct Mapper<'a>(&'a [f32], &'a Device);
    impl ModuleMapper for Mapper<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.lazy_shape();
            let (mine, rest) = self.0.split_at(shape.num_elements());
            self.0 = rest;
            let tensor = Tensor::from_data(TensorData::new(mine.to_vec(), shape), self.1);
            Param::initialized(param.id, if self.1.is_autodiff() { tensor.require_grad() } else { tensor })
        }
    }
    module.map(&mut Mapper(values, device))
}

fn append<const D: usize>(values: &mut Vec<f32>, tensor: Tensor<D>) {
    let data = tensor.into_data();
    values.extend(data.iter::<f32>());
}
