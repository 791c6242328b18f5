//! Runs packed weights over a batch: indirect convolution (Dukhan, 2019, arXiv:1907.02129).
//!
//! The micro-kernel reads image rows through pointers, one per target pixel and tap; taps outside the image point to
//! zeros. Neither the image nor its patches are copied.

use super::pack::{Packed, PackedPass};
use crate::elementwise::{Activation, activate, activate_here, activate_piece, copy};
use crate::parallel::{Shared, pieces};
use crate::team::{each, parts, threads};
use crate::tile::{COLS, MOST_ROWS, Product, Start};
use std::borrow::Cow;
use std::ops::Range;

/// Source values that a block of target pixels may read while a panel of weights stays in the nearest cache.
const BLOCK_VALUES: usize = 24 * 1024;
/// Multiply-adds that are worth a task of their own: about ten microseconds.
const GRAIN: usize = 1 << 19;
/// Values of a task that only applies an activation.
const PIECE: usize = 4096;

/// What happens to the sums of a map.
#[derive(Clone, Copy, Default)]
pub(super) struct End<'a> {
    /// Added, `[target channels]`.
    pub bias: Option<&'a [f32]>,
    /// Adds what is in the target.
    pub add: bool,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl Packed {
    /// Maps a batch of source images to target images, plus `bias` (`[target channels]`), plus what is in `target` if
    /// `add`.
    pub fn apply(&self, source: &[f32], bias: Option<&[f32]>, add: bool, target: &mut [f32]) {
        self.run(source, End { bias, add, activation: None }, target, None);
    }

    /// Maps a batch of source images to target images; with an activation, `before` becomes what it is applied to.
    pub(super) fn run(&self, source: &[f32], end: End, target: &mut [f32], before: Option<&mut [f32]>) {
        let batch = self.source.count(source);
        assert_eq!(batch, self.target.count(target), "batch of source and target");
        assert!(before.as_ref().is_none_or(|before| before.len() == target.len()), "place for what is activated");
        let channels = self.target.channels;
        assert!(end.bias.is_none_or(|bias| bias.len() == channels), "a bias for each target channel");
        if let Some(narrow) = &self.narrow {
            narrow.apply(source, &end, target);
            return activate_after(end.activation, target, before);
        }
        let bias = end.bias.map(|bias| {
            if channels.is_multiple_of(COLS) {
                return Cow::Borrowed(bias);
            }
            let mut padded = vec![0.0; channels.next_multiple_of(COLS)];
            padded[..channels].copy_from_slice(bias);
            Cow::Owned(padded)
        });
        let zeros = vec![0.0; self.source.channels];
        let end = End { bias: bias.as_deref(), ..end };
        let (target, before) = (Shared::new(target), before.map(Shared::new));
        for packed in &self.passes {
            let job = Job { map: self, packed, source, zeros: &zeros, end, target, before };
            job.run(batch * packed.pass.size[0] * packed.pass.size[1]);
        }
    }
}

/// The activation of sums that are in `target`, which go to `before` if there is such a place.
pub(super) fn activate_after(activation: Option<Activation>, target: &mut [f32], before: Option<&mut [f32]>) {
    let Some(activation) = activation else { return };
    match before {
        Some(before) => {
            copy(target, before);
            activate(activation, before, target);
        }
        None => parts(target, PIECE, |_, target| activate_here(activation, target)),
    }
}

/// One pass over one batch.
struct Job<'a> {
    map: &'a Packed,
    packed: &'a PackedPass,
    source: &'a [f32],
    zeros: &'a [f32],
    /// The bias for whole panels.
    end: End<'a>,
    target: Shared<'a>,
    before: Option<Shared<'a>>,
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
    fn block(&self, rows: Range<usize>, panels: Range<usize>) {
        let (depth, channels) = (self.map.source.channels, self.map.target.channels);
        let (taps, count) = (self.packed.pass.taps.len(), rows.len());
        let (first, last) = (panels.start * COLS, channels.min(panels.end * COLS));
        let mut reads = vec![self.zeros.as_ptr(); taps * count]; // [tap][row]
        let mut places = vec![0; count];
        self.find(rows, &mut reads, &mut places);
        let targets: Vec<*mut f32> = places.iter().map(|place| self.target.at(place + first)).collect();
        let panel_len = taps * depth * COLS;
        let bias = self.end.bias.map(|bias| bias[first..panels.end * COLS].as_ptr());
        let product = Product {
            a: reads.as_ptr(),
            step: count,
            rows: count,
            taps,
            depth,
            pitch: panel_len,
            start: match (bias, self.end.add) {
                (None, false) => Start::Zero,
                (Some(bias), false) => Start::Bias(bias),
                (None, true) => Start::Output,
                (Some(bias), true) => Start::OutputAndBias(bias),
            },
            y: targets.as_ptr(),
            cols: last - first,
        };
        let weight = self.packed.weight.panel(panels.start * panel_len, panels.len() * panel_len);
        // SAFETY: each pointer read is the start of a source pixel or of `zeros`, `depth` values; `weight` holds whole
        // panels; the targets have `cols` values, which this task alone computes.
        unsafe { weight.gather(&product) };
        self.activate(&places, first..last);
    }

    /// Applies the activation, while the block is in a near cache, to some channels of pixels.
    fn activate(&self, places: &[usize], channels: Range<usize>) {
        let Some(activation) = self.end.activation else { return };
        for place in places {
            let (at, len) = (place + channels.start, channels.len());
            // SAFETY: this task's part of the target; of `before`, which is as long, it is the same part.
            let target = unsafe { self.target.slice(at, len) };
            match &self.before {
                Some(before) => {
                    // SAFETY: as above.
                    let before = unsafe { before.slice(at, len) };
                    before.copy_from_slice(target);
                    activate_piece(activation, before, target);
                }
                None => activate_here(activation, target),
            }
        }
    }

    /// Where target pixels `rows` read, `[tap][row]`, and where each begins. What is outside of the image stays.
    fn find(&self, rows: Range<usize>, reads: &mut [*const f32], places: &mut [usize]) {
        let (source, target, pass) = (self.map.source, self.map.target, &self.packed.pass);
        let ([height, width], count) = (pass.size, rows.len());
        // Counted along: divisions for every pixel took as long as a small layer's products.
        let (mut image, mut i, mut j) =
            (rows.start / (height * width), rows.start / width % height, rows.start % width);
        for n in 0..count {
            let pixels = &self.source[image * source.pixels() * source.channels..];
            for (t, tap) in pass.taps.iter().enumerate() {
                // A negative coordinate becomes a large one.
                let y = (i * pass.stride).wrapping_add_signed(tap.dy);
                let x = (j * pass.stride).wrapping_add_signed(tap.dx);
                if y < source.height && x < source.width {
                    reads[t * count + n] = pixels[(y * source.width + x) * source.channels..].as_ptr();
                }
            }
            let (y, x) = (pass.origin[0] + i * pass.step, pass.origin[1] + j * pass.step);
            places[n] = ((image * target.height + y) * target.width + x) * target.channels;
            j += 1;
            if j == width {
                (i, j) = (i + 1, 0);
                if i == height {
                    (image, i) = (image + 1, 0);
                }
            }
        }
    }
}
