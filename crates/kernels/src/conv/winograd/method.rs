//! The two-dimensional transforms of a tile, for all channels.
//!
//! Vectors are moved in plain loops: a closure given to a library function is compiled without the features that its
//! surroundings enable, unless it happens to be inlined.

use super::points::{Four, FourAdjoint, Points, Two, WithWeights};
use crate::simd::{Simd, UNIT, multiversion};

/// Transforms of square tiles, by side.
#[derive(Clone, Copy)]
pub(super) struct Method {
    /// Side of the tile that is read, of the points too.
    pub side_in: usize,
    /// Side of the tile that is written.
    pub side_out: usize,
    /// See [`input`].
    pub input: unsafe fn(pixels: *const *const f32, channels: usize, v: *mut f32, pitch: usize),
    /// See [`output`].
    pub output: unsafe fn(m: *const f32, pitch: usize, channels: usize, end: &End, pixels: *const *mut f32),
}

impl Method {
    pub fn points(&self) -> usize {
        self.side_in * self.side_in
    }
}

/// What happens to a result before it is written.
pub(super) struct End<'a> {
    /// Added, as many as there are channels at least.
    pub bias: &'a [f32],
    /// Adds what is already in its place.
    pub add: bool,
}

/// `F(2x2, 3x3)`, for a convolution and for its adjoint.
pub(super) const TWO: Method = Method { side_in: 4, side_out: 2, input: input_two, output: output_two };
/// `F(4x4, 3x3)`.
pub(super) const FOUR: Method = Method { side_in: 6, side_out: 4, input: input_four, output: output_four };
/// `F(4x4, 3x3)` for the adjoint of a convolution.
pub(super) const FOUR_ADJOINT: Method =
    Method { side_in: 6, side_out: 4, input: input_four_adjoint, output: output_four_adjoint };

/// The first `n` values of a vector, all of those of the narrowest.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's contract is the same; there are [`UNIT`] values at least.
    unsafe { if S::LANES > UNIT { s.load_first(p, n) } else { s.load(p) } }
}

#[inline(always)]
unsafe fn store<S: Simd>(s: S, p: *mut f32, n: usize, v: S::V) {
    // SAFETY: as in `load`.
    unsafe { if S::LANES > UNIT { s.store_first(p, n, v) } else { s.store(p, v) } }
}

/// `v[p] = B^T d B` for the points `p`, `pitch` apart, of each channel.
///
/// # Safety
/// `channels` is a multiple of [`UNIT`]; `pixels` holds `IN * IN` pointers, each valid for reading `channels` values;
/// `v` is valid for writing `channels` values at each of `IN * IN` places.
#[inline(always)]
unsafe fn input<P: Points<IN, OUT>, const IN: usize, const OUT: usize, S: Simd>(
    s: S,
    pixels: *const *const f32,
    channels: usize,
    v: *mut f32,
    pitch: usize,
) {
    for c in (0..channels).step_by(S::LANES) {
        let n = S::LANES.min(channels - c);
        // SAFETY: lanes `c..c + n` are channels, and the pointers are valid for all of them.
        unsafe {
            let mut rows = [[s.splat(0.0); IN]; IN];
            for i in 0..IN {
                for j in 0..IN {
                    rows[i][j] = load(s, (*pixels.add(i * IN + j)).add(c), n);
                }
                rows[i] = P::input(s, rows[i]);
            }
            for j in 0..IN {
                let mut column = [s.splat(0.0); IN];
                for i in 0..IN {
                    column[i] = rows[i][j];
                }
                column = P::input(s, column);
                for i in 0..IN {
                    store(s, v.add((i * IN + j) * pitch + c), n, column[i]);
                }
            }
        }
    }
}

/// `A^T m A` of each channel, the points `pitch` apart, into pixels.
///
/// # Safety
/// `channels` is a multiple of [`UNIT`]; `m` is valid for reading `channels` values at each of `IN * IN` places, the bias
/// for `channels`; `pixels` holds `OUT * OUT` pointers, each valid for reading and writing `channels` values, apart from
/// all of the former.
#[inline(always)]
unsafe fn output<P: Points<IN, OUT>, const IN: usize, const OUT: usize, S: Simd>(
    s: S,
    m: *const f32,
    pitch: usize,
    channels: usize,
    end: &End,
    pixels: *const *mut f32,
) {
    for c in (0..channels).step_by(S::LANES) {
        let n = S::LANES.min(channels - c);
        // SAFETY: as in `input`.
        unsafe {
            let bias = load(s, end.bias.as_ptr().add(c), n);
            let mut rows = [[s.splat(0.0); OUT]; IN];
            for i in 0..IN {
                let mut row = [s.splat(0.0); IN];
                for j in 0..IN {
                    row[j] = load(s, m.add((i * IN + j) * pitch + c), n);
                }
                rows[i] = P::output(s, row);
            }
            for j in 0..OUT {
                let mut column = [s.splat(0.0); IN];
                for i in 0..IN {
                    column[i] = rows[i][j];
                }
                let column = P::output(s, column);
                for i in 0..OUT {
                    let pixel = (*pixels.add(i * OUT + j)).add(c);
                    let value = s.add(column[i], bias);
                    store(s, pixel, n, if end.add { s.add(value, load(s, pixel, n)) } else { value });
                }
            }
        }
    }
}

macro_rules! transforms {
    ($points:ident, $in:literal, $out:literal, $input:ident, $output:ident) => {
        multiversion! {
            /// [`input`].
            ///
            /// # Safety
            /// As there.
            unsafe fn $input(pixels: *const *const f32, channels: usize, v: *mut f32, pitch: usize)
                => input::<$points, $in, $out, _>
        }
        multiversion! {
            /// [`output`].
            ///
            /// # Safety
            /// As there.
            unsafe fn $output(m: *const f32, pitch: usize, channels: usize, end: &End, pixels: *const *mut f32)
                => output::<$points, $in, $out, _>
        }
    };
}
transforms!(Two, 4, 2, input_two, output_two);
transforms!(Four, 6, 4, input_four, output_four);
transforms!(FourAdjoint, 6, 4, input_four_adjoint, output_four_adjoint);

/// `m[p] = A g A^T` for the points `p`, `pitch` apart, of each channel.
///
/// # Safety
/// As [`input`], with `OUT * OUT` pixels.
#[inline(always)]
unsafe fn output_adjoint<P: WithWeights<IN, OUT>, const IN: usize, const OUT: usize, S: Simd>(
    s: S,
    pixels: *const *const f32,
    channels: usize,
    m: *mut f32,
    pitch: usize,
) {
    for c in (0..channels).step_by(S::LANES) {
        let n = S::LANES.min(channels - c);
        // SAFETY: as in `input`.
        unsafe {
            let mut rows = [[s.splat(0.0); IN]; OUT];
            for i in 0..OUT {
                let mut row = [s.splat(0.0); OUT];
                for j in 0..OUT {
                    row[j] = load(s, (*pixels.add(i * OUT + j)).add(c), n);
                }
                rows[i] = P::output_adjoint(s, row);
            }
            for j in 0..IN {
                let mut column = [s.splat(0.0); OUT];
                for i in 0..OUT {
                    column[i] = rows[i][j];
                }
                let column = P::output_adjoint(s, column);
                for i in 0..IN {
                    store(s, m.add((i * IN + j) * pitch + c), n, column[i]);
                }
            }
        }
    }
}

multiversion! {
    /// [`output_adjoint`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn output_adjoint_two(pixels: *const *const f32, channels: usize, m: *mut f32, pitch: usize)
        => output_adjoint::<Two, 4, 2, _>
}
multiversion! {
    /// [`output_adjoint`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn output_adjoint_four(pixels: *const *const f32, channels: usize, m: *mut f32, pitch: usize)
        => output_adjoint::<Four, 6, 4, _>
}
