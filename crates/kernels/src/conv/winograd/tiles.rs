//! The tiles of a batch of images.

use crate::conv::Image;
use crate::parallel::{Shared, with_scratch};
use crate::simd::{Simd, multiversion};
use crate::tile::COLS;

/// Values between tiles at a point: whole panels, and an odd number of them, lest tiles share places in the cache.
pub(super) fn pitch(channels: usize) -> usize {
    (channels.div_ceil(COLS) | 1) * COLS
}

/// A grid of tiles over every image of a batch.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    image: Image,
    /// Side of the outputs of a tile.
    side: usize,
    /// Tiles down and across an image.
    down: usize,
    across: usize,
    /// Whether every pixel of the image in memory stands for 2x2 equal ones.
    doubled: bool,
}

impl Tiles {
    /// `image` is the one that the tiles cover: if `doubled` it is twice as high and wide as that in memory.
    pub fn new(image: Image, side: usize, doubled: bool) -> Self {
        Self { image, side, down: image.height.div_ceil(side), across: image.width.div_ceil(side), doubled }
    }

    pub fn of_batch(&self, batch: usize) -> usize {
        batch * self.down * self.across
    }

    /// Where pixels of a tile start, in order: of the square of `side` that begins `border` pixels up and left of its first
    /// output. Pixels outside the image are nowhere.
    fn pixels(&self, tile: usize, border: usize, side: usize) -> impl Iterator<Item = Option<usize>> {
        let (Image { height, width, channels }, shift) = (self.image, u32::from(self.doubled));
        let (row, column) = (tile / self.across % self.down, tile % self.across);
        let (image, top, left) = (tile / (self.down * self.across), row * self.side, column * self.side);
        (0..side).flat_map(move |i| {
            (0..side).map(move |j| {
                // A negative coordinate becomes a large one.
                let (row, column) = ((top + i).wrapping_sub(border), (left + j).wrapping_sub(border));
                let in_memory =
                    ((image * (height >> shift) + (row >> shift)) * (width >> shift) + (column >> shift)) * channels;
                (row < height && column < width).then_some(in_memory)
            })
        })
    }

    /// Pointers to the pixels of that square; to `zeros` outside the image.
    pub fn read(&self, tile: usize, border: usize, x: &[f32], zeros: &[f32]) -> [*const f32; 36] {
        let side = self.side + 2 * border;
        let mut pixels = [zeros.as_ptr(); 36];
        for (pixel, at) in pixels.iter_mut().zip(self.pixels(tile, border, side)) {
            if let Some(at) = at {
                *pixel = x[at..][..self.image.channels].as_ptr();
            }
        }
        pixels
    }

    /// Lends `f` pointers to the outputs of a tile; outside the image, to a place that nobody reads. Of pixels that stand for
    /// 2x2, the sums are what is written.
    pub fn write(&self, tile: usize, y: Shared, f: impl FnOnce(&[*mut f32; 16])) {
        if self.doubled {
            return self.write_sums(tile, y, f);
        }
        with_scratch(self.image.channels, |spare| {
            let mut pixels = [spare.as_mut_ptr(); 16];
            for (pixel, at) in pixels.iter_mut().zip(self.pixels(tile, 0, self.side)) {
                if let Some(at) = at {
                    *pixel = y.at(at);
                }
            }
            f(&pixels);
        });
    }

    fn write_sums(&self, tile: usize, y: Shared, f: impl FnOnce(&[*mut f32; 16])) {
        let channels = self.image.channels;
        with_scratch(self.side * self.side * channels, |outputs| {
            let mut pixels = [outputs.as_mut_ptr(); 16];
            for (pixel, output) in pixels.iter_mut().zip(outputs.chunks_exact_mut(channels)) {
                *pixel = output.as_mut_ptr();
            }
            f(&pixels);
            for (i, at) in self.pixels(tile, 0, self.side).enumerate() {
                let (row, column) = (i / self.side, i % self.side);
                if let (Some(at), 0, 0) = (at, row % 2, column % 2) {
                    let output = |i: usize| &outputs[i * channels..][..channels];
                    // SAFETY: a pixel of this tile, which is the caller's.
                    let y = unsafe { y.slice(at, channels) };
                    sum(output(i), output(i + 1), output(i + self.side), output(i + self.side + 1), y);
                }
            }
        });
    }
}

multiversion! { fn sum(a: &[f32], b: &[f32], c: &[f32], d: &[f32], y: &mut [f32]) => sum_body }

#[inline(always)]
fn sum_body<S: Simd>(_: S, a: &[f32], b: &[f32], c: &[f32], d: &[f32], y: &mut [f32]) {
    let (top, bottom) = (a.iter().zip(b), c.iter().zip(d));
    for (y, ((a, b), (c, d))) in y.iter_mut().zip(top.zip(bottom)) {
        *y = (a + b) + (c + d);
    }
}
