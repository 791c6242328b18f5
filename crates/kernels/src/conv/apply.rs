//! Runs packed weights over a batch: indirect convolution (Dukhan, 2019, arXiv:1907.02129).
//!
//! The micro-kernel reads image rows through pointers, one per target pixel and tap; taps outside the image point to
//! zeros. Neither the image nor its patches are copied.

use super::pack::{Packed, PackedPass};
use crate::parallel::{Shared, pieces};
use crate::team::{each, threads};
use crate::tile::{COLS, MOST_ROWS, Product, Start};

/// Source values that a block of target pixels may read while a panel of weights stays in the nearest cache.
const BLOCK_VALUES: usize = 24 * 1024;
/// Multiply-adds that are worth a task of their own: about ten microseconds.
const GRAIN: usize = 1 << 19;

impl Packed {
    /// Maps a batch of source images to target images, plus `bias` (`[target channels]`), plus what is in `target` if
    /// `add`.
    pub fn apply(&self, source: &[f32], bias: Option<&[f32]>, add: bool, target: &mut [f32]) {
        let batch = self.source.count(source);
        assert_eq!(batch, self.target.count(target), "batch of source and target");
        let channels = self.target.channels;
        let bias = bias.map(|bias| {
            assert_eq!(bias.len(), channels, "a bias for each target channel");
            let mut padded = vec![0.0; channels.next_multiple_of(COLS)];
            padded[..channels].copy_from_slice(bias);
            padded
        });
        let zeros = vec![0.0; self.source.channels];
        let target = Shared::new(target);
        for packed in &self.passes {
            let job = Job { map: self, packed, source, zeros: &zeros, bias: bias.as_deref(), add, target };
            job.run(batch * packed.pass.size[0] * packed.pass.size[1]);
        }
    }
}

/// One pass over one batch.
struct Job<'a> {
    map: &'a Packed,
    packed: &'a PackedPass,
    source: &'a [f32],
    zeros: &'a [f32],
    bias: Option<&'a [f32]>,
    add: bool,
    target: Shared<'a>,
}

impl Job<'_> {
    /// Blocks of pixels are shared between threads, and where those are few, so are their panels of target channels.
    fn run(&self, rows: usize) {
        let depth = self.map.source.channels;
        let block = (BLOCK_VALUES / depth).clamp(4 * MOST_ROWS, 32 * MOST_ROWS) / MOST_ROWS * MOST_ROWS;
        let blocks = rows.div_ceil(block);
        let panels = self.map.target.channels.div_ceil(COLS);
        let work = rows * depth * self.packed.pass.taps.len() * self.map.target.channels;
        let wanted = (4 * threads()).min(work / GRAIN).max(1);
        let group = if blocks >= wanted { panels } else { (panels * blocks).div_ceil(wanted).max(1) };
        let groups = panels.div_ceil(group);
        let (rows_of, panels_of) = (pieces(rows, block), pieces(panels, group));
        each(blocks * groups, |task| self.block(rows_of(task / groups), panels_of(task % groups)));
    }

    /// Computes target pixels `rows` (counted over the batch) in the channels of `panels`.
    fn block(&self, rows: std::ops::Range<usize>, panels: std::ops::Range<usize>) {
        let (depth, channels) = (self.map.source.channels, self.map.target.channels);
        let (taps, count) = (self.packed.pass.taps.len(), rows.len());
        let mut reads = vec![self.zeros.as_ptr(); taps * count]; // [tap][row]
        let mut places = Vec::with_capacity(count);
        let first = panels.start * COLS;
        for (i, row) in rows.enumerate() {
            let place = self.row(row, i, count, &mut reads);
            places.push(self.target.at(place + first));
        }
        let panel_len = taps * depth * COLS;
        let bias = self.bias.map(|bias| bias[first..panels.end * COLS].as_ptr());
        let product = Product {
            a: reads.as_ptr(),
            step: count,
            rows: count,
            taps,
            depth,
            pitch: panel_len,
            start: match (bias, self.add) {
                (None, false) => Start::Zero,
                (Some(bias), false) => Start::Bias(bias),
                (None, true) => Start::Output,
                (Some(bias), true) => Start::OutputAndBias(bias),
            },
            y: places.as_ptr(),
            cols: channels.min(panels.end * COLS) - first,
        };
        let weight = self.packed.weight.panel(panels.start * panel_len, panels.len() * panel_len);
        // SAFETY: each pointer read is the start of a source pixel or of `zeros`, `depth` values; `weight` holds whole
        // panels; the places have `cols` values, which this task alone computes.
        unsafe { weight.gather(&product) };
    }

    /// Sets the pointers of a target pixel, the `place`-th of `count` at each tap, and returns where the pixel begins.
    fn row(&self, row: usize, place: usize, count: usize, reads: &mut [*const f32]) -> usize {
        let (source, target, pass) = (self.map.source, self.map.target, &self.packed.pass);
        let [height, width] = pass.size;
        let (image, i, j) = (row / (height * width), row / width % height, row % width);
        let (y, x) = ((i * pass.stride) as isize, (j * pass.stride) as isize);
        let pixels = &self.source[image * source.pixels() * source.channels..];
        for (t, tap) in pass.taps.iter().enumerate() {
            // A negative coordinate becomes a large one.
            let (y, x) = ((y + tap.dy) as usize, (x + tap.dx) as usize);
            if y < source.height && x < source.width {
                reads[t * count + place] = pixels[(y * source.width + x) * source.channels..].as_ptr();
            }
        }
        let (y, x) = (pass.origin[0] + i * pass.step, pass.origin[1] + j * pass.step);
        ((image * target.height + y) * target.width + x) * target.channels
    }
}
