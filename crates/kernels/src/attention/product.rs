//! Small matrix products on strided rows.

use crate::parallel::{Shared, pieces};
use crate::team::{each, parts, threads};
use crate::tile::{COLS, ROWS, Start, gather};
use std::ops::Range;

/// `count` rows of `len` values, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    count: usize,
    len: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    pub fn new(data: &'a [f32], count: usize, len: usize, stride: usize) -> Self {
        assert!(count > 0 && data.len() >= (count - 1) * stride + len, "{count} rows of {len}, {stride} apart");
        Self { data, count, len, stride }
    }

    /// A dense matrix.
    pub fn whole(data: &'a [f32], len: usize) -> Self {
        Self::new(data, data.len() / len, len, len)
    }

    pub fn part(self, rows: Range<usize>) -> Self {
        Self::new(&self.data[rows.start * self.stride..], rows.len(), self.len, self.stride)
    }

    fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..self.len]
    }
}

/// Rows to write, which no one else touches meanwhile.
#[derive(Clone, Copy)]
pub(super) struct RowsMut<'a> {
    data: Shared<'a>,
    start: usize,
    count: usize,
    len: usize,
    stride: usize,
}

impl<'a> RowsMut<'a> {
    pub fn new(data: Shared<'a>, start: usize, count: usize, len: usize, stride: usize) -> Self {
        // Panics if the last row is not inside.
        data.at(start + (count - 1) * stride + len);
        Self { data, start, count, len, stride }
    }

    /// A dense matrix.
    pub fn whole(data: &'a mut [f32], len: usize) -> Self {
        let count = data.len() / len;
        Self::new(Shared::new(data), 0, count, len, len)
    }

    pub fn part(self, rows: Range<usize>) -> Self {
        Self::new(self.data, self.start + rows.start * self.stride, rows.len(), self.len, self.stride)
    }
}

/// `b` as the right factor of [`product`]: its columns by panels of [`COLS`].
pub(super) fn columns(b: Rows) -> Vec<f32> {
    let mut packed = vec![0.0; b.len.div_ceil(COLS) * b.count * COLS]; // [panel][row][COLS]
    for (panel, values) in packed.chunks_exact_mut(b.count * COLS).enumerate() {
        let first = panel * COLS;
        let cols = COLS.min(b.len - first);
        for (i, row) in values.chunks_exact_mut(COLS).enumerate() {
            row[..cols].copy_from_slice(&b.row(i)[first..][..cols]);
        }
    }
    packed
}

/// `b^T` as the right factor of [`product`].
pub(super) fn transposed(b: Rows) -> Vec<f32> {
    let mut packed = vec![0.0; b.count.div_ceil(COLS) * b.len * COLS]; // [panel of rows][column][COLS]
    for i in 0..b.count {
        let panel = &mut packed[i / COLS * b.len * COLS..][..b.len * COLS];
        for (c, &value) in b.row(i).iter().enumerate() {
            panel[c * COLS + i % COLS] = value;
        }
    }
    packed
}

/// Multiply-adds that are worth a task of their own: about ten microseconds.
const GRAIN: usize = 1 << 19;

/// `y = a b`, or `y += a b` if `add`, with `b` packed by [`columns`] or [`transposed`].
pub(super) fn product(a: Rows, b: &[f32], add: bool, y: RowsMut) {
    assert!(a.count == y.count && b.len() == y.len.div_ceil(COLS) * a.len * COLS, "shapes of a product");
    let (tiles, panels) = (a.count.div_ceil(ROWS), y.len.div_ceil(COLS));
    let tasks = (a.count * a.len * y.len / GRAIN).clamp(1, 4 * threads());
    if tiles > panels {
        let of = pieces(tiles, tiles.div_ceil(tasks));
        each(tasks, |task| part(a, b, add, y, of(task), 0..panels));
    } else {
        let of = pieces(panels, panels.div_ceil(tasks));
        each(tasks, |task| part(a, b, add, y, 0..tiles, of(task)));
    }
}

/// Some tiles of rows and some panels of [`product`]. A panel of `b` stays in the nearest cache while all rows use it.
fn part(a: Rows, b: &[f32], add: bool, y: RowsMut, tiles: Range<usize>, panels: Range<usize>) {
    let zeros = vec![0.0; a.len];
    let mut spare = [0.0; COLS];
    let start = if add { Start::Output } else { Start::Zero };
    for panel in panels {
        let (first, b) = (panel * COLS, &b[panel * a.len * COLS..][..a.len * COLS]);
        for tile in tiles.clone() {
            let first_row = tile * ROWS;
            let inside = |i: usize| first_row + i < a.count;
            let rows: [*const f32; ROWS] =
                std::array::from_fn(|i| if inside(i) { a.row(first_row + i).as_ptr() } else { zeros.as_ptr() });
            let places: [*mut f32; ROWS] = std::array::from_fn(|i| {
                if inside(i) { y.data.at(y.start + (first_row + i) * y.stride + first) } else { spare.as_mut_ptr() }
            });
            // SAFETY: every row has `a.len` values, the panel `a.len * COLS`; the places are inside `y` by its
            // construction, and its holder and this task are the only ones to touch them.
            unsafe {
                gather(rows.as_ptr(), 1, a.len, b.as_ptr(), start, places.as_ptr(), COLS.min(y.len - first));
            }
        }
    }
}

/// Values of a task of [`turned`].
const PIECE: usize = 1 << 14;

/// Writes the transpose of `x`, a matrix with rows of `width`, to `y`.
pub(super) fn turned(x: &[f32], width: usize, y: &mut [f32]) {
    let height = x.len() / width;
    let columns = (PIECE / height).clamp(1, width);
    parts(y, columns * height, |i, y| {
        let count = y.len() / height;
        for (row, x) in x.chunks_exact(width).enumerate() {
            for (column, &value) in x[i * columns..][..count].iter().enumerate() {
                y[column * height + row] = value;
            }
        }
    });
}
