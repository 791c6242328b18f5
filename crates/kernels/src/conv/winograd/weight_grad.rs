//! The gradient of the weights: at each point, products of the transformed input and the transformed gradient, summed over
//! the tiles of the batch in order; then back from points to kernels. It is the derivative of the algorithm itself.

use super::method::{Method, output_adjoint_four, output_adjoint_two};
use super::tiles::{Tiles, pitch};
use super::weights::transform_adjoint;
use crate::conv::Conv;
use crate::parallel::{Shared, give, pieces, take, with_scratch};
use crate::team::{each, parts};
use crate::tile::{COLS, ROWS, outer};

/// Values of a block of transformed tiles, which all threads share: within the last cache.
const BLOCK_VALUES: usize = 1 << 20;
/// Tiles of a step, whose values at a point stay in the nearest cache.
const STEP: usize = 64;

/// Writes the gradient `dw` `[c_out, c_in, 3, 3]`, and that of the bias.
pub(super) fn weight_grad(conv: &Conv, method: Method, x: &[f32], g: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    let (source, target) = (conv.source(), conv.target());
    let batch = source.count(x);
    let (sources, targets) = (Tiles::new(source, method.side_out, false), Tiles::new(target, method.side_out, false));
    let spread = if method.side_out == 2 { output_adjoint_two } else { output_adjoint_four };
    let points = method.points();
    let pitch = [conv.c_in, conv.c_out].map(pitch);
    let (rows, panels) = (conv.c_in.div_ceil(ROWS), conv.c_out.div_ceil(COLS));
    let total = sources.of_batch(batch);
    let block = (BLOCK_VALUES / (points * (pitch[0] + pitch[1]))).clamp(STEP, total.max(STEP)) / STEP * STEP;
    let tiles_of = pieces(total, block);
    let zeros = vec![0.0; conv.c_in.max(conv.c_out)];

    let size = rows * panels * ROWS * COLS;
    let mut buffer = take(points * size);
    let sums = &mut buffer[..points * size];
    sums.fill(0.0); // [point][panel of c_in][panel of c_out][ROWS][COLS]
    let mut bias = vec![0.0f64; conv.c_out];
    // The micro-kernel reads whole panels, past the last channel of the last tile too: what it makes of it is not used.
    let sizes = pitch.map(|pitch| block * points * pitch + COLS);
    with_scratch(sizes[0] + sizes[1], |scratch| {
        let (v, m) = scratch.split_at_mut(sizes[0]);
        let (v, m) = (Shared::new(v), Shared::new(m)); // [point][tile][pitch]
        for i in 0..total.div_ceil(block) {
            let tiles = tiles_of(i);
            each(tiles.len(), |i| {
                let tile = tiles.start + i;
                let (x, g) = (sources.read(tile, 1, x, &zeros), targets.read(tile, 0, g, &zeros));
                // SAFETY: channels are a multiple of eight, each pixel has as many values, and so has each point of the
                // tile in `v` and `m`, which is this task's.
                unsafe {
                    (method.input)(x.as_ptr(), conv.c_in, v.at(i * pitch[0]), block * pitch[0]);
                    spread(g.as_ptr(), conv.c_out, m.at(i * pitch[1]), block * pitch[1]);
                }
            });
            parts(sums, size, |point, sums| {
                for step in (0..tiles.len()).step_by(STEP) {
                    let width = STEP.min(tiles.len() - step);
                    let (v, m) = (v.at((point * block + step) * pitch[0]), m.at((point * block + step) * pitch[1]));
                    for (i, sum) in sums.chunks_exact_mut(ROWS * COLS).enumerate() {
                        let (row, panel) = (i / panels, i % panels);
                        // SAFETY: `width` tiles from here on are complete, the last one followed by a panel's worth of
                        // other values; `sum` is a tile of sums.
                        unsafe {
                            let (a, b) = (v.add(row * ROWS), m.add(panel * COLS));
                            outer(a, &[0], pitch[0], width, b, pitch[1], sum.as_mut_ptr());
                        }
                    }
                }
            });
            // The transformed gradient at the points (1, 1) is the sum of a tile.
            let ones = (method.side_in + 1) * block;
            for i in 0..if db.is_some() { tiles.len() } else { 0 } {
                // SAFETY: a tile's channels, complete.
                let values = unsafe { m.slice((ones + i) * pitch[1], conv.c_out) };
                bias.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
    });
    if let Some(db) = db {
        db.iter_mut().zip(bias).for_each(|(db, sum)| *db = sum as f32);
    }

    // From points to kernels, for a channel of the input and a panel of outputs at a time.
    assert_eq!(dw.len(), conv.c_out * conv.c_in * 9, "gradient of the weights");
    let dw = Shared::new(dw);
    each(conv.c_in * panels, |task| {
        let (c, panel) = (task / panels, task % panels);
        let mut at_points = [[0.0; COLS]; 36];
        for (point, values) in at_points.iter_mut().take(points).enumerate() {
            let at = point * size + ((c / ROWS * panels + panel) * ROWS + c % ROWS) * COLS;
            values.copy_from_slice(&sums[at..][..COLS]);
        }
        let mut kernels = [[0.0; COLS]; 9];
        transform_adjoint(&at_points, method.side_in, &mut kernels);
        for (j, o) in (panel * COLS..conv.c_out.min((panel + 1) * COLS)).enumerate() {
            // SAFETY: a kernel of this task's.
            let kernel = unsafe { dw.slice((o * conv.c_in + c) * 9, 9) };
            kernel.iter_mut().zip(&kernels).for_each(|(value, taps)| *value = taps[j]);
        }
    });
    give(buffer);
}
