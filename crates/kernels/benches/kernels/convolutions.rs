//! Convolutions and linear layers.

use crate::table::{Table, Work, noise};
use vipaint_kernels::conv::winograd::{Tile, Winograd, serves};
use vipaint_kernels::conv::{Conv, Frozen, Packed, forward, input_grad, weight_grad};

/// Batch, channels in and out, side.
type Shape = (usize, usize, usize, usize);

const PLAIN: [Shape; 14] = [
    (64, 48, 48, 16),
    (64, 144, 48, 16),
    (64, 96, 96, 8),
    (64, 256, 128, 4),
    (1, 128, 128, 4),
    (4, 128, 128, 8),
    (4, 64, 64, 32),
    (4, 192, 192, 64),
    (4, 384, 384, 32),
    (1, 960, 960, 8),
    (1, 960, 960, 16),
    (1, 512, 512, 64),
    (1, 256, 256, 128),
    (1, 128, 128, 256),
];

pub fn all(table: &mut Table) {
    for shape in PLAIN {
        frozen(table, "3x3, frozen", shape, conv(shape, 3, 1), Frozen::new);
    }
    for shape in [(1, 960, 960, 8), (1, 960, 960, 16), (4, 192, 192, 64)] {
        frozen(table, "3x3, frozen, half-precision weights", shape, conv(shape, 3, 1), Frozen::halved);
    }
    for shape in
        [(8, 48, 48, 16), (8, 96, 96, 8), (1, 192, 192, 64), (1, 384, 384, 32), (1, 576, 576, 16), (1, 128, 128, 256)]
    {
        frozen(table, "3x3, stride 2, frozen", shape, conv(shape, 3, 2), Frozen::new);
    }
    for shape in [(8, 128, 128, 8), (1, 960, 960, 16), (1, 576, 576, 64), (1, 512, 512, 128)] {
        frozen(table, "3x3 after nearest upsampling, frozen", shape, conv(shape, 3, 1), |conv, w, b| {
            Frozen::new(conv, w, b).after_upsampling()
        });
    }
    for shape in [(8, 4, 48, 16), (1, 3, 192, 64), (1, 3, 512, 64), (1, 1, 64, 64), (1, 4, 320, 64), (1, 3, 128, 256)] {
        frozen(table, "3x3 from few channels, frozen", shape, conv(shape, 3, 1), Frozen::new);
    }
    for shape in [(8, 48, 4, 16), (1, 192, 3, 64), (1, 64, 1, 64), (1, 320, 4, 64), (1, 512, 8, 32), (1, 128, 3, 256)] {
        frozen(table, "3x3 to few channels, frozen", shape, conv(shape, 3, 1), Frozen::new);
    }
    for shape in [(8, 144, 48, 16), (8, 256, 128, 4), (1, 576, 192, 64), (1, 1920, 960, 16), (1, 256, 128, 256)] {
        frozen(table, "1x1, frozen", shape, conv(shape, 1, 1), Frozen::new);
    }
    for (rows, c_in, c_out) in
        [(4, 128, 256), (64, 128, 128), (512, 96, 96), (256, 960, 960), (4096, 320, 1280), (77, 768, 3072)]
    {
        frozen(table, "linear, frozen", (rows, c_in, c_out, 1), Conv::linear(c_in, c_out), Frozen::new);
    }
    for shape in [(64, 48, 48, 16), (64, 96, 96, 8), (64, 256, 128, 4), (4, 192, 192, 64)] {
        trained(table, shape, conv(shape, 3, 1));
        algorithms(table, shape, conv(shape, 3, 1));
    }
    trained(table, (512, 96, 96, 1), Conv::linear(96, 96));
}

fn conv((_, c_in, c_out, side): Shape, kernel: usize, stride: usize) -> Conv {
    Conv { height: side, width: side, c_in, c_out, kernel, stride, padding: kernel / 2 }
}

fn name((batch, c_in, c_out, side): Shape) -> String {
    match side {
        1 => format!("{batch} rows, {c_in}->{c_out}"),
        _ => format!("{batch} x {c_in}->{c_out}, {side}x{side}"),
    }
}

fn frozen(
    table: &mut Table,
    group: &'static str,
    shape: Shape,
    conv: Conv,
    make: impl Fn(&Conv, &[f32], &[f32]) -> Frozen,
) {
    let [x_len, y_len] = sizes(shape.0, &conv);
    let area = conv.kernel * conv.kernel;
    let layer = make(&conv, &noise(conv.c_in * conv.c_out * area), &noise(conv.c_out));
    let [height, width] = layer.input_sides();
    let (x, g) = (noise(shape.0 * height * width * conv.c_in), noise(y_len));
    let (mut y, mut dx) = (vec![0.0; y_len], vec![0.0; x.len()]);
    let work = Work::MultiplyAdds(y_len * conv.c_in * area);
    assert!(x.len() <= x_len);
    let (mut run, mut back) = (|| layer.apply(&x, false, &mut y), || layer.input_grad(&g, &mut dx));
    table.row(group, &name(shape), (work, &mut run), (work, &mut back));
}

/// The gradient of the weights with that of the input.
fn trained(table: &mut Table, shape: Shape, conv: Conv) {
    let ([x_len, y_len], area) = (sizes(shape.0, &conv), conv.kernel * conv.kernel);
    let (x, g, w, b) = (noise(x_len), noise(y_len), noise(conv.c_in * conv.c_out * area), noise(conv.c_out));
    let (mut y, mut dx, mut dw, mut db) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w.len()], b.clone());
    let count = y_len * conv.c_in * area;
    let mut back = || {
        input_grad(&conv, &g, &w, &mut dx);
        weight_grad(&conv, &x, &g, &mut dw, Some(&mut db));
    };
    let group = "trained, with the weights' gradient";
    let mut run = || forward(&conv, &x, &w, Some(&b), &mut y);
    let (once, twice) = (Work::MultiplyAdds(count), Work::MultiplyAdds(2 * count));
    table.row(group, &name(shape), (once, &mut run), (twice, &mut back));
}

/// What the choice of an algorithm rests on.
fn algorithms(table: &mut Table, shape: Shape, conv: Conv) {
    let [x_len, y_len] = sizes(shape.0, &conv);
    let (x, g, w) = (noise(x_len), noise(y_len), noise(conv.c_in * conv.c_out * 9));
    let (mut y, mut dx) = (vec![0.0; y_len], vec![0.0; x_len]);
    let work = Work::MultiplyAdds(y_len * conv.c_in * 9);
    let group = "3x3 by algorithm";
    let (ahead, back) = (Packed::forward(&conv, &w), Packed::input_grad(&conv, &w));
    let name = |algorithm| format!("{}, {algorithm}", name(shape));
    let (mut run, mut vjp) = (|| ahead.apply(&x, None, false, &mut y), || back.apply(&g, None, false, &mut dx));
    table.row(group, &name("direct"), (work, &mut run), (work, &mut vjp));
    for (tile, algorithm) in [(Tile::Two, "F(2x2)"), (Tile::Four, "F(4x4)")] {
        assert!(serves(&conv));
        let packed = Winograd::new(&conv, &w, tile);
        let (mut run, mut vjp) =
            (|| packed.apply(false, &x, None, false, &mut y), || packed.input_grad(false, &g, &mut dx));
        table.row(group, &name(algorithm), (work, &mut run), (work, &mut vjp));
    }
}

/// Values of a batch of input and of output.
fn sizes(batch: usize, conv: &Conv) -> [usize; 2] {
    [batch * conv.height * conv.width * conv.c_in, batch * conv.out_height() * conv.out_width() * conv.c_out]
}
