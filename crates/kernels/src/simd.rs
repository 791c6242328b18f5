//! Eight lanes of `f32`: AVX2+FMA+F16C, or arrays that the compiler vectorises as it can.

use half::f16;

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// Arithmetic on vectors of [`LANES`] values. A value of an implementing type proves that the processor can run it.
pub(crate) trait Simd: Copy {
    /// Values of a vector.
    const LANES: usize = LANES;
    /// A vector.
    type V: Copy;
    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// Reads [`LANES`] values.
    ///
    /// # Safety
    /// `p` is valid for reading [`LANES`] values; it may be unaligned.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Reads [`LANES`] values in half precision, exactly.
    ///
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_half(self, p: *const f16) -> Self::V;
    /// Writes [`LANES`] values.
    ///
    /// # Safety
    /// `p` is valid for writing [`LANES`] values; it may be unaligned.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Asks for the cache line at `p`, any address, to be near when it is read.
    fn prefetch<T>(self, p: *const T);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// The transpose of eight vectors.
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES];
    /// `a b + c`, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The scalar `a b + c`, rounded once where the processor can.
    fn fma1(self, a: f32, b: f32, c: f32) -> f32;
}

/// Set by the test of the portable version.
#[cfg(test)]
pub(crate) static PORTABLE_ONLY: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The version for any processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: the caller's contract is the same, and arrays read this way need no alignment.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_half(self, p: *const f16) -> Self::V {
        // SAFETY: as in `load`.
        unsafe { p.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::V) {
        // SAFETY: as in `load`.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
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
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn fma1(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use half::f16;
    use std::arch::x86_64::{
        __m256, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_ps, _mm256_cvtph_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_set1_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    /// Proof that the processor has AVX2, FMA and F16C.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// The proof, if it holds. The standard library caches the answer.
        #[inline]
        pub(crate) fn detect() -> Option<Self> {
            #[cfg(test)]
            if super::PORTABLE_ONLY.load(std::sync::atomic::Ordering::Relaxed) {
                return None;
            }
            let all =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            all.then_some(Self(()))
        }
    }

    // SAFETY of every block: `self` proves that the instructions exist; pointers are under the trait's contract.
    // The methods are inlined into functions that enable the features (see `multiversion`), or they would be slow calls.
    impl Simd for Avx2 {
        type V = __m256;

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(self, p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }

        #[inline(always)]
        unsafe fn load_half(self, p: *const f16) -> __m256 {
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }

        #[inline(always)]
        fn prefetch<T>(self, p: *const T) {
            // Nothing is read: an address that is not ours is no fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }

        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }

        #[inline(always)]
        fn transpose(self, r: [__m256; 8]) -> [__m256; 8] {
            unsafe {
                // Pairs of rows, then pairs of pairs, then the halves of the vectors.
                let (a0, a1) = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpackhi_ps(r[0], r[1]));
                let (a2, a3) = (_mm256_unpacklo_ps(r[2], r[3]), _mm256_unpackhi_ps(r[2], r[3]));
                let (a4, a5) = (_mm256_unpacklo_ps(r[4], r[5]), _mm256_unpackhi_ps(r[4], r[5]));
                let (a6, a7) = (_mm256_unpacklo_ps(r[6], r[7]), _mm256_unpackhi_ps(r[6], r[7]));
                let (b0, b1) = (_mm256_shuffle_ps::<0x44>(a0, a2), _mm256_shuffle_ps::<0xee>(a0, a2));
                let (b2, b3) = (_mm256_shuffle_ps::<0x44>(a1, a3), _mm256_shuffle_ps::<0xee>(a1, a3));
                let (b4, b5) = (_mm256_shuffle_ps::<0x44>(a4, a6), _mm256_shuffle_ps::<0xee>(a4, a6));
                let (b6, b7) = (_mm256_shuffle_ps::<0x44>(a5, a7), _mm256_shuffle_ps::<0xee>(a5, a7));
                [
                    _mm256_permute2f128_ps::<0x20>(b0, b4),
                    _mm256_permute2f128_ps::<0x20>(b1, b5),
                    _mm256_permute2f128_ps::<0x20>(b2, b6),
                    _mm256_permute2f128_ps::<0x20>(b3, b7),
                    _mm256_permute2f128_ps::<0x31>(b0, b4),
                    _mm256_permute2f128_ps::<0x31>(b1, b5),
                    _mm256_permute2f128_ps::<0x31>(b2, b6),
                    _mm256_permute2f128_ps::<0x31>(b3, b7),
                ]
            }
        }

        #[inline(always)]
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        fn fma1(self, a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx2;

/// Defines a function that runs `body(simd, args..)`, an `#[inline(always)]` function generic in [`Simd`], compiled once
/// for each version and chosen at run time. A function declared `unsafe` hands its contract to the body.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:path) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = $crate::simd::Avx2::detect() {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn fast(simd: $crate::simd::Avx2, $($arg: $ty),*) $(-> $ret)? {
                    $body(simd, $($arg),*)
                }
                // SAFETY: `simd` proves that the enabled features exist.
                return unsafe { fast(simd, $($arg),*) };
            }
            $body($crate::simd::Portable, $($arg),*)
        }
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:path) => {
        $(#[$meta])*
        $vis unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = $crate::simd::Avx2::detect() {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn fast(simd: $crate::simd::Avx2, $($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's contract is the body's.
                    unsafe { $body(simd, $($arg),*) }
                }
                // SAFETY: `simd` proves that the enabled features exist; the caller's contract is the body's.
                return unsafe { fast(simd, $($arg),*) };
            }
            // SAFETY: the caller's contract is the body's.
            unsafe { $body($crate::simd::Portable, $($arg),*) }
        }
    };
}
pub(crate) use multiversion;
