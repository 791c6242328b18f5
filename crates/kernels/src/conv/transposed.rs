//! The products of the adjoint from weights as they are packed for the map itself: no second copy of large weights.
//!
//! `dx^T = w^T g^T`: rows of packed weights are the left factor, columns of gradients, turned, the right one.

use super::storage::Panel;
use crate::parallel::Shared;
use crate::simd::{Simd, UNIT, multiversion};
use crate::tile::{COLS, MOST_ROWS, Product, Start, gather, widen};
use std::ops::Range;

/// Panels of weights that are read together, so that they are read nearly in the order of memory; the sums wait meanwhile.
const GROUP: usize = 8;

/// `sums[i][j] = sum_o w[channels.start + i][o] right[o][j]` for the channels, of the map's source, and `j < columns`.
///
/// `panel(k)` has the weights for the targets `COLS k..`, `[source channel][COLS]`; there are `panels`, and zeros past the last
/// target. `right` is `[column / COLS][target][COLS]` with finite values for `panels * COLS` targets; `sums` has rows of
/// `columns`, a multiple of [`COLS`], for the channels.
pub(super) fn product<'a>(
    panel: impl Fn(usize) -> Panel<'a>,
    panels: usize,
    channels: Range<usize>,
    right: &[f32],
    columns: usize,
    sums: &mut [f32],
) {
    let depth = panels * COLS;
    assert!(columns.is_multiple_of(COLS) && right.len() >= depth * columns, "the right factor");
    assert!(sums.len() >= channels.len() * columns, "place for the sums");
    let sums = Shared::new(sums);
    let mut wide = [0.0; GROUP * MOST_ROWS * COLS]; // [panel][row][COLS], of weights in half precision
    for group in (0..panels).step_by(GROUP) {
        let count = GROUP.min(panels - group);
        let start = if group == 0 { Start::Zero } else { Start::Output };
        let group_panels: [Panel; GROUP] = std::array::from_fn(|k| panel(group + k.min(count - 1)));
        for row in channels.clone().step_by(MOST_ROWS) {
            let rows = MOST_ROWS.min(channels.end - row);
            for (k, wide) in wide.chunks_exact_mut(MOST_ROWS * COLS).take(count).enumerate() {
                if let Panel::Half(values) = group_panels[k] {
                    widen(&values[row * COLS..][..rows * COLS], &mut wide[..rows * COLS]);
                }
            }
            let mut left = [wide.as_ptr(); GROUP * MOST_ROWS];
            for (k, left) in left.chunks_exact_mut(MOST_ROWS).take(count).enumerate() {
                let values = match group_panels[k] {
                    Panel::Single(values) => &values[row * COLS..][..rows * COLS],
                    Panel::Half(_) => &wide[k * MOST_ROWS * COLS..][..rows * COLS],
                };
                for (left, values) in left.iter_mut().zip(values.chunks_exact(COLS)) {
                    *left = values.as_ptr();
                }
            }
            let first = sums.at((row - channels.start) * columns);
            let places: [*mut f32; MOST_ROWS] = std::array::from_fn(|i| first.wrapping_add(i * columns));
            let (a, y) = (left.as_ptr(), places.as_ptr());
            let product = Product {
                a,
                step: MOST_ROWS,
                rows,
                taps: count,
                depth: COLS,
                pitch: depth * COLS,
                start,
                y,
                cols: columns,
            };
            // SAFETY: each row of the `count` panels has COLS values, `right` from here on count * COLS rows of COLS in each
            // panel; the places are inside `sums`, as its length was checked.
            unsafe { gather(&product, right[group * COLS * COLS..].as_ptr()) };
        }
    }
}

multiversion! {
    /// `to[j to_stride + i] = from[i from_stride + j]` for `i < rows`, `j < columns`.
    ///
    /// # Safety
    /// `rows` and `columns` are multiples of [`UNIT`]; every index is inside what the pointers are valid for; the two
    /// places are apart.
    pub(crate) unsafe fn turn(
        from: *const f32,
        from_stride: usize,
        rows: usize,
        columns: usize,
        to: *mut f32,
        to_stride: usize,
    ) => turn_body
}

#[inline(always)]
unsafe fn turn_body<S: Simd>(
    s: S,
    from: *const f32,
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    to_stride: usize,
) {
    for i in (0..rows).step_by(UNIT) {
        for j in (0..columns).step_by(UNIT) {
            // SAFETY: squares of UNIT rows and columns, inside both matrices.
            unsafe { s.turn(from.add(i * from_stride + j), from_stride, to.add(j * to_stride + i), to_stride) };
        }
    }
}
