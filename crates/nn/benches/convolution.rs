//! Billions of operations a second, counted as the direct algorithm's, of 3x3 convolutions and their gradients as tensors
//! see them, allocation and bookkeeping included: `cargo bench -p vipaint-nn`.

use burn::tensor::{Device, Distribution, Tensor};
use std::hint::black_box;
use std::time::{Duration, Instant};
use vipaint_nn::ops::{self, PackedConv, reference};

fn main() {
    println!("{:22}   forward and dx       forward, dx and dw", "");
    println!("{:22}{:>10}{:>10}{:>15}{:>10}", "batch, channels, side", "frozen", "Burn", "trained", "Burn");
    let device = Device::flex();
    let tracked = device.clone().autodiff();
    let noise = |shape: [usize; 4], device: &Device| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), device);
    for (batch, c, side) in [(4, 192, 64), (4, 384, 32), (4, 64, 32), (1, 128, 256), (64, 48, 16), (64, 96, 8)] {
        let constant = noise([c, c, 3, 3], &tracked);
        let packed = PackedConv::new(Tensor::from_data(constant.to_data(), &device), None, 1, 1, [side, side]);
        let weight = constant.clone().require_grad();
        let x = noise([batch, side, side, c], &tracked).require_grad();
        let g = noise([batch, side, side, c], &tracked);
        let flops = 2.0 * (batch * side * side * c * c * 9) as f64;
        let rate = |passes: f64, y: &dyn Fn() -> Tensor<4>| {
            let time = best(&mut || {
                let grads = (y() * g.clone()).sum().backward();
                black_box(x.grad(&grads));
            });
            passes * flops / time.as_secs_f64() / 1e9
        };
        let frozen = rate(2.0, &|| ops::conv2d_frozen(x.clone(), &packed, None));
        let burn = rate(2.0, &|| reference::conv2d(x.clone(), constant.clone(), None, 1, 1));
        let trained = rate(3.0, &|| ops::conv2d(x.clone(), weight.clone(), None, 1, 1));
        let burn_trained = rate(3.0, &|| reference::conv2d(x.clone(), weight.clone(), None, 1, 1));
        let shape = format!("{batch}, {c}, {side}");
        println!("{shape:22}{frozen:10.0}{burn:10.0}{trained:15.0}{burn_trained:10.0}");
    }
}

/// The least of several runs: other work on the machine only adds time.
fn best(f: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    for run in 0.. {
        let begin = Instant::now();
        f();
        best = best.min(begin.elapsed());
        if run > 3 && start.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    best
}
