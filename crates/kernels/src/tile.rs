//! The two micro-kernels under every matrix product: a block of [`ROWS`] by [`COLS`] sums held in twelve vector registers.
//!
//! [`gather`] reads each row of its left factor through its own pointers, so that a convolution needs no copy of the image.
//! [`outer`] adds products of packed columns, for gradients of weights.
//!
//! Each sum runs over its terms in order, with one accumulator: the result does not depend on the block that computes it.
//! With `n` terms and unit roundoff `u = 2^-24` its error is at most `gamma_n sum |a||b|`, `gamma_n = n u / (1 - n u)`
//! (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5).

use crate::simd::{LANES, Simd, multiversion};
use half::f16;

/// Rows of a block.
pub(crate) const ROWS: usize = 6;
/// Columns of a block.
pub(crate) const COLS: usize = 2 * LANES;

/// What a sum starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Zero.
    Zero,
    /// The value of its column, from [`COLS`] values.
    Bias(*const f32),
    /// The value already in its place.
    Output,
    /// Both: the value in its place plus that of its column.
    OutputAndBias(*const f32),
}

multiversion! {
    /// `y[i][j] = start + sum_{t, c} a[t ROWS + i][c] b[t depth + c][j]` for `i < ROWS`, `j < cols`.
    ///
    /// # Safety
    /// `a` holds `taps * ROWS` pointers, each valid for reading `depth` values; `b` is valid for reading
    /// `taps * depth * COLS` values; a bias for [`COLS`]; `y` holds [`ROWS`] pointers, each valid for reading and writing
    /// `cols <= COLS` values, all apart from what `a` and `b` point to.
    pub(crate) unsafe fn gather(
        a: *const *const f32,
        taps: usize,
        depth: usize,
        b: *const f32,
        start: Start,
        y: *const *mut f32,
        cols: usize,
    ) => gather_body::<_, f32>
}

multiversion! {
    /// [`gather`] with a right factor in half precision, whose values are exact in single precision.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn gather_half(
        a: *const *const f32,
        taps: usize,
        depth: usize,
        b: *const f16,
        start: Start,
        y: *const *mut f32,
        cols: usize,
    ) => gather_body::<_, f16>
}

/// What a right factor consists of.
trait Element: Copy {
    /// # Safety
    /// `p` is valid for reading [`LANES`] values.
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

#[inline(always)]
unsafe fn gather_body<S: Simd, E: Element>(
    s: S,
    a: *const *const f32,
    taps: usize,
    depth: usize,
    b: *const E,
    start: Start,
    y: *const *mut f32,
    cols: usize,
) {
    let mut sum = [[s.splat(0.0); 2]; ROWS];
    // SAFETY: reads and writes stay inside what the caller promises for `a`, `b`, `start` and `y`.
    unsafe {
        match start {
            Start::Zero => {}
            Start::Bias(bias) => sum = [[s.load(bias), s.load(bias.add(LANES))]; ROWS],
            Start::Output => {
                for (i, sum) in sum.iter_mut().enumerate() {
                    *sum = load_row(s, *y.add(i), cols);
                }
            }
            Start::OutputAndBias(bias) => {
                for (i, sum) in sum.iter_mut().enumerate() {
                    let row = load_row(s, *y.add(i), cols);
                    *sum = [s.add(row[0], s.load(bias)), s.add(row[1], s.load(bias.add(LANES)))];
                }
            }
        }
        // The next panel, which follows in memory and is read next, comes from far while this one is used.
        let panel = taps * depth * COLS;
        let mut b = b;
        for t in 0..taps {
            let row: [*const f32; ROWS] = std::array::from_fn(|i| *a.add(t * ROWS + i));
            for c in 0..depth {
                let right = [E::load(s, b), E::load(s, b.add(LANES))];
                s.prefetch(b.wrapping_add(panel));
                for i in 0..ROWS {
                    let left = s.splat(*row[i].add(c));
                    sum[i][0] = s.fma(left, right[0], sum[i][0]);
                    sum[i][1] = s.fma(left, right[1], sum[i][1]);
                }
                b = b.add(COLS);
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            store_row(s, *y.add(i), cols, *sum);
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
    // SAFETY: reads and writes stay inside what the caller promises for `a`, `b` and `c`.
    unsafe {
        let mut sum = [[s.splat(0.0); 2]; ROWS];
        for (i, sum) in sum.iter_mut().enumerate() {
            let c = c.add(i * COLS);
            *sum = [s.load(c), s.load(c.add(LANES))];
        }
        let mut b = b;
        for &start in starts {
            let mut a = a.add(start);
            for _ in 0..width {
                let right = [s.load(b), s.load(b.add(LANES))];
                for i in 0..ROWS {
                    let left = s.splat(*a.add(i));
                    sum[i][0] = s.fma(left, right[0], sum[i][0]);
                    sum[i][1] = s.fma(left, right[1], sum[i][1]);
                }
                // Past the end after the last one.
                a = a.wrapping_add(a_step);
                b = b.wrapping_add(b_step);
            }
        }
        for (i, sum) in sum.iter().enumerate() {
            let c = c.add(i * COLS);
            s.store(c, sum[0]);
            s.store(c.add(LANES), sum[1]);
        }
    }
}

#[inline(always)]
unsafe fn load_row<S: Simd>(s: S, y: *const f32, cols: usize) -> [S::V; 2] {
    // SAFETY: `cols` values are read from `y`, and the buffer holds COLS.
    unsafe {
        if cols == COLS {
            return [s.load(y), s.load(y.add(LANES))];
        }
        let mut row = [0.0; COLS];
        std::ptr::copy_nonoverlapping(y, row.as_mut_ptr(), cols);
        [s.load(row.as_ptr()), s.load(row.as_ptr().add(LANES))]
    }
}

#[inline(always)]
unsafe fn store_row<S: Simd>(s: S, y: *mut f32, cols: usize, v: [S::V; 2]) {
    // SAFETY: `cols` values are written to `y`, and the buffer holds COLS.
    unsafe {
        if cols == COLS {
            s.store(y, v[0]);
            s.store(y.add(LANES), v[1]);
            return;
        }
        let mut row = [0.0; COLS];
        s.store(row.as_mut_ptr(), v[0]);
        s.store(row.as_mut_ptr().add(LANES), v[1]);
        std::ptr::copy_nonoverlapping(row.as_ptr(), y, cols);
    }
}

multiversion! {
    /// `to[i] = from[i]`, exactly.
    pub(crate) fn widen(from: &[f16], to: &mut [f32]) => widen_body
}

#[inline(always)]
fn widen_body<S: Simd>(s: S, from: &[f16], to: &mut [f32]) {
    for (from, to) in from.chunks(LANES).zip(to.chunks_mut(LANES)) {
        match (from.len(), to.len()) {
            // SAFETY: both have so many values.
            (LANES, LANES) => unsafe { s.store(to.as_mut_ptr(), s.load_half(from.as_ptr())) },
            _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32()),
        }
    }
}
