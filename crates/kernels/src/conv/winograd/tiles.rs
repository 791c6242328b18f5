//! The tiles of a batch of images.

use crate::conv::Image;
use crate::parallel::{Shared, with_scratch};
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
}

impl Tiles {
    pub fn new(image: Image, side: usize) -> Self {
        Self { image, side, down: image.height.div_ceil(side), across: image.width.div_ceil(side) }
    }

    pub fn of_batch(&self, batch: usize) -> usize {
        batch * self.down * self.across
    }

    /// Where pixels of a tile start, in order: of the square of `side` that begins `border` pixels up and left of its first
    /// output. Pixels outside the image are nowhere.
    fn pixels(&self, tile: usize, border: usize, side: usize) -> impl Iterator<Item = Option<usize>> {
        let Image { height, width, channels } = self.image;
        let (row, column) = (tile / self.across % self.down, tile % self.across);
        let (image, top, left) = (tile / (self.down * self.across), row * self.side, column * self.side);
        (0..side).flat_map(move |i| {
            (0..side).map(move |j| {
                // A negative coordinate becomes a large one.
                let (row, column) = ((top + i).wrapping_sub(border), (left + j).wrapping_sub(border));
                (row < height && column < width).then_some(((image * height + row) * width + column) * channels)
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

    /// Lends `f` pointers to the outputs of a tile; outside the image, to a place that nobody reads.
    pub fn write(&self, tile: usize, y: Shared, f: impl FnOnce(&[*mut f32; 16])) {
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
}
