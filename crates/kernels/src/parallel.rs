//! Sharing a slice between tasks that write disjoint parts of it.

use std::marker::PhantomData;

/// A mutable slice that several tasks write at once.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    data: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: values of this type only hand out raw pointers; whoever writes through them promises disjoint parts.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// A pointer to the elements from `offset` on.
    pub(crate) fn at(&self, offset: usize) -> *mut f32 {
        assert!(offset <= self.len, "offset {offset} is past the end of {}", self.len);
        // SAFETY: inside the slice or one past its end.
        unsafe { self.data.add(offset) }
    }

    /// The elements `offset..offset + len`.
    ///
    /// # Safety
    /// No other task touches these elements while the returned slice lives.
    #[allow(clippy::mut_from_ref)] // that is the point of the type; the contract is above
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &'a mut [f32] {
        assert!(offset + len <= self.len, "{offset} + {len} is past the end of {}", self.len);
        // SAFETY: inside the slice, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(offset), len) }
    }
}

/// `x` in pieces of `len` elements (the last may be shorter); none if `x` is empty.
pub(crate) fn pieces(total: usize, len: usize) -> impl Fn(usize) -> std::ops::Range<usize> {
    move |i| i * len..((i + 1) * len).min(total)
}
