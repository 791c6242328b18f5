//! Sharing a slice between tasks that write disjoint parts of it, and memory for their intermediate results.

use crate::memory::zeros;
use std::cell::RefCell;
use std::marker::PhantomData;

/// A mutable slice that several tasks write at once.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T = f32> {
    data: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: values of this type only hand out raw pointers; whoever writes through them promises disjoint parts.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// A pointer to the elements from `offset` on.
    pub(crate) fn at(&self, offset: usize) -> *mut T {
        assert!(offset <= self.len, "offset {offset} is past the end of {}", self.len);
        // SAFETY: inside the slice or one past its end.
        unsafe { self.data.add(offset) }
    }

    /// The elements from `offset` on, to read.
    ///
    /// # Safety
    /// No task writes these elements while the returned slice lives.
    pub(crate) unsafe fn from(&self, offset: usize) -> &'a [T] {
        assert!(offset <= self.len, "offset {offset} is past the end of {}", self.len);
        // SAFETY: inside the slice, and not written by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.data.add(offset), self.len - offset) }
    }

    /// The elements `offset..offset + len`.
    ///
    /// # Safety
    /// No other task touches these elements while the returned slice lives.
    #[allow(clippy::mut_from_ref)] // that is the point of the type; the contract is above
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &'a mut [T] {
        assert!(offset + len <= self.len, "{offset} + {len} is past the end of {}", self.len);
        // SAFETY: inside the slice, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(offset), len) }
    }
}

/// `x` in pieces of `len` elements (the last may be shorter); none if `x` is empty.
pub(crate) fn pieces(total: usize, len: usize) -> impl Fn(usize) -> std::ops::Range<usize> {
    move |i| i * len..((i + 1) * len).min(total)
}

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of at least `len` values, arbitrary ones, that was [`give`]n back by this thread if possible: fresh memory
/// costs a page fault every few thousand bytes.
pub(crate) fn take(len: usize) -> Vec<f32> {
    let buffer = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len { zeros(len) } else { buffer }
}

/// Keeps a buffer for the next [`take`].
pub(crate) fn give(buffer: Vec<f32>) {
    KEPT.with_borrow_mut(|kept| kept.push(buffer));
}

/// Lends `f` a buffer with arbitrary contents. Others may be lent meanwhile: `f` may run tasks that want one too.
pub(crate) fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = take(len);
    let result = f(&mut buffer[..len]);
    give(buffer);
    result
}
