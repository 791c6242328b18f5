//! The samples of a batch shared between threads: each runs a whole function on its part, forward and backward.
//!
//! A small network is hundreds of operations of 10 to 100 microseconds. Threads that share every operation meet before and
//! after each; here they meet once a call, and what the framework does between operations is shared too. The promise that
//! a sample's result does not depend on its batch makes the results those of one call on all.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Tensor, TensorData};
use vipaint_kernels::{map, threads};

use super::flex::on_flex;
use super::{External, external};

/// `f(x, 0..batch)` for a function of each sample by itself: `f(part, range)` maps the samples `range` of `x`, alone.
///
/// Differentiable in `x` (`[batch, ..]`, and so is the result), and in nothing else: what else `f` uses must be constant.
/// Parts go to the pool's threads where the kernels run and where there are several of both; elsewhere `f` is called once.
pub fn by_samples(x: Tensor<4>, f: &(dyn Fn(Tensor<4>, Range<usize>) -> Tensor<4> + Sync)) -> Tensor<4> {
    let [batch, ..] = x.dims();
    let count = threads().min(batch);
    if count < 2 || !on_flex(&x) {
        return f(x, 0..batch);
    }
    let ranges: Vec<_> = (0..count).map(|i| i * batch / count..(i + 1) * batch / count).collect();
    if !x.is_autodiff() {
        let parts = map(count, |i| f(x.clone().slice_dim(0, ranges[i].clone()), ranges[i].clone()));
        return Tensor::cat(parts, 0);
    }
    let plain = x.clone().inner();
    let parts = map(count, |i| {
        let leaf = plain.clone().slice_dim(0, ranges[i].clone()).autodiff().require_grad();
        let y = f(leaf.clone(), ranges[i].clone());
        Part { samples: ranges[i].clone(), leaf, y }
    });
    let [_, c, h, w] = parts[0].y.dims();
    let parts = Arc::new(Parts(Mutex::new(parts)));
    // The kernels serve `x`, so they serve this.
    external(x.clone(), parts, [batch, c, h, w]).unwrap_or_else(|| f(x, 0..batch))
}

/// A part's own graph, from the samples to their result.
#[derive(Debug)]
struct Part {
    samples: Range<usize>,
    leaf: Tensor<4>,
    y: Tensor<4>,
}

/// The parts as a function whose result is known; their graphs are used up by the vector-Jacobian product.
#[derive(Debug)]
struct Parts(Mutex<Vec<Part>>);

impl External for Parts {
    fn forward(&self, _: &[f32], y: &mut [f32]) {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values =
            parts.iter().flat_map(|part| part.y.clone().inner().into_data().try_into_vec::<f32>().unwrap_or_default());
        y.iter_mut().zip(values).for_each(|(y, value)| *y = value);
    }

    fn vjp(&self, _: &[f32], v: &[f32], dx: &mut [f32]) {
        let parts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let batch = parts.last().map_or(1, |part| part.samples.end);
        let slots: Vec<_> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
        let gradients = map(slots.len(), |i| {
            let Part { samples, leaf, y } = slots[i].lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let len = v.len() / batch;
            let v = TensorData::new(v[samples.start * len..samples.end * len].to_vec(), y.dims());
            let v = Tensor::<4>::from_data(v, &y.device().without_autodiff()).autodiff();
            let dx = leaf.grad_remove(&mut (y * v).sum().backward())?;
            Some((samples, dx.into_data().try_into_vec::<f32>().ok()?))
        });
        let len = dx.len() / batch;
        for (samples, values) in gradients.into_iter().flatten() {
            dx[samples.start * len..samples.end * len].copy_from_slice(&values);
        }
    }
}
