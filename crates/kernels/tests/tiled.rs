//! Convolutions on tile registers against sums in double precision: shapes that leave tiles partly empty, strides, borders, and
//! rows of images that are no multiple of a tile's.

mod common;

use common::{Exact, noise};
use vipaint_kernels::Version;
use vipaint_kernels::conv::{Conv, Frozen};

/// Batch, height, width, channels in and out, kernel, stride, padding.
type Shape = (usize, usize, usize, usize, usize, usize, usize, usize);

const SHAPES: [Shape; 22] = [
    (1, 1, 1, 32, 32, 3, 1, 1),
    (2, 1, 5, 64, 32, 3, 1, 1),
    (3, 5, 1, 24, 32, 3, 1, 1),
    (2, 4, 4, 48, 64, 3, 1, 1),
    (1, 9, 7, 60, 33, 3, 1, 1),
    (1, 33, 30, 31, 50, 3, 1, 1),
    (3, 16, 16, 96, 48, 3, 1, 1),
    (1, 8, 8, 300, 200, 3, 1, 1),
    (1, 3, 40, 32, 64, 5, 1, 2),
    (2, 6, 5, 32, 30, 3, 1, 0),
    (1, 4, 6, 32, 32, 3, 1, 2), // more outputs than inputs
    (1, 1, 1, 32, 64, 3, 2, 1),
    (2, 9, 7, 40, 60, 3, 2, 1),
    (3, 16, 16, 48, 48, 3, 2, 1),
    (1, 17, 13, 64, 30, 3, 2, 0),
    (1, 11, 12, 32, 32, 5, 3, 1),
    (2, 7, 9, 64, 96, 1, 1, 0),
    (1, 9, 10, 64, 32, 1, 2, 0),
    (1, 1, 1, 64, 128, 1, 1, 0),
    (70, 1, 1, 130, 260, 1, 1, 0),
    (300, 1, 1, 96, 32, 1, 1, 0),
    (2, 2, 3, 512, 512, 3, 1, 1),
];

fn sums_are_within_the_bound() {
    for shape in SHAPES {
        let (batch, height, width, c_in, c_out, kernel, stride, padding) = shape;
        let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
        let (out_height, out_width) = (conv.out_height(), conv.out_width());
        let (x, w, b) =
            (noise(batch * height * width * c_in, 1), noise(c_out * c_in * kernel * kernel, 2), noise(c_out, 3));
        let g = noise(batch * out_height * out_width * c_out, 4);
        let (mut y, mut dx) = (vec![Exact::default(); g.len()], vec![Exact::default(); x.len()]);
        y.iter_mut().enumerate().for_each(|(i, y)| y.add(f64::from(b[i % c_out])));
        for (at, y) in y.chunks_exact_mut(c_out).enumerate() {
            let (j, i, image) = (at % out_width, at / out_width % out_height, at / (out_width * out_height));
            for (k, l) in (0..kernel * kernel).map(|t| (t / kernel, t % kernel)) {
                let (row, column) = ((i * stride + k).wrapping_sub(padding), (j * stride + l).wrapping_sub(padding));
                if row >= height || column >= width {
                    continue;
                }
                let pixel = (image * height + row) * width + column;
                for (o, c) in (0..c_out * c_in).map(|oc| (oc / c_in, oc % c_in)) {
                    let weight = f64::from(w[((o * c_in + c) * kernel + k) * kernel + l]);
                    y[o].add(f64::from(x[pixel * c_in + c]) * weight);
                    dx[pixel * c_in + c].add(f64::from(g[at * c_out + o]) * weight);
                }
            }
        }
        let layer = Frozen::new(&conv, &w, &b);
        let (mut got_y, mut got_dx) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
        layer.apply(&x, false, &mut got_y);
        layer.input_grad(&g, &mut got_dx);
        for (what, got, exact) in [("y", &got_y, &y), ("dx", &got_dx, &dx)] {
            let (mut error, mut size) = (0.0, 0.0);
            for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
                exact.check(*got, &format!("{what}[{i}] of {shape:?}"));
                error += (f64::from(*got) - exact.value).powi(2);
                size += exact.value.powi(2);
            }
            // Far inside of the bound: errors have either sign.
            assert!(error.sqrt() <= 5e-6 * size.sqrt(), "{what} of {shape:?}: {:.1e}", (error / size).sqrt());
        }
    }
}

/// After upsampling, large images take sums of weights: of up to four, each with its error, and rounded again.
fn upsampling_layers_are_within_the_bound() {
    for (batch, height, width, c_in, c_out, kernel) in
        [(1, 32, 32, 32, 48, 3), (2, 34, 36, 60, 40, 3), (1, 30, 36, 32, 24, 5)]
    {
        let conv = Conv { height, width, c_in, c_out, kernel, stride: 1, padding: kernel / 2 };
        let (x, w, b) =
            (noise(batch * height * width * c_in / 4, 1), noise(c_out * c_in * kernel * kernel, 2), noise(c_out, 3));
        let g = noise(batch * height * width * c_out, 4);
        let layer = Frozen::new(&conv, &w, &b);
        let plain = layer.bytes();
        let layer = layer.after_upsampling();
        assert!(layer.bytes() > plain, "sums of weights");
        let half = Frozen::halved(&conv, &w, &b).after_upsampling();
        for (layer, error) in [(layer, 1.3), (half, 18.0)] {
            let (mut y, mut dx) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
            layer.apply(&x, false, &mut y);
            layer.input_grad(&g, &mut dx);
            let (mut exact_y, mut exact_dx) = (vec![Exact::default(); g.len()], vec![Exact::default(); x.len()]);
            for (at, (y, g)) in exact_y.iter_mut().zip(&g).enumerate() {
                let (o, pixel) = (at % c_out, at / c_out);
                let (j, i, image) = (pixel % width, pixel / width % height, pixel / (width * height));
                y.add(f64::from(b[o]));
                for (k, l) in (0..kernel * kernel).map(|t| (t / kernel, t % kernel)) {
                    let (row, column) = ((i + k).wrapping_sub(kernel / 2), (j + l).wrapping_sub(kernel / 2));
                    if row >= height || column >= width {
                        continue;
                    }
                    let pixel = (image * (height / 2) + row / 2) * (width / 2) + column / 2;
                    for c in 0..c_in {
                        let weight = f64::from(w[((o * c_in + c) * kernel + k) * kernel + l]);
                        y.add(f64::from(x[pixel * c_in + c]) * weight);
                        exact_dx[pixel * c_in + c].add(f64::from(*g) * weight);
                    }
                }
            }
            for (what, got, exact) in [("y", &y, &exact_y), ("dx", &dx, &exact_dx)] {
                for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
                    let exact = Exact { magnitude: error * exact.magnitude, ..*exact };
                    exact.check(*got, &format!("{what}[{i}] of {conv:?}, doubled"));
                }
            }
        }
    }
}

#[test]
fn amx() {
    common::in_version(Version::Amx, sums_are_within_the_bound);
}

#[test]
fn amx_after_upsampling() {
    common::in_version(Version::Amx, upsampling_layers_are_within_the_bound);
}
