//! Memory of large results, used again.
//!
//! Results of layers on large images are given back to the system when they are freed and cleared by it when the next one is
//! made: that took a tenth of a network's time. Here some are kept for results of about the same size.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use vipaint_kernels::zeros;

/// The least buffer worth keeping, in values.
const LEAST: usize = 1 << 10;
/// Values that are kept at most.
const MOST: usize = 1 << 25;
/// Buffers that are kept at most: they are looked through one by one.
const COUNT: usize = 512;

static KEPT: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// `len` arbitrary values.
pub(super) fn take(len: usize) -> Vec<f32> {
    if len >= LEAST {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<f32>| (len..=len + len / 8).contains(&buffer.len());
        if let Some(i) = kept.iter().rposition(fits) {
            let mut buffer = kept.remove(i);
            buffer.truncate(len); // the rest stays in its capacity
            return buffer;
        }
    }
    zeros(len)
}

/// Keeps a buffer, and lets go of those kept longest if they become too much.
fn give(mut buffer: Vec<f32>) {
    // As long as it was made: one that shrank with each smaller result it served would soon serve none.
    buffer.resize(buffer.capacity(), 0.0);
    if !(LEAST..=MOST).contains(&buffer.len()) {
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(buffer);
    let (mut count, mut total) = (kept.len(), kept.iter().map(Vec::len).sum::<usize>());
    let let_go = kept.iter().take_while(|buffer| {
        let too_much = total > MOST || count > COUNT;
        (count, total) = (count - 1, total - buffer.len());
        too_much
    });
    let count = let_go.count();
    kept.drain(..count);
}

/// `len` arbitrary values for an intermediate result.
pub(super) fn scratch(len: usize) -> Scratch {
    Scratch(Buffer(take(len)))
}

/// Values that go back to the others.
pub(super) struct Scratch(Buffer);

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0.0
    }
}

/// The values as the storage of a tensor, which gives them back.
pub(super) fn storage(values: Vec<f32>) -> Bytes {
    let len = size_of_val(&values[..]);
    // SAFETY: so many bytes are initialised.
    unsafe { Bytes::from_controller(Box::new(Buffer(values)), len) }
}

struct Buffer(Vec<f32>);

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let len = size_of_val(&self.0[..]);
        // SAFETY: the bytes of the values, borrowed as long as `self`; the caller writes nothing uninitialised, and any
        // initialised bytes are values.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        // SAFETY: as above.
        Ok(unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&self.0[..])) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_for_sizes_they_fit_and_the_oldest_go_first() {
        // Other tests use the same memory, but not of these sizes.
        let size = MOST / 2 - 100;
        let mut values = take(size);
        values.fill(7.0);
        let place = values.as_ptr();
        drop(storage(values));
        let again = take(size - 10);
        assert!(again.as_ptr() == place && again.len() == size - 10 && again.iter().all(|&x| x == 7.0));
        drop(storage(again));
        let whole = take(size);
        assert!(whole.as_ptr() == place, "a buffer that served a smaller result serves its own size again");
        drop(storage(whole));
        let smaller = take(size / 2);
        assert!(smaller.as_ptr() != place, "half of a buffer would be wasted");
        for _ in 0..3 {
            drop(storage(take(size / 2)));
            drop(storage(vec![1.0; size / 2]));
            drop(storage(vec![1.0; size / 2]));
        }
        let kept: usize = KEPT.lock().unwrap().iter().map(Vec::len).sum();
        assert!(kept <= MOST);
    }

    #[test]
    fn bytes_are_those_of_the_values() {
        let values: Vec<f32> = (0..100).map(|i| i as f32 * 0.5).collect();
        let bytes = storage(values.clone());
        let expected: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        assert_eq!(&bytes[..], &expected[..]);
        assert_eq!(&bytes.clone()[..], &expected[..]);
    }
}
