//! Runs a map over a batch, a strip of places at a time.

use super::finish::Results;
use super::grid::{Grid, Outputs};
use crate::amx::{Ahead, BLOCK, Blocks, LINE, NOWHERE, SIDE, Step, Steps, Tiles, block, split, with_lines};
use crate::conv::apply::End;
use crate::parallel::{Shared, pieces};
use crate::team::{each, ranges, threads};
use std::ops::Range;

/// Values of a strip, split: with a panel of weights, what the second cache holds.
const STRIP_VALUES: usize = 5 << 16;
/// Places of a strip at least, and at most.
const STRIP_PLACES: [usize; 2] = [256, 2048];
/// Pairs of weights that the second cache does not hold beside a strip.
const MANY_WEIGHTS: usize = 1 << 21;
/// Blocks of weights that are used at a time, for all pixels of a strip, where they are not read in place or pixels are few: they stay in
/// the second cache.
const GROUP: usize = 72;
/// Blocks of pixels that are few: reading weights from afar takes longer than multiplying with them.
const FEW: usize = 8;
/// Steps of a block that are worth a task of their own.
const GRAIN: usize = 128;
/// Places that are split by a task.
const PIECE: usize = 32;

/// One map.
pub(super) struct Run<'a> {
    grid: &'a Grid,
    weights: &'a Blocks,
    turned: bool,
    doubled: bool,
    /// Added, in the order of the target.
    past: Option<&'a [f32]>,
}

/// A strip that is split: parts of 32 channels of places, `[phase][channel / 32][place]`, the low ones `low` values on.
struct Strip<'a> {
    places: Range<usize>,
    room: usize,
    low: usize,
    parts: Shared<'a>,
}

/// The arguments of a call.
struct Call<'a> {
    batch: usize,
    source: &'a [f32],
    end: End<'a>,
    target: Shared<'a>,
    before: Option<Shared<'a>>,
}

impl<'a> Run<'a> {
    pub fn new(grid: &'a Grid, weights: &'a Blocks, turned: bool, doubled: bool) -> Self {
        Self { grid, weights, turned, doubled, past: None }
    }

    /// The same plus `past`, shaped as the target.
    pub fn onto(self, past: &'a [f32]) -> Self {
        Self { past: Some(past), ..self }
    }

    fn chunks(&self) -> usize {
        self.grid.source.channels.div_ceil(SIDE)
    }

    fn panels(&self) -> usize {
        self.grid.target.channels.div_ceil(SIDE)
    }

    /// Places of a strip, and whether all threads work on one at a time. No result depends on either.
    fn plan(&self, total: usize) -> (usize, bool) {
        let place = self.grid.phases.len() * self.chunks() * SIDE;
        let reach = (self.grid.reach[1] - self.grid.reach[0]) as usize;
        let [least, most] = STRIP_PLACES;
        let room = (STRIP_VALUES / place).saturating_sub(reach).clamp(least, most);
        let (mut strips, threads) = (total.div_ceil(room), threads());
        // What another thread has split is far away: a strip is one thread's, unless each would have to read all of the weights
        // for few pixels.
        let alone = if self.weights.bytes() / 4 >= MANY_WEIGHTS { least } else { least / 4 };
        let together = total < alone * threads;
        if !together {
            strips = strips.next_multiple_of(threads);
        }
        (total.div_ceil(strips.max(1)).next_multiple_of(SIDE), together)
    }

    /// Maps a batch of source images to target images; with an activation, `before` becomes what it is applied to.
    pub fn run(&self, source: &[f32], end: &End, target: &mut [f32], before: Option<&mut [f32]>) {
        let shapes = [self.grid.source, self.grid.target].map(|image| image.pixels() * image.channels);
        let repeats = if self.doubled { 4 } else { 1 };
        let batch = target.len() / shapes[1];
        assert_eq!([source.len() * repeats, target.len()], shapes.map(|len| batch * len), "images of {:?}", self.grid);
        assert!(before.as_ref().is_none_or(|before| before.len() == target.len()), "place for what is activated");
        assert!(end.bias.is_none_or(|bias| bias.len() == self.grid.target.channels), "a bias for each target channel");
        assert!(self.past.is_none_or(|past| past.len() == target.len()), "what is added is shaped as the target");
        let (target, before) = (Shared::new(target), before.map(Shared::new));
        let call = Call { batch, source, end: *end, target, before };
        let total = self.grid.places(batch);
        let (room, together) = self.plan(total);
        let places_of = pieces(total, room);
        let one = |i: usize| self.strip(&call, places_of(i));
        let strips = total.div_ceil(room);
        // Tasks inside of tasks run where they are: a strip is one thread's, or its parts are shared.
        if together { (0..strips).for_each(one) } else { each(strips, one) }
    }

    fn strip(&self, call: &Call, places: Range<usize>) {
        let grid = self.grid;
        let blocks = places.len().div_ceil(SIDE);
        // An odd number of lines, lest chunks share places in the cache.
        let room = (blocks * SIDE + (grid.reach[1] - grid.reach[0]) as usize) | 1;
        let low = grid.phases.len() * self.chunks() * room * LINE;
        with_lines(2 * low, |parts| {
            let strip = Strip { places, room, low, parts: Shared::new(parts) };
            let piece = pieces(room, PIECE);
            let count = room.div_ceil(PIECE);
            each(grid.phases.len() * count, |task| self.split(call, &strip, task / count, piece(task % count)));
            for pass in &grid.passes {
                self.multiply(call, &strip, pass, blocks);
            }
        });
    }

    /// Splits some places of a phase, counted from the first that is read.
    fn split(&self, call: &Call, strip: &Strip, phase: usize, places: Range<usize>) {
        let (grid, plane) = (self.grid, strip.room * LINE);
        let (channels, shift) = (grid.source.channels, u32::from(self.doubled));
        let from = strip.places.start as isize + grid.reach[0] + places.start as isize;
        let to = |place: usize| (phase * self.chunks() * strip.room + places.start + place) * LINE;
        let width = grid.source.width >> shift;
        grid.runs(call.batch, phase, from, places.len(), self.doubled, |offset, pixel, count| {
            let Some([y, x]) = pixel else {
                for at in (0..self.chunks()).map(|chunk| to(offset) + chunk * plane) {
                    // SAFETY: places of this task.
                    unsafe {
                        strip.parts.slice(at, count * LINE).fill(0.0);
                        strip.parts.slice(strip.low + at, count * LINE).fill(0.0);
                    }
                }
                return;
            };
            let row = &call.source[(y >> shift) * width * channels..];
            let pixel = |i: usize| ((x + i * grid.stride) >> shift) * channels;
            assert!(row.len() >= pixel(count - 1) + channels, "pixels of an image");
            // SAFETY: each pixel is inside of the source; the places are this task's.
            unsafe { split(row.as_ptr(), pixel, count, channels, strip.parts.at(to(offset)), plane, strip.low) };
        });
    }

    /// Computes the outputs of a pass.
    fn multiply(&self, call: &Call, strip: &Strip, pass: &Outputs, blocks: usize) {
        let steps = self.steps(strip, pass);
        let targets = self.targets(call.batch, strip, pass);
        let panels = self.panels();
        // A panel is a task, or where they are few, some blocks of it.
        let wanted = (4 * threads()).min(panels * blocks * steps.len() / GRAIN).max(1);
        let parts = wanted.div_ceil(panels).min(blocks);
        let blocks_of = pieces(blocks, blocks.div_ceil(parts));
        ranges(panels * parts, |tasks| {
            let tiles = Tiles::new();
            for task in tasks {
                let blocks = blocks_of(task % parts);
                if blocks.start < blocks.end {
                    self.panel(call, strip, pass, &steps, &targets, task / parts, blocks, &tiles);
                }
            }
        });
    }

    /// What each step reads, in bytes: from the first place on the left, and from a panel on the right.
    fn steps(&self, strip: &Strip, pass: &Outputs) -> Vec<Step> {
        let (chunks, kernel) = (self.chunks(), self.kernel());
        let mut steps = Vec::with_capacity(chunks * pass.taps.len());
        for chunk in 0..chunks {
            for tap in &pass.taps {
                let place = (tap.distance - self.grid.reach[0]) as usize;
                let left = ((tap.phase * chunks + chunk) * strip.room + place) * LINE;
                steps.push(Step { left: 4 * left, right: 4 * (chunk * kernel + tap.index) * BLOCK });
            }
        }
        steps
    }

    fn kernel(&self) -> usize {
        self.weights.positions()
    }

    /// Where the outputs of a strip begin.
    fn targets(&self, batch: usize, strip: &Strip, pass: &Outputs) -> Vec<usize> {
        let (grid, target) = (self.grid, self.grid.target);
        let (mut line, mut j) = (strip.places.start / grid.pitch, strip.places.start % grid.pitch);
        let (mut image, mut i) = (line / grid.rows, line % grid.rows);
        let mut targets = Vec::with_capacity(strip.places.len());
        for _ in strip.places.clone() {
            let inside = image < batch && i < pass.size[0] && j < pass.size[1];
            targets.push(if inside {
                let (y, x) = (pass.origin[0] + i * pass.step, pass.origin[1] + j * pass.step);
                ((image * target.height + y) * target.width + x) * target.channels
            } else {
                NOWHERE
            });
            j += 1;
            if j == grid.pitch {
                (line, j) = (line + 1, 0);
                (image, i) = (line / grid.rows, line % grid.rows);
            }
        }
        targets
    }

    /// Writes the weights that some steps of a panel of outputs use, and returns these steps with their places. If pixels are `few`, the
    /// next block of weights is asked for meanwhile.
    fn write(
        &self,
        pass: &Outputs,
        panel: usize,
        steps: &[Step],
        some: Range<usize>,
        few: bool,
        to: &mut [f32],
    ) -> [Step; GROUP] {
        let taps = pass.taps.len();
        // Of a block: its panel, chunk and position.
        let block = |step: usize| {
            let (chunk, tap) = (step / taps, pass.taps[step % taps].index);
            if self.turned { [chunk, panel, tap] } else { [panel, chunk, tap] }
        };
        let mut written = [Step { left: 0, right: 0 }; GROUP];
        for (k, step) in some.enumerate() {
            if few && step + 1 < steps.len() {
                self.weights.ask(block(step + 1));
            }
            self.weights.write(block(step), self.turned, &mut to[k * BLOCK..]);
            written[k] = Step { left: steps[step].left, right: 4 * k * BLOCK };
        }
        written
    }

    /// Some blocks of places of a panel of outputs.
    fn panel(
        &self,
        call: &Call,
        strip: &Strip,
        pass: &Outputs,
        steps: &[Step],
        targets: &[usize],
        panel: usize,
        blocks: Range<usize>,
        tiles: &Tiles,
    ) {
        let first = panel * SIDE;
        let count = SIDE.min(self.grid.target.channels - first);
        let here = call.end.add.then(|| call.target.at(0).cast_const());
        let past = self.past.map(<[f32]>::as_ptr).or(here);
        let results = Results { end: call.end, past, target: call.target, before: call.before, first, count };
        // SAFETY: nobody writes to the strip any more.
        let left = |block: usize| unsafe { strip.parts.from(block * SIDE * LINE) };
        let places = |block: usize| &targets[block * SIDE..((block + 1) * SIDE).min(targets.len())];
        let finish = |block: usize, sums: &[f32]| results.write(sums, places(block));
        let low = 4 * strip.low;
        let ready = if self.turned { None } else { self.weights.ready(panel) };
        let few = blocks.len() <= FEW;
        let len = if ready.is_some() && !few { steps.len().max(1) } else { GROUP };
        // What is summed up at once needs a place for one block of sums, or else for all.
        let at_once = steps.len() <= len;
        let (room, own) = (if at_once { 1 } else { blocks.len() }, if ready.is_some() { 0 } else { GROUP });
        with_lines((own + room) * BLOCK, |scratch| {
            let (written, sums) = scratch.split_at_mut(own * BLOCK);
            if steps.is_empty() {
                // These outputs read nothing.
                sums.fill(0.0);
                return blocks.for_each(|number| finish(number, &sums[..BLOCK]));
            }
            for (group, of_group) in (0..).step_by(len).zip(steps.chunks(len)) {
                let here;
                let (of_group, right) = if let Some(panel) = ready {
                    (of_group, panel)
                } else {
                    here = self.write(pass, panel, steps, group..group + of_group.len(), few, written);
                    (&here[..of_group.len()], &*written)
                };
                // The first block of pixels meets weights that are far away: it asks for those of the next step.
                let next = right.as_ptr().wrapping_byte_add(of_group[0].right).wrapping_add(BLOCK);
                let of_group = Steps::new(of_group);
                let mut ahead = Ahead { start: next, lines: if ready.is_some() { BLOCK / LINE } else { 0 } };
                for (i, number) in blocks.clone().enumerate() {
                    let sums = &mut sums[if at_once { 0 } else { i * BLOCK }..][..BLOCK];
                    if at_once {
                        results.ask(places(number));
                    }
                    block(tiles, left(number), low, right, of_group, ahead, sums, group > 0);
                    ahead = Ahead::NOTHING;
                    if at_once {
                        finish(number, sums);
                    }
                }
            }
            if !at_once {
                blocks.zip(sums.chunks_exact(BLOCK)).for_each(|(number, sums)| finish(number, sums));
            }
        });
    }
}
