//! Blocks of pixels, packed for the gradient of the weights.

use super::Conv;
use crate::parallel::pieces;
use crate::tile::{COLS, ROWS, outer};
use std::ops::Range;

/// Output pixels of a block, about: with its neighbours, a panel of input and one of gradient stay in the nearest cache.
pub(super) const BLOCK_PIXELS: usize = 256;

/// How the output pixels of a batch are cut into blocks.
pub(super) struct Blocks {
    conv: Conv,
    batch: usize,
    /// Images in a block; above one only if a strip is a whole image.
    images: usize,
    /// Output rows of a strip.
    rows: usize,
    /// Strips of an image.
    strips: usize,
}

impl Blocks {
    pub fn new(conv: &Conv, batch: usize) -> Self {
        // The pixels of a 1x1 convolution have no neighbours: take all of them as one column.
        let (conv, batch) = if is_pointwise(conv) {
            (Conv { height: batch * conv.height * conv.width, width: 1, ..*conv }, 1)
        } else {
            (*conv, batch)
        };
        let (height, width) = (conv.out_height(), conv.out_width());
        let rows = (BLOCK_PIXELS / width).clamp(1, height);
        let strips = height.div_ceil(rows);
        let images = if strips == 1 { (BLOCK_PIXELS / (height * width)).max(1) } else { 1 };
        Self { conv, batch, images, rows, strips }
    }

    pub fn count(&self) -> usize {
        self.batch.div_ceil(self.images) * self.strips
    }

    /// The images and output rows of a block.
    fn get(&self, block: usize) -> (Range<usize>, Range<usize>) {
        let images = pieces(self.batch, self.images)(block / self.strips);
        (images, pieces(self.conv.out_height(), self.rows)(block % self.strips))
    }
}

fn is_pointwise(conv: &Conv) -> bool {
    conv.kernel == 1 && conv.stride == 1 && conv.padding == 0
}

/// A block: the input by panels of [`ROWS`] channels, zeros around it included, the gradient by panels of [`COLS`].
pub(super) struct PackedBlock {
    conv: Conv,
    /// Columns of input under a row of outputs.
    padded_width: usize,
    x: Vec<f32>, // [panel][image][padded row][padded column][ROWS]
    x_panel: usize,
    g: Vec<f32>, // [panel][image][row][column][COLS]
    g_panel: usize,
    /// Where each run of outputs starts in a panel of `x`, and its length.
    starts: Vec<usize>,
    run: usize,
}

impl PackedBlock {
    /// An empty block, large enough for any of `blocks`.
    pub fn new(blocks: &Blocks) -> Self {
        let conv = blocks.conv;
        let padded = |outputs: usize| (outputs - 1) * conv.stride + conv.kernel;
        let padded_width = padded(conv.out_width());
        let x_panel = blocks.images * padded(blocks.rows) * padded_width * ROWS;
        let g_panel = blocks.images * blocks.rows * conv.out_width() * COLS;
        Self {
            conv,
            padded_width,
            x: vec![0.0; conv.c_in.div_ceil(ROWS) * x_panel],
            x_panel,
            g: vec![0.0; conv.c_out.div_ceil(COLS) * g_panel],
            g_panel,
            starts: Vec::new(),
            run: 0,
        }
    }

    /// Packs a block of input `x` and output gradient `g`.
    pub fn fill(&mut self, blocks: &Blocks, block: usize, x: &[f32], g: &[f32]) {
        let conv = self.conv;
        let (images, rows) = blocks.get(block);
        let (source, target) = (conv.source(), conv.target());
        let padded_rows = (rows.len() - 1) * conv.stride + conv.kernel;

        let (mut to_x, mut to_g) = (0, 0);
        for image in images.clone() {
            for row in 0..padded_rows {
                let y = (rows.start * conv.stride + row).wrapping_sub(conv.padding);
                for column in 0..self.padded_width {
                    let column = column.wrapping_sub(conv.padding);
                    let inside = y < source.height && column < source.width;
                    let pixel = inside.then(|| {
                        let at = ((image * source.height + y) * source.width + column) * source.channels;
                        &x[at..][..source.channels]
                    });
                    scatter::<ROWS>(pixel, &mut self.x[to_x..], self.x_panel, source.channels);
                    to_x += ROWS;
                }
            }
            let first = (image * target.height + rows.start) * target.width * target.channels;
            for pixel in g[first..].chunks_exact(target.channels).take(rows.len() * target.width) {
                scatter::<COLS>(Some(pixel), &mut self.g[to_g..], self.g_panel, target.channels);
                to_g += COLS;
            }
        }

        self.starts.clear();
        if is_pointwise(&conv) {
            self.starts.push(0);
            self.run = images.len() * rows.len();
        } else {
            let row = |image: usize, row: usize| (image * padded_rows + row * conv.stride) * self.padded_width * ROWS;
            self.starts.extend((0..images.len()).flat_map(|image| (0..rows.len()).map(move |r| row(image, r))));
            self.run = target.width;
        }
    }

    /// Adds the block's products to `sum`, `[panel of g][panel of x][tap][ROWS][COLS]`.
    pub fn add_to(&self, sum: &mut [f32]) {
        let area = self.conv.kernel * self.conv.kernel;
        let step = self.conv.stride * ROWS;
        let mut tiles = sum.chunks_exact_mut(ROWS * COLS);
        for g in self.g.chunks_exact(self.g_panel) {
            for x in self.x.chunks_exact(self.x_panel) {
                for tap in 0..area {
                    let (k, l) = (tap / self.conv.kernel, tap % self.conv.kernel);
                    let shift = (k * self.padded_width + l) * ROWS;
                    let tile = tiles.next().expect("a tile for each pair of panels and tap");
                    // SAFETY: a run at `starts[r] + shift` stays inside the padded image of its panel, because the image
                    // was packed with every pixel that a tap of a run reads; `g` holds the runs one after the other;
                    // the tile has ROWS * COLS values.
                    unsafe {
                        outer(x[shift..].as_ptr(), &self.starts, step, self.run, g.as_ptr(), COLS, tile.as_mut_ptr());
                    }
                }
            }
        }
    }
}

/// Spreads a pixel's channels over panels of `N`, with zeros past the last channel or where there is no pixel.
fn scatter<const N: usize>(pixel: Option<&[f32]>, panels: &mut [f32], panel_len: usize, channels: usize) {
    for panel in 0..channels.div_ceil(N) {
        let place = &mut panels[panel * panel_len..][..N];
        let first = panel * N;
        match pixel.map(|pixel| &pixel[first..(first + N).min(channels)]) {
            Some(values) if values.len() == N => place.copy_from_slice(values),
            Some(values) => {
                place[..values.len()].copy_from_slice(values);
                place[values.len()..].fill(0.0);
            }
            None => place.fill(0.0),
        }
    }
}
