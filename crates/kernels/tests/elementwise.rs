//! SiLU and upsampling against double precision.

mod common;

use common::noise;
use vipaint_kernels::{silu, silu_vjp, upsample2, upsample2_vjp};

fn exact(x: f32) -> (f64, f64) {
    let x = f64::from(x);
    let s = 1.0 / (1.0 + (-x).exp());
    (x * s, s * (1.0 + x * (1.0 - s)))
}

#[test]
fn silu_and_its_derivative() {
    // Odd length, so that some values miss the vector loop; then the ends of the range.
    let mut x: Vec<f32> = (-4000..4001).map(|i| i as f32 * 0.005).collect();
    x.extend([-1e30, -100.0, -88.0, 0.0, -0.0, 1e-30, 88.0, 1e30]);
    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    silu(&x, &mut y);
    silu_vjp(&x, &vec![1.0; x.len()], &mut dx);
    for i in 0..x.len() {
        let (value, slope) = exact(x[i]);
        // The exponential is within 3e-7 relative; the quotient adds two roundings. Below -80 the result is nothing
        // against any other value in a network.
        let size = value.abs().max(1e-20 * f64::from(x[i].abs()));
        assert!((f64::from(y[i]) - value).abs() <= 5e-7 * size.max(1e-30), "silu({}) = {} not {value}", x[i], y[i]);
        if x[i].abs() < 1e4 {
            assert!((f64::from(dx[i]) - slope).abs() <= 1e-6, "silu'({}) = {} not {slope}", x[i], dx[i]);
        }
    }
}

#[test]
fn upsampling_repeats_and_its_adjoint_sums() {
    for (batch, height, width, channels) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 4, 2, 16)] {
        let x = noise(batch * height * width * channels, 1);
        let g = noise(4 * x.len(), 2);
        let (mut y, mut dx) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
        upsample2(width, channels, &x, &mut y);
        upsample2_vjp(width, channels, &g, &mut dx);
        let mut sums = vec![0.0; x.len()];
        for i in 0..y.len() {
            let (row, column) = (i / (2 * width * channels), i / channels % (2 * width));
            let from = ((row / 2) * width + column / 2) * channels + i % channels;
            assert_eq!(y[i], x[from]);
            sums[from] += f64::from(g[i]);
        }
        assert!(dx.iter().zip(sums).all(|(&dx, sum)| (f64::from(dx) - sum).abs() < 1e-6));
    }
}
