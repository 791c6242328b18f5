//! One tensor of a checkpoint: where its numbers are, and how they are laid out.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
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
        if let Some(values) = self.in_place() {
            return Ok(values.to_vec());
        }
        let mut values = Vec::new();
        self.convert(&mut values)?;
        Ok(values)
    }

    /// Its numbers in the file, if they are there in single precision and in order.
    pub(super) fn in_place(&self) -> Option<&'a [f32]> {
        match self.bytes() {
            Cow::Borrowed(bytes) if self.dtype() == Dtype::F32 => in_place(bytes),
            _ => None,
        }
    }

    /// Makes its numbers the first of `values`, which grow if they are fewer; says how many there are.
    ///
    /// # Errors
    /// As [`Self::to_f32`].
    pub(super) fn convert(&self, values: &mut Vec<f32>) -> Result<usize> {
        let (bytes, count) = (self.bytes(), self.strided.count());
        if values.len() < count {
            drop(std::mem::take(values)); // before the larger ones are made
            *values = vec![0.0; count];
        }
        let values = &mut values[..count];
        match self.dtype() {
            Dtype::F32 => pieces(&bytes, values, |from, to| each(from, to, f32::from_le_bytes)),
            Dtype::F64 => pieces(&bytes, values, |from, to| each(from, to, |number| f64::from_le_bytes(number) as f32)),
            Dtype::F16 => pieces(&bytes, values, widen),
            // The upper half of a number in single precision.
            Dtype::BF16 => pieces(&bytes, values, |from, to| each(from, to, |[a, b]| f32::from_le_bytes([0, 0, a, b]))),
            other => {
                let problem = format!("holds {other:?}, not floating-point numbers");
                return Err(FormatError::Tensor { name: self.name.to_owned(), problem });
            }
        }
        Ok(count)
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

/// Converts numbers of `N` bytes, by all threads.
fn pieces<const N: usize>(bytes: &[u8], values: &mut [f32], convert: impl Fn(&[[u8; N]], &mut [f32]) + Sync) {
    let numbers = bytes.as_chunks::<N>().0.par_chunks(PIECE);
    numbers.zip(values.par_chunks_mut(PIECE)).for_each(|(numbers, values)| convert(numbers, values));
}

fn each<const N: usize>(numbers: &[[u8; N]], values: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    values.iter_mut().zip(numbers).for_each(|(value, number)| *value = convert(*number));
}

/// Numbers in half precision, many at a time, as processors convert them.
fn widen(numbers: &[[u8; 2]], values: &mut [f32]) {
    let mut halves = [f16::ZERO; 256];
    for (numbers, values) in numbers.chunks(halves.len()).zip(values.chunks_mut(halves.len())) {
        halves.iter_mut().zip(numbers).for_each(|(half, number)| *half = f16::from_le_bytes(*number));
        halves[..numbers.len()].convert_to_f32_slice(values);
    }
}

/// Whether no number is infinite or none, as found by all threads.
pub(super) fn all_finite(values: &[f32]) -> bool {
    // The largest exponent is that of what is not finite; without a branch for each value.
    let exponents = |piece: &[f32]| piece.iter().fold(0, |most, value| (value.to_bits() & 0x7f80_0000).max(most));
    values.par_chunks(PIECE).all(|piece| exponents(piece) < 0x7f80_0000)
}
