//! Vectors of `f32`: AVX-512, AVX2+FMA+F16C, or arrays that the compiler vectorises as it can.

mod portable;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::f16;
pub(crate) use portable::Portable;
use std::sync::atomic::{AtomicU8, Ordering};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Lanes of the narrowest vectors, and side of the squares that are turned. Where channels come in multiples of it, kernels
/// work on whole vectors; the last one may be half of a wider one.
pub(crate) const UNIT: usize = 8;
/// Lanes of [`Simd::Wide`].
pub(crate) const WIDE: usize = 2 * UNIT;

/// Arithmetic on vectors of [`Simd::LANES`] values. A value of an implementing type proves that the processor can run it.
pub(crate) trait Simd: Copy {
    /// Values of a vector: [`UNIT`] or [`WIDE`].
    const LANES: usize;
    /// The largest block of sums that the registers hold beside the factors: rows, and columns of [`WIDE`] values.
    const BLOCK: [usize; 2];
    /// A vector.
    type V: Copy;
    /// The same processor's vectors of [`WIDE`] values, one register or two.
    type Wide: Simd;
    /// `self` for [`WIDE`] values.
    fn wide(self) -> Self::Wide;
    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// Reads [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` is valid for reading as many values; it may be unaligned.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Reads `n` values, at most [`Simd::LANES`]; zeros after them.
    ///
    /// # Safety
    /// `p` is valid for reading `n` values; it may be unaligned.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;
    /// Reads [`Simd::LANES`] values in half precision, exactly.
    ///
    /// # Safety
    /// As [`Simd::load`].
    unsafe fn load_half(self, p: *const f16) -> Self::V;
    /// Writes [`Simd::LANES`] values.
    ///
    /// # Safety
    /// `p` is valid for writing as many values; it may be unaligned.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Writes the first `n` values, at most [`Simd::LANES`].
    ///
    /// # Safety
    /// `p` is valid for writing `n` values; it may be unaligned.
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::V);
    /// Asks for the cache line at `p`, any address, to be near when it is read.
    fn prefetch<T>(self, p: *const T);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The scalar `a b + c`, rounded once where the processor can.
    fn fma1(self, a: f32, b: f32, c: f32) -> f32;
    /// `to[j to_stride + i] = from[i from_stride + j]` for `i`, `j` below [`UNIT`].
    ///
    /// # Safety
    /// Every index is inside what the pointers are valid for; the two places are apart.
    unsafe fn turn(self, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// The versions of the kernels, each faster than the one before.
///
/// Their results differ by rounding: the later ones round a product and its sum once, and add in the same order. The last one's
/// products are off by up to `2^-15` of themselves, see `docs/kernels.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// For any processor.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with AVX-512 F, VL, DQ and BW.
    Avx512,
    /// The same with AVX-512 BF16, and the tile registers of AMX for products: each number there as the sum of two of eight bits.
    Amx,
}

/// The version in use, counted from one; zero before it is known.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl Version {
    const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// Those that this processor runs.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::detect();
        Self::ALL.into_iter().filter(move |&version| version <= best)
    }

    /// The environment variable that names the version to use at most, see [`Self::named`].
    pub const VARIABLE: &str = "VIPAINT_KERNELS";

    /// `portable`, `avx2`, `avx512` or `amx`.
    pub fn named(name: &str) -> Option<Self> {
        let names = ["portable", "avx2", "avx512", "amx"];
        Self::ALL.into_iter().zip(names).find(|(_, known)| *known == name).map(|(version, _)| version)
    }

    /// The one in use: the fastest, unless it was limited.
    #[inline]
    pub fn current() -> Self {
        match CURRENT.load(Ordering::Relaxed) {
            0 => {
                let wanted = std::env::var(Self::VARIABLE).ok().and_then(|name| Self::named(&name));
                let best = wanted.map_or_else(Self::detect, |wanted| wanted.min(Self::detect()));
                // A limit that was set meanwhile stays.
                match CURRENT.compare_exchange(0, best as u8 + 1, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => best,
                    Err(number) => Self::ALL[usize::from(number) - 1],
                }
            }
            number => Self::ALL[usize::from(number) - 1],
        }
    }

    /// Uses nothing above this version from now on, in all threads: for tests and comparisons. Packed weights serve every
    /// version but [`Self::Amx`]: layers that are packed while it is in use keep to the tiles, others never use them.
    pub fn limit(self) {
        CURRENT.store(self.min(Self::detect()) as u8 + 1, Ordering::Relaxed);
    }

    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            match (avx2, avx512) {
                (true, true) if crate::amx::available() => Self::Amx,
                (true, true) => Self::Avx512,
                (true, false) => Self::Avx2,
                _ => Self::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Portable
    }
}

/// Defines a function that runs `body(simd, args..)`, an `#[inline(always)]` function generic in [`Simd`], compiled once
/// for each version and chosen at run time. A function declared `unsafe` hands its contract to the body.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:path) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::simd::{Avx2, Avx512, Version};
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512dq,avx512bw")]
                fn fastest(simd: Avx512, $($arg: $ty),*) $(-> $ret)? {
                    $body(simd, $($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn fast(simd: Avx2, $($arg: $ty),*) $(-> $ret)? {
                    $body(simd, $($arg),*)
                }
                // SAFETY: the version in use was found, with the enabled features.
                match Version::current() {
                    Version::Avx512 | Version::Amx => return unsafe { fastest(Avx512::new(), $($arg),*) },
                    Version::Avx2 => return unsafe { fast(Avx2::new(), $($arg),*) },
                    Version::Portable => {}
                }
            }
            $body($crate::simd::Portable, $($arg),*)
        }
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:path) => {
        $(#[$meta])*
        $vis unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::simd::{Avx2, Avx512, Version};
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512dq,avx512bw")]
                unsafe fn fastest(simd: Avx512, $($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's contract is the body's.
                    unsafe { $body(simd, $($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn fast(simd: Avx2, $($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's contract is the body's.
                    unsafe { $body(simd, $($arg),*) }
                }
                // SAFETY: the version in use was found, with the enabled features; the caller's contract is the body's.
                match Version::current() {
                    Version::Avx512 | Version::Amx => return unsafe { fastest(Avx512::new(), $($arg),*) },
                    Version::Avx2 => return unsafe { fast(Avx2::new(), $($arg),*) },
                    Version::Portable => {}
                }
            }
            // SAFETY: the caller's contract is the body's.
            unsafe { $body($crate::simd::Portable, $($arg),*) }
        }
    };
}
pub(crate) use multiversion;
