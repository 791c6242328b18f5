//! The products of the adjoint from weights as they are packed for the map itself: no second copy of large weights.
//!
//! `dx^T = w^T g^T`: rows of packed weights are the left factor, columns of gradients, turned, the right one.

use super::storage::Panel;
use crate::parallel::Shared;
use crate::simd::{LANES, Simd, multiversion};
use crate::tile::{COLS, ROWS, Start, gather, widen};
use std::ops::Range;

/// Panels of weights that are read together, so that they are read nearly in the order of memory; the sums wait meanwhile.
const GROUP: usize = 4;

/// `sums[i][j] = sum_o w[channels.start + i][o] right[o][j]` for the channels, of the map's source, and `j < columns`.
///
/// `panel(k)` has the weights for the targets `COLS k..`, `[source channel][COLS]`; there are `panels`, and zeros past the last
/// target. `right` is `[column / COLS][target][COLS]` with finite values for `panels * COLS` targets; `sums` has rows of
/// `columns`, a multiple of [`COLS`], for the channels rounded up to a multiple of [`ROWS`].
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
    assert!(sums.len() >= channels.len().next_multiple_of(ROWS) * columns, "place for the sums");
    let sums = Shared::new(sums);
    let mut left = [0.0; GROUP * ROWS * COLS]; // [panel][row][COLS]
    for group in (0..panels).step_by(GROUP) {
        let count = GROUP.min(panels - group);
        let start = if group == 0 { Start::Zero } else { Start::Output };
        for row in channels.clone().step_by(ROWS) {
            let rows = ROWS.min(channels.end - row);
            for (k, left) in left.chunks_exact_mut(ROWS * COLS).take(count).enumerate() {
                if let Panel::Half(values) = panel(group + k) {
                    widen(&values[row * COLS..][..rows * COLS], &mut left[..rows * COLS]);
                }
            }
            // Rows past the last channel are whatever `left` holds: nobody reads their sums.
            let rows: [*const f32; GROUP * ROWS] = std::array::from_fn(|i| {
                let (k, i_row) = (i / ROWS, i % ROWS);
                match (k < count && i_row < rows).then(|| panel(group + k)) {
                    Some(Panel::Single(values)) => values[(row + i_row) * COLS..].as_ptr(),
                    _ => left[i * COLS..].as_ptr(),
                }
            });
            for (column, right) in (0..columns).step_by(COLS).zip(right.chunks_exact(depth * COLS)) {
                let right = right[group * COLS * COLS..][..count * COLS * COLS].as_ptr();
                let places: [*mut f32; ROWS] =
                    std::array::from_fn(|i| sums.at((row - channels.start + i) * columns + column));
                // SAFETY: each row has COLS values, `right` count * COLS rows of COLS; the places are inside `sums`, as its
                // length was checked.
                unsafe { gather(rows.as_ptr(), count, COLS, right, start, places.as_ptr(), COLS) };
            }
        }
    }
}

multiversion! {
    /// `to[j to_stride + i] = from[i from_stride + j]` for `i < rows`, `j < columns`.
    ///
    /// # Safety
    /// `rows` and `columns` are multiples of [`LANES`]; every index is inside what the pointers are valid for; the two
    /// places are apart.
    pub(super) unsafe fn turn(
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
    for i in (0..rows).step_by(LANES) {
        for j in (0..columns).step_by(LANES) {
            // SAFETY: squares of LANES rows and columns, inside both matrices.
            unsafe {
                let mut square = [s.splat(0.0); LANES];
                for k in 0..LANES {
                    square[k] = s.load(from.add((i + k) * from_stride + j));
                }
                square = s.transpose(square);
                for k in 0..LANES {
                    s.store(to.add((j + k) * to_stride + i), square[k]);
                }
            }
        }
    }
}
