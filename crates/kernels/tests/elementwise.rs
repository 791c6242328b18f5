//! Activations and changes of resolution against double precision.

mod common;

use common::noise;
use vipaint_kernels::{
    Activation, activate, activate_vjp, average_pool2, average_pool2_vjp, geglu, geglu_vjp, silu, silu_vjp, upsample2,
    upsample2_vjp,
};

fn exact(x: f32) -> (f64, f64) {
    let x = f64::from(x);
    let s = 1.0 / (1.0 + (-x).exp());
    (x * s, s * (1.0 + x * (1.0 - s)))
}

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

/// `Phi(x)` by Simpson's rule with steps of 1/200 or less, error below 1e-10.
fn normal_cdf(x: f64) -> f64 {
    let (n, density) = (4000, |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt());
    let h = x / f64::from(n);
    let inner: f64 = (1..n).map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    0.5 + h / 3.0 * (density(0.0) + inner + density(x))
}

fn geglu_and_its_derivatives() {
    // More than a task's values, an odd number; then the ends of the range.
    let mut gate: Vec<f32> = (-4500..4501).map(|i| i as f32 * 0.0035).collect();
    gate.extend([-1e4, -20.0, -0.0, 0.0, 1e-30, 20.0, 1e4]);
    let value = noise(gate.len(), 1);
    let g = noise(gate.len(), 2);
    let (mut y, mut dvalue, mut dgate) = (vec![f32::NAN; g.len()], g.clone(), vec![f32::NAN; g.len()]);
    geglu(&value, &gate, &mut y);
    geglu_vjp(&value, &gate, &mut dvalue, &mut dgate);
    for i in 0..gate.len() {
        let (v, x, g) = (f64::from(value[i]), f64::from(gate[i]), f64::from(g[i]));
        let phi = if x.abs() > 20.0 { f64::from(u8::from(x > 0.0)) } else { normal_cdf(x) };
        let slope = phi + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        // Phi is within 7.5e-8 for the polynomial, and as much again for rounding and the exponential; two more roundings.
        let bound = 3e-7 * x.abs().max(1.0);
        for (got, exact) in [(y[i], v * x * phi), (dvalue[i], g * x * phi), (dgate[i], g * v * slope)] {
            assert!((f64::from(got) - exact).abs() <= bound, "at {x}: {got} instead of {exact}");
        }
    }
}

fn pooling_averages_and_its_adjoint_spreads() {
    for (batch, height, width, channels) in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 4, 2, 16)] {
        let g = noise(batch * height * width * channels, 1);
        let x = noise(4 * g.len(), 2);
        let (mut y, mut dx) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
        average_pool2(width, channels, &x, &mut y);
        average_pool2_vjp(width, channels, &g, &mut dx);
        let mut means = vec![0.0; g.len()];
        for i in 0..x.len() {
            let (row, column) = (i / (2 * width * channels), i / channels % (2 * width));
            let to = ((row / 2) * width + column / 2) * channels + i % channels;
            assert_eq!(dx[i], g[to] / 4.0);
            means[to] += f64::from(x[i]) / 4.0;
        }
        assert!(y.iter().zip(means).all(|(&y, mean)| (f64::from(y) - mean).abs() < 1e-6));
    }
}

fn activations_and_their_derivatives() {
    // More than a task's values, an odd number.
    let x: Vec<f32> = (-4500..4501).map(|i| i as f32 * 0.0035).collect();
    let g = noise(x.len(), 1);
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let logistic = |a: f64, x: f64| {
        let s = 1.0 / (1.0 + (-a * x).exp());
        (x * s, s + a * x * s * (1.0 - s))
    };
    for f in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        activate(f, &x, &mut y);
        activate_vjp(f, &x, &g, &mut dx);
        for i in 0..x.len() {
            let at = f64::from(x[i]);
            let (value, slope) = match f {
                Activation::Silu => logistic(1.0, at),
                Activation::Gelu => (at * normal_cdf(at), normal_cdf(at) + at * density(at)),
                Activation::QuickGelu => logistic(1.702, at),
            };
            // As for SiLU and GEGLU above; of the quick form the argument is rounded, which its slope of at most 1.1 sees.
            let bound = 4e-7 * at.abs().max(1.0);
            assert!((f64::from(y[i]) - value).abs() <= bound, "{f:?}({at}) = {} not {value}", y[i]);
            let (got, slope) = (f64::from(dx[i]), slope * f64::from(g[i]));
            assert!((got - slope).abs() <= 1e-6, "{f:?}'({at}) is {got}, not {slope}");
        }
    }
}

in_every_version!(
    silu_and_its_derivative,
    upsampling_repeats_and_its_adjoint_sums,
    geglu_and_its_derivatives,
    pooling_averages_and_its_adjoint_spreads,
    activations_and_their_derivatives,
);
