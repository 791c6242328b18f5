//! Right factors in the order in which tiles are read.

use super::{LINE, Lines, SIDE, expand, interleave, near, split, turn, with_lines};
use crate::conv::turn as turn_values;
use crate::parallel::Shared;
use crate::team::each;
use half::f16;
use half::slice::HalfFloatSliceExt as _;

/// Pairs of a block of 32 terms and 32 columns: `[low, high][column / 16][term / 2][column % 16]`.
pub(crate) const BLOCK: usize = SIDE * SIDE;
/// The same in half precision, without the two parts.
pub(crate) const HALF_BLOCK: usize = BLOCK / 2;

/// The blocks of a matrix for each kernel position: `[column / 32][term / 32][position]`.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    values: Lines,
    half: bool,
    terms: usize,
    positions: usize,
}

impl Blocks {
    /// From `weight` `[columns, terms, positions]`, rounded to half precision if `half`.
    pub(crate) fn new(weight: &[f32], [columns, terms, positions]: [usize; 3], half: bool) -> Self {
        assert_eq!(weight.len(), columns * terms * positions, "weights of a product");
        let (chunks, len) = (terms.div_ceil(SIDE), block_len(half));
        let count = columns.div_ceil(SIDE) * chunks;
        let mut values = Lines::zeros(count * positions * len);
        let shared = Shared::new(values.get_mut());
        each(count, |task| {
            let (panel, chunk) = (task / chunks, task % chunks);
            let (column, term) = (panel * SIDE, chunk * SIDE);
            let sides = [SIDE.min(columns - column), SIDE.min(terms - term)];
            // SAFETY: the blocks of this panel and chunk are this task's.
            let blocks = unsafe { shared.slice(task * positions * len, positions * len) };
            let mut rows = [0.0; BLOCK]; // [column][term], of a position
            for (position, block) in blocks.chunks_exact_mut(len).enumerate() {
                for (i, row) in rows.chunks_exact_mut(SIDE).take(sides[0]).enumerate() {
                    let from = &weight[((column + i) * terms + term) * positions + position..];
                    row.iter_mut()
                        .zip(from.iter().step_by(positions))
                        .take(sides[1])
                        .for_each(|(to, from)| *to = *from);
                }
                put(half, block, |block| pack(&rows, SIDE, [SIDE; 2], block));
            }
        });
        Self { values, half, terms, positions }
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.get())
    }

    /// Blocks whose positions are sums of these: `sets[i]` lists those of position `i`.
    pub(crate) fn summed(&self, sets: &[Vec<usize>]) -> Self {
        let (from, to, len) = (self.positions, sets.len(), block_len(self.half));
        let count = self.values.get().len() / (from * len);
        let mut values = Lines::zeros(count * to * len);
        let shared = Shared::new(values.get_mut());
        each(count, |task| {
            // SAFETY: the blocks of this panel and chunk are this task's.
            let blocks = unsafe { shared.slice(task * to * len, to * len) };
            let mut term = [0.0; BLOCK];
            for (set, block) in sets.iter().zip(blocks.chunks_exact_mut(len)) {
                let mut sums = [0.0; BLOCK]; // pairs in the order of the high parts
                for position in set {
                    self.write_number(task * from + position, false, &mut term);
                    let (low, high) = term.split_at(HALF_BLOCK);
                    for (sums, (low, high)) in sums.chunks_exact_mut(2).zip(low.iter().zip(high)) {
                        sums.iter_mut().zip(pair(*low, *high)).for_each(|(sum, value)| *sum += value);
                    }
                }
                put(self.half, block, |block| {
                    let high = block[HALF_BLOCK..].as_mut_ptr();
                    // SAFETY: 32 rows of 32 values, as many lines of pairs; the low parts come before.
                    unsafe { split(sums.as_ptr(), |i| i * SIDE, SIDE, SIDE, high, 0, HALF_BLOCK.wrapping_neg()) };
                });
            }
        });
        Self { values, half: self.half, terms: self.terms, positions: to }
    }

    /// The blocks of a panel, if they are there as they are read.
    pub(crate) fn ready(&self, panel: usize) -> Option<&[f32]> {
        let len = self.terms.div_ceil(SIDE) * self.positions * BLOCK;
        (!self.half).then(|| &self.values.get()[panel * len..][..len])
    }

    /// The number of a block: of its panel of columns, its chunk of terms and its position.
    fn number(&self, [panel, chunk, position]: [usize; 3]) -> usize {
        (panel * self.terms.div_ceil(SIDE) + chunk) * self.positions + position
    }

    /// Writes a block, of panel, chunk and position, as it is read, or the same with columns and terms exchanged.
    pub(crate) fn write(&self, place: [usize; 3], turned: bool, to: &mut [f32]) {
        self.write_number(self.number(place), turned, to);
    }

    /// Asks for a block that is to be written next.
    pub(crate) fn ask(&self, place: [usize; 3]) {
        let len = block_len(self.half);
        self.values.get()[self.number(place) * len..][..len].chunks(LINE).for_each(|line| near(line.as_ptr()));
    }

    fn write_number(&self, number: usize, turned: bool, to: &mut [f32]) {
        assert!(to.len() >= BLOCK && super::available());
        let mut expanded = [0.0; BLOCK];
        let len = block_len(self.half);
        let values = &self.values.get()[number * len..][..len];
        // SAFETY: blocks of these lengths, and a processor that has the instructions.
        unsafe {
            match (self.half, turned) {
                (true, false) => expand(values.as_ptr(), to.as_mut_ptr()),
                (true, true) => {
                    expand(values.as_ptr(), expanded.as_mut_ptr());
                    turn(expanded.as_ptr(), to.as_mut_ptr());
                }
                (false, true) => turn(values.as_ptr(), to.as_mut_ptr()),
                (false, false) => to[..BLOCK].copy_from_slice(values),
            }
        }
    }
}

fn block_len(half: bool) -> usize {
    if half { HALF_BLOCK } else { BLOCK }
}

/// Has a whole block written, where it is to be or, if `half`, beside, and then rounds it to half precision.
fn put(half: bool, block: &mut [f32], write: impl FnOnce(&mut [f32])) {
    if !half {
        return write(block);
    }
    let (mut whole, mut values, mut rounded) = ([0.0; BLOCK], [0.0; BLOCK], [f16::ZERO; BLOCK]);
    write(&mut whole);
    let (low, high) = whole.split_at(HALF_BLOCK);
    for (values, (low, high)) in values.chunks_exact_mut(2).zip(low.iter().zip(high)) {
        values.copy_from_slice(&pair(*low, *high));
    }
    rounded.convert_from_f32_slice(&values);
    for (word, pair) in block.iter_mut().zip(rounded.chunks_exact(2)) {
        *word = f32::from_bits(u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16);
    }
}

/// The values of two terms from pairs of their parts.
fn pair(low: f32, high: f32) -> [f32; 2] {
    let (low, high) = (low.to_bits(), high.to_bits());
    let value = |high: u32, low: u32| f32::from_bits(high) + f32::from_bits(low);
    [value(high << 16, low << 16), value(high & !0xffff, low & !0xffff)]
}

/// A block from up to 32 rows, `stride` apart, of up to 32 values: a column's terms are a row.
fn pack(rows: &[f32], stride: usize, [columns, terms]: [usize; 2], block: &mut [f32]) {
    assert!(columns <= SIDE && terms <= SIDE && block.len() == BLOCK && super::available());
    assert!(columns == 0 || rows.len() >= (columns - 1) * stride + terms, "rows of a block");
    with_lines(2 * SIDE * LINE, |parts| {
        let low = SIDE * LINE;
        if columns < SIDE {
            parts.fill(0.0);
        }
        // SAFETY: rows of these sizes; two tiles of 16 rows of 16 pairs of each part.
        unsafe {
            split(rows.as_ptr(), |i| i * stride, columns, terms, parts.as_mut_ptr(), 0, low);
            for (part, tile) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let from = parts[(1 - part) * low + tile * 16 * LINE..].as_ptr();
                turn_values(from, LINE, 16, 16, block[(2 * part + tile) * 16 * LINE..].as_mut_ptr(), LINE);
            }
        }
    });
}

/// Values of the blocks of a matrix with so many terms and columns.
pub(crate) fn blocks_len(terms: usize, columns: usize) -> usize {
    columns.div_ceil(SIDE) * terms.div_ceil(SIDE) * BLOCK
}

/// Writes the blocks of a matrix whose columns are these rows, `count` of them with `len` values each, `stride` apart:
/// `[column / 32][term / 32]`. If `turned`, of one whose rows are.
pub(crate) fn write_blocks(rows: &[f32], stride: usize, [count, len]: [usize; 2], turned: bool, to: &mut [f32]) {
    assert!(to.len() == blocks_len(len, count) && super::available(), "place for the blocks of a matrix");
    assert!(count == 0 || rows.len() >= (count - 1) * stride + len, "rows of a matrix");
    let (panels, chunks) = (count.div_ceil(SIDE), len.div_ceil(SIDE));
    let shared = Shared::new(to);
    each(panels * chunks, |i| {
        let (panel, chunk) = (i / chunks, i % chunks);
        let (row, value) = (panel * SIDE, chunk * SIDE);
        let sides = [SIDE.min(count - row), SIDE.min(len - value)];
        let number = if turned { chunk * panels + panel } else { i };
        // SAFETY: this task's block.
        let block = unsafe { shared.slice(number * BLOCK, BLOCK) };
        let rows = &rows[row * stride + value..];
        if turned {
            // SAFETY: rows inside of the matrix, and a block.
            unsafe { interleave(rows.as_ptr(), stride, sides, block.as_mut_ptr()) };
        } else {
            pack(rows, stride, sides, block);
        }
    });
}
