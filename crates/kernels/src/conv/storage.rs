//! How packed weights are kept.

use crate::memory::{half_zeros, zeros};
use crate::parallel::with_scratch;
use crate::team::parts;
use crate::tile::{Product, gather, gather_half};
use half::f16;
use half::slice::HalfFloatSliceExt as _;

/// Weights as they are, or rounded to half precision. Arithmetic is in single precision either way.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Single(Vec<f32>),
    Half(Vec<f16>),
}

/// Some of them.
#[derive(Clone, Copy)]
pub(super) enum Panel<'a> {
    Single(&'a [f32]),
    Half(&'a [f16]),
}

/// Values of a task.
const PIECE: usize = 1 << 16;

impl Values {
    /// `count` panels of `len` values, zeros but for what `write(panel, values)` writes; rounded to half precision if `half`, without ever
    /// being in memory in single precision together.
    pub fn panels(count: usize, len: usize, half: bool, write: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        // Panels of nothing are none.
        let (all, len) = (count * len, len.max(1));
        if !half {
            let mut values = zeros(all);
            parts(&mut values, len, write);
            return Self::Single(values);
        }
        let mut values = half_zeros(all);
        parts(&mut values, len, |panel, half| {
            with_scratch(half.len(), |single| {
                single.fill(0.0);
                write(panel, single);
                half.convert_from_f32_slice(single);
            });
        });
        Self::Half(values)
    }

    /// Rounds them to the nearest in half precision: 11 bits of each between 6e-5 and 65504, fewer below.
    pub fn halve(&mut self) {
        if let Self::Single(values) = self {
            let mut half = half_zeros(values.len());
            parts(&mut half, PIECE, |i, half| {
                half.convert_from_f32_slice(&values[i * PIECE..][..half.len()]);
            });
            *self = Self::Half(half);
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Half(values) => values.len(),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Single(values) => size_of_val(&values[..]),
            Self::Half(values) => size_of_val(&values[..]),
        }
    }

    /// `len` values from `start` on.
    pub fn panel(&self, start: usize, len: usize) -> Panel<'_> {
        match self {
            Self::Single(values) => Panel::Single(&values[start..][..len]),
            Self::Half(values) => Panel::Half(&values[start..][..len]),
        }
    }

    /// Their memory in single precision, if they are in it, for others.
    pub fn into_place(self) -> Vec<f32> {
        match self {
            Self::Single(values) => values,
            Self::Half(_) => zeros(0),
        }
    }
}

impl Panel<'_> {
    /// [`gather`] with these values on the right.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn gather(self, product: &Product) {
        // SAFETY: the same contract.
        unsafe {
            match self {
                Panel::Single(b) => gather(product, b.as_ptr()),
                Panel::Half(b) => gather_half(product, b.as_ptr()),
            }
        }
    }
}
