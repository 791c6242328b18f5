//! Billions of operations a second of the kernels, counted as the direct algorithm's: `cargo bench -p vipaint-kernels`.

use std::time::{Duration, Instant};
use vipaint_kernels::conv::winograd::{Tile, Winograd};
use vipaint_kernels::conv::{Conv, Packed, direct_weight_grad, forward, input_grad, weight_grad};

fn main() {
    let names = ["direct", "its dx", "its dw", "trained", "its dx", "its dw", "F(2x2)", "its dx", "F(4x4)", "its dx"];
    println!("{:24}{}", "batch, channels, side", names.map(|name| format!("{name:>8}")).concat());
    for (batch, c_in, c_out, side) in [
        (64, 32, 32, 16),
        (64, 64, 64, 16),
        (64, 128, 64, 16),
        (64, 64, 64, 8),
        (64, 128, 128, 8),
        (64, 256, 128, 8),
        (64, 128, 128, 4),
        (64, 256, 128, 4),
        (1, 128, 128, 4),
        (4, 128, 128, 8),
        (4, 64, 64, 32),
        (4, 192, 192, 64),
        (4, 384, 384, 32),
        (4, 512, 512, 16),
        (4, 1024, 1024, 8),
        (1, 1024, 1024, 8),
        (1, 128, 128, 256),
    ] {
        let conv = Conv { height: side, width: side, c_in, c_out, kernel: 3, stride: 1, padding: 1 };
        let x = noise(batch * side * side * c_in);
        let g = noise(batch * side * side * c_out);
        let w = noise(c_in * c_out * 9);
        let (mut y, mut dx, mut dw) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        let flops = 2.0 * (batch * side * side * c_in * c_out * 9) as f64;
        let rate = |f: &mut dyn FnMut()| format!("{:8.0}", flops / best(f).as_secs_f64() / 1e9);
        let mut rates = vec![
            rate(&mut || Packed::forward(&conv, &w).apply(&x, None, false, &mut y)),
            rate(&mut || Packed::input_grad(&conv, &w).apply(&g, None, false, &mut dx)),
            rate(&mut || direct_weight_grad(&conv, &x, &g, &mut dw)),
            rate(&mut || forward(&conv, &x, &w, None, &mut y)),
            rate(&mut || input_grad(&conv, &g, &w, &mut dx)),
            rate(&mut || weight_grad(&conv, &x, &g, &mut dw, None)),
        ];
        for tile in [Tile::Two, Tile::Four] {
            let packed = Winograd::new(&conv, &w, tile);
            rates.push(rate(&mut || packed.apply(false, &x, None, false, &mut y)));
            rates.push(rate(&mut || packed.input_grad(false, &g, &mut dx)));
        }
        println!("{:24}{}", format!("{batch}, {c_in}->{c_out}, {side}"), rates.concat());
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
        if run > 3 && start.elapsed() > Duration::from_millis(400) {
            break;
        }
    }
    best
}

/// Zero-mean values from a small generator.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
