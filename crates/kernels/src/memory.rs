//! Memory for large results.

use crate::team::{parts, threads};
use half::f16;
use half::vec::HalfBitsVecExt as _;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;

/// Size of a large page, and the least allocation, in bytes, that is worth asking for some.
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE_PAGE: usize = 1 << 21;

/// Values that the calling threads clear together. Fewer are not worth it; more come from the system, which clears them at first
/// touch.
const SHARED: RangeInclusive<usize> = 1 << 16..=1 << 22;
/// Values that one of them clears at a time.
const PIECE: usize = 1 << 15;

/// `len` zeros; many of them on large pages, where the system gives these to those who ask.
///
/// The results of a layer on large images are fresh memory each time, which the system hands out at first touch: page by
/// page of 4096 bytes that took as long as the arithmetic.
pub fn zeros(len: usize) -> Vec<f32> {
    if threads() == 1 || !SHARED.contains(&len) {
        let zeros = vec![0.0; len];
        advise(&zeros);
        return zeros;
    }
    let mut zeros = Vec::with_capacity(len);
    let space = &mut zeros.spare_capacity_mut()[..len];
    advise(space);
    parts(space, PIECE, |_, part| part.fill(MaybeUninit::new(0.0)));
    // SAFETY: so many values have just been written.
    unsafe { zeros.set_len(len) };
    zeros
}

/// The same in half precision.
pub(crate) fn half_zeros(len: usize) -> Vec<f16> {
    let zeros = vec![0u16; len].reinterpret_into();
    advise(&zeros);
    zeros
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise<T>(memory: &[T]) {
    let range = memory.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let (first, last) = (start.next_multiple_of(LARGE_PAGE), end / LARGE_PAGE * LARGE_PAGE);
    if last > first {
        // SAFETY: whole pages inside an allocation; the advice changes no contents, and its failure no result.
        unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise<T>(_: &[T]) {}

#[cfg(test)]
mod tests {
    #[test]
    fn zeros_are_zeros() {
        for len in [0, 1, (1 << 17) + 1, (1 << 22) + 1] {
            let zeros = super::zeros(len);
            assert!(zeros.len() == len && zeros.iter().all(|&x| x == 0.0));
        }
    }
}
