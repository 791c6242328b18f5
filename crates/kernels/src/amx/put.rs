//! From sums of blocks to results.

use super::SIDE;
use crate::parallel::Shared;
use crate::simd::{Simd, WIDE, multiversion};

/// Where no result is.
pub(crate) const NOWHERE: usize = usize::MAX;

multiversion! {
    /// Writes the first `count` of each row of sums, `[row][SIDE]`, plus `bias`, plus what is in that place from `past` on, to `place + first` in the
    /// target for its place.
    ///
    /// # Safety
    /// No other task touches these values meanwhile, and those of `past`, which may be the target's, are as many.
    pub(crate) unsafe fn put(
        sums: &[f32],
        places: &[usize],
        bias: &[f32; SIDE],
        past: Option<*const f32>,
        target: Shared,
        first: usize,
        count: usize,
    ) => put_body
}

#[inline(always)]
unsafe fn put_body<S: Simd>(
    s: S,
    sums: &[f32],
    places: &[usize],
    bias: &[f32; SIDE],
    past: Option<*const f32>,
    target: Shared,
    first: usize,
    count: usize,
) {
    let s = s.wide();
    assert!(count <= SIDE, "columns of a block");
    for (&place, sums) in places.iter().zip(sums.chunks_exact(SIDE)) {
        if place == NOWHERE {
            continue;
        }
        // SAFETY: the caller's promise.
        let target = unsafe { target.slice(place + first, count) };
        for column in (0..count).step_by(WIDE) {
            let n = WIDE.min(count - column);
            // SAFETY: `n` values of the target; sums and bias have whole vectors.
            unsafe {
                let to = target.as_mut_ptr().add(column);
                let mut value = s.add(s.load(sums.as_ptr().add(column)), s.load(bias.as_ptr().add(column)));
                if let Some(past) = past {
                    value = s.add(value, s.load_first(past.add(place + first + column), n));
                }
                s.store_first(to, n, value);
            }
        }
    }
}
