//! Runs a convolution over blocks of tiles.

use super::method::{End, Method};
use super::tiles::{Tiles, pitch};
use super::weights::{Weights, exchanged};
use crate::conv::Image;
use crate::conv::transposed::{product as transposed_product, turn};
use crate::parallel::{Shared, pieces, with_scratch};
use crate::team::{each, threads};
use crate::tile::{COLS, MOST_ROWS, Product, Start};
use std::ops::Range;

/// Values of a block before and after the product: near what the second cache holds.
const BLOCK_VALUES: usize = 200 * 1024;
/// Tiles of a block at least, if there are as many, and at most.
const BLOCK_TILES: [usize; 2] = [24, 96];
/// The most, rounded up.
const MOST_TILES: usize = BLOCK_TILES[1].next_multiple_of(COLS);
/// Values of weights from which on all threads work on one block, with weights that are read from memory once for it.
const MANY_WEIGHTS: usize = 1 << 21;

/// The right factor of the products.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// These weights.
    Weights(&'a Weights),
    /// Those of the adjoint of these, read in place: the products are computed transposed.
    Adjoint(&'a Weights),
}

impl Factor<'_> {
    pub fn from(&self) -> usize {
        match self {
            Self::Weights(w) => w.from,
            Self::Adjoint(w) => w.to,
        }
    }

    pub fn to(&self) -> usize {
        match self {
            Self::Weights(w) => w.to,
            Self::Adjoint(w) => w.from,
        }
    }
}

/// An image whose pixels each stand for 2x2 equal ones of the convolution's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubled {
    Neither,
    Source,
    Target,
}

/// One convolution.
pub(super) struct Run<'a> {
    method: Method,
    factor: Factor<'a>,
    source: Image,
    target: Image,
    doubled: Doubled,
    /// Values between tiles, before and after the product.
    pitch: [usize; 2],
    zeros: Vec<f32>,
}

/// A block of tiles on its way: `v` and `m` are `[point][tile][pitch]`, with room for `room` tiles.
struct Block<'a> {
    tiles: Range<usize>,
    room: usize,
    v: Shared<'a>,
    m: Shared<'a>,
}

impl<'a> Run<'a> {
    pub fn new(method: Method, factor: Factor<'a>, source: Image, target: Image, doubled: Doubled) -> Self {
        let pitch = [source.channels, target.channels].map(pitch);
        let zeros = vec![0.0; source.channels.max(target.channels).next_multiple_of(COLS)];
        Self { method, factor, source, target, doubled, pitch, zeros }
    }

    /// Tiles of a block, and whether all threads work on one block at a time. No result depends on either.
    fn plan(&self, total: usize) -> (usize, bool) {
        // Whole tiles of the micro-kernel, along its rows or along its columns.
        let (unit, values) = match self.factor {
            Factor::Weights(w) => (MOST_ROWS, w.len()),
            Factor::Adjoint(w) => (COLS, w.len()),
        };
        let [least, most] = BLOCK_TILES;
        let threads = threads();
        let room = BLOCK_VALUES / (self.method.points() * (self.pitch[0] + self.pitch[1]));
        let together = values >= MANY_WEIGHTS || total < least;
        // The more weights there are, the more tiles should share a reading of them.
        let limit = room.max(values >> 15).clamp(least, most);
        let mut blocks = total.div_ceil(limit).max(1);
        if !together && blocks < 4 * threads {
            // As many for each thread, unless they become tiny.
            blocks = blocks.next_multiple_of(threads).min(total.div_ceil(least / 2));
        }
        (total.div_ceil(blocks).next_multiple_of(unit), together)
    }

    pub fn run(&self, batch: usize, x: &[f32], bias: Option<&[f32]>, add: bool, y: &mut [f32]) {
        assert!(bias.is_none_or(|bias| bias.len() == self.target.channels), "a bias for each channel");
        let tiles = |image, doubled| Tiles::new(image, self.method.side_out, self.doubled == doubled);
        let (sources, targets) = (tiles(self.source, Doubled::Source), tiles(self.target, Doubled::Target));
        let total = sources.of_batch(batch);
        let (room, together) = self.plan(total);
        let blocks = total.div_ceil(room);
        let tiles_of = pieces(total, room);
        let end = End { bias: bias.unwrap_or(&self.zeros), add };
        let y = Shared::new(y);
        let sizes = self.pitch.map(|pitch| room * self.method.points() * pitch);
        let one = |i: usize| {
            with_scratch(sizes[0] + sizes[1], |scratch| {
                let (v, m) = scratch.split_at_mut(sizes[0]);
                let block = Block { tiles: tiles_of(i), room, v: Shared::new(v), m: Shared::new(m) };
                let [v_step, m_step] = self.pitch.map(|pitch| room * pitch);
                each(block.tiles.len(), |i| {
                    let pixels = sources.read(block.tiles.start + i, 1, x, &self.zeros);
                    let v = block.v.at(i * self.pitch[0]);
                    // SAFETY: channels are a multiple of eight, each pixel has as many values, and so has each point of
                    // the tile in `v`, which is this task's.
                    unsafe { (self.method.input)(pixels.as_ptr(), self.source.channels, v, v_step) };
                });
                each(self.method.points(), |point| match self.factor {
                    Factor::Weights(weights) => self.multiply(&block, point, weights),
                    Factor::Adjoint(weights) => self.multiply_adjoint(&block, point, weights),
                });
                each(block.tiles.len(), |i| {
                    targets.write(block.tiles.start + i, y, |pixels| {
                        let m = block.m.at(i * self.pitch[1]);
                        // SAFETY: channels are a multiple of eight; the products of this tile are complete and no longer
                        // written; the pixels are this task's and have as many values as there are channels.
                        unsafe { (self.method.output)(m, m_step, self.target.channels, &end, pixels.as_ptr()) };
                    });
                });
            });
        };
        // Tasks inside of tasks run where they are: a block is one thread's, or its parts are shared.
        if together { (0..blocks).for_each(one) } else { each(blocks, one) }
    }

    /// `m = v w` at a point.
    fn multiply(&self, block: &Block, point: usize, weights: &Weights) {
        let ([from, to], rows) = (self.pitch, block.tiles.len());
        let first = point * block.room;
        let (v, m) = (block.v.at(first * from).cast_const(), block.m.at(first * to));
        // Every pointer is inside: a block has room for its tiles.
        let reads: [*const f32; MOST_TILES] = std::array::from_fn(|i| v.wrapping_add(i.min(rows) * from));
        let places: [*mut f32; MOST_TILES] = std::array::from_fn(|i| m.wrapping_add(i.min(rows) * to));
        let product = Product {
            a: reads.as_ptr(),
            step: 0,
            rows,
            taps: 1,
            depth: weights.from,
            pitch: weights.from * COLS,
            start: Start::Zero,
            y: places.as_ptr(),
            cols: weights.to.next_multiple_of(COLS),
        };
        // SAFETY: rows hold `weights.from` values, a panel COLS times as many; the places are this task's, and whole panels.
        unsafe { weights.point(point).gather(&product) };
    }

    /// `m^T = w v^T` at a point, with `w` as packed for the convolution itself.
    fn multiply_adjoint(&self, block: &Block, point: usize, weights: &Weights) {
        let [from, to] = self.pitch;
        let panels = weights.to.div_ceil(COLS); // of what is summed over
        let depth = panels * COLS;
        let source = exchanged(point, weights.side);
        let columns = block.tiles.len().next_multiple_of(COLS);
        with_scratch((depth + weights.from) * columns, |scratch| {
            let (right, product) = scratch.split_at_mut(depth * columns);
            for (first, right) in (0..columns).step_by(COLS).zip(right.chunks_exact_mut(depth * COLS)) {
                right[weights.to * COLS..].fill(0.0); // what lies before is written next
                // SAFETY: blocks are a multiple of COLS tiles long, so that `v` has as many from here on.
                unsafe {
                    let v = block.v.at((point * block.room + first) * from);
                    turn(v, from, COLS, weights.to, right.as_mut_ptr(), COLS);
                }
            }
            transposed_product(|panel| weights.panel(source, panel), panels, 0..weights.from, right, columns, product);
            // SAFETY: `product` has as many rows as `m` has channels, a multiple of eight; its columns are as many tiles.
            unsafe {
                let m = block.m.at(point * block.room * to);
                turn(product.as_ptr(), columns, weights.from, columns, m, to);
            }
        });
    }
}
