//! Vectors of [`WIDE`](super::WIDE) values in two registers.

use super::{Simd, UNIT};
use half::f16;

/// Two vectors of `S`, which has [`UNIT`] lanes.
#[derive(Clone, Copy)]
pub(crate) struct Pair<S>(pub S);

// SAFETY of every block: the two halves are inside what the caller's contract says of the whole.
impl<S: Simd> Simd for Pair<S> {
    const LANES: usize = 2 * UNIT;
    const BLOCK: [usize; 2] = S::BLOCK;
    type V = [S::V; 2];
    type Wide = Self;

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.0.splat(x); 2]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        unsafe { [self.0.load(p), self.0.load(p.add(UNIT))] }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        unsafe {
            let second = if n > UNIT { self.0.load_first(p.add(UNIT), n - UNIT) } else { self.0.splat(0.0) };
            [self.0.load_first(p, n.min(UNIT)), second]
        }
    }

    #[inline(always)]
    unsafe fn load_half(self, p: *const f16) -> Self::V {
        unsafe { [self.0.load_half(p), self.0.load_half(p.add(UNIT))] }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        unsafe {
            self.0.store(p, v[0]);
            self.0.store(p.add(UNIT), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        unsafe {
            self.0.store_first(p, n.min(UNIT), v[0]);
            if n > UNIT {
                self.0.store_first(p.add(UNIT), n - UNIT, v[1]);
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, p: *const T) {
        self.0.prefetch(p);
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        [self.0.sub(a[0], b[0]), self.0.sub(a[1], b[1])]
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn fma1(self, a: f32, b: f32, c: f32) -> f32 {
        self.0.fma1(a, b, c)
    }

    #[inline(always)]
    unsafe fn turn(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe { self.0.turn(from, from_stride, to, to_stride) }
    }
}
