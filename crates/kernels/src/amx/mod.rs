//! Products of matrices in single precision on the tile registers of AMX.
//!
//! The tiles multiply numbers of eight bits (bfloat16) and add in single precision. A factor in single precision is the sum
//! of two such numbers, `x = h + l + d`: `h` is `x` rounded, `l` is `x - h`, exact in single precision, rounded. A unit in the
//! last place of `h` is at most `2^-7 |x|`, so `|l| <= 2^-8 |x|` and `|d| <= 2^-17 |x|`. Of a product
//! `x y = h_x h_y + h_x l_y + l_x h_y + (l_x l_y + d_x y + x d_y - ..)` the first three are computed, each exact before it is
//! added, and the rest is below
//!
//! `(2^-16 + 2 2^-17 + 2^-24) |x y| < 1.01 2^-15 |x y|`, see [`PRODUCT_ERROR`];
//!
//! its parts have either sign for numbers that do not conspire, and their root mean square is about `2^-18.4` of the product's. To
//! this come the roundings of sums, as in any other version: the tile's instruction (round to nearest) sums the even and the odd
//! of 32 terms, adds the two, then adds that to the sum so far: at most `18 + 3 ceil(n / 32)` roundings for `n` terms.
//!
//! Numbers below `2^-126` count as zero there, which changes a product by at most `2^-126` times the other factor or the same
//! times its share; values above `3.38e38`, which round to infinity in eight bits, give no number.
//!
//! Memory of pairs of 16-bit numbers is typed as `f32` here: it comes from where all scratch memory comes from.

mod pack;
mod put;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "absent.rs"]
mod tiles;

use crate::memory::zeros;
use crate::parallel::with_scratch;
pub(crate) use pack::{BLOCK, Blocks, blocks_len, write_blocks};
pub(crate) use put::{NOWHERE, put};
pub(crate) use tiles::{Tiles, available, block, expand, interleave, near, split, turn, want};

/// Rows, terms and columns of a block: two tiles of 16 rows, or of 16 pairs of terms.
pub(crate) const SIDE: usize = 32;
/// Values of a cache line, at whose start tiles begin: with others each row would be read from two.
pub(crate) const LINE: usize = 16;

/// One of the products that a block sums: bytes from the start of each factor, whole cache lines.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Step {
    pub left: usize,
    pub right: usize,
}

/// Some of them, and the most that they read from.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a> {
    list: &'a [Step],
    most: Step,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(list: &'a [Step]) -> Self {
        let most = |most: Step, step: &Step| Step { left: most.left.max(step.left), right: most.right.max(step.right) };
        Self { list, most: list.iter().fold(Step { left: 0, right: 0 }, most) }
    }
}

/// Memory that is wanted next: from `start` on, `lines` cache lines for each step.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub start: *const f32,
    pub lines: usize,
}

impl Ahead {
    /// None.
    pub(crate) const NOTHING: Self = Self { start: std::ptr::null(), lines: 0 };
}

/// Lends `f` scratch memory at the start of a cache line.
pub(crate) fn with_lines<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    with_scratch(len + LINE, |scratch| {
        let start = scratch.as_ptr().align_offset(4 * LINE);
        f(&mut scratch[start..][..len])
    })
}

/// Memory at the start of a cache line, to keep.
#[derive(Debug)]
pub(crate) struct Lines {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Lines {
    pub(crate) fn zeros(len: usize) -> Self {
        let values = zeros(len + LINE);
        let start = values.as_ptr().align_offset(4 * LINE);
        Self { values, start, len }
    }

    pub(crate) fn get(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        let mut clone = Self::zeros(self.len);
        clone.get_mut().copy_from_slice(self.get());
        clone
    }
}
