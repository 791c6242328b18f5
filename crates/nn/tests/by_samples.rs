//! Samples shared between threads give the bits of one call on all, forward and backward.

use burn::tensor::{Device, Distribution, Tensor};
use std::ops::Range;
use vipaint_nn::ops::{self, GroupNormTail, PackedConv};

fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec::<f32>().unwrap()
}

/// A function of each sample by itself, with something of each sample's own, to other channels.
struct Function {
    convs: [PackedConv; 2],
    shift: Tensor<2>,
}

impl Function {
    fn new(batch: usize) -> Self {
        let conv = |c_in, c_out| PackedConv::new(noise([c_out, c_in, 3, 3]), None, 1, 1, [6, 5]);
        Self { convs: [conv(8, 16), conv(16, 3)], shift: noise([batch, 16]) }
    }

    fn call(&self, x: Tensor<4>, samples: Range<usize>) -> Tensor<4> {
        let y = ops::conv2d_frozen(x, &self.convs[0], None);
        let (one, zero) = (Tensor::ones([16], &Device::flex()), Tensor::zeros([16], &Device::flex()));
        let tail = GroupNormTail { modulation: None, silu: true };
        let y = ops::group_norm_shifted(y, self.shift.clone().slice_dim(0, samples), 4, one, zero, 1e-5, tail);
        ops::conv2d_frozen(y, &self.convs[1], None)
    }
}

/// Value, value as computed for a gradient, and gradient.
fn results(x: &Tensor<4>, f: &(dyn Fn(Tensor<4>) -> Tensor<4> + Sync)) -> [Vec<f32>; 3] {
    let leaf = x.clone().autodiff().require_grad();
    let y = f(leaf.clone());
    let mut gradients = (y.clone() * y.clone()).sum().backward();
    [values(f(x.clone())), values(y.inner()), values(leaf.grad_remove(&mut gradients).unwrap())]
}

#[test]
fn the_bits_are_those_of_one_call() {
    for batch in [1, 2, 3, 8] {
        let (f, x) = (Function::new(batch), noise([batch, 6, 5, 8]));
        let expected = in_pool(1, || results(&x, &|x| f.call(x, 0..batch)));
        assert!(expected[2].iter().any(|&g| g != 0.0));
        for threads in [1, 2, 3, 16] {
            let got = in_pool(threads, || results(&x, &|x| ops::by_samples(x, &|x, samples| f.call(x, samples))));
            assert!(got == expected, "batch {batch} on {threads} threads");
        }
    }
}

#[test]
fn a_function_that_ignores_its_input_has_a_gradient_of_zero() {
    let y = noise([4, 6, 5, 3]);
    let x = noise([4, 6, 5, 8]).autodiff().require_grad();
    let gradient = in_pool(2, || {
        let z = ops::by_samples(x.clone(), &|_, samples| y.clone().slice_dim(0, samples).autodiff());
        let mut gradients = z.sum().backward();
        x.grad_remove(&mut gradients).unwrap()
    });
    assert!(values(gradient).iter().all(|&g| g == 0.0));
}

#[test]
fn calls_from_several_threads_do_not_meet() {
    let (f, x) = (Function::new(4), noise([4, 6, 5, 8]));
    let expected = in_pool(1, || results(&x, &|x| f.call(x, 0..4)));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let got = in_pool(2, || results(&x, &|x| ops::by_samples(x, &|x, samples| f.call(x, samples))));
                    assert!(got == expected);
                }
            });
        }
    });
}
