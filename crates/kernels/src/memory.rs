//! Memory for large results.

/// Size of a large page, and the least allocation, in bytes, that is worth asking for some.
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE_PAGE: usize = 1 << 21;

/// `len` zeros; many of them on large pages, where the system gives these to those who ask.
///
/// The results of a layer on large images are fresh memory each time, which the system hands out at first touch: page by
/// page of 4096 bytes that took as long as the arithmetic.
pub fn zeros(len: usize) -> Vec<f32> {
    let zeros = vec![0.0; len];
    #[cfg(all(target_os = "linux", not(miri)))]
    advise(&zeros);
    zeros
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise(memory: &[f32]) {
    let range = memory.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let (first, last) = (start.next_multiple_of(LARGE_PAGE), end / LARGE_PAGE * LARGE_PAGE);
    if last > first {
        // SAFETY: whole pages inside an allocation; the advice changes no contents, and its failure no result.
        unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn zeros_are_zeros() {
        for len in [0, 1, 1 << 22] {
            let zeros = super::zeros(len);
            assert!(zeros.len() == len && zeros.iter().all(|&x| x == 0.0));
        }
    }
}
