//! Where pixels lie between zeros, and what outputs read.
//!
//! Pixels of an image are counted along rows that are `pitch` places long, images `rows` such rows: the places between are zeros,
//! enough of them that a kernel position beyond a border meets some. Outputs are counted in the same way, so a kernel
//! position reads at a constant distance. With a stride `s`, the pixels whose row and column leave the same remainders form
//! an image, a phase, of their own.

use crate::conv::pass::{self, Pass};
use crate::conv::{Conv, Image};

/// A map of images.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub source: Image,
    pub target: Image,
    /// Between the pixels of a phase.
    pub stride: usize,
    /// The phases that are read: remainders of row and column.
    pub phases: Vec<[usize; 2]>,
    pub pitch: usize,
    pub rows: usize,
    pub passes: Vec<Outputs>,
    /// The least and the greatest distance that is read at.
    pub reach: [isize; 2],
}

/// The outputs `(origin + step i, origin + step j)` and what they read.
#[derive(Clone, Debug)]
pub(super) struct Outputs {
    pub origin: [usize; 2],
    pub step: usize,
    pub size: [usize; 2],
    pub taps: Vec<Tap>,
}

/// A kernel position: the phase it reads, at which distance, and its number in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub phase: usize,
    pub distance: isize,
    pub index: usize,
}

impl Grid {
    pub fn forward(conv: &Conv) -> Self {
        Self::new(conv.source(), conv.target(), &pass::forward(conv))
    }

    pub fn adjoint(conv: &Conv) -> Self {
        Self::new(conv.target(), conv.source(), &pass::adjoint(conv))
    }

    fn new(source: Image, target: Image, passes: &[Pass]) -> Self {
        let stride = passes.iter().map(|pass| pass.stride).max().unwrap_or(1);
        let sides = [source.height, source.width];
        // Places of a side: pixels of the largest phase, zeros after them, and no fewer than outputs.
        let places = |axis: usize| {
            let pixels = sides[axis].div_ceil(stride);
            let mut most = pixels;
            for pass in passes {
                for tap in &pass.taps {
                    let first = [tap.dy, tap.dx][axis].div_euclid(stride as isize);
                    let past = (pass.size[axis] as isize + first - pixels as isize).max(0);
                    most = most.max(pixels + past.max(-first) as usize).max(pass.size[axis]);
                }
            }
            most
        };
        let (rows, pitch) = (places(0), places(1));
        let mut grid =
            Self { source, target, stride, phases: Vec::new(), pitch, rows, passes: Vec::new(), reach: [0, 0] };
        grid.passes = passes.iter().map(|pass| grid.outputs(pass)).collect();
        grid
    }

    fn outputs(&mut self, pass: &Pass) -> Outputs {
        let stride = self.stride as isize;
        let taps = pass.taps.iter().map(|tap| {
            let phase = [tap.dy, tap.dx].map(|d| d.rem_euclid(stride) as usize);
            let known = self.phases.iter().position(|&known| known == phase);
            let phase = known.unwrap_or_else(|| {
                self.phases.push(phase);
                self.phases.len() - 1
            });
            let distance = tap.dy.div_euclid(stride) * self.pitch as isize + tap.dx.div_euclid(stride);
            self.reach = [self.reach[0].min(distance), self.reach[1].max(distance)];
            Tap { phase, distance, index: tap.index }
        });
        let taps = taps.collect();
        Outputs { origin: pass.origin, step: pass.step, size: pass.size, taps }
    }

    /// Places up to the last output of a batch.
    pub fn places(&self, batch: usize) -> usize {
        let last = |pass: &Outputs| {
            if batch == 0 || pass.size.contains(&0) {
                return 0;
            }
            ((batch - 1) * self.rows + pass.size[0] - 1) * self.pitch + pass.size[1]
        };
        self.passes.iter().map(last).max().unwrap_or(0)
    }

    /// Whether places are pixels, one for one.
    fn dense(&self) -> bool {
        self.stride == 1 && [self.rows, self.pitch] == [self.source.height, self.source.width]
    }

    /// Calls `f(offset, row of all images, column, count)` for the runs of places `from..from + count` of a phase of `batch`
    /// images: the first pixel of a run, or no row where there are zeros. If pixels are `repeated`, runs are of one row.
    pub fn runs(
        &self,
        batch: usize,
        phase: usize,
        from: isize,
        count: usize,
        repeated: bool,
        mut f: impl FnMut(usize, Option<[usize; 2]>, usize),
    ) {
        let end = from + count as isize;
        let [row, column] = self.phases[phase];
        let size =
            [self.source.height - row.min(self.source.height), self.source.width - column.min(self.source.width)];
        let size = size.map(|side| side.div_ceil(self.stride));
        // Pixels that are repeated are no run in memory.
        let dense = self.dense() && !repeated;
        let width = if dense { usize::MAX / 4 } else { self.pitch };
        let mut at = from;
        while at < end {
            let (line, place) = (at.div_euclid(width as isize), at.rem_euclid(width as isize) as usize);
            let left = (end - at) as usize;
            let offset = (at - from) as usize;
            let (run, pixel) = if dense {
                let total = batch * self.source.pixels();
                if line < 0 {
                    (left.min(-at as usize), None)
                } else if place < total {
                    (left.min(total - place), Some([0, place]))
                } else {
                    (left, None)
                }
            } else {
                let (image, y) = (line.div_euclid(self.rows as isize), line.rem_euclid(self.rows as isize) as usize);
                let inside = image >= 0 && (image as usize) < batch && y < size[0];
                if inside && place < size[1] {
                    let y = image as usize * self.source.height + y * self.stride + row;
                    (left.min(size[1] - place), Some([y, place * self.stride + column]))
                } else {
                    (left.min(width - place), None)
                }
            };
            f(offset, pixel, run);
            at += run as isize;
        }
    }
}
