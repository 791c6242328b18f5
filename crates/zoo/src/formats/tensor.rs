//! One tensor of a checkpoint: where its numbers are, and how they are laid out.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;

use super::data::Data;
use super::error::{FormatError, Result};

/// The type of a tensor's numbers; all are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// Sizes and strides, in numbers, over a storage; checked to stay inside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strided {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
}

/// More dimensions than any tensor of a checkpoint has.
const MAX_DIMENSIONS: usize = 16;

impl Strided {
    /// Numbers in order, as safetensors files hold them.
    pub fn dense(dtype: Dtype, shape: Vec<usize>) -> Self {
        let strides = dense_strides(&shape);
        Self { dtype, shape, strides, offset: 0 }
    }

    /// A view of a storage of `numbers` numbers.
    ///
    /// A tensor with more numbers than its storage (an expanded one) is refused, so that nothing larger than the file is
    /// ever made.
    pub fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        numbers: usize,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() || shape.len() > MAX_DIMENSIONS {
            return Err(format!("has {} sizes and {} strides", shape.len(), strides.len()));
        }
        let beyond = || format!("shape {shape:?} from number {offset} on reaches beyond its storage of {numbers}");
        if !shape.contains(&0) {
            let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
            let last = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
            let inside = count.is_some_and(|count| count <= numbers) && last.is_some_and(|last| last < numbers);
            if !inside {
                return Err(beyond());
            }
        }
        Ok(Self { dtype, shape, strides, offset })
    }

    fn count(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    fn is_dense(&self) -> bool {
        // The stride of a dimension of size 1 does not matter.
        let dense = dense_strides(&self.shape);
        self.shape
            .iter()
            .zip(self.strides.iter().zip(dense))
            .all(|(size, (stride, dense))| *size == 1 || *stride == dense)
    }
}

fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

/// A tensor of a checkpoint, borrowed from its file.
#[derive(Debug, Clone)]
pub struct TensorRef<'a> {
    name: &'a str,
    strided: &'a Strided,
    file: &'a Data,
    range: Range<usize>,
}

impl<'a> TensorRef<'a> {
    /// `range` is where its storage is in the file.
    pub(super) fn new(name: &'a str, strided: &'a Strided, file: &'a Data, range: Range<usize>) -> Self {
        Self { name, strided, file, range }
    }

    /// Gives the memory back that reading it took; the file still has its numbers.
    pub(crate) fn release(&self) {
        self.file.release(self.range.clone());
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.strided.dtype
    }

    /// Its sizes.
    pub fn shape(&self) -> &'a [usize] {
        &self.strided.shape
    }

    /// Its numbers in order (the last dimension runs fastest): borrowed from the file where they lie so, else gathered.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        let (size, count) = (self.dtype().size(), self.strided.count());
        let file: &'a [u8] = self.file;
        let storage = &file[self.range.clone()];
        if count == 0 {
            return Cow::Borrowed(&[]);
        }
        if self.strided.is_dense() {
            let start = self.strided.offset * size;
            return Cow::Borrowed(&storage[start..start + count * size]);
        }
        let mut bytes = Vec::with_capacity(count * size);
        let mut index = vec![0; self.strided.shape.len()];
        let mut at = self.strided.offset;
        for _ in 0..count {
            bytes.extend_from_slice(&storage[at * size..][..size]);
            // The next index, as an odometer counts.
            for (axis, (position, stride)) in index.iter_mut().zip(&self.strided.strides).enumerate().rev() {
                *position += 1;
                at += stride;
                if *position < self.strided.shape[axis] {
                    break;
                }
                at -= *position * stride;
                *position = 0;
            }
        }
        Cow::Owned(bytes)
    }

    /// Its numbers as f32, in order: F16 and BF16 exactly, F64 rounded to the nearest.
    ///
    /// # Errors
    /// [`FormatError::Tensor`] for integers, which no weight is.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        self.numbers().map(Cow::into_owned)
    }

    /// [`Self::to_f32`], borrowed from the file where that is possible.
    ///
    /// # Errors
    /// As there.
    pub(super) fn numbers(&self) -> Result<Cow<'a, [f32]>> {
        let bytes = self.bytes();
        Ok(Cow::Owned(match self.dtype() {
            Dtype::F32 => match bytes {
                Cow::Borrowed(bytes) if let Some(values) = in_place(bytes) => return Ok(Cow::Borrowed(values)),
                bytes => converted(&bytes, f32::from_le_bytes),
            },
            Dtype::F64 => converted(&bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F16 => converted(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => converted(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            other => {
                let problem = format!("holds {other:?}, not floating-point numbers");
                return Err(FormatError::Tensor { name: self.name.to_owned(), problem });
            }
        }))
    }
}

/// Numbers of a task.
const PIECE: usize = 1 << 16;

/// The bytes as the numbers they are, on little-endian machines and where they are aligned.
fn in_place(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: any four bytes are an f32.
    let (before, values, after) = unsafe { bytes.align_to::<f32>() };
    (cfg!(target_endian = "little") && before.is_empty() && after.is_empty()).then_some(values)
}

/// Numbers of `N` bytes, by all threads.
fn converted<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let numbers = bytes.as_chunks::<N>().0;
    let mut values = vec![0.0; numbers.len()];
    let pieces = values.par_chunks_mut(PIECE).zip(numbers.par_chunks(PIECE));
    pieces.for_each(|(values, numbers)| {
        values.iter_mut().zip(numbers).for_each(|(value, number)| *value = convert(*number));
    });
    values
}

/// Whether no number is infinite or none, as found by all threads.
pub(super) fn all_finite(values: &[f32]) -> bool {
    // The largest exponent is that of what is not finite; without a branch for each value.
    let exponents = |piece: &[f32]| piece.iter().fold(0, |most, value| (value.to_bits() & 0x7f80_0000).max(most));
    values.par_chunks(PIECE).all(|piece| exponents(piece) < 0x7f80_0000)
}
