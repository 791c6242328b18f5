//! The version for any processor.

use super::wide::Pair;
use super::{Simd, UNIT};
use half::f16;

/// Arrays that the compiler vectorises as it can.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    const LANES: usize = UNIT;
    const BLOCK: [usize; 2] = [6, 1];
    type V = [f32; UNIT];
    type Wide = Pair<Self>;

    #[inline(always)]
    fn wide(self) -> Self::Wide {
        Pair(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; UNIT]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller's contract is the same, and arrays read this way need no alignment.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; UNIT];
        // SAFETY: `n` values are read, and there is room for as many.
        unsafe { std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n.min(UNIT)) };
        v
    }

    #[inline(always)]
    unsafe fn load_half(self, p: *const f16) -> Self::V {
        // SAFETY: as in `load`.
        unsafe { p.cast::<[f16; UNIT]>().read_unaligned() }.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: as in `load`.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V) {
        // SAFETY: `n` values are written, and there are as many.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n.min(UNIT)) };
    }

    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn fma1(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }

    #[inline(always)]
    unsafe fn turn(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in 0..UNIT {
            for j in 0..UNIT {
                // SAFETY: the caller's contract is the same.
                unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) };
            }
        }
    }
}
