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
/// Values that are kept at most: what the gradient of a network of hundreds of millions of weights holds between its passes.
const MOST: usize = 1 << 27;
/// Buffers that are kept at most: they are looked through one by one.
const COUNT: usize = 512;
/// Values of a cache line, at whose start a buffer begins: a vector of as many is then in one line, not in two.
const LINE: usize = 16;

static KEPT: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Values, whose memory is used again.
pub(super) struct Buffer {
    memory: Vec<f32>,
    start: usize,
    len: usize,
}

/// `len` arbitrary values.
pub(super) fn take(len: usize) -> Buffer {
    let kept = if len >= LEAST { take_kept(len + LINE) } else { None };
    let memory = kept.unwrap_or_else(|| zeros(len + LINE));
    let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    Buffer { memory, start, len }
}

/// Memory of so many values or a few more, if some is kept.
fn take_kept(len: usize) -> Option<Vec<f32>> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let i = kept.iter().rposition(|memory| (len..=len + len / 8).contains(&memory.len()))?;
    Some(kept.remove(i))
}

/// Keeps memory, and lets go of what was kept longest if it becomes too much.
fn give(memory: Vec<f32>) {
    if !(LEAST..=MOST).contains(&memory.len()) {
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(memory);
    let (mut count, mut total) = (kept.len(), kept.iter().map(Vec::len).sum::<usize>());
    let let_go = kept.iter().take_while(|memory| {
        let too_much = total > MOST || count > COUNT;
        (count, total) = (count - 1, total - memory.len());
        too_much
    });
    let count = let_go.count();
    kept.drain(..count);
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.start..][..self.len]
    }
}

/// The values as the storage of a tensor, which gives them back.
pub(super) fn storage(values: Buffer) -> Bytes {
    let len = size_of_val(&values[..]);
    // SAFETY: so many bytes are initialised.
    unsafe { Bytes::from_controller(Box::new(values), len) }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let len = size_of_val(&self[..]);
        // SAFETY: the bytes of the values, borrowed as long as `self`; the caller writes nothing uninitialised, and any
        // initialised bytes are values.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), len) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        // SAFETY: as above.
        Ok(unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), size_of_val(&self[..])) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_for_sizes_they_fit_and_the_oldest_go_first() {
        // Other tests use the same memory, but not of these sizes. Nobody touches most of these values.
        let size = MOST / 2 - 100;
        let mut values = take(size);
        values[..100].fill(7.0);
        let place = values.as_ptr();
        assert_eq!(place.align_offset(64), 0);
        drop(storage(values));
        let again = take(size - 10);
        assert!(again.as_ptr() == place && again.len() == size - 10 && again[..100].iter().all(|&x| x == 7.0));
        drop(storage(again));
        let whole = take(size);
        assert!(whole.as_ptr() == place, "memory that served a smaller result serves its own size again");
        drop(storage(whole));
        let smaller = take(size / 2);
        assert!(smaller.as_ptr() != place, "half of the memory would be wasted");
        let several = [(); 6].map(|()| take(size / 2));
        drop(several);
        let kept: usize = KEPT.lock().unwrap().iter().map(Vec::len).sum();
        assert!(kept <= MOST);
    }

    #[test]
    fn bytes_are_those_of_the_values() {
        let values: Vec<f32> = (0..100).map(|i| i as f32 * 0.5).collect();
        let mut buffer = take(values.len());
        buffer.copy_from_slice(&values);
        let bytes = storage(buffer);
        let expected: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        assert_eq!(&bytes[..], &expected[..]);
        assert_eq!(&bytes.clone()[..], &expected[..]);
    }
}
