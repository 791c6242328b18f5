//! Convolutions against sums in double precision.

mod common;

use common::{Exact, noise, with_threads};
use vipaint_kernels::conv::{Conv, Frozen, Packed, bias_grad, direct_weight_grad, forward, input_grad, weight_grad};
use vipaint_kernels::{upsample2, upsample2_vjp};

fn shapes() -> Vec<(usize, Conv)> {
    let mut shapes = Vec::new();
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (3, 1, 0), (5, 2, 2)] {
        for (batch, height, width, c_in, c_out) in [
            (1, 1, 1, 1, 1),
            (1, 5, 7, 3, 5),
            (3, 4, 4, 16, 16),
            (2, 9, 6, 17, 33),
            (2, 16, 16, 8, 40),
            (20, 3, 4, 6, 16),
            (1, 40, 31, 5, 7),
            (1, 7, 150, 2, 3),
        ] {
            if height + 2 * padding >= kernel && width + 2 * padding >= kernel {
                shapes.push((batch, Conv { height, width, c_in, c_out, kernel, stride, padding }));
            }
        }
    }
    shapes.extend([1, 2, 7, 300].map(|rows| (rows, Conv::linear(37, 21))));
    shapes
}

struct Case {
    conv: Conv,
    batch: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    g: Vec<f32>,
}

impl Case {
    fn new(batch: usize, conv: Conv) -> Self {
        let Conv { height, width, c_in, c_out, kernel, .. } = conv;
        Self {
            conv,
            batch,
            x: noise(batch * height * width * c_in, 1),
            w: noise(c_out * c_in * kernel * kernel, 2),
            b: noise(c_out, 3),
            g: noise(batch * conv.out_height() * conv.out_width() * c_out, 4),
        }
    }

    /// Calls `f(y index, x index, w index, output channel)` for every product of the convolution.
    fn products(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Conv { height, width, c_in, c_out, kernel, stride, padding } = self.conv;
        let (oh, ow) = (self.conv.out_height(), self.conv.out_width());
        for n in 0..self.batch {
            for (i, j) in (0..oh * ow).map(|p| (p / ow, p % ow)) {
                for (k, l) in (0..kernel * kernel).map(|t| (t / kernel, t % kernel)) {
                    let (y, x) = ((i * stride + k).wrapping_sub(padding), (j * stride + l).wrapping_sub(padding));
                    if y >= height || x >= width {
                        continue;
                    }
                    for (o, c) in (0..c_out * c_in).map(|oc| (oc / c_in, oc % c_in)) {
                        let at_y = ((n * oh + i) * ow + j) * c_out + o;
                        let at_x = ((n * height + y) * width + x) * c_in + c;
                        f(at_y, at_x, ((o * c_in + c) * kernel + k) * kernel + l);
                    }
                }
            }
        }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let packed = Packed::forward(&self.conv, &self.w);
        let mut y = vec![f32::NAN; x.len() / packed.source_len() * packed.target_len()];
        packed.apply(x, Some(&self.b), false, &mut y);
        y
    }

    fn input_grad(&self, g: &[f32]) -> Vec<f32> {
        let packed = Packed::input_grad(&self.conv, &self.w);
        let mut dx = vec![f32::NAN; g.len() / packed.source_len() * packed.target_len()];
        packed.apply(g, None, false, &mut dx);
        dx
    }

    fn weight_grad(&self) -> Vec<f32> {
        let mut dw = vec![f32::NAN; self.w.len()];
        direct_weight_grad(&self.conv, &self.x, &self.g, &mut dw);
        dw
    }
}

fn check(got: &[f32], exact: &[Exact], what: &str) {
    assert_eq!(got.len(), exact.len());
    got.iter().zip(exact).enumerate().for_each(|(i, (&got, exact))| exact.check(got, &format!("{what}[{i}]")));
}

fn forward_and_gradients_match_double_precision() {
    for (batch, conv) in shapes() {
        let case = Case::new(batch, conv);
        let mut y = vec![Exact::default(); case.g.len()];
        let mut dx = vec![Exact::default(); case.x.len()];
        let mut dw = vec![Exact::default(); case.w.len()];
        let mut db = vec![Exact::default(); conv.c_out];
        for (i, y) in y.iter_mut().enumerate() {
            y.add(f64::from(case.b[i % conv.c_out]));
            db[i % conv.c_out].add(f64::from(case.g[i]));
        }
        case.products(|at_y, at_x, at_w| {
            let (x, w, g) = (f64::from(case.x[at_x]), f64::from(case.w[at_w]), f64::from(case.g[at_y]));
            y[at_y].add(x * w);
            dx[at_x].add(g * w);
            dw[at_w].add(g * x);
        });
        let what = |name: &str| format!("{name} of {conv:?}, batch {batch}");
        check(&case.forward(&case.x), &y, &what("y"));
        check(&case.input_grad(&case.g), &dx, &what("dx"));
        check(&case.weight_grad(), &dw, &what("dw"));
        let mut got = vec![f32::NAN; conv.c_out];
        bias_grad(conv.c_out, &case.g, &mut got);
        check(&got, &db, &what("db"));
    }
}

fn a_sample_does_not_depend_on_its_batch() {
    for (batch, conv) in shapes() {
        let case = Case::new(batch, conv);
        let each = |data: &[f32], f: &dyn Fn(&[f32]) -> Vec<f32>| -> Vec<f32> {
            data.chunks(data.len() / batch).flat_map(f).collect()
        };
        assert_eq!(case.forward(&case.x), each(&case.x, &|x| case.forward(x)), "{conv:?}");
        assert_eq!(case.input_grad(&case.g), each(&case.g, &|g| case.input_grad(g)), "{conv:?}");
    }
}

fn results_do_not_depend_on_threads() {
    for (batch, conv) in shapes() {
        let case = Case::new(batch, conv);
        let run = |threads| {
            with_threads(threads, || {
                let mut db = vec![0.0; conv.c_out];
                bias_grad(conv.c_out, &case.g, &mut db);
                (case.forward(&case.x), case.input_grad(&case.g), case.weight_grad(), db)
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5), "{conv:?}");
    }
}

fn frozen_layers_are_the_same_maps() {
    for (batch, conv) in shapes() {
        let case = Case::new(batch, conv);
        let frozen = Frozen::new(&conv, &case.w, &case.b);
        assert!(frozen.bytes() >= 4 * case.w.len());
        let close = |a: &[f32], b: &[f32]| {
            // Winograd's algorithm may be at work on one side: see its own tests for the bound.
            let size = (conv.kernel * conv.kernel * conv.c_in.max(conv.c_out)) as f32;
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * size.sqrt()), "{conv:?}");
        };
        let old = noise(case.g.len(), 5);
        let mut y = vec![f32::NAN; case.g.len()];
        frozen.apply(&case.x, false, &mut y);
        let plain = case.forward(&case.x);
        close(&y, &plain);
        let mut sum = old.clone();
        frozen.apply(&case.x, true, &mut sum);
        close(&sum, &plain.iter().zip(&old).map(|(a, b)| a + b).collect::<Vec<_>>());
        let mut dx = vec![f32::NAN; case.x.len()];
        frozen.input_grad(&case.g, &mut dx);
        close(&dx, &case.input_grad(&case.g));
    }
}

fn halved_layers_are_within_the_rounding_of_their_weights() {
    let linear = [(1, 512, 136), (5, 264, 256), (33, 256, 264), (100, 128, 1024)];
    let linear = linear.map(|(rows, c_in, c_out)| (rows, Conv::linear(c_in, c_out)));
    for (batch, conv) in shapes().into_iter().chain(linear) {
        let case = Case::new(batch, conv);
        let (frozen, half) = (Frozen::new(&conv, &case.w, &case.b), Frozen::halved(&conv, &case.w, &case.b));
        assert!(half.bytes() < frozen.bytes() * 6 / 10 + 4 * conv.c_out, "{conv:?}");
        let run = |layer: &Frozen, threads| {
            with_threads(threads, || {
                let (mut y, mut dx) = (vec![f32::NAN; case.g.len()], vec![f32::NAN; case.x.len()]);
                layer.apply(&case.x, false, &mut y);
                layer.input_grad(&case.g, &mut dx);
                [y, dx]
            })
        };
        let (exact, got) = (run(&frozen, 1), run(&half, 1));
        assert!(got == run(&half, 3) && exact == run(&frozen, 3), "{conv:?}");
        // Values are uniform in [-1, 1): of n terms each is off by a relative 2^-11 / sqrt(3) at random, that is the result by
        // sqrt(n) / 3 * 2.8e-4; six times as much is never seen.
        for (exact, (got, c)) in exact.iter().zip(got.iter().zip([conv.c_in, conv.c_out])) {
            let bound = 6.0 * ((conv.kernel * conv.kernel * c) as f32).sqrt() / 3.0 * 2.8e-4;
            assert!(exact.iter().zip(got).all(|(a, b)| (a - b).abs() <= bound), "{conv:?}");
        }
    }
}

fn layers_after_upsampling_are_the_layers_of_upsampled_images() {
    for (batch, height, width, c_in, c_out, kernel) in [
        (2, 2, 2, 8, 16, 3),
        (1, 4, 6, 16, 8, 3),
        (3, 10, 14, 24, 16, 3),
        (1, 16, 12, 264, 256, 3),
        (2, 6, 4, 5, 7, 3),
        (1, 4, 4, 512, 136, 1),
    ] {
        let conv = Conv { height, width, c_in, c_out, kernel, stride: 1, padding: kernel / 2 };
        let case = Case::new(batch, conv);
        let plain = Frozen::new(&conv, &case.w, &case.b);
        let doubled = plain.clone().after_upsampling();
        assert_eq!(doubled.input_sides(), [height / 2, width / 2]);
        let x = noise(case.x.len() / 4, 7);
        let mut large = vec![f32::NAN; case.x.len()];
        upsample2(width / 2, c_in, &x, &mut large);
        for add in [false, true] {
            let (mut y, mut expected) = (noise(case.g.len(), 8), noise(case.g.len(), 8));
            doubled.apply(&x, add, &mut y);
            plain.apply(&large, add, &mut expected);
            assert_eq!(y, expected, "{conv:?}");
        }
        let (mut dx, mut expected) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        doubled.input_grad(&case.g, &mut dx);
        plain.input_grad(&case.g, &mut large);
        upsample2_vjp(width / 2, c_in, &large, &mut expected);
        assert_eq!(dx, expected, "{conv:?}");
    }
}

fn one_copy_of_linear_weights_serves_both_directions() {
    for (rows, c_in, c_out) in [(1, 512, 136), (5, 264, 256), (33, 256, 264), (112, 136, 1024), (200, 384, 200)] {
        let conv = Conv::linear(c_in, c_out);
        let case = Case::new(rows, conv);
        let frozen = Frozen::new(&conv, &case.w, &case.b);
        assert!(frozen.bytes() < 5 * case.w.len(), "one copy of {conv:?}");
        let (mut y, mut dx) = (vec![f32::NAN; case.g.len()], vec![f32::NAN; case.x.len()]);
        frozen.apply(&case.x, false, &mut y);
        frozen.input_grad(&case.g, &mut dx);
        let (mut exact_y, mut exact_dx) = (vec![Exact::default(); y.len()], vec![Exact::default(); dx.len()]);
        exact_y.iter_mut().enumerate().for_each(|(i, y)| y.add(f64::from(case.b[i % c_out])));
        case.products(|at_y, at_x, at_w| {
            exact_y[at_y].add(f64::from(case.x[at_x]) * f64::from(case.w[at_w]));
            exact_dx[at_x].add(f64::from(case.g[at_y]) * f64::from(case.w[at_w]));
        });
        check(&y, &exact_y, &format!("y of {rows} rows of {conv:?}"));
        check(&dx, &exact_dx, &format!("dx of {rows} rows of {conv:?}"));
        let each: Vec<f32> = case
            .g
            .chunks(c_out)
            .flat_map(|g| {
                let mut dx = vec![f32::NAN; c_in];
                frozen.input_grad(g, &mut dx);
                dx
            })
            .collect();
        assert_eq!(dx, each, "a row does not depend on the others");
    }
}

fn training_functions_match_double_precision() {
    let more = [(3, 12, 10, 24, 16), (9, 3, 3, 48, 40), (40, 8, 8, 8, 16), (5, 2, 7, 16, 8)];
    let more = more.map(|(batch, height, width, c_in, c_out)| {
        (batch, Conv { height, width, c_in, c_out, kernel: 3, stride: 1, padding: 1 })
    });
    for (batch, conv) in shapes().into_iter().chain(more) {
        let case = Case::new(batch, conv);
        let run = |threads| {
            with_threads(threads, || {
                let (mut y, mut dx) = (vec![f32::NAN; case.g.len()], vec![f32::NAN; case.x.len()]);
                let (mut dw, mut db) = (vec![f32::NAN; case.w.len()], vec![f32::NAN; conv.c_out]);
                forward(&conv, &case.x, &case.w, Some(&case.b), &mut y);
                input_grad(&conv, &case.g, &case.w, &mut dx);
                weight_grad(&conv, &case.x, &case.g, &mut dw, Some(&mut db));
                [y, dx, dw, db]
            })
        };
        let got = run(1);
        assert_eq!(got, run(2), "{conv:?}");
        let mut exact = got.each_ref().map(|v| vec![Exact::default(); v.len()]);
        for (i, g) in case.g.iter().enumerate() {
            exact[0][i].add(f64::from(case.b[i % conv.c_out]));
            exact[3][i % conv.c_out].add(f64::from(*g));
        }
        case.products(|at_y, at_x, at_w| {
            let (x, w, g) = (f64::from(case.x[at_x]), f64::from(case.w[at_w]), f64::from(case.g[at_y]));
            exact[0][at_y].add(x * w);
            exact[1][at_x].add(g * w);
            exact[2][at_w].add(g * x);
        });
        for (name, (got, exact)) in ["y", "dx", "dw", "db"].iter().zip(got.iter().zip(&exact)) {
            // Winograd's algorithm spreads errors over a tile and enlarges them: its own tests have the exact bound.
            let magnitude = exact.iter().map(|e| e.magnitude).fold(0.0, f64::max);
            let terms = exact.iter().map(|e| e.terms).max().unwrap() + 30;
            let bound = Exact { magnitude: 20.0 * magnitude, terms, value: 0.0 };
            for (got, exact) in got.iter().zip(exact) {
                Exact { value: exact.value, ..bound }.check(*got, &format!("{name} of {conv:?}, batch {batch}"));
            }
        }
    }
}

in_every_version!(
    forward_and_gradients_match_double_precision,
    a_sample_does_not_depend_on_its_batch,
    results_do_not_depend_on_threads,
    frozen_layers_are_the_same_maps,
    halved_layers_are_within_the_rounding_of_their_weights,
    layers_after_upsampling_are_the_layers_of_upsampled_images,
    one_copy_of_linear_weights_serves_both_directions,
    training_functions_match_double_precision,
);
