//! Small matrix products on strided rows.

use crate::amx;
use crate::conv::turn;
use crate::parallel::{Shared, pieces};
use crate::simd::{UNIT, Version};
use crate::team::{each, parts, threads};
use crate::tile::{COLS, MOST_ROWS, Product, Start, gather};
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

    pub fn count(self) -> usize {
        self.count
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

/// The shorter side of a matrix from which on tile registers multiply with it faster than vectors.
const TILED: usize = 48;

/// The right factor of a product, in the order in which it is read: its columns by panels of [`COLS`], `[panel][term][COLS]`, or its
/// blocks for tile registers, `[column / 32][term / 32]`.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    values: &'a [f32],
    sides: Sides,
}

/// How many terms and columns a right factor has.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub terms: usize,
    pub columns: usize,
}

impl Sides {
    /// Whether tile registers multiply with it.
    fn tiled(self) -> bool {
        Version::current() == Version::Amx && self.terms.min(self.columns) >= TILED
    }

    /// Values that it takes, in whole cache lines, at the start of one of which they begin.
    pub fn room(self) -> usize {
        if self.tiled() {
            amx::blocks_len(self.terms, self.columns)
        } else {
            self.columns.div_ceil(COLS) * self.terms * COLS
        }
    }
}

impl<'a> Right<'a> {
    /// What [`write_columns`] or [`write_transposed`] wrote.
    pub fn new(values: &'a [f32], sides: Sides) -> Self {
        assert_eq!(values.len(), sides.room(), "values of a right factor");
        Self { values, sides }
    }

    /// `b` as the right factor of [`product`], in `to`.
    pub fn columns(b: Rows, to: &'a mut [f32]) -> Self {
        let sides = write_columns(b, to);
        Self::new(to, sides)
    }

    /// `b^T` as the right factor of [`product`], in `to`.
    pub fn transposed(b: Rows, to: &'a mut [f32]) -> Self {
        let sides = write_transposed(b, to);
        Self::new(to, sides)
    }
}

/// Writes `b` as the right factor of [`product`].
pub(super) fn write_columns(b: Rows, to: &mut [f32]) -> Sides {
    let sides = Sides { terms: b.count, columns: b.len };
    write(b, sides, true, to, |panel, values| {
        let first = panel * COLS;
        let cols = COLS.min(b.len - first);
        for (i, row) in values.chunks_exact_mut(COLS).enumerate() {
            row[..cols].copy_from_slice(&b.row(i)[first..][..cols]);
            row[cols..].fill(0.0);
        }
    })
}

/// Writes `b^T` as the right factor of [`product`].
pub(super) fn write_transposed(b: Rows, to: &mut [f32]) -> Sides {
    let sides = Sides { terms: b.len, columns: b.count };
    write(b, sides, false, to, |panel, values| {
        let rows = b.part(panel * COLS..b.count.min((panel + 1) * COLS));
        if rows.count < COLS {
            values.fill(0.0);
        }
        turn_rows(rows.data, rows.stride, [rows.count, b.len], values, COLS);
    })
}

/// Writes a right factor whose terms are the rows of `b`, if `by_rows`, or its columns: its blocks, or each `panel`.
fn write(b: Rows, sides: Sides, by_rows: bool, to: &mut [f32], panel: impl Fn(usize, &mut [f32]) + Sync) -> Sides {
    assert_eq!(to.len(), sides.room(), "place for a right factor");
    if sides.tiled() {
        amx::write_blocks(b.data, b.stride, [b.count, b.len], by_rows, to);
    } else {
        parts(to, sides.terms * COLS, panel);
    }
    sides
}

/// Writes `x`, a matrix of these sides with rows `stride` apart, with rows and columns exchanged to `y`, whose rows are
/// `to_stride` apart.
fn turn_rows(x: &[f32], stride: usize, [height, width]: [usize; 2], y: &mut [f32], to_stride: usize) {
    let whole = [height, width].map(|side| side / UNIT * UNIT);
    if height > 0 && width > 0 {
        assert!(x.len() >= (height - 1) * stride + width && y.len() >= (width - 1) * to_stride + height);
    }
    // SAFETY: these rows and columns are inside `x`, and as columns and rows in `y`.
    unsafe { turn(x.as_ptr(), stride, whole[0], whole[1], y.as_mut_ptr(), to_stride) };
    for (row, x) in x.chunks(stride).take(height).enumerate() {
        let done = if row < whole[0] { whole[1] } else { 0 };
        for (column, &value) in x[..width].iter().enumerate().skip(done) {
            y[column * to_stride + row] = value;
        }
    }
}

/// Multiply-adds that are worth a task of their own: about ten microseconds.
const GRAIN: usize = 1 << 19;
/// The same on tile registers.
const TILE_GRAIN: usize = 1 << 22;

/// `y = a b`, or `y += a b` if `add`, with `b` packed by [`columns`] or [`transposed`].
pub(super) fn product(a: Rows, b: Right, add: bool, y: RowsMut) {
    let Right { values: b, sides } = b;
    assert!(a.count == y.count && sides.terms == a.len && sides.columns == y.len, "shapes of a product");
    if sides.tiled() {
        return product_on_tiles(a, b, add, y);
    }
    let (tiles, panels) = (a.count.div_ceil(MOST_ROWS), y.len.div_ceil(COLS));
    let tasks = (a.count * a.len * y.len / GRAIN).clamp(1, 4 * threads());
    if tiles > panels {
        let of = pieces(a.count, tiles.div_ceil(tasks) * MOST_ROWS);
        each(tasks, |task| part(a, b, add, y, of(task), 0..panels));
    } else {
        let of = pieces(panels, panels.div_ceil(tasks));
        each(tasks, |task| part(a, b, add, y, 0..a.count, of(task)));
    }
}

/// Some rows and some panels of [`product`].
fn part(a: Rows, b: &[f32], add: bool, y: RowsMut, rows: Range<usize>, panels: Range<usize>) {
    if rows.is_empty() || panels.is_empty() {
        return;
    }
    let first = panels.start * COLS;
    let reads: Vec<*const f32> = rows.clone().map(|i| a.row(i).as_ptr()).collect();
    let places: Vec<*mut f32> = rows.map(|i| y.data.at(y.start + i * y.stride + first)).collect();
    let product = Product {
        a: reads.as_ptr(),
        step: 0,
        rows: reads.len(),
        taps: 1,
        depth: a.len,
        pitch: a.len * COLS,
        start: if add { Start::Output } else { Start::Zero },
        y: places.as_ptr(),
        cols: y.len.min(panels.end * COLS) - first,
    };
    // SAFETY: every row has `a.len` values, a panel `a.len * COLS`; the places are inside `y` by its construction, and its
    // holder and this task are the only ones to touch them.
    unsafe { gather(&product, b[first * a.len..].as_ptr()) };
}

/// Rows of the left factor that are split by a task.
const SPLIT: usize = 32;

/// [`product`] with blocks on the right.
fn product_on_tiles(a: Rows, b: &[f32], add: bool, y: RowsMut) {
    use amx::{BLOCK, LINE, SIDE, Step, Steps};
    let (chunks, panels, blocks) = (a.len.div_ceil(SIDE), y.len.div_ceil(SIDE), a.count.div_ceil(SIDE));
    // An odd number of lines, lest chunks share places in the cache.
    let room = (blocks * SIDE) | 1;
    let low = chunks * room * LINE;
    let steps = |chunk: usize| Step { left: 4 * chunk * room * LINE, right: 4 * chunk * BLOCK };
    let steps: Vec<Step> = (0..chunks).map(steps).collect();
    let steps = Steps::new(&steps);
    let places: Vec<usize> = (0..a.count).map(|i| y.start + i * y.stride).collect();
    let tasks = (a.count * a.len * y.len / TILE_GRAIN).clamp(1, 4 * threads());
    let group = panels.div_ceil(tasks.min(panels));
    let groups = panels.div_ceil(group);
    let share = blocks.div_ceil(tasks.div_ceil(groups).min(blocks));
    let (panels_of, blocks_of) = (pieces(panels, group), pieces(blocks, share));
    amx::with_lines(2 * low, |parts| {
        let parts = Shared::new(parts);
        let split = |task: usize| {
            let first = task * SPLIT;
            let (rows, to) = (a.part(first..a.count.min(first + SPLIT)), parts.at(first * LINE));
            // SAFETY: these rows have as many values; their lines are this task's.
            unsafe { amx::split(rows.data.as_ptr(), |i| i * rows.stride, rows.count, rows.len, to, room * LINE, low) };
        };
        // Where one thread does the products, so that it finds the parts near.
        if tasks == 1 {
            (0..blocks).for_each(split);
        } else {
            each(blocks, split);
        }
        each(groups * blocks.div_ceil(share), |task| {
            let tiles = amx::Tiles::new();
            amx::with_lines(BLOCK, |sums| {
                for panel in panels_of(task % groups) {
                    let (first, right) = (panel * SIDE, &b[panel * chunks * BLOCK..]);
                    for block in blocks_of(task / groups) {
                        let rows = block * SIDE..a.count.min((block + 1) * SIDE);
                        let count = SIDE.min(y.len - first);
                        // SAFETY: the parts are written; these rows of these columns of the result are this task's.
                        unsafe {
                            let left = parts.from(block * SIDE * LINE);
                            amx::block(&tiles, left, 4 * low, right, steps, amx::Ahead::NOTHING, sums, false);
                            let past = add.then(|| y.data.at(0).cast_const());
                            amx::put(sums, &places[rows], &[0.0; SIDE], past, y.data, first, count);
                        }
                    }
                }
            });
        });
    });
}

/// Values of a task of [`turned`].
const PIECE: usize = 1 << 14;

/// Writes the transpose of `x`, a matrix with rows of `width`, to `y`.
pub(super) fn turned(x: &[f32], width: usize, y: &mut [f32]) {
    let height = x.len() / width;
    let columns = (PIECE / height).clamp(UNIT, width.max(UNIT)) / UNIT * UNIT;
    parts(y, columns * height, |i, y| {
        let (first, count) = (i * columns, y.len() / height);
        turn_rows(&x[first..], width, [height, count], y, height);
    });
}
