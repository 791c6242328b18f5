//! Winograd's algorithm against direct sums in double precision.

mod common;

use common::{noise, with_threads};
use vipaint_kernels::conv::Conv;
use vipaint_kernels::conv::winograd::{Tile, Winograd, serves};

/// The transforms as matrices, from their points: `A^T`, `B^T` and `G` of `F(m, 3)` by the Chinese remainder theorem.
struct Transforms {
    a: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
    g: Vec<Vec<f64>>,
}

impl Transforms {
    fn new(outputs: usize, points: &[f64]) -> Self {
        let n = outputs + 2;
        // Coefficients of the product of (x - p) over all points but one.
        let product = |skip: usize| {
            let mut c = vec![1.0];
            for (_, p) in points.iter().enumerate().filter(|(i, _)| *i != skip) {
                c.push(0.0);
                c = (0..c.len()).map(|k| if k > 0 { c[k - 1] } else { 0.0 } - p * c[k]).collect();
            }
            c.resize(n, 0.0);
            c
        };
        let others = |j: usize| -> f64 {
            points.iter().enumerate().filter(|(i, _)| *i != j).map(|(_, p)| points[j] - p).product()
        };
        let mut b: Vec<Vec<f64>> = (0..n - 1).map(product).collect();
        b.push(product(usize::MAX));
        let mut g: Vec<Vec<f64>> =
            (0..n - 1).map(|j| (0..3).map(|k| points[j].powi(k) / others(j)).collect()).collect();
        g.push(vec![0.0, 0.0, 1.0]);
        let mut a: Vec<Vec<f64>> =
            (0..outputs).map(|i| points.iter().map(|p| p.powi(i as i32)).chain([0.0]).collect()).collect();
        a[outputs - 1][n - 1] = 1.0;
        Self { a, b, g }
    }

    fn of(tile: Tile, adjoint: bool) -> Self {
        match (tile, adjoint) {
            (Tile::Two, _) => Self::new(2, &[0.0, 1.0, -1.0]),
            (Tile::Four, false) => Self::new(4, &[0.0, 1.0, -1.0, 2.0, -0.5]),
            (Tile::Four, true) => Self::new(4, &[0.0, 1.0, -1.0, 0.5, -2.0]),
        }
    }
}

/// `|t| |x| |t|^T`.
fn both(t: &[Vec<f64>], x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let rows = |x: &[Vec<f64>]| -> Vec<Vec<f64>> {
        t.iter()
            .map(|t| (0..x[0].len()).map(|j| (0..t.len()).map(|k| t[k].abs() * x[k][j].abs()).sum()).collect())
            .collect()
    };
    let turned =
        |x: &[Vec<f64>]| -> Vec<Vec<f64>> { (0..x[0].len()).map(|j| x.iter().map(|row| row[j]).collect()).collect() };
    turned(&rows(&turned(&rows(x))))
}

struct Case {
    conv: Conv,
    batch: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    g: Vec<f32>,
    old: Vec<f32>,
}

fn cases() -> Vec<Case> {
    [
        (1, 1, 1, 8, 8),
        (2, 4, 4, 16, 24),
        (3, 5, 7, 24, 16),
        (2, 9, 6, 40, 8),
        (7, 8, 8, 16, 16),
        (1, 33, 30, 8, 16),
        (2, 3, 5, 264, 256),
        (1, 16, 16, 248, 280),
    ]
    .map(|(batch, height, width, c_in, c_out)| {
        let conv = Conv { height, width, c_in, c_out, kernel: 3, stride: 1, padding: 1 };
        let pixels = batch * height * width;
        Case {
            conv,
            batch,
            x: noise(pixels * c_in, 1),
            w: noise(c_in * c_out * 9, 2),
            b: noise(c_out, 3),
            g: noise(pixels * c_out, 4),
            old: noise(pixels * c_out, 5),
        }
    })
    .into()
}

impl Case {
    fn pixel(data: &[f32], conv: &Conv, channels: usize, image: usize, y: usize, x: usize, c: usize) -> f64 {
        let inside = y < conv.height && x < conv.width;
        if inside { f64::from(data[((image * conv.height + y) * conv.width + x) * channels + c]) } else { 0.0 }
    }

    /// Checks some values of a 3x3 convolution of `x` with kernels `w(to, from, k, l)`, each within
    /// `gamma_n |A|^T ((|G||w||G|^T) * (|B|^T|d||B|)) |A|`, the standard bound of the algorithm with `n` roundings on the
    /// way: one for each channel, and 30 for the transforms and the end.
    fn check(
        &self,
        adjoint: bool,
        tile: Tile,
        x: &[f32],
        w: impl Fn(usize, usize, usize, usize) -> f64,
        got: &[f32],
    ) -> [f64; 2] {
        let (from, to) = if adjoint { (self.conv.c_out, self.conv.c_in) } else { (self.conv.c_in, self.conv.c_out) };
        let t = Transforms::of(tile, adjoint);
        let (side, inner) = (t.a.len(), t.b.len());
        let n = (from + 30) as f64 * f64::from(f32::EPSILON) / 2.0;
        let gamma = n / (1.0 - n);
        let mut squares = [0.0; 2];
        let count = got.len();
        for at in (0..count).step_by((count / 200).max(1)) {
            let (c, px) = (at % to, at / to);
            let (image, y, x_) = (
                px / (self.conv.height * self.conv.width),
                px / self.conv.width % self.conv.height,
                px % self.conv.width,
            );
            let (top, left) = (y / side * side, x_ / side * side);
            let mut exact = 0.0;
            let mut products = vec![vec![0.0; inner]; inner];
            for from_c in 0..from {
                let value = |i: usize, j: usize| {
                    Self::pixel(
                        x,
                        &self.conv,
                        from,
                        image,
                        (top + i).wrapping_sub(1),
                        (left + j).wrapping_sub(1),
                        from_c,
                    )
                };
                let d: Vec<Vec<f64>> = (0..inner).map(|i| (0..inner).map(|j| value(i, j)).collect()).collect();
                let kernel: Vec<Vec<f64>> = (0..3).map(|k| (0..3).map(|l| w(c, from_c, k, l)).collect()).collect();
                for (k, l) in (0..9).map(|i| (i / 3, i % 3)) {
                    exact += kernel[k][l] * d[y - top + k][x_ - left + l];
                }
                let (u, v) = (both(&t.g, &kernel), both(&t.b, &d));
                for (i, j) in (0..inner * inner).map(|p| (p / inner, p % inner)) {
                    products[i][j] += u[i][j] * v[i][j];
                }
            }
            let mut bound = both(&t.a, &products)[y - top][x_ - left];
            if !adjoint {
                exact += f64::from(self.b[c]) + f64::from(self.old[at]);
                bound += f64::from(self.b[c]).abs() + f64::from(self.old[at]).abs();
            }
            let error = f64::from(got[at]) - exact;
            assert!(
                error.abs() <= gamma * bound,
                "{tile:?}, adjoint {adjoint}, {:?}, {at}: error {error:.2e} of {exact}",
                self.conv
            );
            squares[0] += error * error;
            squares[1] += exact * exact;
        }
        squares
    }

    fn packed(&self, tile: Tile) -> Winograd {
        Winograd::new(&self.conv, &self.w, tile)
    }

    fn forward(&self, packed: &Winograd, from: usize, to: usize) -> Vec<f32> {
        let part = |v: &[f32]| v[from * v.len() / self.batch..to * v.len() / self.batch].to_vec();
        let mut y = part(&self.old);
        packed.apply(false, &part(&self.x), Some(&self.b), true, &mut y);
        y
    }

    fn adjoint(&self, packed: &Winograd, from: usize, to: usize) -> Vec<f32> {
        let g = &self.g[from * self.g.len() / self.batch..to * self.g.len() / self.batch];
        let mut dx = vec![f32::NAN; self.x.len() / self.batch * (to - from)];
        packed.input_grad(false, g, &mut dx);
        dx
    }
}

fn errors_are_within_the_bound() {
    for tile in [Tile::Two, Tile::Four] {
        let mut worst = 0f64;
        for case in cases() {
            let packed = case.packed(tile);
            let at =
                |o: usize, c: usize, k: usize, l: usize| f64::from(case.w[((o * case.conv.c_in + c) * 3 + k) * 3 + l]);
            let forward = case.check(false, tile, &case.x, at, &case.forward(&packed, 0, case.batch));
            let flipped = |c: usize, o: usize, k: usize, l: usize| at(o, c, 2 - k, 2 - l);
            let adjoint = case.check(true, tile, &case.g, flipped, &case.adjoint(&packed, 0, case.batch));
            for [error, size] in [forward, adjoint] {
                worst = worst.max((error / size).sqrt());
            }
        }
        // Far inside the bound: roundings of zero-mean data cancel. Root mean square, relative to that of the result.
        println!("{tile:?}: relative error {worst:.1e}");
        assert!(worst < 4e-6);
    }
}

fn bits_do_not_depend_on_batch_or_threads() {
    for tile in [Tile::Two, Tile::Four] {
        for case in cases() {
            let packed = case.packed(tile);
            let run = |from, to| (case.forward(&packed, from, to), case.adjoint(&packed, from, to));
            let all = with_threads(1, || run(0, case.batch));
            assert!(all == with_threads(2, || run(0, case.batch)), "{:?}", case.conv);
            assert!(all == with_threads(5, || run(0, case.batch)), "{:?}", case.conv);
            for b in 0..case.batch {
                let one = run(b, b + 1);
                let part = |v: &[f32], len: usize| v[b * len..(b + 1) * len].to_vec();
                assert!(one == (part(&all.0, one.0.len()), part(&all.1, one.1.len())), "{:?}", case.conv);
            }
        }
    }
}

#[test]
fn only_some_convolutions_are_served() {
    let conv = Conv { height: 8, width: 8, c_in: 8, c_out: 8, kernel: 3, stride: 1, padding: 1 };
    assert!(serves(&conv));
    for other in [Conv { stride: 2, ..conv }, Conv { c_in: 4, ..conv }, Conv { padding: 0, ..conv }] {
        assert!(!serves(&other));
    }
}

in_every_version!(errors_are_within_the_bound, bits_do_not_depend_on_batch_or_threads,);
