//! 1x1 convolutions and linear layers with one copy of their weights for both directions.

use super::transposed::{product, turn};
use super::{Conv, Packed};
use crate::parallel::{Shared, pieces, with_scratch};
use crate::simd::UNIT;
use crate::team::{each, parts};
use crate::tile::COLS;

/// A 1x1 convolution, packed once; its adjoint reads the same weights.
#[derive(Clone, Debug)]
pub(super) struct Pointwise {
    packed: Packed,
    channels: [usize; 2],
}

/// Columns of gradients and channels of the input that are a task, the latter a multiple of the micro-kernel's rows and of the
/// lanes.
const TASK: [usize; 2] = [96, 120];

/// Whether the weights are worth it, and the channels fill lanes.
pub(super) fn serves(conv: &Conv) -> bool {
    let whole = conv.c_in.is_multiple_of(UNIT) && conv.c_out.is_multiple_of(UNIT);
    (conv.kernel, conv.stride, conv.padding) == (1, 1, 0) && whole && conv.c_in * conv.c_out > 1 << 16
}

impl Pointwise {
    /// Packs `weight` `[c_out, c_in]` of a convolution that this [`serves`], rounded to half precision if `half`.
    pub fn new(conv: &Conv, weight: &[f32], half: bool) -> Self {
        Self { packed: Packed::forward_in(conv, weight, half), channels: [conv.c_in, conv.c_out] }
    }

    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// The gradient `dx` of rows of input from `g`, that of the output.
    pub fn input_grad(&self, g: &[f32], dx: &mut [f32]) {
        let [c_in, c_out] = self.channels;
        let rows = g.len() / c_out;
        assert!(g.len() == rows * c_out && dx.len() == rows * c_in, "rows of {c_out} and of {c_in} values");
        let (panels, columns) = (c_out.div_ceil(COLS), rows.next_multiple_of(COLS));
        let depth = panels * COLS;
        with_scratch(depth * columns, |right| {
            // [row / COLS][output channel][COLS], zeros past the last row and channel.
            parts(right, depth * COLS, |i, right| turn_rows(&g[i * COLS * c_out..], c_out, right));
            let (columns_of, channels_of) = (pieces(columns, TASK[0]), pieces(c_in, TASK[1]));
            let tasks = [columns.div_ceil(TASK[0]), c_in.div_ceil(TASK[1])];
            let (right, dx) = (&*right, Shared::new(dx));
            each(tasks[0] * tasks[1], |task| {
                let (part, channels) = (columns_of(task / tasks[1]), channels_of(task % tasks[1]));
                let right = &right[part.start * depth..part.end * depth];
                with_scratch(TASK[1] * part.len(), |sums| {
                    let panel = |k: usize| self.packed.passes[0].weight.panel(k * c_in * COLS, c_in * COLS);
                    product(panel, panels, channels.clone(), right, part.len(), sums);
                    if part.end <= rows {
                        // SAFETY: `sums` has as many rows as there are channels, which are whole lanes like its columns; these
                        // channels of these rows are this task's.
                        unsafe {
                            let dx = dx.at(part.start * c_in + channels.start);
                            turn(sums.as_ptr(), part.len(), channels.len(), part.len(), dx, c_in);
                        }
                        return;
                    }
                    for row in part.start..rows {
                        // SAFETY: as above.
                        let dx = unsafe { dx.slice(row * c_in + channels.start, channels.len()) };
                        let sums = sums[row - part.start..].iter().step_by(part.len());
                        dx.iter_mut().zip(sums).for_each(|(dx, sum)| *dx = *sum);
                    }
                });
            });
        });
    }
}

/// The first [`COLS`] rows of `c` values, turned: `[channel][COLS]`, zeros past the last row and channel.
fn turn_rows(rows: &[f32], c: usize, turned: &mut [f32]) {
    if rows.len() >= COLS * c {
        turned[c * COLS..].fill(0.0);
        // SAFETY: both have room for COLS rows of `c` values, whole lanes.
        unsafe { turn(rows.as_ptr(), c, COLS, c, turned.as_mut_ptr(), COLS) };
        return;
    }
    turned.fill(0.0);
    for (i, row) in rows.chunks_exact(c).take(COLS).enumerate() {
        for (turned, value) in turned.chunks_exact_mut(COLS).zip(row) {
            turned[i] = *value;
        }
    }
}
