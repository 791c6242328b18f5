//! Convolutions into few channels: the last layer of a network, and the gradient of the first.
//!
//! A block of the micro-kernel has [`COLS`] columns; with one, three or four target channels most of them would be empty at each
//! kernel position. Here the columns are the channels of all kernel positions together, so that each source pixel is
//! multiplied once; then each target pixel sums what its neighbours have for it. A sum runs over the channels of a kernel position
//! first and over kernel positions then, whatever the block.

use super::Image;
use super::apply::End;
use super::pass::{Pass, Tap};
use super::storage::Values;
use crate::parallel::{Shared, pieces, with_scratch};
use crate::simd::{Simd, multiversion};
use crate::team::each;
use crate::tile::{COLS, Product, Start};
use std::ops::Range;

/// Products of a block of pixels, in values.
const BLOCK_VALUES: usize = 128 * 1024;
/// Source channels from which on the products take longer than adding them up.
const LEAST: usize = 16;
/// Target channels at most, and values of a pixel's sum.
const MOST: usize = 8;

/// A linear map of images with its weights packed for this.
#[derive(Clone, Debug)]
pub(super) struct Narrow {
    source: Image,
    target: Image,
    taps: Vec<Tap>,
    /// `[panel][source channel][COLS]`, the columns `[tap][target channel]`.
    weight: Values,
}

/// Whether this is fewer panels than one pass has, which is all that it takes.
pub(super) fn serves(source: Image, target: Image, pass: &Pass) -> bool {
    let (taps, channels) = (pass.taps.len(), target.channels);
    let here = (taps * channels).div_ceil(COLS);
    (pass.stride, pass.step) == (1, 1)
        && (source.channels >= LEAST && channels <= MOST)
        && here < taps * channels.div_ceil(COLS)
}

impl Narrow {
    /// `at(target channel, source channel, tap)` is the index of a weight.
    pub fn new(
        source: Image,
        target: Image,
        pass: &Pass,
        weight: &[f32],
        at: impl Fn(usize, usize, usize) -> usize,
    ) -> Self {
        let columns = pass.taps.len() * target.channels;
        let mut packed = vec![0.0; columns.div_ceil(COLS) * source.channels * COLS];
        for column in 0..columns {
            let (tap, o) = (&pass.taps[column / target.channels], column % target.channels);
            for c in 0..source.channels {
                let row = column / COLS * source.channels + c;
                packed[row * COLS + column % COLS] = weight[at(o, c, tap.index)];
            }
        }
        Self { source, target, taps: pass.taps.clone(), weight: Values::Single(packed) }
    }

    pub fn halve(&mut self) {
        self.weight.halve();
    }

    pub fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    fn panels(&self) -> usize {
        (self.taps.len() * self.target.channels).div_ceil(COLS)
    }

    /// Values between the products of pixels: [`MOST`] may be read from the last column on.
    fn pitch(&self) -> usize {
        self.panels() * COLS + MOST
    }

    /// Maps a batch, without an activation.
    pub fn apply(&self, source: &[f32], end: &End, target: &mut [f32]) {
        let (height, width) = (self.target.height, self.target.width);
        let rows = (BLOCK_VALUES / (self.pitch() * self.source.width)).clamp(4, height.max(4));
        let strips = height.div_ceil(rows);
        let rows_of = pieces(height, rows);
        let batch = source.len() / (self.source.pixels() * self.source.channels);
        let row_len = width * self.target.channels;
        let target = Shared::new(target);
        each(batch * strips, |task| {
            let (image, rows) = (task / strips, rows_of(task % strips));
            let source = &source[image * self.source.pixels() * self.source.channels..];
            // SAFETY: these rows of this image are this task's.
            let target = unsafe { target.slice((image * height + rows.start) * row_len, rows.len() * row_len) };
            self.strip(source, end, rows, target);
        });
    }

    /// Rows of an image.
    fn strip(&self, source: &[f32], end: &End, rows: Range<usize>, target: &mut [f32]) {
        let reach = |row: usize, tap: &Tap| row.saturating_add_signed(tap.dy).min(self.source.height);
        let first = self.taps.iter().map(|tap| reach(rows.start, tap)).min().unwrap_or(0);
        let last = self.taps.iter().map(|tap| reach(rows.end, tap)).max().unwrap_or(0).max(first);
        let pixels = (last - first) * self.source.width;
        with_scratch(pixels * self.pitch(), |products| {
            let source = &source[first * self.source.width * self.source.channels..];
            self.multiply(&source[..pixels * self.source.channels], products);
            let row_len = self.target.width * self.target.channels;
            let mut starts = [0.0; MOST];
            starts.iter_mut().zip(end.bias.unwrap_or_default()).for_each(|(start, bias)| *start = *bias);
            for (row, target) in rows.zip(target.chunks_exact_mut(row_len)) {
                add_up(self, row, first, products, &starts, end.add, target);
            }
        });
    }

    /// The products of pixels with all columns.
    fn multiply(&self, pixels: &[f32], products: &mut [f32]) {
        let (depth, pitch) = (self.source.channels, self.pitch());
        let count = pixels.len() / depth;
        if count == 0 {
            return;
        }
        let products = Shared::new(products);
        let rows: Vec<*const f32> = pixels.chunks_exact(depth).map(<[f32]>::as_ptr).collect();
        let places: Vec<*mut f32> = (0..count).map(|i| products.at(i * pitch)).collect();
        let product = Product {
            a: rows.as_ptr(),
            step: 0,
            rows: count,
            taps: 1,
            depth,
            pitch: depth * COLS,
            start: Start::Zero,
            y: places.as_ptr(),
            cols: self.panels() * COLS,
        };
        // SAFETY: each pixel has `depth` values and each panel COLS times as many; after each place there is room for the
        // panels.
        unsafe { self.weight.panel(0, self.panels() * depth * COLS).gather(&product) };
    }
}

multiversion! {
    /// Row `row` of an image from the products of source rows from `first` on.
    fn add_up(narrow: &Narrow, row: usize, first: usize, products: &[f32], starts: &[f32; MOST], add: bool, target: &mut [f32])
        => add_up_body
}

#[inline(always)]
fn add_up_body<S: Simd>(
    _: S,
    narrow: &Narrow,
    row: usize,
    first: usize,
    products: &[f32],
    starts: &[f32; MOST],
    add: bool,
    target: &mut [f32],
) {
    let (source, channels, pitch) = (narrow.source, narrow.target.channels, narrow.pitch());
    for (j, target) in target.chunks_exact_mut(channels).enumerate() {
        let mut values = *starts;
        if add {
            for (value, target) in values.iter_mut().zip(&*target) {
                *value += target;
            }
        }
        for (t, tap) in narrow.taps.iter().enumerate() {
            // A negative coordinate becomes a large one.
            let (y, x) = (row.wrapping_add_signed(tap.dy), j.wrapping_add_signed(tap.dx));
            if y < source.height && x < source.width {
                let at = ((y - first) * source.width + x) * pitch + t * channels;
                for (value, product) in values.iter_mut().zip(&products[at..][..MOST]) {
                    *value += product;
                }
            }
        }
        target.copy_from_slice(&values[..channels]);
    }
}
