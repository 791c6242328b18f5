//! The two micro-kernels under every matrix product: a block of sums held in vector registers, as many as the processor
//! has room for ([`Simd::BLOCK`]).
//!
//! [`gather`] reads each row of its left factor through its own pointers, so that a convolution needs no copy of the image.
//! [`outer`] adds products of packed columns, for gradients of weights.
//!
//! Each sum runs over its terms in order, with one accumulator: the result does not depend on the block that computes it.
//! With `n` terms and unit roundoff `u = 2^-24` its error is at most `gamma_n sum |a||b|`, `gamma_n = n u / (1 - n u)`
//! (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5).

use crate::simd::{Simd, WIDE, multiversion};
use half::f16;

/// Columns of a panel of a right factor.
pub(crate) const COLS: usize = WIDE;
/// Rows of a block of [`outer`]'s sums.
pub(crate) const ROWS: usize = 6;
/// Rows at most of a block of [`gather`]'s sums, whatever the processor.
pub(crate) const MOST_ROWS: usize = 12;
/// Values of panels that stay in the nearest cache beside those in use.
const NEAR: usize = 6 * 1024;

/// What a sum starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Zero.
    Zero,
    /// The value of its column, of as many as there are columns in whole panels.
    Bias(*const f32),
    /// The value already in its place.
    Output,
    /// Both: the value in its place plus that of its column.
    OutputAndBias(*const f32),
}

/// A matrix product: `y[i][j] = start + sum_{t, c} a[t][i][c] b[j / COLS][t depth + c][j % COLS]` for `i < rows`, `j < cols`.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Rows of the left factor: for each tap as many pointers as there are rows, each to `depth` values.
    pub a: *const *const f32,
    /// Pointers from one tap to the next.
    pub step: usize,
    /// Rows.
    pub rows: usize,
    /// Taps.
    pub taps: usize,
    /// Terms of a tap.
    pub depth: usize,
    /// Values from one panel of the right factor to the next.
    pub pitch: usize,
    /// What the sums start from.
    pub start: Start,
    /// A pointer to the first result of each row.
    pub y: *const *mut f32,
    /// Columns.
    pub cols: usize,
}

multiversion! {
    /// Computes a product with the right factor `b`.
    ///
    /// # Safety
    /// The pointers of `product` are valid for reading what their descriptions say, those in `y` for reading and writing
    /// `cols` values, all apart from what is read; `b` is valid for reading `taps * depth * COLS` values from each panel on.
    pub(crate) unsafe fn gather(product: &Product, b: *const f32) => gather_body::<_, f32>
}

multiversion! {
    /// [`gather`] with a right factor in half precision, whose values are exact in single precision.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn gather_half(product: &Product, b: *const f16) => gather_body::<_, f16>
}

/// What a right factor consists of.
trait Element: Copy {
    /// # Safety
    /// `p` is valid for reading as many values as there are lanes.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::V;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::V {
        // SAFETY: the same contract.
        unsafe { s.load(p) }
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::V {
        // SAFETY: the same contract.
        unsafe { s.load_half(p) }
    }
}

/// Blocks of columns, and for each all rows in nearly equal parts, so that a block of the right factor is in the nearest
/// cache for all rows but the first.
#[inline(always)]
unsafe fn gather_body<S: Simd, E: Element>(s: S, product: &Product, b: *const E) {
    let s = s.wide();
    let [most_rows, most_panels] = S::BLOCK;
    let panels = product.cols.div_ceil(COLS);
    let parts = product.rows.div_ceil(most_rows);
    let mut panel = 0;
    while panel < panels {
        let two = most_panels > 1 && panels - panel > 1;
        for part in 0..parts {
            let (first, end) = (part * product.rows / parts, (part + 1) * product.rows / parts);
            let at = [first, panel];
            // SAFETY: these rows and panels are inside the product, whose contract is the caller's.
            unsafe {
                if two {
                    rows::<_, E, 2>(s, end - first, product, b, at);
                } else {
                    rows::<_, E, 1>(s, end - first, product, b, at);
                }
            }
        }
        panel += if two { 2 } else { 1 };
    }
}

/// [`block`] of `count` rows, a constant in each.
#[inline(always)]
unsafe fn rows<S: Simd, E: Element, const P: usize>(
    s: S,
    count: usize,
    product: &Product,
    b: *const E,
    at: [usize; 2],
) {
    macro_rules! constant {
        ($($n:literal)*) => {
            match count {
                // SAFETY: the caller's contract is the block's.
                $($n if $n <= S::BLOCK[0] && P <= S::BLOCK[1] => unsafe { block::<S, E, $n, P>(s, product, b, at) },)*
                _ => unreachable!("{count} rows of a block of {:?}", S::BLOCK),
            }
        };
    }
    constant!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// The sums of `R` rows and `P` panels, the first of which are `at`.
#[inline(always)]
unsafe fn block<S: Simd, E: Element, const R: usize, const P: usize>(
    s: S,
    product: &Product,
    b: *const E,
    at: [usize; 2],
) {
    let &Product { a, step, taps, depth, pitch, start, y, cols, .. } = product;
    let [first, panel] = at;
    let column = panel * COLS;
    let mut sum = [[s.splat(0.0); P]; R];
    // SAFETY: reads and writes stay inside what the caller promises for `product` and `b`.
    unsafe {
        // A product without taps has no pointers to read.
        let (a, y) = (a.wrapping_add(first), y.add(first));
        let place = |i: usize, p: usize| (*y.add(i)).add(column + p * COLS);
        let width = |p: usize| (cols - column - p * COLS).min(COLS);
        let (add, bias) = match start {
            Start::Zero => (false, None),
            Start::Bias(bias) => (false, Some(bias)),
            Start::Output => (true, None),
            Start::OutputAndBias(bias) => (true, Some(bias)),
        };
        for p in 0..P {
            if let Some(bias) = bias {
                let bias = s.load(bias.add(column + p * COLS));
                for i in 0..R {
                    sum[i][p] = bias;
                }
            }
            if add {
                for i in 0..R {
                    sum[i][p] = s.add(load_row(s, place(i, p), width(p)), sum[i][p]);
                }
            }
        }
        let mut right = [b; P];
        for p in 0..P {
            right[p] = b.add((panel + p) * pitch);
        }
        // The next panels, which are read next, come from far while these are used. Large ones are asked for by the first rows only: the
        // others would fetch them through the second cache again.
        let ahead = if first == 0 || P * pitch <= NEAR { P * pitch } else { 0 };
        for t in 0..taps {
            let mut row = [*a.add(t * step); R];
            for i in 0..R {
                row[i] = *a.add(t * step + i);
            }
            for c in 0..depth {
                let mut values = [s.splat(0.0); P];
                for p in 0..P {
                    values[p] = E::load(s, right[p]);
                    s.prefetch(right[p].wrapping_add(ahead));
                    right[p] = right[p].add(COLS);
                }
                for i in 0..R {
                    let left = s.splat(*row[i].add(c));
                    for p in 0..P {
                        sum[i][p] = s.fma(left, values[p], sum[i][p]);
                    }
                }
            }
        }
        for p in 0..P {
            for i in 0..R {
                store_row(s, place(i, p), width(p), sum[i][p]);
            }
        }
    }
}

multiversion! {
    /// `c[i][j] += sum_{r, k} a[starts[r] + k a_step + i] b[(r width + k) b_step + j]` for `k < width`.
    ///
    /// # Safety
    /// Every index above is inside what `a` (with `i < ROWS`) and `b` (with `j < COLS`) are valid for; `c` is valid for
    /// reading and writing `ROWS * COLS` values, apart from `a` and `b`.
    pub(crate) unsafe fn outer(
        a: *const f32,
        starts: &[usize],
        a_step: usize,
        width: usize,
        b: *const f32,
        b_step: usize,
        c: *mut f32,
    ) => outer_body
}

#[inline(always)]
unsafe fn outer_body<S: Simd>(
    s: S,
    a: *const f32,
    starts: &[usize],
    a_step: usize,
    width: usize,
    b: *const f32,
    b_step: usize,
    c: *mut f32,
) {
    let s = s.wide();
    // SAFETY: reads and writes stay inside what the caller promises for `a`, `b` and `c`.
    unsafe {
        let mut sum = [s.splat(0.0); ROWS];
        for (i, sum) in sum.iter_mut().enumerate() {
            *sum = s.load(c.add(i * COLS));
        }
        let mut b = b;
        for &start in starts {
            let mut a = a.add(start);
            for _ in 0..width {
                let right = s.load(b);
                for i in 0..ROWS {
                    sum[i] = s.fma(s.splat(*a.add(i)), right, sum[i]);
                }
                // Past the end after the last one.
                a = a.wrapping_add(a_step);
                b = b.wrapping_add(b_step);
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            s.store(c.add(i * COLS), *sum);
        }
    }
}

#[inline(always)]
unsafe fn load_row<S: Simd>(s: S, y: *const f32, cols: usize) -> S::V {
    // SAFETY: `cols` values are read.
    unsafe { if cols == COLS { s.load(y) } else { s.load_first(y, cols) } }
}

#[inline(always)]
unsafe fn store_row<S: Simd>(s: S, y: *mut f32, cols: usize, v: S::V) {
    // SAFETY: `cols` values are written.
    unsafe { if cols == COLS { s.store(y, v) } else { s.store_first(y, cols, v) } }
}

multiversion! {
    /// `to[i] = from[i]`, exactly.
    pub(crate) fn widen(from: &[f16], to: &mut [f32]) => widen_body
}

#[inline(always)]
fn widen_body<S: Simd>(s: S, from: &[f16], to: &mut [f32]) {
    let lanes = S::LANES;
    for (from, to) in from.chunks(lanes).zip(to.chunks_mut(lanes)) {
        if from.len() == lanes && to.len() == lanes {
            // SAFETY: both have so many values.
            unsafe { s.store(to.as_mut_ptr(), s.load_half(from.as_ptr())) }
        } else {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
        }
    }
}
