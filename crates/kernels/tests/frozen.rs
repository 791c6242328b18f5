//! Layers with constant weights, of every kind, against sums in double precision: with a residual, an activation, after
//! upsampling, and their vector-Jacobian products.

mod common;

use common::{Exact, noise, with_threads};
use vipaint_kernels::conv::winograd::serves;
use vipaint_kernels::conv::{Conv, Frozen};
use vipaint_kernels::{Activation, activate, activate_vjp};

struct Case {
    conv: Conv,
    batch: usize,
    /// Whether the input is upsampled first.
    doubled: bool,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    g: Vec<f32>,
    old: Vec<f32>,
}

/// Batch, height, width, channels in and out, kernel, stride, padding.
type Shape = (usize, usize, usize, usize, usize, usize, usize, usize);

const SHAPES: [Shape; 31] = [
    // From few channels, and to few: the gradient is the other one.
    (1, 1, 1, 16, 1, 3, 1, 1),
    (2, 2, 2, 17, 3, 3, 1, 1),
    (3, 16, 16, 48, 4, 3, 1, 1),
    (1, 9, 7, 33, 2, 3, 1, 1),
    (1, 5, 6, 24, 7, 3, 1, 1),
    (2, 7, 5, 40, 8, 3, 1, 1),
    (1, 40, 150, 16, 4, 3, 1, 1), // more rows than a block has
    (1, 6, 9, 20, 3, 5, 1, 2),
    (1, 6, 9, 20, 3, 3, 1, 0),
    (1, 3, 4, 16, 1, 3, 1, 2),
    (1, 1, 1, 1, 16, 3, 1, 1),
    (2, 8, 8, 3, 40, 3, 1, 1),
    (3, 5, 7, 4, 24, 3, 1, 1),
    (1, 30, 33, 3, 17, 3, 1, 1),
    (2, 6, 4, 1, 1, 3, 1, 1),
    // Stride 2, as diffusion U-Nets have it and, without padding, as autoencoders do.
    (1, 1, 1, 8, 8, 3, 2, 1),
    (2, 2, 2, 16, 24, 3, 2, 1),
    (2, 9, 7, 17, 19, 3, 2, 1),
    (3, 16, 16, 48, 48, 3, 2, 1),
    (1, 17, 13, 24, 40, 3, 2, 0),
    (1, 3, 3, 5, 3, 3, 2, 0),
    // 1x1, some with one copy of their weights.
    (2, 5, 3, 7, 9, 1, 1, 0),
    (3, 8, 8, 144, 48, 1, 1, 0),
    (1, 3, 3, 264, 256, 1, 1, 0),
    (2, 4, 4, 24, 3, 1, 1, 0),
    (1, 5, 5, 16, 8, 1, 2, 0),
    // Rows.
    (1, 1, 1, 37, 21, 1, 1, 0),
    (7, 1, 1, 128, 256, 1, 1, 0),
    (33, 1, 1, 264, 256, 1, 1, 0),
    // Winograd's.
    (2, 5, 7, 24, 16, 3, 1, 1),
    (1, 1, 2, 8, 16, 3, 1, 1),
];

fn cases() -> impl Iterator<Item = Case> {
    let plain = SHAPES.into_iter().map(|shape| Case::new(shape, false));
    let doubled = [
        (1, 2, 2, 8, 8, 3, 1, 1),
        (2, 6, 10, 24, 16, 3, 1, 1),
        (1, 4, 6, 48, 4, 3, 1, 1),
        (1, 4, 2, 3, 17, 3, 1, 1),
        (2, 8, 4, 16, 24, 3, 2, 1),
        (1, 4, 4, 264, 256, 1, 1, 0),
    ];
    plain.chain(doubled.into_iter().map(|shape| Case::new(shape, true)))
}

impl Case {
    fn new((batch, height, width, c_in, c_out, kernel, stride, padding): Shape, doubled: bool) -> Self {
        let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
        let outputs = batch * conv.out_height() * conv.out_width() * c_out;
        let repeats = if doubled { 4 } else { 1 };
        Self {
            conv,
            batch,
            doubled,
            x: noise(batch * height * width * c_in / repeats, 1),
            w: noise(c_out * c_in * kernel * kernel, 2),
            b: noise(c_out, 3),
            g: noise(outputs, 4),
            old: noise(outputs, 5),
        }
    }

    fn layer(&self) -> Frozen {
        let layer = Frozen::new(&self.conv, &self.w, &self.b);
        if self.doubled { layer.after_upsampling() } else { layer }
    }

    fn name(&self, what: &str) -> String {
        format!("{what} of {:?}, batch {}, doubled {}", self.conv, self.batch, self.doubled)
    }

    /// The result and the gradient of the input, from the definition.
    fn exact(&self) -> (Vec<Exact>, Vec<Exact>) {
        let Conv { height, width, c_in, c_out, kernel, stride, padding } = self.conv;
        let shift = usize::from(self.doubled);
        let (mut y, mut dx) = (vec![Exact::default(); self.g.len()], vec![Exact::default(); self.x.len()]);
        y.iter_mut().enumerate().for_each(|(i, y)| y.add(f64::from(self.b[i % c_out])));
        for (at_y, y) in y.iter_mut().enumerate() {
            let (o, pixel) = (at_y % c_out, at_y / c_out);
            let (j, i) = (pixel % self.conv.out_width(), pixel / self.conv.out_width() % self.conv.out_height());
            let image = pixel / (self.conv.out_width() * self.conv.out_height());
            for (k, l) in (0..kernel * kernel).map(|t| (t / kernel, t % kernel)) {
                let (row, column) = ((i * stride + k).wrapping_sub(padding), (j * stride + l).wrapping_sub(padding));
                if row >= height || column >= width {
                    continue;
                }
                let pixel = (image * (height >> shift) + (row >> shift)) * (width >> shift) + (column >> shift);
                for c in 0..c_in {
                    let w = f64::from(self.w[((o * c_in + c) * kernel + k) * kernel + l]);
                    y.add(f64::from(self.x[pixel * c_in + c]) * w);
                    dx[pixel * c_in + c].add(f64::from(self.g[at_y]) * w);
                }
            }
        }
        (y, dx)
    }

    /// Checks sums. Where Winograd's algorithm is at work, errors spread over a tile and grow: its own tests have the bound;
    /// here twenty times that of the largest sum, and thirty roundings more.
    fn check(&self, got: &[f32], exact: &[Exact], what: &str) {
        let largest = exact.iter().map(|exact| exact.magnitude).fold(0.0, f64::max);
        for (i, (got, exact)) in got.iter().zip(exact).enumerate() {
            let what = self.name(&format!("{what}[{i}]"));
            if serves(&self.conv) {
                Exact { magnitude: 20.0 * largest, terms: exact.terms + 30, ..*exact }.check(*got, &what);
            } else {
                exact.check(*got, &what);
            }
        }
    }

    /// Output, output onto a residual, gradient.
    fn run(&self, layer: &Frozen) -> [Vec<f32>; 3] {
        let (mut y, mut onto, mut dx) = (vec![f32::NAN; self.g.len()], self.old.clone(), vec![f32::NAN; self.x.len()]);
        layer.apply(&self.x, false, &mut y);
        layer.apply(&self.x, true, &mut onto);
        layer.input_grad(&self.g, &mut dx);
        [y, onto, dx]
    }
}

fn layers_match_double_precision() {
    for case in cases() {
        let [y, onto, dx] = case.run(&case.layer());
        let (exact_y, exact_dx) = case.exact();
        case.check(&y, &exact_y, "y");
        case.check(&dx, &exact_dx, "dx");
        let exact_onto = exact_y.iter().zip(&case.old).map(|(y, &old)| {
            let mut sum = *y;
            sum.add(f64::from(old));
            sum
        });
        case.check(&onto, &exact_onto.collect::<Vec<_>>(), "y onto a residual");
    }
}

fn bits_do_not_depend_on_batch_or_threads() {
    for case in cases() {
        let layer = case.layer();
        let all = with_threads(1, || case.run(&layer));
        assert_eq!(all, with_threads(2, || case.run(&layer)), "{}", case.name("bits"));
        assert_eq!(all, with_threads(5, || case.run(&layer)), "{}", case.name("bits"));
        for sample in 0..case.batch {
            let part = |v: &[f32]| v[sample * v.len() / case.batch..(sample + 1) * v.len() / case.batch].to_vec();
            let (x, g, old) = (part(&case.x), part(&case.g), part(&case.old));
            let one = Case { batch: 1, x, g, old, w: case.w.clone(), b: case.b.clone(), ..case };
            assert_eq!(all.each_ref().map(|v| part(v)), one.run(&layer), "{}", case.name("one sample"));
        }
    }
}

fn activations_in_the_epilogue_are_those_of_the_values() {
    for case in cases() {
        let layer = case.layer();
        let [plain, ..] = case.run(&layer);
        for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
            let (mut y, mut z, mut alone) = (plain.clone(), vec![f32::NAN; plain.len()], vec![f32::NAN; plain.len()]);
            layer.apply_activated(&case.x, activation, &mut y, Some(&mut z));
            layer.apply_activated(&case.x, activation, &mut alone, None);
            assert_eq!(z, plain, "{}", case.name("what is activated"));
            assert_eq!(y, alone, "{}", case.name("with and without what is activated"));
            // The same function, but a loop's last values may be rounded otherwise than those in vectors.
            let mut expected = vec![f32::NAN; plain.len()];
            activate(activation, &plain, &mut expected);
            for (y, expected) in y.iter().zip(&expected) {
                assert!((y - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{}", case.name("activation"));
            }
            let (mut dx, mut dz, mut expected) = (case.x.clone(), case.g.clone(), case.x.clone());
            layer.input_grad_activated(activation, &z, &case.g, &mut dx);
            activate_vjp(activation, &z, &case.g, &mut dz);
            layer.input_grad(&dz, &mut expected);
            assert_eq!(dx, expected, "{}", case.name("gradient"));
        }
    }
}

in_every_version!(
    layers_match_double_precision,
    bits_do_not_depend_on_batch_or_threads,
    activations_in_the_epilogue_are_those_of_the_values,
);
